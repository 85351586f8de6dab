// Single methods of coalescing pages, see coalesce_methods.h.
#include "perf/coalesce_methods.h"

#include <algorithm>
#include <bit>
#include <map>
#include <vector>

#include "perf/coalesce_bitonic.h"
#include "perf/coalesce_vqsort.h"

namespace quire::perf {

namespace {

using arch::gfn;
using arch::gfn_range;
using pages_span = std::span<std::uint64_t>;
using ranges_span = std::span<gfn_range>;
using shape = coalesce_shape;

std::size_t sort_and_scan(pages_span pages, ranges_span out, std::span<std::byte>) {
  std::sort(pages.begin(), pages.end());
  std::size_t m = 0;
  for (const std::uint64_t p : pages) {
    if (m > 0 && p - out[m - 1].first.value < out[m - 1].pages) continue;
    if (m > 0 && p - out[m - 1].first.value == out[m - 1].pages) {
      ++out[m - 1].pages;
    } else {
      out[m++] = {gfn{p}, 1};
    }
  }
  return m;
}

/// First page to end of each run so far; a page joins those at its sides.
std::size_t map_of_runs(pages_span pages, ranges_span out, std::span<std::byte>) {
  std::map<std::uint64_t, std::uint64_t> runs;
  for (const std::uint64_t p : pages) {
    auto after = runs.upper_bound(p);
    const auto before = after == runs.begin() ? runs.end() : std::prev(after);
    if (before != runs.end() && p < before->second) continue;
    std::uint64_t end = p + 1;
    if (after != runs.end() && after->first == end) {
      end = after->second;
      after = runs.erase(after);
    }
    if (before != runs.end() && before->second == p) {
      before->second = end;
    } else {
      runs.emplace_hint(after, p, end);
    }
  }
  std::size_t m = 0;
  for (const auto& [first, end] : runs) out[m++] = {gfn{first}, end - first};
  return m;
}

std::size_t dense_bitmap(pages_span pages, ranges_span out, std::span<std::byte> scratch) {
  const auto [low, high] = std::minmax_element(pages.begin(), pages.end());
  const std::uint64_t base = *low, words = (*high - base) / 64 + 1;
  auto* const map = reinterpret_cast<std::uint64_t*>(scratch.data());
  std::fill_n(map, words, 0);
  for (const std::uint64_t p : pages) map[(p - base) / 64] |= std::uint64_t{1} << (p - base) % 64;
  std::size_t m = 0;
  std::uint64_t inside = 0;  // 1: the last run goes on
  for (std::uint64_t w = 0; w < words; ++w) {
    for (std::uint64_t edge = map[w] ^ (map[w] << 1 | inside); edge; edge &= edge - 1) {
      const std::uint64_t at = base + w * 64 + static_cast<unsigned>(std::countr_zero(edge));
      if (inside) {
        out[m].pages = at - out[m].first.value;
        ++m;
      } else {
        out[m].first = gfn{at};
      }
      inside ^= 1;
    }
  }
  if (inside) {
    out[m].pages = base + words * 64 - out[m].first.value;
    ++m;
  }
  return m;
}

bool always(shape, std::size_t) { return true; }
bool in_a_window(shape s, std::size_t) { return s != shape::sparse && s != shape::runs; }
bool in_one_register(shape, std::size_t n) { return n <= 16; }
bool in_order(shape s, std::size_t) { return s == shape::contiguous; }
bool one_run(shape s, std::size_t n) {
  return s == shape::contiguous || s == shape::reversed || (s == shape::runs && n <= 16);
}
bool many_runs(shape s, std::size_t) { return s == shape::contiguous || s == shape::runs; }

void add(std::vector<coalesce_method>& all, const coalesce_vectors* v, const char* const (&names)[6]) {
  if (!v) return;
  all.insert(all.end(), {{names[0], v->vqsort_u64, always},
                         {names[1], v->vqsort_u32, always},
                         {names[2], v->library_u64, always},
                         {names[3], v->detect, one_run},
                         {names[4], v->runs_in_order, in_order},
                         {names[5], v->collapse_runs, many_runs}});
}

std::vector<coalesce_method> list() {
  std::vector<coalesce_method> all = {{"std::sort+scan", sort_and_scan, always},
                                      {"std::map", map_of_runs, always},
                                      {"bitmap", dense_bitmap, in_a_window}};
  add(all, coalesce_vectors_avx2(),
      {"vqsort_u64/avx2", "vqsort_u32/avx2", "vqsort_library/scan_avx2", "detect/avx2", "runs_in_order/avx2",
       "collapse_runs/avx2"});
  add(all, coalesce_vectors_avx512(),
      {"vqsort_u64/avx512", "vqsort_u32/avx512", "vqsort_library/scan_avx512", "detect/avx512",
       "runs_in_order/avx512", "collapse_runs/avx512"});
  if (coalesce_bitonic_available()) all.push_back({"bitonic_u32/avx512", coalesce_bitonic, in_one_register});
  return all;
}

}  // namespace

std::span<const coalesce_method> coalesce_methods() {
  static const std::vector<coalesce_method> all = list();
  return all;
}

}  // namespace quire::perf
