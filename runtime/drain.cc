// Completing what other cpus have queued, and moving sections between cpus.
#include "runtime/machine.h"

namespace quire::runtime {

namespace {

/// Makes section::drains odd for a scope, under the drain lock.
class drain_mark {
 public:
  explicit drain_mark(section& s) : s_(s) { move(); }
  ~drain_mark() { move(); }
  drain_mark(const drain_mark&) = delete;
  drain_mark& operator=(const drain_mark&) = delete;

 private:
  void move() {
    const std::uint64_t now = s_.drains.load(std::memory_order_relaxed);  // relaxed: moves under the lock
    s_.drains.store(now + 1,
                    std::memory_order_release);  // release: comes before what the drain writes, or after it
  }
  section& s_;
};

bool touches(const update_list& l, gfn_range r) {
  for (std::uint32_t i = 0; i < l.count(); ++i) {
    if (l[i].range.overlaps(r)) return true;
  }
  return false;
}

}  // namespace

// Commits what `from` has queued, on the cpu of `own`. The tables are claimed a second time: the owner's
// claims are for what its queue may still need when this cpu's part has been taken away again. The owner
// gives them back at its next commit.
status machine::drain_queue(section& own, section& from, const gfn_range* within) {
  const lock_guard hold(from.drain_lock, host_);
  const drain_mark mark(from);
  const update_list queued = from.queue.visible();
  if (queued.count() == 0 || (within && !touches(queued, *within))) return status::ok;
  newest_claims newest;
  table_need claims{};
  for (std::uint32_t i = 0; i < queued.count(); ++i) {
    table_need more;
    if (!need_of(*own.where, newest, queued[i], {}, more)) continue;
    for (unsigned level = 0; level < arch::level_limit; ++level) claims[level] += more[level];
  }
  if (reserve(own, claims) != status::ok) return drain_scarce(own, from, queued);
  commit(own, queued, claims, flush_reason::drain);
  own.count.drained_runs += queued.count();
  let_writes_out(own);  // before the owner, or anybody, can see that it is done
  from.queue.consume(queued);
  unreserve(own, claims);
  return status::ok;
}

// As drain_queue() where memory is too short for the worst case: one update after the other, each with what
// it lacks.
status machine::drain_scarce(section& own, section& from, const update_list& queued) {
  status done = status::ok;
  close_space(own);
  for (std::uint32_t i = 0; i < queued.count() && done == status::ok; ++i) {
    table_need claims = own.where->backend->missing(host_, *own.where, queued[i]);
    done = reserve(own, claims);
    if (done != status::ok) break;
    commit(own, queued.part(i), claims, flush_reason::drain);
    ++own.count.drained_runs;
    let_writes_out(own);
    from.queue.consume(queued.part(i));
    unreserve(own, claims);
  }
  open_space(own);
  return done;
}

status machine::drain(unsigned cpu, space& where) {
  return drain(cpu, where, {gfn{0}, where.shape.input_pages});
}

status machine::drain(unsigned cpu, space& where, gfn_range r) {
  if (cpu >= cpus_.count || !cpus_[cpu].registered) return status::bad_cpu;
  if (!state(cpu, where)) return status::no_memory;
  section& own = *where.sections[cpu].load(std::memory_order_relaxed);  // relaxed: as in state()
  const bool open = !queues(own);  // a section has opened the tables already
  const std::uint64_t saved = open && host_.open_tables ? host_.open_tables(host_.context, cpu) : 0;
  status done = status::ok;
  for (unsigned i = 0; i < cpus_.count; ++i) {
    section* from = where.sections[i].load(std::memory_order_acquire);  // acquire: pairs with make_section()
    if (!from || !from->queue.pending()) continue;
    if (const status failed = drain_queue(own, *from, &r); failed != status::ok) done = failed;
  }
  full_fence();  // what the caller did before comes before the phases are looked at, see space::bump_guard()
  cpus_.wait_for_phases(cpu, host_);
  own.wrote = true;  // what others have committed by themselves may have no barrier behind it yet
  if (open) {
    close_tables(own, saved);
  } else {
    let_writes_out(own);
  }
  return done;
}

status machine::hand_over(lazy_state* l) {
  section* s = find(l);
  if (!s) return status::bad_state;
  if (l != s->inside) return status::no_section;
  if (in_interrupt(s->cpu)) return status::in_section;
  {
    const lock_guard hold(s->drain_lock, host_);
    if (s->transit.name) return status::in_section;  // only this cpu could set it meanwhile
  }
  if (s->paused == 0) {
    commit_queue(*s, flush_reason::hand_over);
    close_tables(*s, s->saved);
  }
  cpus_[s->cpu].forget(*s);
  const lock_guard hold(s->drain_lock, host_);
  s->transit = {l, s->depth, s->paused, s->hint};
  s->inside = nullptr;
  s->depth = s->paused = 0;
  s->hint = {};
  return status::ok;
}

status machine::take_over(unsigned cpu, lazy_state* l, lazy_state*& moved) {
  const state_handle h(l);
  if (h.cpu() >= cpus_.count) return status::bad_state;
  space* where = spaces_[h.space()].load(std::memory_order_acquire);  // acquire: pairs with finish_space()
  section* from =
      where ? where->sections[h.cpu()].load(std::memory_order_acquire) : nullptr;  // acquire: see find()
  if (!from) return status::bad_state;
  if (cpu >= cpus_.count || !cpus_[cpu].registered) return status::bad_cpu;
  if (!state(cpu, *where)) return status::no_memory;
  section& to = *where->sections[cpu].load(std::memory_order_relaxed);  // relaxed: as in state()
  section_in_transit s;
  {
    const lock_guard hold(from->drain_lock, host_);
    if (!l || from->transit.name != l) return status::bad_state;
    if (to.depth > 0 || to.paused > 0 || in_interrupt(cpu)) return status::in_section;
    s = from->transit;
    from->transit = {};
  }
  cpus_[cpu].forget(to);
  to.inside = moved = state_handle(++to.generation, where->id, cpu).pointer();
  to.depth = s.depth;
  to.paused = s.paused;
  to.hint = s.hint;
  if (host_.open_tables) to.saved = host_.open_tables(host_.context, cpu);
  if (to.paused > 0) close_tables(to, to.saved);  // what the end of the section puts back is this cpu's
  return status::ok;
}

}  // namespace quire::runtime
