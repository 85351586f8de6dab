// Sizes and shifts of a space's tables, derived from its format.
#pragma once

#include <array>
#include <cstdint>

#include "arch/format.h"

namespace quire::arch {

/// The shape of one space as plain numbers, for code that is not a template over the format.
struct geometry {
  unsigned levels = 0;
  /// log2 of the 4 KiB pages under one slot of the level.
  std::array<std::uint8_t, level_limit> shift{};
  /// log2 of the entries in use at the level. The root differs from other tables of its level: it is smaller where the
  /// input size ends within it, and larger where it is several tables one after the other.
  std::array<std::uint8_t, level_limit> index_bits{};
  /// Bytes of a table of the level; a power of two, which is also its alignment.
  std::array<std::uint32_t, level_limit> table_bytes{};
  std::array<bool, level_limit> leaf{};
  /// log2 of the leaves that one TLB entry may hold if they are marked as a group; 0 = no groups.
  std::array<std::uint8_t, level_limit> group_bits{};
  std::uint64_t input_pages = 0;   ///< guest frame numbers are below this
  std::uint64_t output_pages = 0;  ///< host frame numbers are below this
  std::uint32_t access_set = 0;
  unsigned memory_types = 0;
  std::uint16_t option_set = 0;
  std::uint16_t level0_options = 0;

  friend constexpr bool operator==(const geometry&, const geometry&) = default;
  constexpr unsigned top() const { return levels - 1; }
  constexpr std::uint64_t slot_pages(unsigned level) const { return std::uint64_t{1} << shift[level]; }
  constexpr std::uint64_t table_pages(unsigned level) const { return std::uint64_t{1} << (shift[level] + index_bits[level]); }
  constexpr std::uint32_t entries(unsigned level) const { return std::uint32_t{1} << index_bits[level]; }
  constexpr std::uint32_t index(gfn g, unsigned level) const {
    return static_cast<std::uint32_t>(g.value >> shift[level]) & (entries(level) - 1);
  }
  /// First page of the slot of `level` that holds `g`.
  constexpr gfn slot_first(gfn g, unsigned level) const { return {g.value >> shift[level] << shift[level]}; }
  /// First page under the table of `level` that holds `g`.
  constexpr gfn table_first(gfn g, unsigned level) const {
    const unsigned s = shift[level] + index_bits[level];
    return {g.value >> s << s};
  }
  /// True if the range lies inside the input size. An empty range does, at any place inside.
  constexpr bool holds(gfn_range r) const { return r.first.value <= input_pages && r.pages <= input_pages - r.first.value; }
};

template <entry_format F>
constexpr geometry geometry_of(const F& f) {
  geometry g;
  g.levels = f.levels();
  unsigned shift = F::base_shift - page_shift;
  for (unsigned level = 0; level < g.levels; ++level) {
    g.shift[level] = static_cast<std::uint8_t>(shift);
    g.index_bits[level] = static_cast<std::uint8_t>(F::index_bits(level));
    g.table_bytes[level] = static_cast<std::uint32_t>(sizeof(typename F::word) << F::index_bits(level));
    g.leaf[level] = f.leaf_allowed(level);
    shift += F::index_bits(level);
  }
  g.input_pages = std::uint64_t{1} << (f.input_bits() - page_shift);
  g.output_pages = std::uint64_t{1} << (f.output_bits() - page_shift);
  const unsigned root_bits = f.input_bits() - page_shift - g.shift[g.top()];
  if (root_bits > g.index_bits[g.top()]) g.table_bytes[g.top()] = static_cast<std::uint32_t>(sizeof(typename F::word) << root_bits);
  g.index_bits[g.top()] = static_cast<std::uint8_t>(root_bits);
  if constexpr (grouping_format<F>) {
    for (unsigned level = 0; level < g.levels; ++level) {
      if (f.group_bits(level) <= g.index_bits[level]) g.group_bits[level] = static_cast<std::uint8_t>(f.group_bits(level));
    }
  }
  g.access_set = f.access_set();
  g.memory_types = f.memory_types();
  g.option_set = f.option_set();
  g.level0_options = f.level0_options();
  return g;
}

}  // namespace quire::arch
