// Posting, waiting and catching up of shootdown.h.
#include "hv/shootdown.h"

#include "runtime/spin_lock.h"

namespace quire::hv {

shootdown::shootdown(unsigned cpus, double drop, std::uint64_t seed)
    : targets_(cpus), generations_(runtime::machine::max_spaces), drop_(drop) {
  for (unsigned i = 0; i < cpus; ++i) targets_[i].random.seed(seed * 1000003 + i);
}

void shootdown::enter_guest(unsigned cpu, runtime::space& s) {
  target& t = targets_[cpu];
  s.note_run(cpu);
  // seq_cst: either a flush sees this CPU in guest mode and waits for it, or the load in catch_up() sees its
  // generation.
  t.mode.store(s.id, std::memory_order_seq_cst);
  if (generations_[s.id].load(std::memory_order_seq_cst) != t.caught_up_to(s.id)) {  // seq_cst: see above
    if (t.views[s.id].may_hold) ++t.count.deferred;
    catch_up(cpu, s.id);
  }
  t.views[s.id].ever_entered = true;
  t.views[s.id].may_hold = true;
}

void shootdown::leave_guest(unsigned cpu) {
  targets_[cpu].mode.store(host_mode, std::memory_order_release);  // release: the guest's accesses come before
}

void shootdown::invalidate(target& t, std::uint32_t space) {
  ++t.count.commands;
  if (drop_ > 0 && std::uniform_real_distribution<double>(0, 1)(t.random) < drop_) {
    ++t.count.dropped;
    return;
  }
  t.cache.flush(space);
}

// Invalidates if anything can be cached, then tells whoever waits.
void shootdown::catch_up(unsigned cpu, std::uint32_t space) {
  target& t = targets_[cpu];
  view_of_space& view = t.views[space];
  const std::uint64_t now = generations_[space].load(std::memory_order_acquire);  // acquire: see poll()
  if (view.may_hold) invalidate(t, space);
  // In guest mode the CPU goes on filling its cache, so only an entry after an exit starts anew.
  view.may_hold = t.mode.load(std::memory_order_relaxed) == space;  // relaxed: only the cpu itself writes it
  view.caught_up.store(now, std::memory_order_release);             // release: the old translations are gone
}

void shootdown::flush(unsigned cpu, const runtime::flush_plan& plan, const runtime::platform& host) {
  // seq_cst: see enter_guest().
  const std::uint64_t generation = generations_[plan.space].fetch_add(1, std::memory_order_seq_cst) + 1;
  std::uint64_t posted = 0;
  for (unsigned i = 0; i < cpus(); ++i) {
    // seq_cst: see enter_guest().
    posted += i != cpu && targets_[i].mode.load(std::memory_order_seq_cst) == plan.space;
  }
  target& own = targets_[cpu];
  own.count.remote_requests += posted;
  // The local invalidation comes at once and always, as one instruction is less than finding out.
  if (own.views[plan.space].ever_entered) invalidate(own, plan.space);
  own.views[plan.space].may_hold = false;
  own.views[plan.space].caught_up.store(generation, std::memory_order_release);  // release: as in catch_up()
  if (!posted) return;
  for (unsigned i = 0; i < cpus(); ++i) {
    target& t = targets_[i];
    // acquire: what the CPU did with the old translations is over.
    while (i != cpu && t.mode.load(std::memory_order_acquire) == plan.space &&
           t.views[plan.space].caught_up.load(std::memory_order_acquire) < generation) {
      relax(host);
    }
  }
}

}  // namespace quire::hv
