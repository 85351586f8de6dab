// What the runtime needs from whoever embeds it: memory, a flush sink, optional hooks.
#pragma once

#include <cstddef>
#include <cstdint>

#include "arch/flush.h"

namespace quire::runtime {

/// Why a flush happens.
enum class flush_reason : std::uint8_t {
  immediate,   ///< an update outside any section
  leave,       ///< a leave() that ends or leaves one nesting of a section
  flush,       ///< flush()
  pause,       ///< pause()
  full_queue,  ///< the batch queue was full
  no_tables,   ///< table memory ran short: commits what is queued, to know exactly what is missing
  overflow,    ///< one commit took out more tables, reported more runs or parked more entries than it can remember
  destroy,     ///< the space goes away
  drain,       ///< a cpu commits what another, or itself, has queued
  hand_over,   ///< a section leaves its cpu
  contention,  ///< the next table is another cpu's: what was done so far is completed before waiting for it
};
inline constexpr unsigned flush_reasons = 11;

/// One flush of one space. All fields are valid during the call of platform::flush only.
struct flush_plan {
  std::uint32_t space = 0;                        ///< space::id()
  std::uint64_t root_register = 0;                ///< EPTP, VTTBR or ASCE
  std::span<const arch::flush_command> commands;  ///< in order, at least 1; for each CPU that may hold translations
  bool whole = false;                             ///< asked for the whole space, whatever the ranges were
  flush_reason reason = flush_reason::immediate;
};

/// Functions get `context` first. Null is allowed where it says so. None of them may call the runtime back; `relax` may do
/// anything else that does not wait for the caller.
struct platform {
  void* context = nullptr;

  /// Memory for the runtime's own records; null when there is none. Never called by leave, flush or pause.
  void* (*allocate)(void* context, std::size_t bytes, std::size_t align) = nullptr;
  void (*release)(void* context, void* memory, std::size_t bytes) = nullptr;

  /// Table memory: returns true and the physical address of `bytes` (a multiple of `align`, a power of two).
  /// It is never given back before the machine stops. Not called by leave, flush or pause, with one exception: if another
  /// cpu took out a table that the commit had just made, and no frame is free in the pool for making it again.
  bool (*allocate_tables)(void* context, std::size_t bytes, std::size_t align, std::uint64_t* physical) = nullptr;
  /// True if allocate_tables() gives memory whose bytes are all 0: then tables that stay nearly empty need no filling.
  bool tables_zeroed = false;
  /// Table memory at physical address p is accessed at virtual address p + table_offset (modulo 2^64). A number,
  /// not a function, since it is needed once per level of every walk.
  std::uint64_t table_offset = 0;

  /// The flush sink: when it returns, no CPU can use a translation that the plan covers. `cpu` is the one that
  /// commits. Table writes made before are visible to every CPU before it invalidates.
  void (*flush)(void* context, unsigned cpu, const flush_plan& plan) = nullptr;
  /// In formats whose valid entries change by instruction (s390: IPTE, IDTE, CRDTE): true if the sink executes the
  /// commands on the tables themselves. If not, the runtime stores what they would, before it calls the sink; entries that
  /// are to be empty afterwards may be so already.
  bool sink_writes_entries = false;

  /// Null, or makes table memory writable on `cpu` and returns what close_tables() is to put back, for example
  /// the protection-key register. Called on the outermost enter, on the resume that restores a section, and around
  /// immediate updates; not by create_space() and destroy_space(), which want table memory writable.
  std::uint64_t (*open_tables)(void* context, unsigned cpu) = nullptr;
  /// Null, or puts `saved` back. Called before `barrier`.
  void (*close_tables)(void* context, unsigned cpu, std::uint64_t saved) = nullptr;
  /// Null, or the barriers that table writes of `cpu` still need, so that every CPU's walks see them; called after the
  /// writes of a section, before flush(), pause() and the leave() of a nested section return, and when a space was made.
  /// arm64: DSB ISHST. Entries that become valid where none was are not in any flush plan.
  void (*barrier)(void* context, unsigned cpu) = nullptr;
  /// Null, or what to do while spinning on another cpu.
  void (*relax)(void* context) = nullptr;
  /// Null, or the index of the cpu that the caller runs on; then a state of another cpu is refused.
  unsigned (*current_cpu)(void* context) = nullptr;
};

}  // namespace quire::runtime
