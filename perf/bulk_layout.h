// The guest of `quire bulk`: what it maps where, and how many tables exactly that takes.
#pragma once

#include <vector>

#include "runtime/host/bulk.h"

namespace quire::perf {

/// A guest in stretches of 1 GiB. Small pages come in pieces of one leaf table each, spread evenly over one
/// stretch in four, or two, or all of them if there are many. All else has the largest leaves that fit.
struct bulk_layout {
  static constexpr std::uint64_t stretch_pages = std::uint64_t{1} << 18;
  /// From the guest's frames to those behind its large pages: a multiple of all leaf sizes in use. Pieces
  /// have frames beyond those, in descending order, so that none continues its neighbours.
  static constexpr std::uint64_t offset = std::uint64_t{1} << 20;

  std::vector<runtime::host::bulk_extent> extents;
  std::vector<runtime::gfn> pieces;  ///< first page of each
  std::uint64_t pages = 0;           ///< of the guest, 4 KiB each
  std::uint64_t piece_pages = 0;
  std::uint64_t mixed_stretches = 0;  ///< that have small pages

  // Computed from the sizes alone.
  std::uint64_t leaves[arch::level_limit] = {};  ///< by level
  std::uint64_t tables[arch::level_limit] = {};  ///< by level, the root included
  std::uint64_t table_bytes = 0;

  std::uint64_t all_leaves() const;
  std::uint64_t all_tables() const;
};

/// @param guest_pages  a multiple of stretch_pages, inside the input size
/// @param small_pages  of the guest; rounded up to whole pieces
bulk_layout lay_out_guest(const arch::geometry& shape, std::uint64_t guest_pages, std::uint64_t small_pages);

}  // namespace quire::perf
