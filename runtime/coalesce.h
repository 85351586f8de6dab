// Merging stale ranges of one space into few: scalar, the specification for vector variants.
#pragma once

#include <cstddef>
#include <span>

#include "arch/address.h"

namespace quire::runtime {

/// Sorts ranges by their first page, in place.
///
/// Errors: none. Context: any; does not block or allocate. O(n log n), O(n) where they are in order already.
void sort_ranges(std::span<arch::gfn_range> r);

/// Merges ranges of one space that overlap, touch or lie within `max_gap` pages.
///
/// @param r        n ranges, sorted by `first`; half-open
/// @param max_gap  pages flushed needlessly to save a command; 0 = exact
/// @return m <= n; r[0, m) is sorted and disjoint and covers what r covered; r[m, n) is unspecified. Empty ranges
///         disappear.
/// Errors: none. Unsorted input is a bug and asserts.
/// Context: any; does not block or allocate. O(n).
std::size_t coalesce(std::span<arch::gfn_range> r, std::uint64_t max_gap);

}  // namespace quire::runtime
