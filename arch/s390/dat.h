// Dynamic-address-translation entries of z/Architecture. Level 0 = page table, 1 = segment table, 2 = region-third,
// 3 = region-second, 4 = region-first table. Bits, counted from the left: [pop] "Dynamic Address Translation".
#pragma once

#include "arch/bits.h"
#include "arch/format.h"

namespace quire::arch {

struct dat {
  using word = std::uint64_t;
  static constexpr const char* name = "s390-dat";
  static constexpr std::endian byte_order = std::endian::big;
  static constexpr unsigned base_shift = 12;
  static constexpr bool breaks = false;
  static constexpr bool by_instruction = true;
  /// Page tables have 256 entries, 2 KiB; the others 2048, 16 KiB.
  static constexpr unsigned index_bits(unsigned level) { return level == 0 ? 8 : 11; }

  // [pop] "Page-Table Entries": PFRA 0-51; bit 52 is 0; 56-63 are free for software.
  static constexpr word PTE_I = zbit(53);
  static constexpr word RESERVED = zbit(52);
  // All entries: DAT protection; instruction-execution protection in leaves.
  static constexpr word P = zbit(54), IEP = zbit(55);
  // [pop] "Segment-Table Entries", "Region-Table Entries".
  static constexpr word FC = zbit(53);  // format control: the entry is a frame of 1 MiB or 2 GiB
  static constexpr word I = zbit(58);
  static constexpr word CS = zbit(59);  // common segment, common region
  using TF = field<7, 6>;               // table offset and length, in quarters; region-table entries
  using TT = field<3, 2>;               // table type: 0 segment, 1 to 3 region-third to -first
  using TL = field<1, 0>;
  static constexpr word software = field<7, 0>::mask;  // level 0

  /// The table that the ASCE designates, as its DT field says.
  enum class top : std::uint8_t { segment, region3, region2, region1 };

  // Options of one space.
  top asce = top::region3;
  std::uint8_t edat = 0;         ///< 1: 1 MiB frames, protection in region entries; 2: 2 GiB frames and CRDTE too
  bool iep = false;              ///< instruction-execution protection (CR0 bit 43)
  bool common_segments = false;  ///< all segments are common: TLB entries are shared between spaces
  bool ipte_ranges = true;       ///< facility 13: IPTE takes a count of additional entries

  constexpr const char* bad_options() const {
    if (asce > top::region1) return "the ASCE designates a segment table or one of three kinds of region tables";
    return edat > 2 ? "there are EDAT-1 and EDAT-2 only" : nullptr;
  }
  constexpr unsigned levels() const { return 2 + static_cast<unsigned>(asce); }
  constexpr unsigned input_bits() const { return 31 + 11 * static_cast<unsigned>(asce); }
  constexpr unsigned output_bits() const { return 64; }
  constexpr bool leaf_allowed(unsigned level) const { return level <= edat && level < levels(); }
  constexpr unsigned memory_types() const { return 1; }
  constexpr std::uint16_t option_set() const { return 0; }
  constexpr std::uint16_t level0_options() const { return 0; }
  /// Mapped pages are readable; without IEP they are executable too.
  constexpr std::uint32_t access_set() const { return 1u << 5 | 1u << 7 | (iep ? 1u << 1 | 1u << 3 : 0); }

