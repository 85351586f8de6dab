// Topology and binding of numa_nodes.h.
#include "runtime/host/numa_nodes.h"

#include <hwloc.h>

namespace quire::runtime::host {

void free_hwloc::operator()(hwloc_topology* t) const { hwloc_topology_destroy(t); }
void free_hwloc::operator()(hwloc_bitmap_s* set) const { hwloc_bitmap_free(set); }

const numa_nodes& numa_nodes::here() {
  static const numa_nodes nodes;
  return nodes;
}

numa_nodes::numa_nodes() {
  hwloc_topology* made = nullptr;
  if (hwloc_topology_init(&made) == 0) topology_.reset(made);
  const processor_set allowed(hwloc_bitmap_alloc());
  if (made && allowed && hwloc_topology_load(made) == 0 &&
      hwloc_get_cpubind(made, allowed.get(), HWLOC_CPUBIND_PROCESS) == 0) {
    hwloc_obj_t found = nullptr;
    while ((found = hwloc_get_next_obj_by_type(made, HWLOC_OBJ_NUMANODE, found)) != nullptr) {
      processor_set own(hwloc_bitmap_dup(found->cpuset));
      if (!own || hwloc_bitmap_and(own.get(), own.get(), allowed.get()) != 0) continue;
      const int processors = hwloc_bitmap_weight(own.get());
      if (processors > 0) nodes_.push_back({std::move(own), static_cast<unsigned>(processors)});
    }
  }
  if (nodes_.empty()) nodes_.push_back({nullptr, 1});
}

processor_set numa_nodes::bind_to(const hwloc_bitmap_s* set) const {
  processor_set before(set ? hwloc_bitmap_alloc() : nullptr);
  const bool bound = before && hwloc_get_cpubind(topology_.get(), before.get(), HWLOC_CPUBIND_THREAD) == 0 &&
                     hwloc_set_cpubind(topology_.get(), set, HWLOC_CPUBIND_THREAD) == 0;
  if (!bound) before.reset();
  return before;
}

processor_set numa_nodes::bind(unsigned node) const { return bind_to(nodes_[node].set.get()); }

processor_set numa_nodes::bind(unsigned node, unsigned n) const {
  const hwloc_bitmap_s* all = nodes_[node].set.get();
  const processor_set one(all ? hwloc_bitmap_alloc() : nullptr);
  int processor = all ? hwloc_bitmap_first(all) : -1;
  while (n-- > 0 && processor >= 0) processor = hwloc_bitmap_next(all, processor);
  if (!one || processor < 0 || hwloc_bitmap_only(one.get(), static_cast<unsigned>(processor)) != 0)
    return nullptr;
  return bind_to(one.get());
}

void numa_nodes::restore(const processor_set& before) const {
  if (before) hwloc_set_cpubind(topology_.get(), before.get(), HWLOC_CPUBIND_THREAD);
}

}  // namespace quire::runtime::host
