// Opening, nesting, pausing and closing sections, and telling true states from false ones.
#include "runtime/machine.h"

namespace quire::runtime {

section* machine::make_section(unsigned cpu, space& s) {
  void* memory = host_.allocate(host_.context, sizeof(section), alignof(section));
  if (!memory) return nullptr;
  auto* made = new (memory) section(append_limits(s.shape, s.options.max_leaf_level));
  made->cpu = cpu;
  made->where = &s;
  made->generation = s.first_generation;
  made->outside = state_handle(made->generation, s.id, cpu).pointer();
  s.sections[cpu].store(made, std::memory_order_release);  // release: others read counters through it
  return made;
}

// Null unless `l` is one of the two states that name a section now.
section* machine::find(lazy_state* l) const {
  const state_handle h(l);
  if (h.cpu() >= cpus_.count) return nullptr;
  if (host_.current_cpu && host_.current_cpu(host_.context) != h.cpu()) return nullptr;
  const space* where = spaces_[h.space()].load(std::memory_order_acquire);  // acquire: pairs with finish_space()
  if (!where) return nullptr;
  section* s = where->sections[h.cpu()].load(std::memory_order_acquire);  // acquire: pairs with make_section()
  return s && l && (l == s->inside || l == s->outside) ? s : nullptr;
}

lazy_state* machine::state(unsigned cpu, space& where) {
  if (cpu >= cpus_.count || !cpus_[cpu].registered) return nullptr;
  section* s = where.sections[cpu].load(std::memory_order_relaxed);  // relaxed: only this cpu makes its section
  if (!s) s = make_section(cpu, where);
  if (s && !s->outside) s->outside = state_handle(++s->generation, where.id, cpu).pointer();  // registered anew
  return s ? s->outside : nullptr;
}

lazy_state* machine::enter(unsigned cpu, space& where, gfn_range hint) {
  if (cpu >= cpus_.count || !cpus_[cpu].registered) return nullptr;
  const section* known = where.sections[cpu].load(std::memory_order_relaxed);  // relaxed: as in state()
  if ((!known || !known->outside) && !state(cpu, where)) return nullptr;
  section& s = *where.sections[cpu].load(std::memory_order_relaxed);  // relaxed: likewise
  if (s.paused > 0 || in_interrupt(cpu)) return current(s);
  if (s.depth++ == 0) {
    ++s.generation;
    s.inside = state_handle(s.generation, where.id, cpu).pointer();
    s.hint = hint;
    if (host_.open_tables) s.saved = host_.open_tables(host_.context, cpu);
    note_found(s, s.inside);
  }
  return s.inside;
}

status machine::leave(lazy_state* l) {
  section* s = found_section(l);
  if (!s) s = find(l);
  if (!s) return status::bad_state;
  if (s->paused > 0 || in_interrupt(s->cpu)) return status::ok;
  if (l != s->inside) return status::no_section;
  if (!s->queue.empty()) commit_queue(*s, flush_reason::leave);
  if (--s->depth > 0) {
    let_writes_out(*s);
  } else {
    close_tables(*s, s->saved);
    cpus_[s->cpu].forget(*s);
    s->inside = nullptr;
    s->hint = {};
  }
  return status::ok;
}

status machine::flush(lazy_state* l) {
  section* s = find(l);
  if (!s) return status::bad_state;
  if (queues(*s)) {
    commit_queue(*s, flush_reason::flush);
    let_writes_out(*s);
  }
  return status::ok;
}

status machine::pause(lazy_state* l) {
  section* s = find(l);
  if (!s) return status::bad_state;
  if (in_interrupt(s->cpu)) return status::ok;
  cpus_[s->cpu].forget(*s);
  if (s->paused == 0 && s->depth > 0) {
    commit_queue(*s, flush_reason::pause);
    close_tables(*s, s->saved);
  }
  ++s->paused;
  return status::ok;
}

status machine::resume(lazy_state* l) {
  section* s = find(l);
  if (!s) return status::bad_state;
  if (in_interrupt(s->cpu)) return status::ok;
  if (s->paused == 0) return status::not_paused;
  // What the outermost enter() saved stays saved: leave() restores that, whatever happened during the pause.
  if (--s->paused == 0 && s->depth > 0 && host_.open_tables) host_.open_tables(host_.context, s->cpu);
  return status::ok;
}

gfn_range machine::hint(lazy_state* l) const {
  const section* s = find(l);
  return s ? s->hint : gfn_range{};
}

bool machine::active(lazy_state* l) const {
  const section* s = find(l);
  return s && queues(*s);
}

// Puts back what platform::open_tables saved, then lets pending barriers out: in this order, so that a barrier also covers
// the write to the key register.
void machine::close_tables(section& s, std::uint64_t saved) {
  if (host_.close_tables) host_.close_tables(host_.context, s.cpu, saved);
  let_writes_out(s);
}

void machine::let_writes_out(section& s) {
  if (s.wrote && host_.barrier) host_.barrier(host_.context, s.cpu);
  s.wrote = false;
}

commit_context machine::context_of(section& s, table_need& claims, flush_reason reason) {
  const bool alone = !host_.open_tables && !host_.close_tables && !host_.barrier;
  return {host_, *s.where, owners_, cpus_, cpus_[s.cpu], s.count, claims, reason,
          alone && reason == flush_reason::immediate ? &s.shortcut : nullptr};
}

void machine::commit(section& s, const update_list& updates, table_need& claims, flush_reason reason) {
  const std::uint64_t before = s.count.entries_written;
  s.where->backend->commit(context_of(s, claims, reason), updates);
  s.wrote |= s.count.entries_written != before;
}

// Also if all was drained already: then a cpu that drains may still be at it.
void machine::commit_queue(section& s, flush_reason reason) {
  if (s.queue.empty()) return;
  {
    const lock_guard hold(s.drain_lock, host_);
    const update_list queued = s.queue.visible();
    if (queued.count() > 0) commit(s, queued, s.reserved, reason);
    s.count.updates += s.queue.calls();
    s.queue.retire();
  }
  unreserve(s, s.reserved);
  s.newest.forget_map();
  s.prepaid_parents = 0;
}

// Keeps commits of other cpus out of the space, once those in progress are over.
void machine::close_space(section& s) {
  s.where->lock.lock(host_);
  s.where->closed.store(s.cpu + 1, std::memory_order_relaxed);  // relaxed: the fence orders it
  full_fence();  // the mark is out before phases are looked at, see phase_word::raise()
  cpus_.wait_for_phases(s.cpu, host_);
}

void machine::open_space(section& s) {
  s.where->closed.store(0, std::memory_order_release);  // release: pairs with commit_path::begin()
  s.where->lock.unlock();
}

}  // namespace quire::runtime
