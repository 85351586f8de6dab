// Hypercalls, by which the self-check has its memory changed under it.
#include "hypercall.h"

#include "hypervisor.h"

namespace el2 {
namespace {

u64 faults(vm& guest, arch::gfn g, u64 pages) {
  u64 sum = 0;
  // relaxed: a number
  for (u64 i = 0; i < pages; ++i) sum += guest.find(g + i)->faults.exchange(0, std::memory_order_relaxed);
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
  const u64 left = page_of(ram_end) - g, pages = x[2] < left ? x[2] : left;
  switch (static_cast<hypercall>(x[0])) {
    case hypercall::faults:
      return faults(where, g, pages);
    case hypercall::protect:
      return where.protect(self, g, access_of(x[2]), x[3] != 0), 1;
    case hypercall::swap:
      return where.swap(self, g, page_of(x[2]));
    case hypercall::unmap:
      return unmap(self, where, {g, pages}, x[3]);
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
