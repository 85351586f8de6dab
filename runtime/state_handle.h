// What the value of a lazy_state* says.
#pragma once

#include <cstdint>

#include "arch/bits.h"

namespace quire::runtime {

/// Opaque: never defined, never dereferenced. The value names a (cpu, space) and a generation, so that one which
/// is stale, foreign, freed or forged is recognised without touching memory it might point to.
struct lazy_state;

/// The value of a lazy_state*. Bit 0 is set, so it is never null.
class state_handle {
 public:
  static constexpr unsigned cpu_bits = 12, space_bits = 8, generation_bits = 43;
  /// The cpu lies there, so that under a mask the value is an offset in an array of things of 2^cpu_shift bytes.
  static constexpr unsigned cpu_shift = 6;

  constexpr state_handle(std::uint64_t generation, std::uint32_t space, unsigned cpu)
      : bits_(1 | in_space_low::make(space & low_mask) | in_cpu::make(cpu) | in_space_high::make(space >> space_low_bits) |
              in_generation::make(generation)) {}
  explicit state_handle(const lazy_state* s) : bits_(reinterpret_cast<std::uintptr_t>(s)) {}
  constexpr unsigned cpu() const { return static_cast<unsigned>(in_cpu::get(bits_)); }
  constexpr std::uint32_t space() const {
    return static_cast<std::uint32_t>(in_space_low::get(bits_) | in_space_high::get(bits_) << space_low_bits);
  }
  constexpr std::uint64_t bits() const { return bits_; }
  lazy_state* pointer() const { return reinterpret_cast<lazy_state*>(static_cast<std::uintptr_t>(bits_)); }

 private:
  static constexpr unsigned space_low_bits = cpu_shift - 1, low_mask = (1u << space_low_bits) - 1;
  static constexpr unsigned above_cpu = cpu_shift + cpu_bits, above_space = above_cpu + space_bits - space_low_bits;
  using in_space_low = arch::field<cpu_shift - 1, 1>;
  using in_cpu = arch::field<above_cpu - 1, cpu_shift>;
  using in_space_high = arch::field<above_space - 1, above_cpu>;
  using in_generation = arch::field<63, above_space>;
  static_assert(above_space + generation_bits == 64);
  std::uint64_t bits_;
};

}  // namespace quire::runtime
