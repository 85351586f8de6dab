// Bits and bit fields of 64-bit entry words.
#pragma once

#include <cstdint>

namespace quire::arch {

/// Bit `n`, counted from the least significant one, as the x86 and Arm manuals do.
constexpr std::uint64_t bit(unsigned n) { return std::uint64_t{1} << n; }

/// Bit `n` in the numbering of the z/Architecture manual: 0 is the most significant one.
constexpr std::uint64_t zbit(unsigned n) { return std::uint64_t{1} << (63 - n); }

/// True of powers of two. std::has_single_bit() is a call into the compiler's library on CPUs without POPCNT.
constexpr bool is_single_bit(std::uint64_t n) { return n != 0 && (n & (n - 1)) == 0; }

/// Bits `high` to `low` (both included) of a word.
template <unsigned high, unsigned low>
struct field {
  static_assert(high >= low && high < 64);
  static constexpr std::uint64_t mask = (~std::uint64_t{0} >> (63 - high)) & (~std::uint64_t{0} << low);

  static constexpr std::uint64_t get(std::uint64_t word) { return (word & mask) >> low; }
  /// The word that has `value` in this field and zero elsewhere; bits of `value` that do not fit are dropped.
  static constexpr std::uint64_t make(std::uint64_t value) { return (value << low) & mask; }
};

}  // namespace quire::arch
