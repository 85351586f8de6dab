// Hypercalls, by which the self-check has its memory changed under it.
#include "hypercall.h"

#include "hypervisor.h"

namespace el2 {
namespace {

u64 faults(vm& guest, arch::gfn g, u64 pages) {
  u64 sum = 0;
  for (u64 i = 0; i < pages; ++i)
    if (page* p = guest.find(g + i))
      sum += p->faults.exchange(0, std::memory_order_relaxed);  // relaxed: a number
  return sum;
}

u64 unmap(cpu& self, vm& guest, arch::gfn_range r, u64 stride) {
  const tally before = self.count;
  guest.unmap(self, r, stride ? stride : 1);
  const tally& now = self.count;
  return unmap_report{now.removed - before.removed, now.removed_accessed - before.removed_accessed,
                      now.removed_dirty - before.removed_dirty}
      .pack();
}

constexpr arch::perm access_of(u64 access) { return access & 2 ? arch::perm::rwx : arch::perm::rx; }

u64 answer(cpu& self, vm& where, const u64* x) {
  const arch::gfn g = page_of(x[1]);
  if (!vm::in_ram(g)) return unknown_hypercall;
  switch (static_cast<hypercall>(x[0])) {
    case hypercall::faults:
      return faults(where, g, x[2]);
    case hypercall::protect:
      return where.protect(self, g, access_of(x[2]), x[3] != 0), 1;
    case hypercall::swap:
      return where.swap(self, g, page_of(x[2]));
    case hypercall::unmap:
      return vm::in_ram(g + x[2]) ? unmap(self, where, {g, x[2]}, x[3]) : unknown_hypercall;
    case hypercall::set_leaf:
      return where.set_leaf_size(self, g, static_cast<unsigned>(x[2]), access_of(x[3]));
    case hypercall::leaf_level:
      return where.leaf_level(self, g);
  }
  return unknown_hypercall;
}

}  // namespace

void handle_hypercall(cpu& self, frame& guest) { guest.x[0] = answer(self, the().guest, guest.x); }

}  // namespace el2
