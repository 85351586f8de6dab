// Posting, waiting and catching up of shootdown.h.
#include "hv/shootdown.h"

#include <array>
#include <chrono>

#include "runtime/spin_lock.h"

namespace quire::hv {

shootdown::shootdown(const shootdown_options& o)
    : options_(o),
      targets_(std::make_unique<target[]>(o.cpus)),
      spaces_(std::make_unique<space_line[]>(runtime::machine::max_spaces)),
      holder_words_((o.cpus + 63) / 64),
      holders_(std::make_unique<std::atomic<std::uint64_t>[]>(std::size_t{holder_words_} *
                                                              runtime::machine::max_spaces)),
      ids_(o.id_bits != 0 ? std::make_unique<id_allocator>(o.cpus, o.id_bits) : nullptr) {
  for (unsigned i = 0; i < o.cpus; ++i) {
    targets_[i].index = i;
    targets_[i].random.seed(o.seed * 1000003 + i);
  }
}

void shootdown::enter_guest(unsigned cpu, runtime::space& s) {
  target& t = targets_[cpu];
  view_of_space& view = t.views[s.id];
  s.note_run(cpu);
  t.id = view.id = identify(t, s.id);
  t.last_space = s.id;
  const bool held = view.may_hold;
  hold(t, s.id, true);
  // seq_cst: see the head comment.
  t.mode.store(s.id, std::memory_order_seq_cst);
  const std::uint64_t now = spaces_[s.id].generation.load(std::memory_order_seq_cst);  // seq_cst: likewise
  if (now != t.caught_up_to(s.id)) {
    t.count.deferred += held;
    catch_up(t, s.id, held);
  }
  view.ever_entered = true;
}

void shootdown::leave_guest(unsigned cpu) {
  // release: the guest's accesses come before.
  targets_[cpu].mode.store(host_mode, std::memory_order_release);
}

// The id to run the space under. Drops what would be mistaken for its translations.
std::uint32_t shootdown::identify(target& t, std::uint32_t space) {
  if (!ids_) {
    if (t.last_space != space && t.last_space != host_mode) drop_everything(t, flush_cause::space_switch);
    return 1;
  }
  const id_allocator::entry e = ids_->enter(t.index, spaces_[space].identity);
  if (e.flush_all) drop_everything(t, flush_cause::id_rollover);
  return e.id;
}

// Marks or unmarks the cpu as one that may hold translations of the space.
void shootdown::hold(target& t, std::uint32_t space, bool holds) {
  view_of_space& view = t.views[space];
  if (view.may_hold == holds) return;
  view.may_hold = holds;
  std::atomic<std::uint64_t>& word = holders_[std::size_t{space} * holder_words_ + t.index / 64];
  const std::uint64_t bit = std::uint64_t{1} << t.index % 64;
  if (holds) {
    word.fetch_or(bit, std::memory_order_seq_cst);  // seq_cst: see the head comment
  } else {
    word.fetch_and(~bit, std::memory_order_release);  // release: the invalidation comes before
  }
}

// Counts a command and decides whether fault injection drops it.
bool shootdown::left_out(target& t) {
  ++t.count.commands;
  const bool dropped =
      options_.drop > 0 && std::uniform_real_distribution<double>(0, 1)(t.random) < options_.drop;
  t.count.dropped += dropped;
  return dropped;
}

void shootdown::invalidate(target& t, std::uint32_t space) {
  if (!left_out(t)) t.cache.flush(t.views[space].id);
}

void shootdown::drop_everything(target& t, flush_cause cause) {
  ++t.count.by_cause[static_cast<unsigned>(cause)];
  std::array<std::uint64_t, runtime::machine::max_spaces> now;
  for (std::uint32_t i = 0; i < now.size(); ++i) {
    now[i] = spaces_[i].generation.load(std::memory_order_acquire);  // acquire: as in catch_up()
  }
  if (cause == flush_cause::id_rollover && options_.drop_rollover) {
    ++t.count.dropped;
  } else if (!left_out(t)) {
    t.cache.flush_all();
  }
  for (std::uint32_t i = 0; i < now.size(); ++i) {
    if (!t.views[i].ever_entered) continue;
    t.views[i].caught_up.store(now[i], std::memory_order_release);  // release: the old translations are gone
    if (!t.runs(i)) hold(t, i, false);
  }
}

// Invalidates if anything can be cached, then tells whoever waits.
void shootdown::catch_up(target& t, std::uint32_t space, bool cached) {
  view_of_space& view = t.views[space];
  // acquire: the accesses that follow see the tables as the flush found them.
  const std::uint64_t now = spaces_[space].generation.load(std::memory_order_acquire);
  if (cached) invalidate(t, space);
  // In guest mode the cpu goes on filling its cache, so only an entry after an exit starts anew.
  hold(t, space, t.runs(space));
  view.caught_up.store(now, std::memory_order_release);  // release: the old translations are gone
}

void shootdown::serve(target& t) {
  t.count.acknowledgements += t.requests.take(
      [&](std::uint32_t space) {
        // acquire: see catch_up(). The cpu may have caught up at a VM entry since.
        if (spaces_[space].generation.load(std::memory_order_acquire) != t.caught_up_to(space)) {
          catch_up(t, space, t.views[space].may_hold);
        }
      },
      [&] { drop_everything(t, flush_cause::mailbox_full); });
}

// Calls `visit` for each cpu but one that may hold translations of the space.
template <class Visit>
void shootdown::each_holder(std::uint32_t space, unsigned but, Visit visit) {
  for (unsigned w = 0; w < holder_words_; ++w) {
    // seq_cst: see the head comment.
    std::uint64_t left = holders_[std::size_t{space} * holder_words_ + w].load(std::memory_order_seq_cst);
    for (; left != 0; left &= left - 1) {
      const unsigned i = w * 64 + static_cast<unsigned>(std::countr_zero(left));
      if (i != but) visit(targets_[i]);
    }
  }
}

void shootdown::flush(unsigned cpu, const runtime::flush_plan& plan, const runtime::platform& host) {
  target& own = targets_[cpu];
  ++own.count.by_cause[static_cast<unsigned>(plan.reason)];
  // seq_cst: see the head comment.
  const std::uint64_t generation = spaces_[plan.space].generation.fetch_add(1, std::memory_order_seq_cst) + 1;
  std::uint64_t posted = 0, holders = 0;
  each_holder(plan.space, cpu, [&](target& t) {
    ++holders;
    if (t.mode.load(std::memory_order_seq_cst) != plan.space) return;  // seq_cst: see the head comment
    t.requests.post(plan.space);
    ++posted;
  });
  own.count.remote_requests += posted;
  own.count.elided_targets += options_.cpus - 1 - holders;
  // The local invalidation comes at once and always, as one instruction is less than finding out.
  view_of_space& view = own.views[plan.space];
  if (view.ever_entered) invalidate(own, plan.space);
  hold(own, plan.space, own.runs(plan.space));
  view.caught_up.store(generation, std::memory_order_release);  // release: as in catch_up()
  if (posted) wait(own, plan.space, generation, host);
  if (ids_ && plan.reason == runtime::flush_reason::destroy) ids_->release(spaces_[plan.space].identity);
}

// True if the cpu is inside the guest with what the generation has made stale.
bool shootdown::waits_for(const target& t, std::uint32_t space, std::uint64_t generation) const {
  // acquire: what the cpu did with the old translations is over.
  return t.mode.load(std::memory_order_acquire) == space &&
         t.views[space].caught_up.load(std::memory_order_acquire) < generation;  // acquire: likewise
}

// Once for all; time is taken only if there is a target that is not done at the first look.
void shootdown::wait(target& own, std::uint32_t space, std::uint64_t generation,
                     const runtime::platform& host) {
  using clock = std::chrono::steady_clock;
  clock::time_point start;
  bool waited = false;
  each_holder(space, own.index, [&](target& t) {
    while (waits_for(t, space, generation)) {
      if (!waited) start = clock::now();
      waited = true;
      poll(own.index);  // the other one may wait for this cpu
      relax(host);
    }
  });
  if (!waited) return;
  const auto spent = std::chrono::duration_cast<std::chrono::nanoseconds>(clock::now() - start).count();
  own.count.waits.record(static_cast<std::uint64_t>(spent));
}

}  // namespace quire::hv
