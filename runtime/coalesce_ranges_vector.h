// Ranges in any order to disjoint ranges: include only in sources of a variant.
#pragma once

#include "runtime/coalesce_vector.h"

namespace quire::runtime {

template <class Unit>
struct range_coalescer {
  using keys = page_lanes<Unit, std::uint32_t>;
  using sorter = page_sorter<Unit, std::uint32_t>;

  /// As detail::coalesce_ranges_function. First pages and last pages are sorted apart, see
  /// page_runs::of_sorted().
  static std::size_t coalesce(arch::gfn_range* r, std::size_t n) {
    if (n < least_ranges || n > room) return 0;
    alignas(Unit::bytes) std::uint32_t firsts[room], lasts[room];
    const std::uint64_t base = key_origin<Unit>(r[0].first.value);
    std::uint64_t all = 0;
    for (std::size_t i = 0; i < n; ++i) {
      const std::uint64_t first = r[i].first.value - base, last = first + (r[i].pages - 1);
      // An empty range, and one that wraps, has a last key that is too great, or below the first.
      all |= first | last | (last - first);
      firsts[i] = static_cast<std::uint32_t>(first);
      lasts[i] = static_cast<std::uint32_t>(last);
    }
    if ((all & no_key<Unit>) != 0) return 0;
    const std::size_t padded = (n + keys::count - 1) / keys::count * keys::count;
    for (std::size_t i = n; i < padded; ++i) {
      firsts[i] = firsts[n - 1];
      lasts[i] = lasts[n - 1];
    }
    sorter::sort_few(firsts, firsts, padded);
    sorter::sort_few(lasts, lasts, padded);
    return page_runs<Unit>::of_sorted(firsts, lasts, padded, base, r, n);
  }

 private:
  static constexpr std::size_t least_ranges = 16;  // measured: std::sort is as fast below that
  static constexpr std::size_t most_ranges = 256;  // what a commit gathers, and 2 KiB of keys
  static constexpr std::size_t room = sorter::most < most_ranges ? sorter::most : most_ranges;
};

}  // namespace quire::runtime
