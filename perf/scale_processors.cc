// Topology and binding of scale_processors.h by hwloc.
#include "perf/scale_processors.h"

#include <hwloc.h>

#include <algorithm>
#include <stdexcept>

namespace quire::perf {

namespace {

struct free_set {
  void operator()(hwloc_bitmap_s* set) const { hwloc_bitmap_free(set); }
};
using cpu_set = std::unique_ptr<hwloc_bitmap_s, free_set>;

struct place {
  unsigned turn;    // 0 for the first processor of its core
  unsigned number;  // as the system counts
};

}  // namespace

void processor_list::destroy::operator()(hwloc_topology* t) const { hwloc_topology_destroy(t); }

processor_list::processor_list() {
  hwloc_topology* made = nullptr;
  if (hwloc_topology_init(&made) != 0) throw std::runtime_error("hwloc cannot start");
  topology_.reset(made);
  const cpu_set allowed(hwloc_bitmap_alloc());
  if (hwloc_topology_load(made) != 0 || !allowed ||
      hwloc_get_cpubind(made, allowed.get(), HWLOC_CPUBIND_PROCESS) != 0) {
    throw std::runtime_error("hwloc cannot read the processors of this machine");
  }
  std::vector<place> places;
  hwloc_obj_t unit = nullptr;
  const hwloc_obj* last_core = nullptr;
  unsigned turn = 0;
  while ((unit = hwloc_get_next_obj_inside_cpuset_by_type(made, allowed.get(), HWLOC_OBJ_PU, unit)) !=
         nullptr) {
    const hwloc_obj* core = hwloc_get_ancestor_obj_by_type(made, HWLOC_OBJ_CORE, unit);
    turn = core && core == last_core ? turn + 1 : 0;  // the processors of a core follow each other
    last_core = core;
    cores_ += turn == 0;
    places.push_back({turn, unit->os_index});
  }
  if (places.empty()) throw std::runtime_error("hwloc finds no processor that this process may use");
  std::stable_sort(places.begin(), places.end(),
                   [](const place& a, const place& b) { return a.turn < b.turn; });
  for (const place& p : places) numbers_.push_back(p.number);
}

bool processor_list::pin(unsigned n) const {
  const cpu_set one(hwloc_bitmap_alloc());
  if (n >= count() || !one || hwloc_bitmap_only(one.get(), numbers_[n]) != 0) return false;
  return hwloc_set_cpubind(topology_.get(), one.get(), HWLOC_CPUBIND_THREAD) == 0;
}

}  // namespace quire::perf
