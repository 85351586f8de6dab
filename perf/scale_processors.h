// The processors that `quire scale` may use, in the order in which its threads take them.
#pragma once

#include <memory>
#include <vector>

struct hwloc_topology;

namespace quire::perf {

/// One processor of each core first, then the second ones, and so on; only those the process may run on.
class processor_list {
 public:
  /// Errors: throws std::runtime_error if the system does not tell its processors.
  processor_list();

  unsigned count() const { return static_cast<unsigned>(numbers_.size()); }
  unsigned cores() const { return cores_; }
  /// Binds the calling thread to the n-th processor. False if the system refuses, or there is none.
  bool pin(unsigned n) const;

 private:
  struct destroy {
    void operator()(hwloc_topology* t) const;
  };
  std::unique_ptr<hwloc_topology, destroy> topology_;
  std::vector<unsigned> numbers_;  // as the system counts processors
  unsigned cores_ = 0;
};

}  // namespace quire::perf
