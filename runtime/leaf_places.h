// Where the leaves of queued single maps go, many at a time: the scalar function in leaf_places.cc is the specification.
#pragma once

#include "arch/walk_shape.h"
#include "runtime/batch.h"
#include "runtime/phase.h"
#include "runtime/simd.h"

namespace quire::runtime {

/// The tables, and what maps have in common that are looked for in them.
struct place_request {
  const arch::walk_shape& shape;
  std::uint64_t root;          ///< physical address of the root table
  std::uint64_t table_offset;  ///< see platform
  update_kind kind;
  std::uint64_t pages;  ///< of each map: one leaf of level 0
  std::uint64_t leaf;   ///< of output 0; that of output o is leaf + (o << step_shift)
  unsigned step_shift;
  std::uint64_t beyond;  ///< bits that no output has for which this holds
  owner_words::held_by held;
  unsigned frame_shift;  ///< log2 of the bytes of a level-0 table's frame
};

inline constexpr std::uint32_t most_places = 64;

/// For each of `n` maps: at[i] becomes the address of the level-0 entry that it is to fill, and leaf[i] what is to be
/// stored there, in the byte order of the table. at[i] is null if the map is not as place_request says, if a table on the way
/// is not there, or if the caller does not hold the level-0 table; leaf[i] is then anything. Both have room for most_places, which
/// `n` is not above. True if no at[i] is null.
/// Context: in a phase, by the cpu that asks for itself; it neither blocks nor changes anything. Cost: O(n).
struct place_functions {
  bool (*of_updates)(const place_request& q, const queued_update* updates, std::uint32_t n, std::uint64_t** at,
                     std::uint64_t* leaf);
  /// Of maps of one leaf each, whose kind is as asked for.
  bool (*of_pages)(const place_request& q, const gfn* pages, const hfn* frames, std::uint32_t n, std::uint64_t** at,
                   std::uint64_t* leaf);
};

/// The functions of a variant that is available, or of scalar.
/// @param swapped  see walk_shape
const place_functions& places_for(simd v, bool swapped);

namespace detail {
// By `swapped`.
extern const place_functions scalar_places[2], avx2_places[2], avx512_places[2], neon_places[2];
}  // namespace detail

}  // namespace quire::runtime
