// The runtime of one machine: cpus, table pools, spaces, and the calls that open sections and queue updates.
#pragma once

#include "runtime/lazy_state.h"
#include "runtime/lookup_ops.h"
#include "runtime/status.h"

namespace quire::runtime {

struct machine_options {
  unsigned cpus = 1;  ///< registered by start(): 0..cpus-1; 1..max_cpus
  pool_options pool;
  unsigned max_cpus = 0;  ///< that may be registered at a time, up to machine::max_cpus; 0 = cpus
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
///   add_cpu, remove_cpu          X             any
///   create/destroy_space         X             any    (destroy: no call on the space elsewhere)
///   take_over                    X             any    (after the hand_over() of the same state)
///   everything else              X             any
/// X: serialized by the caller. One cpu index is driven by one thread at a time, and an interrupt handler may
/// call the runtime only where it did not interrupt a call of the runtime on the same cpu.
class machine {
 public:
  static constexpr unsigned max_cpus = 1u << state_handle::cpu_bits;
  static constexpr unsigned max_spaces = 1u << state_handle::space_bits;
  static constexpr unsigned max_table_sizes = 16;

  machine() = default;
  machine(const machine&) = delete;
  machine& operator=(const machine&) = delete;
  ~machine() { stop(); }

  /// Makes the cpus. `p` is copied. Errors: too_many, no_memory. Allocates.
  status start(const platform& p, const machine_options& o);
  /// Destroys what is left. No call is in progress; table memory is the platform's again. Idempotent.
  void stop();
  /// True inside a callback of for_each() or apply_to_range(): then stop() would take the walk's memory away. Serialized as
  /// stop().
  bool walking() const;

  /// Registers one more cpu and answers its index, the lowest that is free. Sections of others may be open meanwhile.
  /// Errors: too_many (see machine_options::max_cpus), no_memory. Blocks on a lock; allocates.
  status add_cpu(unsigned& cpu);
  /// Takes a cpu away: what it kept for itself goes back, and its states are refused from now on. Called by the thread that
  /// drove it. Errors: bad_cpu; in_section if it has a section open, paused, or in transit in any space, or from a walk's
  /// callback. Blocks on a lock.
  status remove_cpu(unsigned cpu);

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
    s->walk = arch::walk_shape_of(f);
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
  /// refused from then on. Errors: in_section if a section is open, paused or in transit on any cpu, or from the callback of
  /// a walk through `s`; then nothing happens.
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
  /// Commits everything that any cpu has queued in `s` before the call, and waits for commit phases in progress; no thread of
  /// another cpu has to run for that. With a range: queues that have an update in it are committed, as a whole.
  /// Errors: bad_cpu, no_memory (first call for a pair); no_tables if there is no table memory beside what the
  /// queues have claimed: then some of it may still be queued, and nothing is lost. Blocks on commits of others and in the sink. Not
  /// from a section's callback.
  status drain(unsigned cpu, space& s);
  status drain(unsigned cpu, space& s, gfn_range r);

  /// Ends the section on its cpu without closing it: commits and flushes what is queued, and puts the key register back.
  /// `l` is refused on its cpu from now on; a new section may be opened there. Errors: bad_state, no_section; in_section
  /// if another one is in transit from this (cpu, space) already, or in interrupt context. Blocks as leave().
  status hand_over(lazy_state* l);
  /// Goes on with a section that hand_over() gave away: depth, hint and pauses are as they were; `moved` names it from now
  /// on. Errors: bad_cpu, no_memory; bad_state if `l` is not in transit; in_section if `cpu` has a section of the space
  /// open or paused already. Then it stays in transit.
  status take_over(unsigned cpu, lazy_state* l, lazy_state*& moved);

