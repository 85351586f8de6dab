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

/// One per (cpu, space), made on first use; all functions are for the owning cpu alone.
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
  /// Table of each level that the newest update has claimed; meaningful if `claimed_valid`.
  gfn claimed_table[arch::level_limit] = {};
  bool claimed_valid = false;
  counters count;

  bool lazy() const { return depth > 0 && paused == 0; }
};

/// The state that the caller sees now.
inline lazy_state* current(const section& s) { return s.inside ? s.inside : s.outside; }

}  // namespace quire::runtime
