// The three kinds of rounds. Each updates page by page, as a hypervisor would; the mode decides what it
// costs.
#include "rounds.h"

namespace el2 {

void rounds::start(u64 period_ms) {
  period_ = EL2_READ(cntfrq_el0) / 1000 * period_ms;
  next_.store(EL2_READ(cntpct_el0) + period_, std::memory_order_relaxed);  // relaxed: before other cpus start
}

void rounds::run_if_due(cpu& self, vm& guest) {
  const u64 begin = EL2_READ(cntpct_el0);
  // relaxed: a cpu that is late makes the next round
  if (period_ == 0 || begin < next_.load(std::memory_order_relaxed)) return;
  if (busy_.exchange(true, std::memory_order_acquire)) return;  // acquire: sees the last round
  guest_ = &guest;
  ++self.count.rounds;
  if (kind_ == 0) {
    log_dirty(self);
  } else if (kind_ == 1) {
    // What is written just now: the worst choice for speed, the best for finding mistakes.
    self.count.migrated += guest.migrate(self, {moves_, move_count_});
  } else {
    age(self);
    at_ = (at_ + window_pages) % (page_of(ram_end) - page_of(own_end));
  }
  kind_ = (kind_ + 1) % 3;
  const u64 end = EL2_READ(cntpct_el0);
  const u64 rest = 4 * (end - begin);  // so the guest gets on, however slow rounds are
  next_.store(end + (rest > period_ ? rest : period_), std::memory_order_relaxed);  // relaxed: as above
  busy_.store(false, std::memory_order_release);  // release: for the next round
}

// What was written since the last look is reported and write-protected, so that the next write faults.
void rounds::log_dirty(cpu& self) {
  constexpr auto what = runtime::harvest::dirty | runtime::harvest::write_protect;
  const auto visit = [](void* me, runtime::lazy_state* l, bool, const runtime::mapping& m) {
    rounds& r = *static_cast<rounds*>(me);
    if (!m.dirty) return true;
    must(r.guest_->machine().harvest_status(l, m.range, what));
    if (r.move_count_ < most_moves) r.moves_[r.move_count_++] = m.range.first;
    return true;
  };
  move_count_ = 0;
  guest_->walk(self, window(), visit, this);
}

// What was used loses its mark; what was not used for some rounds is unmapped, and comes back by a fault.
void rounds::age(cpu& self) {
  const auto visit = [](void* me, runtime::lazy_state* l, bool, const runtime::mapping& m) {
    vm& guest = *static_cast<rounds*>(me)->guest_;
    std::uint8_t& idle = guest.find(m.range.first)->idle;
    idle = m.accessed ? 0 : idle + 1;
    if (m.accessed) must(guest.machine().harvest_status(l, m.range, runtime::harvest::accessed));
    if (idle < idle_limit) return true;
    idle = 0;
    must(guest.machine().unmap(l, m.range));
    return true;
  };
  guest_->walk(self, window(), visit, this);
}

}  // namespace el2
