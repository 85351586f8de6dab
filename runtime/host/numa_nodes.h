// The NUMA nodes of this machine, by hwloc.
#pragma once

#include <memory>
#include <vector>

struct hwloc_topology;
struct hwloc_bitmap_s;

namespace quire::runtime::host {

struct free_hwloc {
  void operator()(hwloc_topology* t) const;
  void operator()(hwloc_bitmap_s* set) const;
};
/// A set of processors.
using processor_set = std::unique_ptr<hwloc_bitmap_s, free_hwloc>;

/// The nodes that have processors which this process may use, as it was when they were first asked for. One
/// node with one processor if the system does not tell. Any thread may call anything.
class numa_nodes {
 public:
  /// Reads the machine at the first call, which takes some milliseconds and allocates.
  static const numa_nodes& here();

  unsigned count() const { return static_cast<unsigned>(nodes_.size()); }
  /// At least 1.
  unsigned processors(unsigned node) const { return nodes_[node].processors; }

  /// Binds the calling thread to all processors of a node, or to the n-th of them alone. Returns those that
  /// it was bound to before; null if the system refuses, and then nothing has changed. Allocates.
  processor_set bind(unsigned node) const;
  processor_set bind(unsigned node, unsigned n) const;
  /// Undoes bind(). Null is allowed.
  void restore(const processor_set& before) const;

 private:
  struct allowed_node {
    processor_set set;
    unsigned processors;
  };

  numa_nodes();
  processor_set bind_to(const hwloc_bitmap_s* set) const;

  std::unique_ptr<hwloc_topology, free_hwloc> topology_;
  std::vector<allowed_node> nodes_;
};

}  // namespace quire::runtime::host
