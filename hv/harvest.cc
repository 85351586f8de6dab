// Dirty harvest and ageing of vm.h, and what the runtime reports of pages.
#include "hv/update_timer.h"
#include "runtime/invariant.h"

namespace quire::hv {

using runtime::harvest;
using runtime::lazy_state;
using runtime::mapping;
using runtime::status;
using runtime::walk_flags;

// On the cpu that commits, of several at once: what it changes is that cpu's or atomic.
void vm::hear(void* context, unsigned cpu, std::span<const runtime::report> reports) {
  vm& self = *static_cast<vm*>(context);
  vm_counters& count = self.cpus_[cpu].count;
  for (const runtime::report& r : reports) {
    if (r.what == runtime::report::kind::removed) {
      self.count_removed(cpu, r);
      continue;
    }
    if (r.dirty) count.harvested_pages += r.range.pages;
    if (r.accessed) count.aged_pages += r.range.pages;
  }
}

void vm::count_removed(unsigned cpu, const runtime::report& r) {
  vcpu_context& c = cpus_[cpu];
  std::uint64_t dirty = r.dirty ? r.range.pages : 0;
  for (std::uint64_t i = 0; keyed_ && i < r.range.pages; i += space_->shape.slot_pages(0)) {
    const auto found = take_keys(cpu, r.out + i, space_->shape.slot_pages(0),
                                 storage_keys::reference | storage_keys::change);
    if (found & storage_keys::change) dirty += space_->shape.slot_pages(0);
  }
  (c.changes_slot ? c.count.slot_pages : c.count.reclaimed_pages) += r.range.pages;
  (c.changes_slot ? c.count.slot_dirty_pages : c.count.reclaimed_dirty_pages) += dirty;
}

// Sets what hardware would. If no slot has the frame any more, fault injection has left a flush out.
void vm::touch_key(unsigned cpu, hfn frame, access_kind kind) {
  if (storage_keys* keys = keys_of(cpu, frame)) keys->touch(frame, kind == access_kind::write);
}

// The keys of a frame; null if it is behind no slot, neither now nor when the walk in progress began.
storage_keys* vm::keys_of(unsigned cpu, hfn frame) {
  vcpu_context& c = cpus_[cpu];
  const placed_slot* s = slots_.see(c.slots).backed_by(frame);
  if (!s && c.walked) s = c.walked->backed_by(frame);
  return s ? s->keys.get() : nullptr;
}

// Bits that the keys of any of the frames had set; clears them.
std::uint8_t vm::take_keys(unsigned cpu, hfn first, std::uint64_t frames, std::uint8_t which) {
  std::uint8_t found = 0;
  for (std::uint64_t i = 0; i < frames; ++i) {
    if (storage_keys* keys = keys_of(cpu, first + i)) found |= keys->take(first + i, which);
  }
  return found;
}

// Visits every mapping of the guest; the callback's updates are lazy or eager as the VM is. One section spans
// all slots, since leaving a nested one would flush.
void vm::walk_all(unsigned cpu, runtime::machine::range_visitor visit, void* context) {
  exit_guest(cpu);
  vcpu_context& c = cpus_[cpu];
  const narrowing_watch::scope narrowing(narrowing_);
  const update_timer timer(c.count.update_ns);
  c.walked = slots_.hold(c.slots);
  lazy_state* l = enter(cpu, {});
  for (const placed_slot& slot : *c.walked) {
    [[maybe_unused]] const status walked =
        machine_.apply_to_range(l, slot.pages, walk_flags::no_lazy, visit, context);
    QUIRE_INVARIANT(walked == status::ok, "slots lie inside the guest's address size");
  }
  leave(l);
  c.walked = nullptr;
}

void vm::harvest_dirty(unsigned cpu) {
  const auto visit = [](void* context, lazy_state* l, bool /*present*/, const mapping& m) {
    auto& self = *static_cast<vm*>(context);
    if (self.keyed_) return self.harvest_keys(l, m);
    if (!m.dirty) return true;
    return self.machine_.harvest_status(l, m.range, harvest::dirty | harvest::write_protect) == status::ok;
  };
  walk_all(cpu, visit, this);
}

void vm::age(unsigned cpu) {
  const auto visit = [](void* context, lazy_state* l, bool /*present*/, const mapping& m) {
    auto& self = *static_cast<vm*>(context);
    if (self.keyed_) return self.age_keys(l, m);
    runtime::machine& machine = self.machine_;
    const status done =
        m.accessed ? machine.harvest_status(l, m.range, harvest::accessed) : machine.unmap(l, m.range);
    return done == status::ok;
  };
  walk_all(cpu, visit, this);
}

// A page written after its key was read and before the protection takes effect is found by the next harvest.
bool vm::harvest_keys(lazy_state* l, const mapping& m) {
  const unsigned cpu = runtime::state_handle(l).cpu();
  for (gfn g = m.range.first; g < m.range.end(); g = page_of(g).end()) {
    const gfn_range page = page_of(g);
    if (take_keys(cpu, m.out + (page.first - m.range.first), page.pages, storage_keys::change) == 0) continue;
    if (machine_.protect(l, page, perm::rx) != status::ok) return false;
    cpus_[cpu].count.harvested_pages += page.pages;
  }
  return true;
}

bool vm::age_keys(lazy_state* l, const mapping& m) {
  const unsigned cpu = runtime::state_handle(l).cpu();
  if (take_keys(cpu, m.out, m.range.pages, storage_keys::reference) == 0) {
    return machine_.unmap(l, m.range) == status::ok;
  }
  cpus_[cpu].count.aged_pages += m.range.pages;
  return true;
}

}  // namespace quire::hv
