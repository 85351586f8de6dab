// What stands behind a lazy_state*: the section of one (cpu, space), its queue, nesting and claims on tables.
#pragma once

#include "runtime/backend.h"

namespace quire::runtime {

/// Opaque: never defined, never dereferenced. The value names a (cpu, space) and a generation, so that one which
/// is stale, foreign, freed or forged is recognised without touching memory it might point to.
struct lazy_state;

/// The value of a lazy_state*. Bit 0 is set, so it is never null.
class state_handle {
 public:
  static constexpr unsigned cpu_bits = 12, space_bits = 12, generation_bits = 39;

  constexpr state_handle(std::uint64_t generation, std::uint32_t space, unsigned cpu)
      : bits_(1 | in_cpu::make(cpu) | in_space::make(space) | in_generation::make(generation)) {}
  explicit state_handle(const lazy_state* s) : bits_(reinterpret_cast<std::uintptr_t>(s)) {}
  constexpr unsigned cpu() const { return static_cast<unsigned>(in_cpu::get(bits_)); }
  constexpr std::uint32_t space() const { return static_cast<std::uint32_t>(in_space::get(bits_)); }
  lazy_state* pointer() const { return reinterpret_cast<lazy_state*>(static_cast<std::uintptr_t>(bits_)); }

 private:
  using in_cpu = arch::field<cpu_bits, 1>;
  using in_space = arch::field<cpu_bits + space_bits, cpu_bits + 1>;
  using in_generation = arch::field<63, cpu_bits + space_bits + 1>;
  static_assert(cpu_bits + space_bits + generation_bits + 1 == 64);
  std::uint64_t bits_;
};

/// A section between two cpus: given away by machine::hand_over(), not yet taken by machine::take_over().
struct section_in_transit {
  lazy_state* name = nullptr;  ///< the state that was given away; null if none was
  std::uint32_t depth = 0;
  std::uint32_t paused = 0;
  gfn_range hint;
};

/// What the newest record of a queue has claimed, by level.
struct newest_claims {
  gfn table[arch::level_limit] = {};  ///< a map: the last table
  bool valid = false;                 ///< `table` is meaningful
  table_need split{};                 ///< other operations: tables for splitting leaves at both ends
};

/// One per (cpu, space), made on first use.
///
///                 queue: append  queue: commit  transit  all else
///   owning cpu          X              L           L         X
///   other cpus          -              L           L         -     (but `count` and `queue.pending()`, to look)
/// L: under `drain_lock`.
struct section {
  unsigned cpu = 0;
  runtime::space* where = nullptr;
  /// Names the (cpu, space) outside sections, as long as the space lives.
  lazy_state* outside = nullptr;
  /// Names the section that is open; null if none is.
  lazy_state* inside = nullptr;
  std::uint64_t generation = 0;  // of the newest handle

  std::uint32_t depth = 0;   ///< nesting of enter()
  std::uint32_t paused = 0;  ///< nesting of pause()
  gfn_range hint;            ///< given to the outermost enter(); pages 0 = none
  std::uint64_t saved = 0;   ///< what platform::open_tables gave on the outermost enter()
  bool wrote = false;        ///< entries were written since the last platform::barrier()
  batch queue;
  table_need reserved{};     ///< claims that the queue holds, by level
  newest_claims newest;
  counters count;
  /// Held by whoever commits what is queued: the owner, or a cpu that drains it. Holders wait for tables and flushes, so
  /// it is never taken in a phase.
  alignas(64) spin_lock drain_lock;
  section_in_transit transit;
  std::atomic<std::uint64_t> drains{0};  ///< odd while another cpu commits what is queued, under `drain_lock`

  bool lazy() const { return depth > 0 && paused == 0; }
};

/// The state that the caller sees now.
inline lazy_state* current(const section& s) { return s.inside ? s.inside : s.outside; }

}  // namespace quire::runtime
