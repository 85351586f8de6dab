// Operations on whole guests, shared over many cpus by threads of oneTBB.
#pragma once

#include <stop_token>
#include <vector>

#include "runtime/host/bulk_division.h"
#include "runtime/host/worker_arenas.h"

namespace quire::runtime::host {

/// How an operation ended, and what it has not done.
struct bulk_result {
  status failed = status::ok;  ///< what stopped it first; ok if nothing did, or if it was asked to stop
  /// Pages that are as they were: of the extents, or of what is mapped in the range. Ascending and disjoint; a page
  /// that is not here was done, whole, and has taken effect everywhere. Calling again with these goes on. If an
  /// operation failed and nothing is here, it was refused and has done nothing.
  std::vector<gfn_range> left;
  /// Processor time of the longest way through the operation: what one thread did before the others, then the worker
  /// that took longest. As long as the operation takes where nothing else runs on its processors.
  std::uint64_t path_ns = 0;

  bool complete() const { return failed == status::ok && left.empty(); }
};

/// Populates, protects, harvests and unmaps spaces of terabytes. The work is cut where tables end, see
/// bulk_division.h; a worker does a unit of at most 2 GiB in one section or several, and units of others when it
/// has done its own. Each worker drives one cpu of the machine.
///
///                            a bulk   its cpus   other cpus
///   an operation               X         X          any
/// X: serialized by the caller, who may be any thread. Nobody else drives the cpus meanwhile, and none of them has a
/// section of the space open. What other cpus map while an operation runs may escape it.
///
/// Operations block: on their threads, on commits of other cpus, in the sink. They allocate. Workers look between
/// sections, which are section_updates long at most, whether they should stop. Threads are bound while they work, see
/// worker_arenas.h. Errors of all operations, beside those named: bad_cpu; no_memory, also if a cpu is not registered.
class bulk {
 public:
  static constexpr std::uint32_t section_updates = 128;

  /// @param cpus  registered, one for each worker; at least one. TBB gives them no more threads than the process has
  ///              processors, unless a tbb::global_control allows more.
  /// Errors: throws std::bad_alloc, or what TBB does. Starts no thread.
  bulk(machine& m, std::vector<unsigned> cpus, thread_binding binding = thread_binding::node);

  unsigned workers() const { return static_cast<unsigned>(cpus_.size()); }
  unsigned nodes() const { return arenas_.nodes(); }

  /// Maps the extents, which ascend and do not overlap. The leaves are those that machine::map() makes of
  /// each extent. Errors: bad_range if they overlap, and those of machine::map().
  bulk_result populate(space& s, std::span<const bulk_extent> extents, const std::stop_token& stop = {});
  /// machine::protect() for what is mapped in `r`. Errors: bad_range, bad_attributes, no_tables.
  bulk_result protect(space& s, gfn_range r, perm access, const std::stop_token& stop = {});
  /// machine::harvest_status() for what is mapped in `r`. The space's observer hears what was found, from all
  /// workers at once: the cpu that it is told is the worker's own. Errors: bad_range, no_tables.
  bulk_result harvest(space& s, gfn_range r, runtime::harvest what, const std::stop_token& stop = {});
  /// Unmaps `r`: workers take whole tables out, each frees what it took out. Errors: bad_range, no_tables.
  bulk_result unmap(space& s, gfn_range r, const std::stop_token& stop = {});
  /// Unmaps everything, and destroys the space if that went well; else the space is still there. No call on the space
  /// elsewhere. Errors: in_section; then all is unmapped.
  bulk_result tear_down(space& s, const std::stop_token& stop = {});

  /// Cpu that the calling thread drives for an operation: what platform::current_cpu has to answer then. ~0u
  /// if it does not. Any thread, at any time.
  static unsigned current_cpu();

 private:
  struct job;

  template <class Apply>
  bulk_result over_range(space& s, gfn_range r, const std::stop_token& stop, Apply apply);
  template <class Divide, class Apply>
  bulk_result run(space& s, const std::stop_token& stop, Divide divide, Apply apply);
  status check_cpus() const;

  machine& machine_;
  const std::vector<unsigned> cpus_;
  worker_arenas arenas_;
};

}  // namespace quire::runtime::host
