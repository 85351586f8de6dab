// The C ABI of Quire, C11 and C++: batched updates of second-stage page tables. Types are in quire/types.h.
#ifndef QUIRE_QUIRE_H
#define QUIRE_QUIRE_H

#include "quire/types.h"

/// Version of this header; quire_version() is that of the library.
#define QUIRE_VERSION_MAJOR 0u
#define QUIRE_VERSION_MINOR 1u
#define QUIRE_VERSION_PATCH 0u
#define QUIRE_VERSION (QUIRE_VERSION_MAJOR << 16 | QUIRE_VERSION_MINOR << 8 | QUIRE_VERSION_PATCH)

#ifdef __cplusplus
#define QUIRE_NOEXCEPT noexcept
extern "C" {
#else
#define QUIRE_NOEXCEPT
#endif

// Every function checks every argument. Handles may have any value. Pointers to data are null, misaligned or
// valid. A call that answers anything but QUIRE_OK has written nothing through its pointers and, where its
// comment does not say otherwise, has changed nothing.
//
// Calls that take a quire_lazy_state act on the (cpu, space) that it names and are made on that cpu. In a
// section updates are queued; outside of one, in interrupt context and while paused they commit and flush
// before they return.
//
//                          one cpu index  other indices
//   start, stop                  X              X
//   add_cpu, remove_cpu          X             any
//   create/destroy_space         X             any    (destroy: no call on the space elsewhere)
//   take_over                    X             any    (after the hand_over of the same state)
//   everything else              X             any
// X: serialized by the caller. One cpu index is driven by one thread at a time, and an interrupt handler may
// call the library only where it did not interrupt a call of the library on the same cpu. A callback of a
// walk may do anything but drain; what would take its space, cpu or machine away is refused with
// QUIRE_IN_SECTION. Other callbacks may not call the library.
//
// Errors that many functions share are not listed: QUIRE_BAD_MACHINE; QUIRE_BAD_SPACE, QUIRE_BAD_STATE and
// QUIRE_BAD_CPU where such a one is taken; QUIRE_BAD_POINTER where a pointer is; QUIRE_BAD_SIZE where a
// struct with a `size` is.

/// QUIRE_VERSION of the library. Any context, at any time.
uint32_t quire_version(void) QUIRE_NOEXCEPT;
/// What a status means, in English. Never null, whatever `status` is. Any context, at any time.
const char* quire_status_text(int status) QUIRE_NOEXCEPT;
/// Writes what a command does, for people, and a 0 behind it; what does not fit into `bytes` is cut off.
///
/// @param format  quire_format; quire_flush_plan::format
/// @param bytes   of `text`, at least 1; 120 hold any command
/// Errors: QUIRE_BAD_FORMAT, QUIRE_BAD_RANGE if `bytes` is 0. Any context, the sink's too.
quire_status quire_describe_command(uint32_t format, const quire_command* command, char* text,
                                    size_t bytes) QUIRE_NOEXCEPT;

/// Makes a machine.
///
/// @param platform  copied; allocate, release, allocate_tables and flush are not null
/// @param options   null: one cpu and defaults
/// Errors: QUIRE_TOO_MANY (machines: 64 at a time), QUIRE_NO_MEMORY. Allocates.
quire_status quire_start(const quire_platform* platform, const quire_machine_options* options,
                         quire_machine** made) QUIRE_NOEXCEPT;
/// Destroys the machine and its spaces, flushing nothing; table memory is the platform's again. No call on it
/// is in progress. Errors: QUIRE_IN_SECTION from a walk's callback.
quire_status quire_stop(quire_machine* machine) QUIRE_NOEXCEPT;

/// Registers one more cpu and answers its index, the lowest that is free. Sections of others may be open
/// meanwhile. Errors: QUIRE_TOO_MANY, QUIRE_NO_MEMORY. Blocks on a lock; allocates.
quire_status quire_add_cpu(quire_machine* machine, unsigned* cpu) QUIRE_NOEXCEPT;
/// Takes a cpu away; its states are refused from now on. Called by the thread that drove it. Errors:
/// QUIRE_IN_SECTION if it has a section open, paused, or in transit in any space, or from a walk's callback.
/// Blocks on a lock.
quire_status quire_remove_cpu(quire_machine* machine, unsigned cpu) QUIRE_NOEXCEPT;
/// Table frames in use, and obtained from the platform. Blocks on a lock.
quire_status quire_count_tables(quire_machine* machine, quire_table_counts* counts) QUIRE_NOEXCEPT;

/// Fills everything but `size` with the defaults of a format: all leaf sizes, no reports, four levels or what
/// is usual. Errors: QUIRE_BAD_FORMAT. Any context, at any time.
quire_status quire_default_options(uint32_t format, quire_space_options* options) QUIRE_NOEXCEPT;
/// Makes a space, its root table empty, for calls on `cpu`. `options` is copied.
/// Errors: QUIRE_BAD_FORMAT, QUIRE_NO_MEMORY, QUIRE_NO_TABLES, QUIRE_TOO_MANY (spaces: 256 at a time). Blocks
/// on a lock; allocates.
quire_status quire_create_space(quire_machine* machine, unsigned cpu, const quire_space_options* options,
                                quire_space** made) QUIRE_NOEXCEPT;
/// Flushes the whole space once, reports what was mapped, and frees all tables. Its handle and all its states
/// are refused from then on. Errors: QUIRE_IN_SECTION if a section is open, paused or in transit on any cpu, or
/// from the callback of a walk through it. Blocks in the sink.
quire_status quire_destroy_space(quire_machine* machine, unsigned cpu, quire_space* space) QUIRE_NOEXCEPT;
/// Root register, sizes and tables of a space. Does not block.
quire_status quire_query_space(quire_machine* machine, quire_space* space,
                               quire_space_info* info) QUIRE_NOEXCEPT;
/// To be called before `cpu` walks the tables of the space, on every VM entry: until the first call changes
/// need no flush, and while it is always the same cpu, a flush by that cpu need not reach others. Does not
/// block.
quire_status quire_note_run(quire_machine* machine, quire_space* space, unsigned cpu) QUIRE_NOEXCEPT;
/// What `cpu` did in the space; all 0 if it never used it. `cpu` is in no other call. Does not block.
quire_status quire_counts(quire_machine* machine, unsigned cpu, quire_space* space,
                          quire_counters* counts) QUIRE_NOEXCEPT;

/// The value of a guard now, for maps that are resolved from here on. `index` is 1..63. Errors:
/// QUIRE_BAD_OPTION. Does not block.
quire_status quire_guard_sequence(quire_machine* machine, quire_space* space, uint32_t index,
                                  uint32_t* sequence) QUIRE_NOEXCEPT;
/// Cancels all maps that carry an older value of the guard and are not committed. To know that none is being
/// committed, call quire_drain() next. Errors: QUIRE_BAD_OPTION. Does not block.
quire_status quire_bump_guard(quire_machine* machine, quire_space* space, uint32_t index) QUIRE_NOEXCEPT;

/// Gives the state that names (cpu, space) outside sections. Errors: QUIRE_NO_MEMORY. Allocates at the first
/// call for a pair.
quire_status quire_state(quire_machine* machine, unsigned cpu, quire_space* space,
                         quire_lazy_state** state) QUIRE_NOEXCEPT;
/// Opens a section, or nests in the open one: then the state is the same, one deeper. While paused or in
/// interrupt context it is inert and gives the state as it is.
///
/// @param hint  pages that the section is about to change; updates elsewhere still work. {0, 0}: none
/// Errors: QUIRE_NO_MEMORY, at the first call for a pair, which allocates. Does not block.
quire_status quire_enter(quire_machine* machine, unsigned cpu, quire_space* space, quire_range hint,
                         quire_lazy_state** state) QUIRE_NOEXCEPT;
/// Flushes; the outermost one ends the section. Inert while paused or in interrupt context. Errors:
/// QUIRE_NO_SECTION. Blocks on other cpus' commits and in the sink; does not allocate.
quire_status quire_leave(quire_machine* machine, quire_lazy_state* state) QUIRE_NOEXCEPT;
/// Commits what is queued: it has taken effect everywhere when this returns. Without effect outside sections.
/// Blocks as quire_leave().
quire_status quire_flush(quire_machine* machine, quire_lazy_state* state) QUIRE_NOEXCEPT;
/// Flushes and leaves lazy mode, whatever the depth. Nests. Blocks as quire_leave().
quire_status quire_pause(quire_machine* machine, quire_lazy_state* state) QUIRE_NOEXCEPT;
/// Undoes one quire_pause(); the last one restores depth, hint and state. Errors: QUIRE_NOT_PAUSED. Does not
/// block.
quire_status quire_resume(quire_machine* machine, quire_lazy_state* state) QUIRE_NOEXCEPT;
/// Commits all that any cpu has queued in the space before the call, and waits for commits in progress; no
/// thread of another cpu has to run for that. With a range: queues that have an update in it, as a whole.
///
/// @param range  null: all pages
/// Errors: QUIRE_BAD_RANGE, QUIRE_NO_MEMORY; QUIRE_NO_TABLES: some of it may still be queued, and nothing is
/// lost. Blocks as quire_leave(). Not from a walk's callback.
quire_status quire_drain(quire_machine* machine, unsigned cpu, quire_space* space,
                         const quire_range* range) QUIRE_NOEXCEPT;
/// Ends the section on its cpu without closing it. `state` is refused on its cpu from now on; a new section
/// may be opened there. Errors: QUIRE_NO_SECTION; QUIRE_IN_SECTION if another one is in transit from this
/// (cpu, space) already, or in interrupt context. Blocks as quire_leave().
quire_status quire_hand_over(quire_machine* machine, quire_lazy_state* state) QUIRE_NOEXCEPT;
/// Goes on with a section that quire_hand_over() gave away, on `cpu`: depth, hint and pauses are as they
/// were, and `moved` names it from now on. Errors: QUIRE_NO_MEMORY; QUIRE_BAD_STATE if `state` is not in
/// transit; QUIRE_IN_SECTION if `cpu` has a section of the space open or paused already. Then it stays in
/// transit.
quire_status quire_take_over(quire_machine* machine, unsigned cpu, quire_lazy_state* state,
                             quire_lazy_state** moved) QUIRE_NOEXCEPT;
/// Interrupt context of a cpu: calls are immediate there and leave the interrupted section alone. Nests. Does
/// not block.
quire_status quire_enter_interrupt(quire_machine* machine, unsigned cpu) QUIRE_NOEXCEPT;
/// Undoes one quire_enter_interrupt(). Errors: QUIRE_NOT_IN_INTERRUPT. Does not block.
quire_status quire_leave_interrupt(quire_machine* machine, unsigned cpu) QUIRE_NOEXCEPT;
/// Whether `cpu` is in interrupt context. Does not block.
quire_status quire_in_interrupt(quire_machine* machine, unsigned cpu, bool* answer) QUIRE_NOEXCEPT;
/// The range given to the quire_enter() that opened the section; {0, 0} if none. Does not block.
quire_status quire_hint(quire_machine* machine, quire_lazy_state* state, quire_range* hint) QUIRE_NOEXCEPT;
/// Whether an update through `state` would be queued. Does not block.
quire_status quire_active(quire_machine* machine, quire_lazy_state* state, bool* answer) QUIRE_NOEXCEPT;

/// Maps `range` to the host frames from `hfn` on, replacing what is there, with the largest leaves that fit.
/// The space's `report` hears of the mappings that it replaces. Errors: QUIRE_BAD_RANGE, QUIRE_MISALIGNED,
/// QUIRE_BAD_ATTRIBUTES, QUIRE_NO_TABLES. Then nothing is queued or changed. Cost: O(levels) to queue,
/// whatever range.pages is; outside sections, that of the commit.
quire_status quire_map(quire_machine* machine, quire_lazy_state* state, quire_range range, uint64_t hfn,
                       quire_attributes attributes) QUIRE_NOEXCEPT;
/// As quire_map(), with a mode, a leaf level or a guard. Errors: also QUIRE_BAD_LEAF_LEVEL, QUIRE_BAD_OPTION.
quire_status quire_map_with(quire_machine* machine, quire_lazy_state* state, quire_range range, uint64_t hfn,
                            quire_attributes attributes, const quire_map_options* options) QUIRE_NOEXCEPT;
/// Removes mappings; holes are skipped. The space's `report` hears what was removed, with A and D.
/// Errors: QUIRE_BAD_RANGE, QUIRE_MISALIGNED; QUIRE_NO_TABLES if a large leaf is to be split. Cost: as
/// quire_map().
quire_status quire_unmap(quire_machine* machine, quire_lazy_state* state, quire_range range) QUIRE_NOEXCEPT;
/// Changes the access of the mapped pages of `range`; address, type and options stay. `access` is of
/// quire_access. Errors and cost: as quire_map().
quire_status quire_protect(quire_machine* machine, quire_lazy_state* state, quire_range range,
                           uint32_t access) QUIRE_NOEXCEPT;
/// Reports and clears A and D of the mapped pages of `range`. `what` is of quire_harvest.
/// Errors: as quire_unmap(); QUIRE_BAD_OPTION. Cost: as quire_map().
quire_status quire_harvest_status(quire_machine* machine, quire_lazy_state* state, quire_range range,
                                  uint32_t what) QUIRE_NOEXCEPT;

/// What page `gfn` maps to, queued updates of this (cpu, space) included; in interrupt context, the tables
/// alone. In holes `present` is 0. Errors: QUIRE_BAD_RANGE. Does not block, but may wait for a drain of the
/// same queue.
quire_status quire_lookup(quire_machine* machine, quire_lazy_state* state, uint64_t gfn,
                          quire_mapping* mapping) QUIRE_NOEXCEPT;
/// False: ends the walk.
typedef bool (*quire_visitor)(void* context, const quire_mapping* mapping);
/// Calls `visit` for each leaf, and each part of one that queued updates make different, inside `range` in
/// order. It may update; it sees no leaf twice. Errors: QUIRE_BAD_RANGE, QUIRE_STOPPED.
quire_status quire_for_each(quire_machine* machine, quire_lazy_state* state, quire_range range,
                            quire_visitor visit, void* context) QUIRE_NOEXCEPT;
/// As quire_visitor; `state` is the one to update through.
typedef bool (*quire_range_visitor)(void* context, quire_lazy_state* state, const quire_mapping* mapping);
/// Calls `visit` for each leaf (and hole) inside `range`, in a section that it opens on the way unless told
/// not to. `flags` are of quire_walk. Errors: QUIRE_BAD_RANGE, QUIRE_STOPPED, QUIRE_BAD_OPTION. Blocks as
/// quire_leave() at its end.
quire_status quire_apply_to_range(quire_machine* machine, quire_lazy_state* state, quire_range range,
                                  uint32_t flags, quire_range_visitor visit, void* context) QUIRE_NOEXCEPT;

#ifdef __cplusplus
}
#endif

#endif  // QUIRE_QUIRE_H
