// How many tables an update may need, so that they are claimed when it is queued and a commit never allocates.
#pragma once

#include <array>

#include "arch/geometry.h"
#include "runtime/update.h"

namespace quire::runtime {

using arch::geometry;

/// Tables by level.
using table_need = std::array<std::uint64_t, arch::level_limit>;

/// Returns the largest leaf level, at most `cap`, of which at least one leaf fits the mapping; 0 if none does.
unsigned largest_leaf(const geometry& s, gfn_range r, hfn out, unsigned cap);

/// Tables that mapping `r` needs where nothing is mapped yet, at levels below `below`: exactly these.
///
/// @param leaf_level  what largest_leaf() gave for the whole update
/// Cost: O(levels).
table_need tables_to_map(const geometry& s, gfn_range r, unsigned leaf_level, unsigned below);

/// Tables that splitting costs when `r` is changed inside large leaves, at levels below `below`: exactly these if
/// one leaf of level `below` covers `r`.
table_need tables_to_split(const geometry& s, gfn_range r, unsigned below);

}  // namespace quire::runtime
