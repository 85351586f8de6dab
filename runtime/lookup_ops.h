// Looking up many pages in tables at once: the scalar function in lookup_ops.cc is the specification.
#pragma once

#include <atomic>
#include <cstddef>

#include "arch/walk_shape.h"
#include "runtime/simd.h"

namespace quire::runtime {

using arch::walk_shape;

/// Where a batch of lookups finds the tables, and what it asks about what it cannot tell.
struct lookup_source {
  const walk_shape& shape;
  std::uint64_t root;          ///< physical address of the root table
  std::uint64_t table_offset;  ///< see platform
  std::uint64_t input_pages;   ///< of the space: a power of two
  /// See space::version(): an entry is followed, and believed, only if this has not moved since the lookup
  /// began. Else the lookup starts over.
  const std::atomic<std::uint64_t>& version;
  /// The frame of one page whose entry is neither plainly a leaf, nor a table, nor empty; no_frame if it is a
  /// hole.
  std::uint64_t (*judge)(const void* context, arch::gfn g) = nullptr;
  const void* context = nullptr;
};

/// Stands for a hole: no format has so many frames.
inline constexpr arch::hfn no_frame{~std::uint64_t{0}};

/// Puts the 4 KiB host frame that pages[i] maps to into frames[i], no_frame for a hole, for each i below n.
/// `n` may be 0. False, and nothing is written: not all pages are below the input size. Context: any CPU,
/// against any commit; neither locks nor publishes anything. Cost: O(n), with many walks in flight; pages
/// that lie close together cost less.
using lookup_function = bool (*)(const lookup_source& from, const arch::gfn* pages, std::size_t n,
                                 arch::hfn* frames);

/// The function of a variant that is available, or of scalar.
/// @param swapped  see walk_shape
lookup_function lookup_for(simd v, bool swapped);

namespace detail {
// By `swapped`.
extern const lookup_function scalar_lookup[2], avx2_lookup[2], avx512_lookup[2], neon_lookup[2];
}  // namespace detail

}  // namespace quire::runtime
