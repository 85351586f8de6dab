// The scalar coalescer, see coalesce.h.
#include "runtime/coalesce.h"

#include <algorithm>

#include "runtime/invariant.h"

namespace quire::runtime {

void sort_ranges(std::span<arch::gfn_range> r) {
  const auto before = [](const arch::gfn_range& a, const arch::gfn_range& b) { return a.first < b.first; };
  if (!std::is_sorted(r.begin(), r.end(), before)) std::sort(r.begin(), r.end(), before);
}

std::size_t coalesce(std::span<arch::gfn_range> r, std::uint64_t max_gap) {
  std::size_t m = 0;
  arch::gfn previous{};
  for (const arch::gfn_range next : r) {
    QUIRE_INVARIANT(previous <= next.first, "coalesce() takes ranges sorted by their first page");
    previous = next.first;
    if (next.pages == 0) continue;
    if (m > 0) {
      arch::gfn_range& last = r[m - 1];
      // Compared as distances, so that a range may end at the end of the address space.
      const std::uint64_t from_last = next.first - last.first;
      if (from_last <= last.pages || from_last - last.pages <= max_gap) {
        const std::uint64_t pages = from_last + next.pages;
        if (pages > last.pages) last.pages = pages;
        continue;
      }
    }
    r[m++] = next;
  }
  return m;
}

}  // namespace quire::runtime
