// Replays a recorded guest on the microhypervisor: its vCPUs on pinned threads, epochs as barriers between them.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "hv/trace.h"
#include "hv/vm.h"

namespace quire::hv {

struct replay_options {
  std::string trace;
  bool lazy = true;
  bool precopy = false;  ///< harvest and write-protect dirty pages at each epoch's end, from marker 1 on
  bool reclaim = false;  ///< age pages every reclaim_epochs, unmap the untouched ones
  std::optional<std::uint64_t> precopy_from;  ///< epoch to start precopy with, instead of marker 1
  std::uint64_t fault_around_pages = 16;
  unsigned cpus = 0;  ///< 0 = one for each vCPU of the trace; vCPU v runs on cpu v % cpus
  double drop_flush = 0;
  double table_oom = 0;
  std::uint64_t seed = 1;
};

inline constexpr std::uint64_t reclaim_epochs = 8;

/// What one replay counted and measured.
struct replay_result {
  unsigned cpus = 0;
  unsigned vcpus = 0;
  std::uint64_t epochs = 0;
  std::uint64_t records = 0;
  runtime::counters updates;
  flush_counters flushes;
  vm_counters guest;
  std::uint64_t stale_uses = 0;
  std::uint64_t first_stale_gfn = 0;
  std::uint64_t tlb_hits = 0;
  std::uint64_t tlb_walks = 0;
  std::uint64_t tables_allocated = 0;
  std::uint64_t peak_table_bytes = 0;
  std::uint64_t failed_allocations = 0;
  bool precopy_started = false;
  bool pinned = true;  ///< every thread got its processor
  double wall_s = 0;
  std::string digest;
};

/// Called with the epochs done so far and in all, from the thread that called replay().
using replay_progress = std::function<void(std::uint64_t done, std::uint64_t all)>;

/// Replays a trace on format `f`. The final mapping depends on trace, scenario and fault-around window alone, not on
/// timing, cpus or laziness.
///
/// @param result  written if the whole trace was replayed
/// @return empty, or what is wrong with the trace or the machine
/// Context: any thread; starts and joins its own. Blocks for the time of the replay.
template <class F>
std::string replay(const F& f, const replay_options& o, const replay_progress& progress, replay_result& result);

}  // namespace quire::hv
