// The C ABI's types: handles, status codes, and structs with their units and ranges. Included by
// quire/quire.h.
#ifndef QUIRE_TYPES_H
#define QUIRE_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "quire/formats.h"

#ifdef __cplusplus
extern "C" {
#endif

/// Opaque: never defined, never dereferenced. The value names a machine, and how often its place was used;
/// one that is null, stale or forged is recognised without touching memory that it might point to. So are the
/// other two.
typedef struct quire_machine quire_machine;
/// Opaque: a space of one machine.
typedef struct quire_space quire_space;
/// Opaque: a (cpu, space) outside sections, or its open section.
typedef struct quire_lazy_state quire_lazy_state;

/// What a call answers. Values never change.
typedef enum quire_status {
  QUIRE_OK = 0,
  QUIRE_BAD_STATE = 1,         ///< the quire_lazy_state is null, stale, foreign, freed or forged
  QUIRE_NO_SECTION = 2,        ///< quire_leave() outside any section
  QUIRE_NOT_PAUSED = 3,        ///< quire_resume() without quire_pause()
  QUIRE_BAD_CPU = 4,           ///< no such cpu is registered
  QUIRE_BAD_RANGE = 5,         ///< empty, or beyond the input or output size of the format
  QUIRE_MISALIGNED = 6,        ///< not a multiple of the smallest leaf, or of the leaf size asked for
  QUIRE_BAD_ATTRIBUTES = 7,    ///< the format cannot express the access, memory type or options
  QUIRE_BAD_FORMAT = 8,        ///< no such format, or its options make no sense
  QUIRE_BAD_LEAF_LEVEL = 9,    ///< the format has no leaves at the level asked for
  QUIRE_NO_TABLES = 10,        ///< table memory is used up; nothing was changed or queued
  QUIRE_NO_MEMORY = 11,        ///< memory for the runtime's own records is used up
  QUIRE_TOO_MANY = 12,         ///< more machines, cpus or spaces than the limits
  QUIRE_IN_SECTION = 13,       ///< a section is open that must not be
  QUIRE_STOPPED = 14,          ///< a callback asked for the end of the walk
  QUIRE_BAD_MACHINE = 64,      ///< the quire_machine is null, stale or forged
  QUIRE_BAD_SPACE = 65,        ///< the quire_space is null, stale, forged or of another machine
  QUIRE_BAD_POINTER = 66,      ///< a pointer is null or misaligned
  QUIRE_BAD_SIZE = 67,         ///< a `size` is none that the struct ever had, as far as this library knows
  QUIRE_BAD_OPTION = 68,       ///< a mode, flag, reason or guard that does not exist
  QUIRE_NOT_IN_INTERRUPT = 69  ///< quire_leave_interrupt() without quire_enter_interrupt()
} quire_status;

/// Guest pages, half-open. Frame numbers count 4 KiB, whatever the granule of the format is.
typedef struct quire_range {
  uint64_t first;  ///< guest frame number
  uint64_t pages;  ///< 4 KiB each
} quire_range;

/// Accesses that a mapping allows; combine with |.
enum quire_access {
  QUIRE_R = 1,
  QUIRE_W = 2,
  QUIRE_X = 4,  ///< supervisor execution alone, where the format tells it from the user's
  QUIRE_UX = 8  ///< user execution, where the format tells it apart
};

/// What a mapping allows and how its memory is cached.
typedef struct quire_attributes {
  uint8_t access;    ///< of quire_access
  uint8_t type;      ///< memory type: 0 is the format's default, the others are quire_ept_type and so on
  uint16_t options;  ///< leaf options that only one format knows: quire_ept_leaf_option; 0 = none
} quire_attributes;

/// Why a flush happens; index of quire_counters::flush_plans.
enum quire_flush_reason {
  QUIRE_REASON_IMMEDIATE,   ///< an update outside any section
  QUIRE_REASON_LEAVE,       ///< quire_leave()
  QUIRE_REASON_FLUSH,       ///< quire_flush()
  QUIRE_REASON_PAUSE,       ///< quire_pause()
  QUIRE_REASON_FULL_QUEUE,  ///< the queue was full
  QUIRE_REASON_NO_TABLES,   ///< table memory ran short
  QUIRE_REASON_OVERFLOW,    ///< one commit had more to remember than it can
  QUIRE_REASON_DESTROY,     ///< the space goes away
  QUIRE_REASON_DRAIN,       ///< quire_drain()
  QUIRE_REASON_HAND_OVER,   ///< quire_hand_over()
  QUIRE_REASON_CONTENTION,  ///< the next table is another cpu's
  QUIRE_REASONS = 11
};

/// One flush of one space. Everything it points to lives during the call of quire_platform::flush only.
typedef struct quire_flush_plan {
  size_t size;                    ///< of what the library has filled in
  const quire_space* space;       ///< the handle, for comparison: the sink may not call the library
  void* space_context;            ///< quire_space_options::context
  uint64_t root_register;         ///< EPTP, VTTBR_EL2, ASCE or nCR3
  const quire_command* commands;  ///< in order; for each CPU that may hold translations
  size_t command_count;           ///< of `commands`, at least 1
  uint32_t format;                ///< quire_format; tells what quire_command::op means
  uint32_t reason;                ///< of quire_flush_reason
  uint8_t whole;                  ///< 1: asked for the whole space, whatever the ranges were
} quire_flush_plan;

/// What the library needs from its embedder. Copied by quire_start(). Functions get `context` first. None may
/// call the library, but for quire_describe_command(), throw, or jump out; `relax` may do anything else that
/// does not wait for the caller.
typedef struct quire_platform {
  size_t size;    ///< sizeof(quire_platform)
  void* context;  ///< first argument of all functions
  /// Memory for the library's records; null when there is none. Not called by leave, flush or pause. `align`
  /// is a power of two up to 64.
  void* (*allocate)(void* context, size_t bytes, size_t align);
  /// Takes back what `allocate` gave, with the same `bytes`.
  void (*release)(void* context, void* memory, size_t bytes);
  /// Table memory: gives the physical address of `bytes`, a multiple of `align`. It is never given back
  /// before quire_stop(). Not called by leave, flush or pause, but where another cpu took out a table that the
  /// commit had just made, and no frame is free.
  bool (*allocate_tables)(void* context, size_t bytes, size_t align, uint64_t* physical);
  /// Table memory at physical address p is accessed at virtual address p + table_offset, modulo 2^64.
  uint64_t table_offset;
  /// The flush sink: when it returns, no CPU can use a translation that the plan covers. `cpu` is the one
  /// that commits.
  void (*flush)(void* context, unsigned cpu, const quire_flush_plan* plan);
  /// Null, or makes table memory writable on `cpu` and returns what close_tables is to put back.
  uint64_t (*open_tables)(void* context, unsigned cpu);
  /// Null, or puts `saved` back.
  void (*close_tables)(void* context, unsigned cpu, uint64_t saved);
  /// Null, or the barriers that table writes of `cpu` still need to be seen by every CPU's walks. arm64: DSB
  /// ISHST.
  void (*barrier)(void* context, unsigned cpu);
  /// Null, or what to do while spinning on another cpu.
  void (*relax)(void* context);
  /// Null, or the index of the cpu that the caller runs on; then states of other cpus are refused.
  unsigned (*current_cpu)(void* context);
  /// DAT: not 0 if the sink executes the commands on the tables themselves. If 0, the library stores what
  /// they would; entries that are to be empty afterwards may be so already.
  uint8_t sink_writes_entries;
} quire_platform;

/// Sizes of a machine. All 0 but `size`: one cpu, and no table frames kept.
typedef struct quire_machine_options {
  size_t size;             ///< sizeof(quire_machine_options)
  uint32_t cpus;           ///< registered from the start, as 0..cpus-1; 0 = 1
  uint32_t max_cpus;       ///< that may be registered at a time, up to 4096; 0 = cpus
  uint32_t cache_frames;   ///< table frames that a cpu keeps for itself; 0 = none, for scarce memory
  uint32_t refill_frames;  ///< table frames asked of the platform at once; 0 = 64
} quire_machine_options;

/// A page range whose mapping was taken away, or whose A and D were cleared.
typedef struct quire_report {
  size_t size;                  ///< of what the library has filled in
  quire_range range;            ///< pages that have all else in common
  uint64_t hfn;                 ///< host frame of the first page; the others follow
  quire_attributes attributes;  ///< as they were
  uint8_t harvested;            ///< 0: removed; 1: harvested, and still mapped
  uint8_t accessed;             ///< removed: as hardware left it; harvested: 1 if it was cleared
  uint8_t dirty;                ///< likewise
} quire_report;

/// Any leaf level that the format has.
#define QUIRE_ANY_LEVEL 5u

/// What a space is. Fill `size` in, call quire_default_options(), then change what is to differ.
typedef struct quire_space_options {
  size_t size;              ///< sizeof(quire_space_options)
  uint32_t format;          ///< quire_format
  uint32_t max_leaf_level;  ///< largest leaf that maps use: 0 = the smallest; lowered to what the format has
  void* context;            ///< for `report` and quire_flush_plan::space_context
  /// Null, or hears of removed and harvested pages: after the flush that makes it final, on the cpu that
  /// commits, on several cpus at once if several commit. It may not call the library, and should be short.
  void (*report)(void* context, unsigned cpu, const quire_report* r);
  quire_ept_options ept;        ///< if `format` is QUIRE_EPT
  quire_stage2_options stage2;  ///< if it is one of QUIRE_STAGE2_*
  quire_dat_options dat;        ///< if it is QUIRE_DAT
  quire_npt_options npt;        ///< if it is QUIRE_NPT
} quire_space_options;

/// A leaf, or a hole, or the part of one that was asked for.
typedef struct QUIRE_MAY_ALIAS quire_mapping {
  size_t size;                  ///< sizeof(quire_mapping); in callbacks: of what the library has filled in
  quire_range range;            ///< the part that was asked for, inside one leaf or hole
  uint64_t hfn;                 ///< host frame of range.first
  quire_attributes attributes;  ///< of the leaf, or of the queued map
  uint8_t accessed;             ///< 1 if hardware has set A
  uint8_t dirty;                ///< 1 if hardware has set D
  uint32_t level;               ///< of the leaf; for a queued map, the largest that it may get
  uint8_t present;              ///< 0: a hole, only `range` means something
} quire_mapping;

/// How quire_map_with() treats pages that are mapped already, and which leaves it uses.
enum quire_map_mode {
  QUIRE_MAP_REPLACE,       ///< as quire_map()
  QUIRE_MAP_KEEP_PRESENT,  ///< leaves mapped pages alone: quire_counters::kept_pages
  QUIRE_MAP_EXACT          ///< leaves of exactly `level`; range and frame are aligned to it
};

/// Guards of a space are numbered 1..QUIRE_GUARDS-1.
#define QUIRE_GUARDS 64u

/// Options of one map.
typedef struct quire_map_options {
  size_t size;     ///< sizeof(quire_map_options)
  uint32_t mode;   ///< of quire_map_mode
  uint32_t level;  ///< largest leaf, or the exact one
  uint32_t guard;  ///< 1..63: leaves the map out if the guard has moved on when it is committed; 0 = none
  uint32_t guard_sequence;  ///< what quire_guard_sequence() gave when the map was resolved
} quire_map_options;

/// What quire_harvest_status() does to the leaves it finds; combine with |.
enum quire_harvest {
  QUIRE_HARVEST_ACCESSED = 1,      ///< report and clear A
  QUIRE_HARVEST_DIRTY = 2,         ///< report and clear D
  QUIRE_HARVEST_WRITE_PROTECT = 4  ///< with DIRTY: take write access from the leaves that were dirty
};

/// How quire_apply_to_range() walks; combine with |.
enum quire_walk {
  QUIRE_WALK_NO_LAZY = 1,  ///< open no section for the walk
  QUIRE_WALK_HOLES = 2     ///< visit holes too
};

/// A space's root and size.
typedef struct quire_space_info {
  size_t size;                ///< sizeof(quire_space_info)
  uint64_t root_register;     ///< EPTP, VTTBR_EL2, ASCE or nCR3
  uint64_t control_register;  ///< VTCR_EL2; 0 in other formats
  uint64_t root_table;        ///< physical address, in bytes
  uint64_t input_pages;       ///< guest frame numbers are below this
  uint64_t output_pages;      ///< host frame numbers are below this
  uint64_t tables;            ///< linked in the tree, the root included
  uint64_t peak_table_bytes;  ///< the most that tables of the space ever took
  uint32_t format;            ///< quire_format
  uint32_t levels;            ///< of tables
  uint32_t max_leaf_level;    ///< largest leaf that maps use
  uint32_t leaf_pages;        ///< 4 KiB pages of the smallest leaf
} quire_space_info;

/// Table frames of a machine, over all sizes.
typedef struct quire_table_counts {
  size_t size;         ///< sizeof(quire_table_counts)
  uint64_t in_use;     ///< frames that are tables
  uint64_t allocated;  ///< frames obtained from the platform
} quire_table_counts;

/// What one cpu did in one space. Exact while that cpu is in no call.
typedef struct quire_counters {
  size_t size;                 ///< sizeof(quire_counters)
  uint64_t updates;            ///< accepted calls of map, unmap, protect and harvest
  uint64_t runs;               ///< records committed; updates that continue a record share it
  uint64_t commits;            ///< batches committed, one per immediate update
  uint64_t forced_commits;     ///< of these, because the queue was full or table memory ran short
  uint64_t drained_runs;       ///< of `runs`, those that quire_drain() found in the queue of any cpu
  uint64_t cancelled_updates;  ///< records left out, in part or whole, since their guard had moved on
  uint64_t contentions;        ///< times that a commit waited for a table of another cpu
  uint64_t walks;              ///< descents that a commit started above the lowest table of the one before
  uint64_t entries_written;    ///< stores to table entries, those into tables not yet linked left out
  uint64_t tables_taken;       ///< tables linked
  uint64_t tables_freed;       ///< tables given back to the pool
  uint64_t splits;             ///< large leaves turned into tables
  uint64_t kept_pages;         ///< pages that QUIRE_MAP_KEEP_PRESENT found mapped
  uint64_t flush_requested;    ///< entry changes that left something stale
  uint64_t flush_elided;       ///< flushes that no cpu needed: none ran the space, or all was changed back
  uint64_t flush_full;         ///< plans for the whole space, since there were more ranges than remembered
  uint64_t flush_plans[QUIRE_REASONS];  ///< plans handed to the sink, by reason
} quire_counters;

#ifdef __cplusplus
}
#endif

#endif  // QUIRE_TYPES_H
