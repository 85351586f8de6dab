// The runtime of one machine: cpus, table pools, spaces, and the calls that open sections and queue updates.
#pragma once

#include "runtime/lazy_state.h"
#include "runtime/status.h"

namespace quire::runtime {

struct machine_options {
  unsigned cpus = 1;  ///< 1..max_cpus
  pool_options pool;
};

/// How apply_to_range() walks.
enum class walk_flags : std::uint8_t {
  none = 0,
  no_lazy = 1,  ///< open no section for the walk: outside of one, updates of the callback take effect one by one
  holes = 2,    ///< visit holes too
};
constexpr walk_flags operator|(walk_flags a, walk_flags b) {
  return static_cast<walk_flags>(static_cast<unsigned>(a) | static_cast<unsigned>(b));
}
constexpr bool includes(walk_flags all, walk_flags some) {
  return (static_cast<unsigned>(all) & static_cast<unsigned>(some)) == static_cast<unsigned>(some);
}

/// Calls that take a lazy_state* act on the (cpu, space) that it names and are made on that cpu. In a section
/// they are queued; outside of one, in interrupt context and while paused they commit and flush before they return.
///
///                          one cpu index  other indices
///   start, stop                  X              X
///   create/destroy_space         X             any    (destroy: no call on the space elsewhere)
///   everything else              X             any
/// X: serialized by the caller. One cpu index is driven by one thread at a time, and an interrupt handler may
/// call the runtime only where it did not interrupt a call of the runtime on the same cpu.
class machine {
 public:
  static constexpr unsigned max_cpus = 1u << state_handle::cpu_bits;
  static constexpr unsigned max_spaces = 256;
  static constexpr unsigned max_table_sizes = 16;

  machine() = default;
  machine(const machine&) = delete;
  machine& operator=(const machine&) = delete;
  ~machine() { stop(); }

  /// Makes the cpus. `p` is copied. Errors: too_many, no_memory. Allocates.
  status start(const platform& p, const machine_options& o);
  /// Destroys what is left. No call is in progress; table memory is the platform's again. Idempotent.
  void stop();

  /// Makes a space of format `f`, its root table empty.
  /// A max_leaf_level that the format has not is lowered to the next one that it has.
  /// Errors: bad_format, no_memory (or more table sizes than max_table_sizes), no_tables, too_many. Blocks on a lock; allocates.
  template <arch::flushing_format F>
  status create_space(unsigned cpu, const F& f, const space_options& o, space*& made) {
    made = nullptr;
    if (f.bad_options()) return status::bad_format;
    space* s = nullptr;
    if (const status failed = allocate_space(o, arch::geometry_of(f), s); failed != status::ok) return failed;
    s->set_format(f);
    s->backend = &backend_for<F>();
    const status done = finish_space(cpu, *s);
    if (done == status::ok) {
      s->root_register = f.root_register(s->root);
      if (host_.barrier) host_.barrier(host_.context, cpu);  // a CPU may enter the space: its root must be seen empty
    }
    made = done == status::ok ? s : nullptr;
    return done;
  }
  /// Flushes the whole space once, reports what was mapped, frees all tables and `s`. Every lazy_state* of it is
  /// refused from then on. Errors: in_section if a section is open or paused on any cpu; then nothing happens.
  status destroy_space(unsigned cpu, space* s);

  /// The state that names (cpu, s) outside sections; null without memory or with a wrong `cpu`. Allocates at the
  /// first call for a pair.
  lazy_state* state(unsigned cpu, space& s);

  /// Opens a section, or nests in the open one: then the state is the same, one deeper.
  /// @param hint  pages that the section is about to change; updates elsewhere still work. Outermost only.
  /// @return the section's state; while paused or in interrupt context the call is inert and returns the state as
  ///         it is. Null as for state().
  /// Does not block or allocate after the first call for a pair.
  lazy_state* enter(unsigned cpu, space& s, gfn_range hint = {});
  /// Flushes; the outermost one ends the section. Inert while paused or in interrupt context.
  /// Errors: bad_state, no_section. Blocks on the space's lock and in the sink; does not allocate.
  status leave(lazy_state* l);
  /// Commits what is queued: it has taken effect everywhere when this returns. Legal and without effect outside.
  /// Errors: bad_state. Blocks as leave(); does not allocate.
  status flush(lazy_state* l);
  /// Flushes and leaves lazy mode, whatever the depth. Nests. Errors: bad_state. As leave().
  status pause(lazy_state* l);
  /// Undoes one pause(); the last one restores depth, hint and state. Errors: bad_state, not_paused.
  status resume(lazy_state* l);
  /// Interrupt context of a cpu: calls are immediate there and leave the interrupted section alone. Nests.
  void enter_interrupt(unsigned cpu) { ++cpus_[cpu].interrupts; }
  void leave_interrupt(unsigned cpu) { --cpus_[cpu].interrupts; }
  bool in_interrupt(unsigned cpu) const { return cpus_[cpu].interrupts > 0; }
  /// The range given to the enter() that opened the section of `l`; empty if none. Errors: as bad_state, empty.
  gfn_range hint(lazy_state* l) const;
  /// True if an update through `l` would be queued.
  bool active(lazy_state* l) const;

