// EPT entries. Level 0 = PT, 1 = PD, 2 = PDPT, 3 = PML4, 4 = PML5.
// Bits: [sdm3] "EPT Translation Mechanism".
#pragma once

#include "arch/bits.h"
#include "arch/format.h"

namespace quire::arch {

struct ept {
  using word = std::uint64_t;
  static constexpr const char* name = "x86-ept";
  static constexpr std::endian byte_order = std::endian::little;
  static constexpr unsigned base_shift = 12;
  static constexpr bool breaks = false;
  static constexpr unsigned index_bits(unsigned /*level*/) { return 9; }

  static constexpr word R = bit(0), W = bit(1), X = bit(2);  // X: supervisor only where mode_based_execute
  using memtype = field<5, 3>;                               // leaf only
  static constexpr word IPAT = bit(6), LEAF = bit(7);        // LEAF: levels 1 and 2
  static constexpr word A = bit(8), D = bit(9);              // D: leaf only
  static constexpr word XU = bit(10);                        // execute for user-mode linear addresses
  using frame = field<51, 12>;
  static constexpr word VGP = bit(57);  // verify guest paging; leaf only, as are the following
  static constexpr word PW = bit(58);   // paging-write access
  static constexpr word SSS = bit(60);  // supervisor shadow stack
  static constexpr word SPP = bit(61);  // sub-page write permissions; level 0
  static constexpr word SVE = bit(63);  // suppress #VE

  /// attributes::type. The default is write-back.
  enum type : std::uint8_t { wb, wt, wp, wc, uc };
  /// attributes::options.
  enum option : std::uint16_t {
    ignore_pat = 1,
    suppress_ve = 2,
    verify_guest_paging = 4,
    paging_write = 8,
    supervisor_shadow_stack = 16,
    sub_page_write = 32,
  };

  // Options of one space.
  bool five_levels = false;         ///< EPT page-walk length 5
  bool access_dirty = false;        ///< EPTP bit 6: hardware sets A and D
  bool mode_based_execute = false;  ///< VM-execution control "mode-based execute control for EPT"
  bool execute_only = true;         ///< IA32_VMX_EPT_VPID_CAP bit 0: X without R is legal
  bool shadow_stack = false;        ///< EPTP bit 7: enforce access rights of supervisor shadow-stack pages
  bool hyperv = false;              ///< nested under Hyper-V: flush by hypercall, see ept_flush.h

  constexpr const char* bad_options() const { return nullptr; }
  constexpr unsigned levels() const { return five_levels ? 5 : 4; }
  /// MAXPHYADDR is at most 52, so a fifth level adds 4 bits, not 9.
  constexpr unsigned input_bits() const { return five_levels ? 52 : 48; }
  constexpr unsigned output_bits() const { return 52; }
  constexpr bool leaf_allowed(unsigned level) const { return level <= 2; }  // 4K, 2M, 1G
  constexpr unsigned memory_types() const { return 5; }
  constexpr std::uint16_t option_set() const { return 0x3f; }
  constexpr std::uint16_t level0_options() const { return sub_page_write; }
  constexpr std::uint32_t access_set() const {
    std::uint32_t set = 0;
    for (unsigned p = 1; p < perm_values; ++p) {
      if (legal_access(access_bits(static_cast<perm>(p))) && (mode_based_execute || p < 8)) set |= 1u << p;
    }
    return set;
  }

  constexpr word present_bits() const { return R | W | X | (mode_based_execute ? XU : 0); }
  constexpr word empty(unsigned /*level*/) const { return 0; }
  constexpr entry_kind kind(word e, unsigned level) const {
    if (!(e & present_bits())) return entry_kind::empty;  // EPT has no present bit
    return level == 0 || (level <= 2 && (e & LEAF)) ? entry_kind::leaf : entry_kind::table;
  }
  constexpr word make_leaf(hfn out, attributes a, unsigned level) const {
    return frame::make(out.value) | memtype::make(memtype_of(a.type)) | (level ? LEAF : 0) | access_bits(a.access) |
           option_bits(a.options, level);
  }
  /// Rights are the conjunction over the path, so a table entry grants everything.
  constexpr word make_table(table_address t, unsigned /*level*/) const {
    return (t.byte & frame::mask) | present_bits();
  }
  constexpr hfn output(word e, unsigned level) const { return {frame::get(e) >> (9 * level) << (9 * level)}; }
  constexpr table_address table(word e, unsigned /*level*/) const { return {e & frame::mask}; }
  constexpr level_rule rule(unsigned level) const {
    const word present = present_bits(), size = level >= 1 && level <= 2 ? LEAF : 0;
    const entry_test leaf = level <= 2 ? entry_test{present, size, size} : entry_test::never();
    const entry_test table = level >= 1 ? entry_test{present, size, 0} : entry_test::never();
    return {leaf, table, frame::mask >> (9 * level + 12) << (9 * level + 12), frame::mask};
  }
  constexpr attributes attributes_of(word e, unsigned level) const {
    return {access_of(e), type_of(static_cast<unsigned>(memtype::get(e))), options_of(e, level)};
  }
  constexpr word with_access(word e, perm p, unsigned /*level*/) const { return (e & ~(R | W | X | XU)) | access_bits(p); }
  constexpr word leaf_piece(word e, unsigned level, unsigned i) const {
    const word out = frame::make(output(e, level).value + (std::uint64_t{i} << (9 * (level - 1))));
    return (e & ~(frame::mask | (level == 1 ? LEAF : 0))) | out;
  }
  /// [sdm3] "EPT Misconfigurations". Reserved bits 51:MAXPHYADDR depend on the CPU and are not looked at.
  constexpr const char* malformed(word e, unsigned level) const {
    if (!(e & present_bits())) return nullptr;
    if ((e & W) && !(e & R)) return "write without read";
    if (!execute_only && !(e & R)) return "execute without read, on a CPU without execute-only";
    if (kind(e, level) == entry_kind::table) {
      return e & field<7, 3>::mask ? "reserved bits 7:3 of a table entry are not 0" : nullptr;
    }
    const auto t = memtype::get(e);
    if (t == 2 || t == 3 || t == 7) return "reserved memory type";
    if (level && (frame::get(e) & ((1u << (9 * level)) - 1))) return "reserved low address bits of a large page are not 0";
    return nullptr;
  }

