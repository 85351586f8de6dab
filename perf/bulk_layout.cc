// Placing of pieces and counting of tables for bulk_layout.h.
#include "perf/bulk_layout.h"

#include <algorithm>
#include <numeric>

namespace quire::perf {

namespace {

using runtime::gfn;

void place_pieces(bulk_layout& l, std::uint64_t pieces) {
  const std::uint64_t stretches = l.pages / bulk_layout::stretch_pages;
  const std::uint64_t slots = bulk_layout::stretch_pages / l.piece_pages;  // of a stretch
  std::uint64_t every = 4;
  while (every > 1 && 2 * pieces > slots * (stretches / every))
    every /= 2;  // half full at most, but for the last resort
  l.mixed_stretches = pieces > 0 ? (stretches + every - 1) / every : 0;
  for (std::uint64_t m = 0; m < l.mixed_stretches; ++m) {
    const std::uint64_t here = pieces * (m + 1) / l.mixed_stretches - pieces * m / l.mixed_stretches;
    for (std::uint64_t i = 0; i < here; ++i) {
      l.pieces.push_back({m * every * bulk_layout::stretch_pages + i * slots / here * l.piece_pages});
    }
  }
}

// Counts leaves and tables in ascending order: a table is new if it is not the one of its level before it.
class counter {
 public:
  counter(const arch::geometry& shape, bulk_layout& to) : s_(shape), to_(to) {
    std::fill_n(last_, arch::level_limit, ~gfn{0}.value);
  }

  void add(runtime::gfn_range r, unsigned cap) {
    for (gfn g = r.first; g < r.end();) {
      unsigned level = cap;
      while (!s_.leaf[level] || s_.slot_first(g, level) != g || s_.slot_pages(level) > r.end() - g) --level;
      ++to_.leaves[level];
      for (unsigned t = level; t <= s_.top(); ++t) {
        const std::uint64_t table = t == s_.top() ? 0 : s_.table_first(g, t).value;
        to_.tables[t] += table != last_[t];
        last_[t] = table;
      }
      g = g + s_.slot_pages(level);
    }
  }

 private:
  const arch::geometry& s_;
  bulk_layout& to_;
  std::uint64_t last_[arch::level_limit];  // first page of the last table
};

}  // namespace

std::uint64_t bulk_layout::all_leaves() const {
  return std::accumulate(std::begin(leaves), std::end(leaves), std::uint64_t{0});
}
std::uint64_t bulk_layout::all_tables() const {
  return std::accumulate(std::begin(tables), std::end(tables), std::uint64_t{0});
}

bulk_layout lay_out_guest(const arch::geometry& shape, std::uint64_t guest_pages, std::uint64_t small_pages) {
  bulk_layout l;
  l.pages = guest_pages;
  l.piece_pages = shape.table_pages(0);
  place_pieces(l, (small_pages + l.piece_pages - 1) / l.piece_pages);
  counter count(shape, l);
  const auto map = [&](gfn from, gfn to, std::uint64_t frame, unsigned largest_leaf) {
    if (from == to) return;
    l.extents.push_back({{from, to - from}, {frame}, {arch::perm::rwx, 0, 0}, largest_leaf});
    count.add(l.extents.back().range, largest_leaf);
  };
  unsigned largest = shape.top();
  while (!shape.leaf[largest] || bulk_layout::offset % shape.slot_pages(largest) != 0) --largest;
  gfn behind{0};
  std::uint64_t above = bulk_layout::offset + guest_pages + l.pieces.size() * l.piece_pages;
  for (const gfn piece : l.pieces) {
    map(behind, piece, behind.value + bulk_layout::offset, largest);
    behind = piece + l.piece_pages;
    map(piece, behind, above -= l.piece_pages, 0);
  }
  map(behind, {guest_pages}, behind.value + bulk_layout::offset, largest);
  for (unsigned level = 0; level <= shape.top(); ++level)
    l.table_bytes += l.tables[level] * shape.table_bytes[level];
  return l;
}

}  // namespace quire::perf