  /// Undoes one pause(); the last one restores depth, hint and state. Errors: bad_state, not_paused.
  status resume(lazy_state* l);
  /// Interrupt context of a cpu: calls are immediate there and leave the interrupted section alone. Nests.
  void enter_interrupt(unsigned cpu) {
    ++cpus_[cpu].interrupts;
    cpus_[cpu].forget();
  }
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
  ///
  /// @param g  leaves the update out if the guard has moved on when it is committed: counters::cancelled_updates
  status map(lazy_state* l, gfn_range r, hfn out, attributes a, unsigned max_leaf_level = arch::level_limit - 1,
             guard g = {}) {
    if (section* s = found_section(l); s && s->append_map(r, out, a, g)) [[likely]] return status::ok;
    return map_slowly(l, r.first, r.pages, out, a, max_leaf_level, g);
  }
  /// As map() of each page in turn, with one leaf of the smallest size, to the frame in the place of the same index. Pages that
  /// were not mapped are at once, in a section too, as long as nothing is queued there and table memory is at hand: no flush is
  /// due for them. Others are queued.
  /// Errors: bad_state, misaligned, bad_attributes; bad_range if a page or a frame is beyond the space's, or the lengths
  /// differ: then nothing is queued or changed. no_tables: those from the page with index `mapped` on are as they were.
  /// Context: as map(). Cost: many walks at a time, some ns a page, by batches of 64 and more.
  status map_many(lazy_state* l, std::span<const gfn> pages, std::span<const hfn> frames, attributes a, std::size_t& mapped);
  /// As map(), but leaves mapped pages alone and counts them in counters::kept_pages.
  status map_keep_present(lazy_state* l, gfn_range r, hfn out, attributes a,
                          unsigned max_leaf_level = arch::level_limit - 1, guard g = {});
  /// As map(), with leaves of exactly `level`; range and frame are aligned to it.
  status map_exact(lazy_state* l, gfn_range r, hfn out, attributes a, unsigned level, guard g = {});
  /// Removes mappings; holes are skipped. The space's observer hears what was removed, with A and D.
  status unmap(lazy_state* l, gfn_range r) {
    if (section* s = found_section(l); s && s->append_unmap(r)) [[likely]] return status::ok;
    return unmap_slowly(l, r);
  }
  /// Changes the access of the mapped pages of `r`; address, type and options stay. Only a.access counts.
  status protect(lazy_state* l, gfn_range r, perm access);
  /// Reports and clears A and D of the mapped pages of `r`, see `harvest`.
  status harvest_status(lazy_state* l, gfn_range r, harvest what);

  /// What page `g` maps to, queued updates of this (cpu, space) included; in interrupt context, the tables alone.
  /// Errors: bad_state, bad_range. `found` is false in holes.
  status lookup(lazy_state* l, gfn g, mapping& m, bool& found);
  /// Puts the 4 KiB frame that each page maps to into the place of the same index, no_frame for a hole; queued updates count
  /// as in lookup(). Pages may be in any order and repeat; `frames` is as long as `pages`, and another memory.
  /// Errors: bad_state; bad_range if a page lies beyond the input size, or the lengths differ. Then `frames` is untouched.
  /// Context: as lookup(). Cost: many walks at a time, some ns a page, by batches of 64 best; pages inside the range that
  /// queued updates span cost a lookup() each.
  status lookup_many(lazy_state* l, std::span<const gfn> pages, std::span<hfn> frames);
  /// Calls `visit` for each leaf, and each part of one that queued updates make different, inside `r` in order.
  /// The callback may update; it sees no leaf twice. Errors: bad_state, bad_range, stopped.
  using visitor = bool (*)(void* context, const mapping& m);
  status for_each(lazy_state* l, gfn_range r, visitor visit, void* context);
  /// Calls `visit` for each leaf (and hole) inside `r`, in a section that it opens on the way unless told not to.
  /// The callback updates through the state it gets. Errors: as for_each().
  using range_visitor = bool (*)(void* context, lazy_state* l, bool present, const mapping& m);
  status apply_to_range(lazy_state* l, gfn_range r, walk_flags flags, range_visitor visit, void* context);

