// Random choice and order of pages.h.
#include "perf/compare/pages.h"

#include <algorithm>

namespace quire::perf {

void shuffle(page_list& pages, std::uint64_t seed) {
  for (std::uint64_t i = pages.size(); i > 1; --i) std::swap(pages[i - 1], pages[next_random(seed) % i]);
}

namespace {

page_list random_pages(std::uint64_t pages, std::uint64_t seed) {
  std::vector<bool> taken(sparse_pages);
  page_list all;
  while (all.size() < pages) {
    const std::uint64_t p = next_random(seed) % sparse_pages;
    if (!taken[p]) all.push_back(first_page + p);
    taken[p] = true;
  }
  std::sort(all.begin(), all.end());
  return all;
}

}  // namespace

working_set make_working_set(layout l, std::uint64_t pages, std::uint64_t table_pages) {
  working_set w;
  if (l == layout::sparse) w.ordered = random_pages(pages, 1);
  const std::uint64_t in_table = l == layout::kept ? table_pages - 1 : pages;
  for (std::uint64_t done = 0; l != layout::sparse && done < pages;) {
    const std::uint64_t n = std::min(in_table, pages - done);
    const std::uint64_t at = first_page + (l == layout::kept ? done / in_table * table_pages : 0);
    w.pieces.push_back({arch::gfn{at}, n});
    for (std::uint64_t i = 0; i < n; ++i) w.ordered.push_back(at + i);
    if (l == layout::kept) w.kept.push_back(at + in_table);
    done += n;
  }
  w.shuffled.pages = w.ordered;
  shuffle(w.shuffled.pages, 2);
  for (const std::uint64_t p : w.shuffled.pages) w.shuffled.frames.push_back(p + frame_distance);
  return w;
}

}  // namespace quire::perf
