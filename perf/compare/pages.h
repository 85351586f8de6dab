// The pages that an operation works on, in which order.
#pragma once

#include "perf/compare/contestant.h"

namespace quire::perf {

/// How pages lie.
enum class layout : std::uint8_t {
  dense,  ///< one range from first_page on
  kept,   ///< as dense, but the last page of every table stays mapped throughout, so that no table ever goes
  sparse  ///< random ones in sparse_pages from first_page on
};

/// Made for tables of one size: with layout::kept, those with other sizes get other pages.
struct working_set {
  page_list ordered;                    ///< ascending, distinct
  page_maps shuffled;                   ///< the same in random order
  page_list kept;                       ///< pages that stay mapped
  std::vector<arch::gfn_range> pieces;  ///< the pages as ranges, one per table if pages are kept

  std::uint64_t first() const { return ordered.front(); }
  std::uint64_t pages() const { return ordered.size(); }
};

/// The same arguments give the same set.
working_set make_working_set(layout l, std::uint64_t pages, std::uint64_t table_pages);

/// Next number of a sequence that looks random (splitmix64).
inline std::uint64_t next_random(std::uint64_t& state) {
  std::uint64_t z = state += 0x9e3779b97f4a7c15u;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
  z = (z ^ z >> 27) * 0x94d049bb133111ebu;
  return z ^ z >> 31;
}
void shuffle(page_list& pages, std::uint64_t seed);

}  // namespace quire::perf