  /// Clears up to `most` free table frames that are not known to be clear, so that new tables need not be: for idle time. Returns
  /// how many it has cleared; 0 if there are none, or on a wrong `cpu`. While frames are cleared nobody else can have them. Maps
  /// that fill whole tables take the others first.
  /// Context: `cpu` itself, outside of callbacks. Blocks on locks for some stores; does not allocate. Cost: that of storing as
  /// much memory.
  std::uint64_t clear_frames(unsigned cpu, std::uint64_t most);
  /// Counts of one cpu in one space; all zero if it never used the space. While that cpu is in a call they make no sense.
  counters counts(unsigned cpu, const space& s) const;
  unsigned cpu_count() const { return cpus_.count; }
  /// Table frames in use, and obtained from the platform, over all sizes; in frames.
  std::uint64_t tables_in_use() const;
  std::uint64_t tables_allocated() const;

 private:
  status allocate_space(const space_options& o, const geometry& shape, space*& made);
  status finish_space(unsigned cpu, space& s);
  void free_space(space& s);
  table_pool* pool_of(std::size_t bytes, std::uint64_t empty);
  section* make_section(unsigned cpu, space& s);
  section* find(lazy_state* l) const;
  /// The section of `l` if it was found lately and its updates are queued still, or immediate still, outside of sections; else
  /// null. Always null where the platform tells current_cpu, which find() has to ask.
  section* found_section(const lazy_state* l) const {
    return cpus_.context_of(l).found(l);
  }
  void note_found(section& s, const lazy_state* l) {
    if (!host_.current_cpu) cpus_[s.cpu].note(l, s);
  }
  bool prepay(section& s);
  bool put_directly(section& s, gfn g, hfn out, attributes a);
  bool take_directly(section& s, gfn g);
  bool leads_directly(const space& where) const;
  bool lead_to(section& s, gfn g) const;
  bool lead_elsewhere(section& s, gfn g, std::uint64_t unlinks) const;

  bool queues(const section& s) const { return s.lazy() && !in_interrupt(s.cpu); }

  void close_tables(section& s, std::uint64_t saved);
  void let_writes_out(section& s);
  void commit(section& s, const update_list& updates, table_need& claims, flush_reason reason);
  void commit_queue(section& s, flush_reason reason);
  status drain_queue(section& own, section& from, const gfn_range* within);
  status drain_scarce(section& own, section& from, const update_list& queued);
  status register_cpu(unsigned cpu);
  bool has_open_section(unsigned cpu) const;
  void release_cpu_memory();
  void close_space(section& s);
  void open_space(section& s);
  status map_slowly(lazy_state* l, gfn first, std::uint64_t pages, hfn out, attributes a, unsigned max_leaf_level, guard g);
  status unmap_slowly(lazy_state* l, gfn_range r);
  std::size_t map_at_once(section& s, std::span<const gfn> pages, std::span<const hfn> frames, attributes a);
  status submit(section& s, const update& u);
  status submit_range(lazy_state* l, gfn_range r, operation op, attributes a, harvest what);
  status commit_now(section& s, const update& u);
  status commit_scarce(section& s, const update& u);
  status commit_one(section& s, const update& u, table_need& claims, flush_reason reason);
  status map_with(lazy_state* l, gfn_range r, hfn out, attributes a, const update_kind& k, unsigned max_leaf_level);
  bool need_of(const space& where, newest_claims& newest, const update& u, gfn_range run, table_need& need) const;
  status reserve(const section& s, const table_need& need);
  void unreserve(const section& s, table_need& claims);
  piece view(section& s, gfn g, gfn end) const;
  piece view_once(section& s, gfn g, gfn end) const;
  piece view_between_drains(section& s, gfn g, gfn end) const;
  commit_context context_of(section& s, table_need& claims, flush_reason reason);

  platform host_;
  cpu_list cpus_;
  owner_words owners_;
  pool_options pool_options_;
  mutable spin_lock lock_;  // over pools_, the slots of spaces_ and the registration of cpus
  table_pool pools_[max_table_sizes];
  unsigned pool_count_ = 0;
  std::atomic<space*> spaces_[max_spaces] = {};
  std::uint64_t next_generation_ = 0;
};

}  // namespace quire::runtime