  constexpr word empty(unsigned level) const { return level == 0 ? PTE_I : I | TT::make(level - 1); }
  constexpr entry_kind kind(word e, unsigned level) const {
    if (e & invalid_bit(level)) return entry_kind::empty;
    return level == 0 || frame(e, level) ? entry_kind::leaf : entry_kind::table;
  }
  constexpr word make_leaf(hfn out, attributes a, unsigned level) const {
    return out.byte() | access_bits(a.access) | (level ? FC | TT::make(level - 1) | common(level) : 0);
  }
  constexpr word make_table(table_address t, unsigned level) const {
    return t.byte | TT::make(level - 1) | (level >= 2 ? TL::make(3) : common(level));
  }
  constexpr hfn output(word e, unsigned level) const {
    const unsigned shift = level == 0 ? 12 : level == 1 ? 20 : 31;
    return {e >> shift << (shift - page_shift)};
  }
  /// A segment-table entry gives 53 bits of a 2 KiB page table's origin, the others 52 of a 16 KiB table's.
  constexpr table_address table(word e, unsigned level) const { return {e & (level == 1 ? ~word{0x7ff} : ~word{0xfff})}; }
  constexpr level_rule rule(unsigned level) const {
    if (level == 0) return {{0, PTE_I, 0}, entry_test::never(), ~word{0xfff}};
    const word size = leaf_allowed(level) ? FC : 0;
    const entry_test leaf = size ? entry_test{0, I | size, size} : entry_test::never();
    return {leaf, {0, I | size, 0}, level == 1 ? ~word{0} << 20 : ~word{0} << 31, level == 1 ? ~word{0x7ff} : ~word{0xfff}};
  }
  constexpr attributes attributes_of(word e, unsigned level) const {
    const bool leaf = level == 0 || frame(e, level);
    const bool x = !leaf || !iep || !(e & IEP);
    const bool protection = level <= 1 || edat >= 1;  // [pop] "DAT Protection": region entries have P with EDAT
    const bool w = !(protection && (e & P));
    return {perm::r | (w ? perm::w : perm::none) | (x ? perm::x : perm::none), 0, 0};
  }
  constexpr word with_access(word e, perm p, unsigned /*level*/) const { return (e & ~(P | IEP)) | access_bits(p); }
  constexpr word leaf_piece(word e, unsigned level, unsigned i) const {
    const unsigned shift = level == 1 ? 12 : 20;
    const word out = output(e, level).byte() + (word{i} << shift);
    return out | (e & (P | IEP)) | (level == 2 ? FC | (e & CS) : 0);
  }
  /// [pop] "Translation-Specification Exception", and a table of another type than the walk wants.
  constexpr const char* malformed(word e, unsigned level) const {
    if (e & invalid_bit(level)) return nullptr;
    if (level == 0) {
      if (e & RESERVED) return "bit 52 of a page-table entry is not 0";
      return !iep && (e & IEP) ? "bit 55 of a page-table entry is not 0, without IEP" : nullptr;
    }
    if (TT::get(e) != level - 1) return "table type differs from the table's";
    return frame(e, level) && !iep && (e & IEP) ? "bit 55 of a frame is not 0, without IEP" : nullptr;
  }

  /// Reference and change are recorded in the storage key of the host frame, not in entries.
  static constexpr bool storage_keys = true;
  constexpr word status_bits() const { return 0; }
  constexpr bool accessed(word /*e*/) const { return false; }
  constexpr bool dirty(word /*e*/) const { return false; }
  constexpr word without_status(word e, bool /*a*/, bool /*d*/) const { return e; }
  constexpr word touched(word e, unsigned /*level*/, bool /*write*/) const { return e; }

  /// [pop] "Modification of Translation Tables": a valid entry that a CPU may use changes only by an instruction
  /// that clears the TLBs too; bits that no CPU looks at are excepted. CRDTE, of EDAT-2, leaves no invalid moment.
  constexpr transition classify(word from, word to, unsigned level) const {
    if (kind(from, level) == entry_kind::empty) return transition::store;
    if (((from ^ to) & ~(level == 0 ? software : 0)) == 0) return transition::store;
    const bool replaced = edat >= 2 && level >= 1 && kind(to, level) != entry_kind::empty;
    return replaced ? transition::replace_by_instruction : transition::invalidate_by_instruction;
  }
  /// What IPTE or IDTE makes of a valid entry.
  constexpr word invalidated(word e, unsigned level) const { return e | invalid_bit(level); }
  constexpr word restored(word e, unsigned level) const { return e == empty(level) ? e : e & ~invalid_bit(level); }
  constexpr std::uint32_t run_limit(unsigned level) const { return level > 0 || ipte_ranges ? 1u << index_bits(level) : 1; }

  /// ASCE, with the table's full length. [pop] "Address-Space-Control Element".
  constexpr std::uint64_t root_register(table_address root) const { return designation(root, levels() - 1); }
  /// A table of `level` >= 1 as an ASCE and IDTE name it.
  static constexpr std::uint64_t designation(table_address t, unsigned level) {
    return t.byte | TT::make(level - 1) | TL::make(3);
  }

 private:
  static constexpr word invalid_bit(unsigned level) { return level == 0 ? PTE_I : I; }
  constexpr bool frame(word e, unsigned level) const { return (e & FC) && leaf_allowed(level); }
  constexpr word common(unsigned level) const { return common_segments && level <= 2 ? CS : 0; }
  constexpr word access_bits(perm p) const {
    return (includes(p, perm::w) ? 0 : P) | (iep && !includes(p, perm::x) ? IEP : 0);
  }
};

static_assert(instructed_format<dat>);

}  // namespace quire::arch