  constexpr word status_bits() const { return access_dirty ? A | D : 0; }
  constexpr bool accessed(word e) const { return e & A & status_bits(); }
  constexpr bool dirty(word e) const { return e & D & status_bits(); }
  constexpr word without_status(word e, bool clear_a, bool clear_d) const {
    return e & ~((clear_a ? A & status_bits() : 0) | (clear_d ? D & status_bits() : 0));
  }
  /// [sdm3] "Accessed and Dirty Flags for EPT": A on every entry of the path, D on the leaf of a write.
  constexpr word touched(word e, unsigned level, bool write) const {
    return e | (A & status_bits()) | (write && kind(e, level) == entry_kind::leaf ? D & status_bits() : 0);
  }

  /// [sdm3] "Guidelines for Use of the INVEPT Instruction". The manual is silent on the leaf options of later
  /// CPUs: taking a right away (PW, SSS, SPP cleared, VGP set) flushes here; SVE is not cached.
  constexpr transition classify(word from, word to, unsigned level) const {
    const auto was = kind(from, level);
    if (was == entry_kind::empty || malformed(from, level)) return transition::store;  // never cached
    word lost = present_bits() | (A & status_bits());
    word moved = frame::mask | (level == 1 || level == 2 ? LEAF : 0);
    if (was == entry_kind::leaf) {
      lost |= (D & status_bits()) | PW | SSS | (level == 0 ? SPP : 0);
      moved |= memtype::mask | IPAT;
    }
    const word gone = (from & ~to & lost) | (was == entry_kind::leaf ? to & ~from & VGP : 0);
    return gone | ((from ^ to) & moved) ? transition::store_then_flush : transition::store;
  }

  /// EPTP: [sdm3] "Extended-Page-Table Pointer (EPTP)". Bits 2:0 = 6: the walk reads tables write-back.
  constexpr std::uint64_t root_register(table_address root) const {
    return (root.byte & frame::mask) | 6 | field<5, 3>::make(levels() - 1) | (access_dirty ? bit(6) : 0) |
           (shadow_stack ? bit(7) : 0);
  }
  /// [sdm3] "Accessed and Dirty Flags for EPT": entries cached with A/D off do not carry D, so the first use with
  /// A/D on needs INVEPT.
  static constexpr bool switch_needs_invept(std::uint64_t used_before, std::uint64_t now) {
    return !((used_before ^ now) & frame::mask) && !(used_before & bit(6)) && (now & bit(6));
  }

  constexpr word access_bits(perm p) const {
    return (includes(p, perm::r) ? R : 0) | (includes(p, perm::w) ? W : 0) | (includes(p, perm::x) ? X : 0) |
           (mode_based_execute && includes(p, perm::ux) ? XU : 0);
  }
  constexpr perm access_of(word e) const {
    return (e & R ? perm::r : perm::none) | (e & W ? perm::w : perm::none) | (e & X ? perm::x : perm::none) |
           (mode_based_execute && (e & XU) ? perm::ux : perm::none);
  }
  constexpr bool legal_access(word e) const {
    return (e & R) || (!(e & W) && execute_only && (e & present_bits()));
  }
  /// [sdm3] "EPT and Memory Typing": 0 = UC, 1 = WC, 4 = WT, 5 = WP, 6 = WB.
  static constexpr std::uint64_t memtype_of(unsigned t) {
    constexpr std::uint8_t encoding[] = {6, 4, 5, 1, 0};
    return encoding[t];
  }
  static constexpr std::uint8_t type_of(unsigned encoded) {
    return encoded == 6 ? wb : encoded == 4 ? wt : encoded == 5 ? wp : encoded == 1 ? wc : uc;
  }
  static constexpr word option_bits(std::uint16_t o, unsigned level) {
    return (o & ignore_pat ? IPAT : 0) | (o & suppress_ve ? SVE : 0) | (o & verify_guest_paging ? VGP : 0) |
           (o & paging_write ? PW : 0) | (o & supervisor_shadow_stack ? SSS : 0) |
           (o & sub_page_write && level == 0 ? SPP : 0);
  }
  static constexpr std::uint16_t options_of(word e, unsigned level) {
    return static_cast<std::uint16_t>((e & IPAT ? ignore_pat : 0) | (e & SVE ? suppress_ve : 0) |
                                      (e & VGP ? verify_guest_paging : 0) | (e & PW ? paging_write : 0) |
                                      (e & SSS ? supervisor_shadow_stack : 0) |
                                      (level == 0 && (e & SPP) ? sub_page_write : 0));
  }
};

static_assert(entry_format<ept>);

}  // namespace quire::arch
