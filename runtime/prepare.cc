// Counting tables from ranges alone, see prepare.h.
#include "runtime/prepare.h"

namespace quire::runtime {

namespace {

std::uint64_t down(std::uint64_t v, unsigned shift) { return v >> shift << shift; }
bool aligned(std::uint64_t v, unsigned shift) { return down(v, shift) == v; }

// Tables of `level` that hold a piece of `r` too small for a slot of `level` + 1: at the two ends of the range.
std::uint64_t end_tables(const geometry& s, gfn_range r, unsigned level) {
  const unsigned shift = s.shift[level] + s.index_bits[level];
  const std::uint64_t first = r.first.value;
  const std::uint64_t end = r.end().value;
  const bool head = !aligned(first, shift);
  const bool tail = !aligned(end, shift);
  return head && tail && first >> shift == end >> shift ? 1 : std::uint64_t{head} + tail;
}

}  // namespace

unsigned largest_leaf(const geometry& s, gfn_range r, hfn out, unsigned cap) {
  for (unsigned level = cap < s.top() ? cap : s.top(); level > 0; --level) {
    const std::uint64_t slot = s.slot_pages(level);
    if (!s.leaf[level] || ((r.first.value ^ out.value) & (slot - 1))) continue;
    const std::uint64_t begin = down(r.first.value + slot - 1, s.shift[level]);
    if (begin >= r.first.value && begin < r.end().value && r.end().value - begin >= slot) return level;
  }
  return 0;
}

table_need tables_to_map(const geometry& s, gfn_range r, unsigned leaf_level, unsigned below) {
  table_need need{};
  for (unsigned level = 0; level < below; ++level) {
    if (level < leaf_level) {
      need[level] = end_tables(s, r, level);
    } else {
      const unsigned shift = s.shift[level] + s.index_bits[level];
      need[level] = ((r.end().value - 1) >> shift) - (r.first.value >> shift) + 1;
    }
  }
  return need;
}

table_need tables_to_split(const geometry& s, gfn_range r, unsigned below) {
  table_need need{};
  bool leaf_above = false;
  for (unsigned level = below; level-- > 0;) {
    leaf_above = leaf_above || s.leaf[level + 1];
    if (leaf_above) need[level] = end_tables(s, r, level);
  }
  return need;
}

}  // namespace quire::runtime
