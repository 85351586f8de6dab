// Threads of oneTBB for work that is shared over cpus: one task arena per NUMA node.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

namespace quire::runtime::host {

/// Where the threads of a node may run.
enum class thread_binding : std::uint8_t {
  node,      ///< on any processor of the node
  processor  ///< each on one of its own, as long as there are enough; for machines that do nothing else
};

/// Runs one function for a number of workers at once. Workers are spread over the NUMA nodes in proportion to
/// their processors; the threads of a node run on its processors only, the caller's among them until run()
/// returns. (By hwloc: TBB's own way, tbbbind, is loaded such that it works neither with mimalloc in place of
/// malloc nor with sanitizers.) Threads are TBB's: no more of them run at once than the process has
/// processors, unless a tbb::global_control allows it.
///
///            run
///   run       X
class worker_arenas {
 public:
  /// @param workers  1 or more
  /// Errors: throws what TBB does, std::bad_alloc or std::runtime_error. Starts no thread.
  explicit worker_arenas(unsigned workers, thread_binding binding = thread_binding::node);
  ~worker_arenas();
  worker_arenas(const worker_arenas&) = delete;
  worker_arenas& operator=(const worker_arenas&) = delete;

  /// NUMA nodes that have a worker.
  unsigned nodes() const;

  /// Calls `body(worker)` and returns when all calls have. A worker, 0 to workers - 1, is one thread at a
  /// time, the caller's among them. Which workers come, and how often, is not certain: `body` does what is
  /// left, for whomever. It throws nothing. Blocks; allocates. Errors: throws std::bad_alloc, then `body` may
  /// have been called.
  void run(const std::function<void(unsigned worker)>& body);

 private:
  struct node;
  std::vector<std::unique_ptr<node>> nodes_;
};

}  // namespace quire::runtime::host
