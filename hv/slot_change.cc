// Memory slots of vm.h that come, move and go while the guest runs.
#include "hv/update_timer.h"
#include "runtime/invariant.h"

namespace quire::hv {

using runtime::status;

status vm::check_slot(const memory_slot& s) const {
  const arch::geometry& shape = space_->shape;
  if (s.pages.pages == 0 || !shape.holds(s.pages)) return status::bad_range;
  if (s.backing.value >= shape.output_pages || s.pages.pages > shape.output_pages - s.backing.value)
    return status::bad_range;
  const std::uint64_t all = s.pages.first.value | s.pages.pages | s.backing.value;
  return all % shape.slot_pages(0) == 0 ? status::ok : status::misaligned;
}

std::shared_ptr<storage_keys> vm::keys_for(const memory_slot& s) const {
  return keyed_ ? std::make_shared<storage_keys>(s.backing, s.pages.pages) : nullptr;
}

status vm::add_slot(const memory_slot& s) {
  if (const status wrong = check_slot(s); wrong != status::ok) return wrong;
  const std::lock_guard hold(change_lock_);
  if (slots_.latest().overlaps(s.pages)) return status::bad_range;
  slots_.add(s, keys_for(s));
  return status::ok;
}

status vm::move_slot(unsigned cpu, gfn first, hfn backing) { return change_slot(cpu, first, &backing); }
status vm::remove_slot(unsigned cpu, gfn first) { return change_slot(cpu, first, nullptr); }

// Puts the slot on other frames, or takes it out if `backing` is null.
status vm::change_slot(unsigned cpu, gfn first, const hfn* backing) {
  exit_guest(cpu);  // or who holds the lock might wait for this cpu
  const std::lock_guard hold(change_lock_);
  const placed_slot* found = slots_.latest().of(first);
  if (!found || found->pages.first != first) return status::bad_range;
  placed_slot s = *found;
  const memory_slot moved{s.pages, backing ? *backing : s.backing};
  if (const status wrong = check_slot(moved); wrong != status::ok) return wrong;
  s.changing = true;
  slots_.replace(s);
  space_->bump_guard(s.guard);
  withdraw(cpu, s.pages);
  if (!backing) {
    slots_.remove(first);
    return status::ok;
  }
  s.backing = moved.backing;
  s.keys = keys_for(moved);
  s.changing = false;
  slots_.replace(s);
  return status::ok;
}

// Completes what is queued or being committed for the pages, and unmaps them. What table memory is too short
// for now is tried again: its owner commits it sooner or later.
void vm::withdraw(unsigned cpu, gfn_range pages) {
  vcpu_context& c = cpus_[cpu];
  const narrowing_watch::scope narrowing(narrowing_);
  const update_timer timer(c.count.update_ns);
  c.changes_slot = true;
  status done = machine_.drain(cpu, *space_, pages);
  for (; done == status::no_tables; done = machine_.drain(cpu, *space_, pages)) count_oom(cpu);
  QUIRE_INVARIANT(done == status::ok, "the cpu and the slot are good, so draining cannot fail");
  done = machine_.unmap(c.outside, pages);
  for (; done == status::no_tables; done = machine_.unmap(c.outside, pages)) count_oom(cpu);
  QUIRE_INVARIANT(done == status::ok, "slots lie inside the guest's address size");
  c.changes_slot = false;
}

}  // namespace quire::hv
