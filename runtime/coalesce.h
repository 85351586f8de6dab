// Merging stale ranges and pages of one space into few ranges.
#pragma once

#include <cstddef>
#include <span>

#include "arch/address.h"
#include "runtime/simd.h"

namespace quire::runtime {

/// Sorts ranges by their first page, in place.
///
/// Errors: none. Context: any; does not block or allocate. O(n log n), O(n) where they are in order already.
void sort_ranges(std::span<arch::gfn_range> r);

/// Merges ranges of one space that overlap, touch or lie within `max_gap` pages.
///
/// @param r        n ranges, sorted by `first`; half-open
/// @param max_gap  pages flushed needlessly to save a command; 0 = exact
/// @return m <= n; r[0, m) is sorted and disjoint and covers what r covered; r[m, n) is unspecified. Empty
///         ranges disappear.
/// Errors: none. Unsorted input is a bug and asserts.
/// Context: any; does not block or allocate. O(n).
std::size_t coalesce(std::span<arch::gfn_range> r, std::uint64_t max_gap);

/// Sorts ranges, then merges those that overlap or touch: sort_ranges() and coalesce() with gap 0 in one.
///
/// @param r  n ranges in any order
/// @return m <= n; r[0, m) is sorted and disjoint, no range touches the next, and together they cover what r
///         covered; r[m, n) is unspecified. Empty ranges disappear.
/// Errors: none. Context: any; does not block or allocate; some 3 KiB of stack. O(n log n), but 1.5 ns a
/// range where they are in order, and with vectors 3 ns for 16 to 256 ranges within 2^30 pages of the first.
std::size_t coalesce_ranges(std::span<arch::gfn_range> r);
/// As above, by a variant that is available.
std::size_t coalesce_ranges(simd v, std::span<arch::gfn_range> r);

/// Bytes of scratch memory that coalesce_pages() wants for n pages.
constexpr std::size_t coalesce_scratch_bytes(std::size_t n) { return 17 * n + 16384; }

/// Makes runs of the pages of one space, which may come in any order and several times.
///
/// @param pages    n <= 2^31 page numbers below 2^64, 4 KiB units. May be in another order afterwards.
/// @param out      for n ranges at least
/// @param scratch  coalesce_scratch_bytes(n) at least, aligned to 64 bytes
/// @return m <= n; out[0, m) is sorted and disjoint, no range touches the next, and together they have
///         exactly the pages; out[m, n) is unspecified.
/// Errors: none. Less room than that is a bug and asserts.
/// Context: any; does not block or allocate. O(n) with vectors, O(n log n) scalar: per page 0.1 ns where they
/// are in order or in reverse, 0.5 to 1.5 ns where they are dense or few, 3 ns otherwise, on one machine.
std::size_t coalesce_pages(std::span<std::uint64_t> pages, std::span<arch::gfn_range> out,
                           std::span<std::byte> scratch);
/// As above, by a variant that is available.
std::size_t coalesce_pages(simd v, std::span<std::uint64_t> pages, std::span<arch::gfn_range> out,
                           std::span<std::byte> scratch);

namespace detail {
/// What a variant does. `out` has room for n ranges; n > 0.
using coalesce_pages_function = std::size_t(const std::uint64_t* pages, std::size_t n, arch::gfn_range* out,
                                            std::byte* scratch);
coalesce_pages_function avx2_coalesce_pages, avx512_coalesce_pages, neon_coalesce_pages;
/// What a variant does with n > 0 ranges: 0 if it leaves them to scalar, and then r is as it was.
using coalesce_ranges_function = std::size_t(arch::gfn_range* r, std::size_t n);
coalesce_ranges_function avx2_coalesce_ranges, avx512_coalesce_ranges, neon_coalesce_ranges;
}  // namespace detail

}  // namespace quire::runtime
