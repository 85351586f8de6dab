// Cutting a bulk operation into units that workers do without meeting in a table.
#pragma once

#include <span>
#include <vector>

#include "runtime/machine.h"

namespace quire::runtime::host {

/// Pages to map: what machine::map() takes.
struct bulk_extent {
  gfn_range range;
  hfn out{};  ///< of range.first
  attributes attr;
  unsigned max_leaf_level = arch::level_limit - 1;
};

/// A part of an extent, or of a range.
struct bulk_piece {
  gfn_range range;
  hfn out{};                 ///< extents only
  std::uint32_t extent = 0;  ///< index; extents only
};

/// Pieces that one worker does in order, and how far it came.
struct bulk_unit {
  gfn_range range;
  std::uint32_t first = 0;  ///< of the extents that have a part in `range`; a range is one piece, 0
  std::uint32_t end = 0;
  std::uint32_t done = 0;  ///< pieces, written by the worker that does the unit
};

/// What has to be done, in units of one table each: the tables of the largest level below the root that hold
/// at most unit_pages. Whose unit a table is depends on its place alone, so that operations that follow each
/// other give the tables to the same workers: they are biased to the cpu that first changed them.
///
/// What changes tables above the units would let workers wait for each other. So it comes first, one worker
/// after the other, and without company: leaves larger than a unit, and, before a unit is mapped, its first
/// leaf, which links the unit's table. The table is then the worker's that the unit belongs to.
///
/// One thread makes it while the others have nothing to do: so pieces of units are cut when they are done.
struct bulk_division {
  static constexpr std::uint64_t unit_pages = std::uint64_t{1} << 19;

  struct lone_pieces {
    std::vector<bulk_piece> pieces;
    std::uint32_t done = 0;
  };
  std::span<const bulk_extent> extents;  ///< what is mapped; empty if a range is changed
  std::vector<lone_pieces> lone;         ///< by worker; to be done one after the other, before the others
  std::vector<bulk_unit> units;          ///< those of a worker together, in ascending order
  std::vector<std::uint32_t> shares;     ///< worker w has the units [shares[w], shares[w + 1])
  std::vector<gfn_range> left;           ///< room for what find_left() finds

  /// The level whose tables are the units.
  static unsigned level_of(const geometry& s);

  /// The i-th piece of a unit.
  bulk_piece piece(const bulk_unit& u, std::uint32_t i) const;

  /// Fills in `left`: what is not done, ascending, neighbours joined. Allocates nothing.
  void find_left();
};

/// Divides the mapping of extents. Errors: bad_range if one is empty, not inside the input size, or does not
/// come after the one before it. Throws std::bad_alloc. O(extents + units), some 5 ns an extent.
status divide_extents(const space& s, std::span<const bulk_extent> extents, unsigned workers,
                      bulk_division& p);

/// Divides a change of what is mapped in `r`, as it is now. Errors: bad_range. Throws std::bad_alloc.
/// @param l  a state of the space, on the calling cpu, with nothing queued
/// Cost: O(units and holes, by table), not of pages.
status divide_range(machine& m, lazy_state* l, const space& s, gfn_range r, unsigned workers,
                    bulk_division& p);

}  // namespace quire::runtime::host