  /// Maps `r` to the frames from `out` on, replacing what is there, with the largest leaves that fit. The space's
  /// observer hears of the mappings that it replaces, with A and D.
  /// Errors: bad_state, bad_range, misaligned, bad_attributes, no_tables. Then nothing is queued or changed.
  /// Cost: O(levels) to queue, whatever r.pages is; outside sections, that of the commit.
  status map(lazy_state* l, gfn_range r, hfn out, attributes a, unsigned max_leaf_level = arch::level_limit - 1);
  /// As map(), but leaves mapped pages alone and counts them in counters::kept_pages.
  status map_keep_present(lazy_state* l, gfn_range r, hfn out, attributes a,
                          unsigned max_leaf_level = arch::level_limit - 1);
  /// As map(), with leaves of exactly `level`; range and frame are aligned to it.
  status map_exact(lazy_state* l, gfn_range r, hfn out, attributes a, unsigned level);
  /// Removes mappings; holes are skipped. The space's observer hears what was removed, with A and D.
  status unmap(lazy_state* l, gfn_range r);
  /// Changes the access of the mapped pages of `r`; address, type and options stay. Only a.access counts.
  status protect(lazy_state* l, gfn_range r, perm access);
  /// Reports and clears A and D of the mapped pages of `r`, see `harvest`.
  status harvest_status(lazy_state* l, gfn_range r, harvest what);

  /// What page `g` maps to, queued updates of this (cpu, space) included; in interrupt context, the tables alone.
  /// Errors: bad_state, bad_range. `found` is false in holes.
  status lookup(lazy_state* l, gfn g, mapping& m, bool& found);
  /// Calls `visit` for each leaf, and each part of one that queued updates make different, inside `r` in order.
  /// The callback may update; it sees no leaf twice. Errors: bad_state, bad_range, stopped.
  using visitor = bool (*)(void* context, const mapping& m);
  status for_each(lazy_state* l, gfn_range r, visitor visit, void* context);
  /// Calls `visit` for each leaf (and hole) inside `r`, in a section that it opens on the way unless told not to.
  /// The callback updates through the state it gets. Errors: as for_each().
  using range_visitor = bool (*)(void* context, lazy_state* l, bool present, const mapping& m);
  status apply_to_range(lazy_state* l, gfn_range r, walk_flags flags, range_visitor visit, void* context);

  /// Counts of one cpu in one space; all zero if it never used the space.
  counters counts(unsigned cpu, const space& s) const;
  unsigned cpu_count() const { return cpu_count_; }
  /// Table frames in use, and obtained from the platform, over all sizes; in frames.
  std::uint64_t tables_in_use() const;
  std::uint64_t tables_allocated() const;

 private:
  status allocate_space(const space_options& o, const geometry& shape, space*& made);
  status finish_space(unsigned cpu, space& s);
  void free_space(space& s);
  table_pool* pool_of(std::size_t bytes);
  section* make_section(unsigned cpu, space& s);
  section* find(lazy_state* l) const;
  bool queues(const section& s) const { return s.lazy() && !in_interrupt(s.cpu); }

  void close_tables(section& s, std::uint64_t saved);
  void let_writes_out(section& s);
  void commit(section& s, const update_list& updates, table_need& claims, flush_reason reason);
  void commit_queue(section& s, flush_reason reason);
  status submit(lazy_state* l, const update& u);
  status submit_range(lazy_state* l, gfn_range r, operation op, attributes a, harvest what);
  status commit_now(section& s, const update& u);
  status commit_scarce(section& s, const update& u);
  status commit_one(section& s, const update& u, table_need& claims, flush_reason reason);
  status map_with(lazy_state* l, gfn_range r, hfn out, attributes a, unsigned max_leaf_level, bool keep_present,
                  bool exact);
  table_need need_of(const section& s, const update& u) const;
  status reserve(const section& s, const table_need& need);
  void unreserve(const section& s, table_need& claims);
  piece view(const section& s, gfn g, gfn end) const;
  commit_context context_of(section& s, table_need& claims, flush_reason reason);

  platform host_;
  cpu_context* cpus_ = nullptr;
  unsigned cpu_count_ = 0;
  pool_options pool_options_;
  spin_lock lock_;  // over pools_ and the slots of spaces_
  table_pool pools_[max_table_sizes];
  unsigned pool_count_ = 0;
  std::atomic<space*> spaces_[max_spaces] = {};
  std::uint64_t next_generation_ = 0;
};

}  // namespace quire::runtime
