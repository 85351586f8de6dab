// Everything that a walk needs to know of a space's format, as plain numbers.
#pragma once

#include "arch/geometry.h"

namespace quire::arch {

struct walk_level {
  level_rule rule;
  std::uint64_t empty = 0;
  std::uint64_t index_mask = 0;
  unsigned shift = 0;  ///< log2 of the 4 KiB pages under one slot
};

struct walk_shape {
  unsigned levels = 0;
  bool swapped = false;  ///< the byte order of the tables is not that of this machine
  walk_level level[level_limit];
};

template <entry_format F>
constexpr walk_shape walk_shape_of(const F& f) {
  const geometry g = geometry_of(f);
  walk_shape s;
  s.levels = g.levels;
  s.swapped = F::byte_order != std::endian::native;
  for (unsigned level = 0; level < g.levels; ++level) {
    s.level[level] = {f.rule(level), f.empty(level), g.entries(level) - 1, g.shift[level]};
  }
  return s;
}

}  // namespace quire::arch
