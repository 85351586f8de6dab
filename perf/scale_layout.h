// Where the pages of each cpu lie, in the guest and in the host, for each way of sharing.
#pragma once

#include <string>

#include "perf/scale_options.h"
#include "runtime/update.h"

namespace quire::perf {

/// Each cpu works on `pages` smallest pages of the format, in blocks of `batch`. `index` counts the pages of
/// a cpu in the order in which it works on them.
struct scale_layout {
  static constexpr std::uint64_t pages = 65536;

  scale_share share = scale_share::nothing;
  std::uint64_t cpus = 1;
  std::uint64_t batch = 1;
  std::uint64_t unit = 1;           ///< 4 KiB frames of a page
  std::uint64_t region = pages;     ///< disjoint: pages from one cpu's first page to the next one's
  std::uint64_t table_entries = 1;  ///< of a leaf table
  std::uint64_t slices = 1;         ///< sets of output frames that the format has room for

  std::uint64_t blocks() const { return pages / batch; }
  std::uint64_t spaces() const { return share == scale_share::nothing ? cpus : 1; }
  std::uint64_t space_of(std::uint64_t cpu) const { return share == scale_share::nothing ? cpu : 0; }

  /// Number, in the space, of the page at `index` of `cpu`. Pages of one block follow each other.
  std::uint64_t page(std::uint64_t cpu, std::uint64_t index) const {
    if (share == scale_share::disjoint) return cpu * region + index;
    if (share == scale_share::interleaved) return (index / batch * cpus + cpu) * batch + index % batch;
    return index;
  }
  runtime::gfn_range range(std::uint64_t page, std::uint64_t count = 1) const {
    return {runtime::gfn{page * unit}, count * unit};
  }
  /// What `cpu` maps the page at `index` to: one of two sets of frames, which no other cpu uses as long as
  /// the format has enough of them.
  runtime::hfn frame(std::uint64_t cpu, std::uint64_t set, std::uint64_t index) const {
    return {((2 * cpu + set) % slices * pages + index) * unit};
  }
};

/// Lays out the work of so many cpus. Returns what is wrong, or nothing.
std::string lay_out(const scale_options& o, unsigned cpus, scale_layout& made);

}  // namespace quire::perf
