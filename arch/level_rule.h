// How entries of one level are read, as plain numbers: for code that takes many at a time.
#pragma once

#include <cstdint>

namespace quire::arch {

// always_inline, here and in what else is compiled for several kinds of CPUs: each object has its own copy.

/// Which entries are meant: those with any bit of `any` (0: whatever they have) whose bits under `mask` are
/// `value`.
struct entry_test {
  std::uint64_t any = 0;
  std::uint64_t mask = 0;
  std::uint64_t value = 0;

  /// Of entries that have all of these bits.
  static constexpr entry_test all_of(std::uint64_t bits) { return {0, bits, bits}; }
  static constexpr entry_test never() { return {0, 0, 1}; }
  [[gnu::always_inline]] constexpr bool operator()(std::uint64_t e) const {
    return (any == 0 || (e & any) != 0) && (e & mask) == value;
  }
};

/// Says the same as kind(), output() and table() of the format, for entries that are plainly one or the
/// other: none passes both tests. One that passes neither and is not the format's empty() is for the format's
/// functions to judge.
struct level_rule {
  entry_test leaf;
  entry_test table;
  std::uint64_t leaf_address =
      0;  ///< bits of a leaf that are address bits where they are, down to the size of the page
  std::uint64_t table_address = 0;
  std::uint64_t high_bits =
      0;  ///< bits of either that are address bits at a higher place: so much to the left
  unsigned high_shift = 0;

  [[gnu::always_inline]] constexpr std::uint64_t address(std::uint64_t e, std::uint64_t bits) const {
    return (e & bits) | (e & high_bits) << high_shift;
  }
};

}  // namespace quire::arch
