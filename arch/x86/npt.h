// Nested paging entries of AMD-V, with their flush. Level 0 = PT, 1 = PD, 2 = PDP, 3 = PML4.
// Bits: [apm2] "Page-Translation-Table Entry Fields", "Nested Paging".
#pragma once

#include "arch/bits.h"
#include "arch/flush.h"

namespace quire::arch {

struct npt {
  using word = std::uint64_t;
  static constexpr const char* name = "x86-npt";
  static constexpr std::endian byte_order = std::endian::little;
  static constexpr unsigned base_shift = 12;
  static constexpr bool breaks = false;
  static constexpr unsigned index_bits(unsigned /*level*/) { return 9; }

  static constexpr word P = bit(0), RW = bit(1), US = bit(2);  // US: accesses of a guest count as user accesses
  static constexpr word PWT = bit(3), PCD = bit(4), A = bit(5), D = bit(6);
  static constexpr word PS = bit(7);  // levels 1 and 2
  static constexpr word NX = bit(63);
  using frame = field<51, 12>;

  /// attributes::type, by PAT entry as reset leaves it: write-back, write-through, UC-, uncacheable.
  enum type : std::uint8_t { wb, wt, uc_minus, uc };

  std::uint32_t asid = 1;  ///< what TLB_CONTROL flushes; 0 is the host's

  constexpr const char* bad_options() const { return asid == 0 ? "ASID 0 is the host's" : nullptr; }
  constexpr unsigned levels() const { return 4; }
  constexpr unsigned input_bits() const { return 48; }
  constexpr unsigned output_bits() const { return 52; }
  constexpr bool leaf_allowed(unsigned level) const { return level <= 2; }  // 4K, 2M, 1G
  constexpr unsigned memory_types() const { return 4; }
  constexpr std::uint16_t option_set() const { return 0; }
  constexpr std::uint16_t level0_options() const { return 0; }
  constexpr std::uint32_t access_set() const { return 1u << 1 | 1u << 3 | 1u << 5 | 1u << 7; }  // readable always

  constexpr word empty(unsigned /*level*/) const { return 0; }
  constexpr entry_kind kind(word e, unsigned level) const {
    if (!(e & P)) return entry_kind::empty;
    return level == 0 || (level <= 2 && (e & PS)) ? entry_kind::leaf : entry_kind::table;
  }
  constexpr word make_leaf(hfn out, attributes a, unsigned level) const {
    return frame::make(out.value) | P | US | (level ? PS : 0) | access_bits(a.access) | (a.type & 1 ? PWT : 0) |
           (a.type & 2 ? PCD : 0);
  }
  constexpr word make_table(table_address t, unsigned /*level*/) const { return (t.byte & frame::mask) | P | RW | US; }
  constexpr hfn output(word e, unsigned level) const { return {frame::get(e) >> (9 * level) << (9 * level)}; }
  constexpr table_address table(word e, unsigned /*level*/) const { return {e & frame::mask}; }
  constexpr level_rule rule(unsigned level) const {
    const word size = level >= 1 && level <= 2 ? PS : 0;
    const entry_test leaf = level <= 2 ? entry_test::all_of(P | size) : entry_test::never();
    const entry_test table = level >= 1 ? entry_test{0, P | size, P} : entry_test::never();
    return {leaf, table, frame::mask >> (9 * level + 12) << (9 * level + 12), frame::mask};
  }
  constexpr attributes attributes_of(word e, unsigned /*level*/) const {
    const perm p = perm::r | (e & RW ? perm::w : perm::none) | (e & NX ? perm::none : perm::x);
    return {p, static_cast<std::uint8_t>((e & PWT ? 1 : 0) | (e & PCD ? 2 : 0)), 0};
  }
  constexpr word with_access(word e, perm p, unsigned /*level*/) const { return (e & ~(RW | NX)) | access_bits(p); }
  constexpr word leaf_piece(word e, unsigned level, unsigned i) const {
    const word out = frame::make(output(e, level).value + (std::uint64_t{i} << (9 * (level - 1))));
    return (e & ~(frame::mask | (level == 1 ? PS : 0))) | out;
  }
  constexpr const char* malformed(word e, unsigned level) const {
    if (!(e & P)) return nullptr;
    if (level == 3 && (e & PS)) return "bit 7 of a PML4 entry is not 0";
    const bool low = kind(e, level) == entry_kind::leaf && level && (frame::get(e) & ((1u << (9 * level)) - 1) & ~1u);
    return low ? "reserved low address bits of a large page are not 0" : nullptr;  // bit 12 is the PAT bit
  }

  constexpr word status_bits() const { return A | D; }
  constexpr bool accessed(word e) const { return e & A; }
  constexpr bool dirty(word e) const { return e & D; }
  constexpr word without_status(word e, bool clear_a, bool clear_d) const {
    return e & ~((clear_a ? A : 0) | (clear_d ? D : 0));
  }
  constexpr word touched(word e, unsigned level, bool write) const {
    return e | A | (write && kind(e, level) == entry_kind::leaf ? D : 0);
  }

  /// [apm2] "TLB Management": what is not present is not cached; less access, another place and cleared A or D need a flush.
  constexpr transition classify(word from, word to, unsigned level) const {
    const auto was = kind(from, level);
    if (was == entry_kind::empty) return transition::store;
    const word lost = from & ~to & (P | RW | US | A | (was == entry_kind::leaf ? D : 0));
    const word moved = (from ^ to) & (frame::mask | PWT | PCD | (level <= 2 ? PS : 0));
    return lost || moved || (to & ~from & NX) ? transition::store_then_flush : transition::store;
  }
  /// nCR3.
  constexpr std::uint64_t root_register(table_address root) const { return root.byte & frame::mask; }

 private:
  static constexpr word access_bits(perm p) { return (includes(p, perm::w) ? RW : 0) | (includes(p, perm::x) ? 0 : NX); }
};

/// flush_command::op. The ASID's translations go at the next VMRUN, by TLB_CONTROL = 3 in the VMCB; nothing flushes by
/// guest-physical address.
enum class npt_flush : std::uint16_t { asid };

constexpr void plan_flush(const npt& f, std::uint64_t /*root*/, const flush_request& /*r*/, command_list& out) {
  out.clear();
  out.add({static_cast<std::uint16_t>(npt_flush::asid), {f.asid}});
}

constexpr text_line describe(const npt& /*f*/, const flush_command& c) {
  text_line line;
  return line << "tlb_control=3 asid=" << c.operand[0];
}

static_assert(flushing_format<npt>);

}  // namespace quire::arch
