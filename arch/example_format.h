// The smallest format whose entries break, hold A and D, and are big-endian: read it before writing your own.
// Level 0 = 4 KiB leaves, 1 = 64 KiB leaves or tables, 2 = tables; 2 MiB of guest memory in all.
#pragma once

#include "arch/bits.h"
#include "arch/flush.h"
#include "arch/format.h"

namespace quire::arch {

struct example_format {
  using word = std::uint64_t;
  static constexpr const char* name = "example";
  static constexpr std::endian byte_order = std::endian::big;
  static constexpr unsigned base_shift = 12;
  static constexpr bool breaks = true;
  static constexpr unsigned index_bits(unsigned level) { return level == 0 ? 4 : level == 1 ? 3 : 2; }

  static constexpr word V = bit(0), LEAF = bit(1), W = bit(2), X = bit(3);
  static constexpr word A = bit(4), D = bit(5), DEVICE = bit(6);
  using frame = field<47, 12>;
  using origin = field<47, 6>;  // tables that entries point to are as small as 64 bytes

  constexpr const char* bad_options() const { return nullptr; }
  constexpr unsigned levels() const { return 3; }
  constexpr unsigned input_bits() const { return 21; }
  constexpr unsigned output_bits() const { return 48; }
  constexpr bool leaf_allowed(unsigned level) const { return level <= 1; }
  constexpr unsigned memory_types() const { return 2; }  // normal, device
  constexpr std::uint16_t option_set() const { return 0; }
  constexpr std::uint16_t level0_options() const { return 0; }
  constexpr std::uint32_t access_set() const {  // readable always
    return 1u << 1 | 1u << 3 | 1u << 5 | 1u << 7;
  }

  constexpr word empty(unsigned /*level*/) const { return 0; }
  constexpr entry_kind kind(word e, unsigned level) const {
    if (!(e & V)) return entry_kind::empty;
    return level == 0 || (e & LEAF) ? entry_kind::leaf : entry_kind::table;
  }
  constexpr word make_leaf(hfn out, attributes a, unsigned /*level*/) const {
    return frame::make(out.value) | V | LEAF | access_bits(a.access) | (a.type ? DEVICE : 0);
  }
  constexpr word make_table(table_address t, unsigned /*level*/) const { return (t.byte & origin::mask) | V; }
  constexpr hfn output(word e, unsigned /*level*/) const { return {frame::get(e)}; }
  constexpr table_address table(word e, unsigned /*level*/) const { return {e & origin::mask}; }
  constexpr level_rule rule(unsigned level) const {
    const entry_test leaf = entry_test::all_of(level == 0 ? V : V | LEAF);
    const entry_test table = level >= 1 ? entry_test{0, V | LEAF, V} : entry_test::never();
    return {leaf, table, frame::mask, origin::mask};
  }
  constexpr attributes attributes_of(word e, unsigned /*level*/) const {
    const perm p = perm::r | (e & W ? perm::w : perm::none) | (e & X ? perm::x : perm::none);
    return {p, static_cast<std::uint8_t>(e & DEVICE ? 1 : 0), 0};
  }
  constexpr word with_access(word e, perm p, unsigned /*level*/) const { return (e & ~(W | X)) | access_bits(p); }
  constexpr word leaf_piece(word e, unsigned /*level*/, unsigned i) const { return e + frame::make(i); }
  constexpr const char* malformed(word e, unsigned level) const {
    return level == 2 && (e & V) && (e & LEAF) ? "a leaf at level 2" : nullptr;
  }

  constexpr word status_bits() const { return A | D; }
  constexpr bool accessed(word e) const { return e & A; }
  constexpr bool dirty(word e) const { return e & D; }
  constexpr word without_status(word e, bool clear_a, bool clear_d) const {
    return e & ~((clear_a ? A : 0) | (clear_d ? D : 0));
  }
  constexpr word touched(word e, unsigned level, bool write) const {
    if (kind(e, level) != entry_kind::leaf) return e;
    return e | A | (write ? D : 0);
  }

  constexpr transition classify(word from, word to, unsigned level) const {
    if (kind(from, level) == entry_kind::empty) return transition::store;
    const word where = (level == 0 ? frame::mask : origin::mask) | DEVICE | LEAF;
    if (kind(to, level) == entry_kind::empty) return transition::store_then_flush;
    if ((from ^ to) & where) return transition::break_before_make;
    return from & ~to & (W | X | A | D) ? transition::store_then_flush : transition::store;
  }
  constexpr std::uint64_t root_register(table_address root) const { return root.byte; }

  static constexpr word park(word e) { return e & ~V; }
  static constexpr word unpark(word e) { return e | V; }
  static constexpr bool parked(word e) { return e && !(e & V); }

 private:
  static constexpr word access_bits(perm p) {
    return (includes(p, perm::w) ? W : 0) | (includes(p, perm::x) ? X : 0);
  }
};

/// flush_command::op.
enum class example_flush : std::uint16_t { range, whole };  // range: operands = first page, pages

constexpr void plan_flush(const example_format& /*f*/, std::uint64_t root, const flush_request& r, command_list& out) {
  out.clear();
  bool fits = !r.whole;
  for (std::size_t i = 0; fits && i < r.ranges.size(); ++i) {
    fits = out.add({static_cast<std::uint16_t>(example_flush::range), {r.ranges[i].first.value, r.ranges[i].pages}});
  }
  if (fits) return;
  out.clear();
  out.add({static_cast<std::uint16_t>(example_flush::whole), {root, 0}});
}

constexpr text_line describe(const example_format& /*f*/, const flush_command& c) {
  text_line line;
  if (c.op == static_cast<std::uint16_t>(example_flush::whole)) return line << "flush root=" << c.operand[0];
  return line << "flush first=" << c.operand[0] << " pages=" << c.operand[1];
}

static_assert(parking_format<example_format> && flushing_format<example_format>);

}  // namespace quire::arch
