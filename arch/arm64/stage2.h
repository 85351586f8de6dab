// Stage-2 descriptors of arm64. Level 0 = the manual's level 3 (pages), 1 = level 2, 2 = level 1, 3 = level 0.
// Bits: [armarm] "VMSAv8-64 translation table format descriptors".
#pragma once

#include "arch/bits.h"
#include "arch/format.h"

namespace quire::arch {

/// Options of one space; the granule is the template parameter of `stage2`.
struct stage2_options {
  unsigned ipa_bits = 40;  ///< input size, 32..48; to 52 with lpa2, or with the 64K granule
  unsigned oa_bits = 48;   ///< output size: 32, 36, 40, 42, 44, 48; 52 with lpa2, or with the 64K granule (FEAT_LPA)
  std::uint16_t vmid = 1;  ///< above 255: VTCR_EL2.VS is set
  bool lpa2 = false;       ///< FEAT_LPA2 (VTCR_EL2.DS), 4K and 16K granules
  bool fwb = false;        ///< FEAT_S2FWB: HCR_EL2.FWB is set, MemAttr decides alone
  bool dbm = false;        ///< FEAT_HAFDBS: hardware sets AF, and dirty state by DBM (VTCR_EL2.HA, HD)
  bool contiguous = false;     ///< set the contiguous hint on aligned groups of leaves that one map covers
  bool xnx = false;            ///< FEAT_XNX: execution is allowed for EL1 (x) and EL0 (ux) apart
  bool tlbi_ranges = true;     ///< FEAT_TLBIRANGE: RIPAS2E1IS exists
};

/// @tparam granule  log2 of the bytes of a page and of a table: 12, 14 or 16
template <unsigned granule>
struct stage2 : stage2_options {
  static_assert(granule == 12 || granule == 14 || granule == 16);
  using word = std::uint64_t;
  static constexpr const char* name = "arm64-s2";
  static constexpr std::endian byte_order = std::endian::little;
  static constexpr unsigned base_shift = granule;
  static constexpr bool breaks = true;
  static constexpr unsigned stride = granule - 3;  // address bits that a level resolves
  static constexpr unsigned index_bits(unsigned /*level*/) { return stride; }
  /// [armarm] "Concatenated translation tables": the root may be up to 16 tables.
  static constexpr unsigned concatenation_bits = 4;

  static constexpr word V = bit(0), T = bit(1);  // T: table, and page at level 0
  using MemAttr = field<5, 2>;
  static constexpr word S2AP_R = bit(6), S2AP_W = bit(7);
  using SH = field<9, 8>;  // with lpa2: output address bits 51:50, and VTCR_EL2.SH0 decides for all
  static constexpr word AF = bit(10), DBM = bit(51), CONTIGUOUS = bit(52);
  using XN = field<54, 53>;
  using software = field<58, 55>;  // ignored by hardware
  /// A page that lost write access while hardware had found it dirty: DBM and S2AP_W cannot say so any more.
  static constexpr word SW_DIRTY = bit(55);

  /// attributes::type: write-back, non-cacheable, Device-nGnRE.
  enum type : std::uint8_t { normal, nc, device };

  constexpr const char* bad_options() const {
    if (lpa2 && granule == 16) {
      return "LPA2 is of granules 4k and 16k; with 64k, ipa_bits and oa_bits go to 52 without it";
    }
    const bool wide = lpa2 || granule == 16;
    if (ipa_bits < 32 || ipa_bits > 52) return "ipa_bits is a number from 32 to 52";
    if (output_size_code(oa_bits) == 7) return "oa_bits is 32, 36, 40, 42, 44, 48 or 52";
    if (!wide && ipa_bits > 48) return "with this granule, ipa_bits is at most 48 unless lpa2=on";
    if (!wide && oa_bits > 48) return "with this granule, oa_bits is at most 48 unless lpa2=on";
    return nullptr;
  }
  /// The fewest that resolve the input, with a root of up to 16 tables.
  constexpr unsigned levels() const {
    const unsigned above = ipa_bits - granule;
    const unsigned n = above <= concatenation_bits ? 1 : (above - concatenation_bits + stride - 1) / stride;
    return n ? n : 1;
  }
  constexpr unsigned input_bits() const { return ipa_bits; }
  constexpr unsigned output_bits() const { return oa_bits; }
  /// Blocks: 4K: 2M, 1G, with lpa2 512G; 16K: 32M, with lpa2 64G; 64K: 512M, with 52-bit output 4T.
  constexpr bool leaf_allowed(unsigned level) const {
    const unsigned plain = granule == 12 ? 2 : 1;
    const bool wide = granule == 16 ? oa_bits > 48 : lpa2;
    return level <= plain + wide && level < levels();
  }
  constexpr unsigned memory_types() const { return 3; }
  constexpr std::uint16_t option_set() const { return 0; }
  constexpr std::uint16_t level0_options() const { return 0; }
  /// Read, write and execute are granted one by one, so write-only and execute-only exist.
  constexpr std::uint32_t access_set() const { return xnx ? 0xfffe : 0xfe; }

  constexpr word empty(unsigned /*level*/) const { return 0; }
  constexpr entry_kind kind(word e, unsigned level) const {
    if (!(e & V)) return entry_kind::empty;
    if (level == 0) return e & T ? entry_kind::leaf : entry_kind::empty;
    if (e & T) return entry_kind::table;
    return leaf_allowed(level) ? entry_kind::leaf : entry_kind::empty;
  }
  constexpr word make_leaf(hfn out, attributes a, unsigned level) const {
    const word fixed = V | (level == 0 ? T : 0) | (lpa2 ? 0 : SH::make(3)) | (dbm ? 0 : AF);
    return fixed | address_bits(out.byte()) | MemAttr::make(memattr_of(a.type)) | access_bits(a.access);
  }
  constexpr word make_table(table_address t, unsigned /*level*/) const { return address_bits(t.byte) | V | T; }
  constexpr hfn output(word e, unsigned level) const {
    const unsigned shift = granule + level * stride;
    return {address_of(e) >> shift << (shift - page_shift)};
  }
  constexpr table_address table(word e, unsigned /*level*/) const { return {address_of(e)}; }
  constexpr level_rule rule(unsigned level) const {
    const word block = level > 0 ? V : V | T;
    const entry_test leaf = leaf_allowed(level) ? entry_test{0, V | T, block} : entry_test::never();
    const entry_test table = level > 0 ? entry_test::all_of(V | T) : entry_test::never();
    const unsigned shift = granule + level * stride;
    const word high = granule == 16 ? field<15, 12>::mask : lpa2 ? field<9, 8>::mask : 0;
    const word low = address_mask() & ~high;
    return {leaf, table, low >> shift << shift, low, high, granule == 16 ? 48u - 12 : 50u - 8};
  }
  constexpr attributes attributes_of(word e, unsigned level) const {
    if (kind(e, level) == entry_kind::table) return {xnx ? static_cast<perm>(15) : perm::rwx, 0, 0};
    return {access_of(e), type_of(MemAttr::get(e)), 0};
  }
  /// What hardware found dirty stays dirty, whatever access there is afterwards.
  constexpr word with_access(word e, perm p, unsigned /*level*/) const {
    word now = (e & ~(S2AP_R | S2AP_W | DBM | XN::mask)) | access_bits(p);
    if (dbm && dirty(e)) now |= includes(p, perm::w) ? S2AP_W : SW_DIRTY;
    return now;
  }
  constexpr word leaf_piece(word e, unsigned level, unsigned i) const {
    const std::uint64_t piece = std::uint64_t{i} << (granule + (level - 1) * stride);
    return (e & ~(address_mask() | CONTIGUOUS)) | address_bits(output(e, level).byte() + piece) | (level == 1 ? T : 0);
  }
  constexpr const char* malformed(word e, unsigned level) const {
    if (!(e & V)) return nullptr;
    if (level == 0 && !(e & T)) return "descriptor type 0b01 at the last level";
    if (level > 0 && !(e & T) && !leaf_allowed(level)) return "a block at a level that has none";
    if (address_of(e) >> oa_bits) return "address beyond the output size";
    if (kind(e, level) == entry_kind::table) return nullptr;
    if (address_of(e) != output(e, level).byte()) return "low address bits of a block are not 0";
    if (fwb && (MemAttr::get(e) & 8)) return "MemAttr[3] is reserved with FWB";
    return nullptr;
  }

  // A and D. Dirty: hardware has set S2AP_W where DBM lets it.
  constexpr word status_bits() const { return dbm ? AF | S2AP_W : 0; }
  constexpr bool accessed(word e) const { return dbm && (e & AF); }
  constexpr bool dirty(word e) const { return dbm && ((e & SW_DIRTY) || ((e & DBM) && (e & S2AP_W))); }
  constexpr word without_status(word e, bool clear_a, bool clear_d) const {
    if (!dbm) return e;
    const word d = SW_DIRTY | (e & DBM ? S2AP_W : 0);
    return e & ~((clear_a ? AF : 0) | (clear_d ? d : 0));
  }
  /// [armarm] "Hardware management of the Access flag", "Hardware management of the dirty state".
  constexpr word touched(word e, unsigned level, bool write) const {
    if (!dbm || kind(e, level) != entry_kind::leaf) return e;
    return e | AF | (write && (e & DBM) ? S2AP_W : 0);
  }

  // Groups of leaves with the contiguous hint. [armarm] "The Contiguous bit".
  static constexpr bool groups = true;
  /// log2 of the entries of a group; 0 = the space has none.
  constexpr unsigned group_bits(unsigned level) const {
    if (!contiguous || !leaf_allowed(level)) return 0;
    if (granule == 12) return level <= 2 ? 4 : 0;
    if (granule == 14) return level == 0 ? 7 : level == 1 ? 5 : 0;
    return level <= 1 ? 5 : 0;
  }
  static constexpr bool grouped(word e) { return e & CONTIGUOUS; }
  constexpr word with_status_of(word e, word other) const {
    return e | (accessed(other) ? AF : 0) | (!dirty(other) ? 0 : e & DBM ? S2AP_W : SW_DIRTY);
  }
  static constexpr word with_group(word e, bool on) { return on ? e | CONTIGUOUS : e & ~CONTIGUOUS; }

  /// [armarm] "Using break-before-make when updating translation table entries".
  constexpr transition classify(word from, word to, unsigned level) const {
    const auto was = kind(from, level);
    if (was == entry_kind::empty) return transition::store;  // never cached
    if (kind(to, level) == entry_kind::empty) return transition::store_then_flush;
    const word where = address_mask() | T;
    if (was == entry_kind::table) return (from ^ to) & where ? transition::break_before_make : transition::store;
    const word what = where | MemAttr::mask | SH::mask | CONTIGUOUS;
    if ((from ^ to) & what) return transition::break_before_make;
    // A clean writable page keeps DBM alone; S2AP_W that goes is dirty state that a CPU may have cached.
    const word lost = from & ~to & (S2AP_R | S2AP_W | (dbm ? AF | DBM : 0));
    return lost || !includes(execute_of(to), execute_of(from)) ? transition::store_then_flush : transition::store;
  }

  static constexpr word park(word e) { return e & ~V; }
  static constexpr word unpark(word e) { return e | V; }
  static constexpr bool parked(word e) { return e && !(e & V); }

  /// VTTBR_EL2. [armarm] "VTTBR_EL2, Virtualization Translation Table Base Register".
  constexpr std::uint64_t root_register(table_address root) const {
    const std::uint64_t low = root.byte & field<47, 1>::mask;
    const std::uint64_t high = oa_bits > 48 ? field<5, 2>::make(root.byte >> 48) : 0;
    return std::uint64_t{vmid} << 48 | low | high;
  }
  /// VTCR_EL2, walks inner-shareable and write-back. [armarm] "VTCR_EL2, Virtualization Translation Control Register".
  constexpr std::uint64_t control_register() const {
    const std::uint64_t TG0 = granule == 12 ? 0 : granule == 14 ? 2 : 1;
    return bit(31) | field<5, 0>::make(64 - ipa_bits) | field<7, 6>::make(start_level_code(levels())) |
           field<9, 8>::make(1) | field<11, 10>::make(1) | field<13, 12>::make(3) | field<15, 14>::make(TG0) |
           field<18, 16>::make(output_size_code(oa_bits)) | (vmid > 255 ? bit(19) : 0) | (dbm ? bit(21) | bit(22) : 0) |
           (lpa2 ? bit(32) : 0);
  }
  /// VTCR_EL2.SL0 for a walk of so many levels; the encoding depends on the granule.
  static constexpr std::uint64_t start_level_code(unsigned levels) {
    if constexpr (granule != 12) return levels - 1;
    return levels == 1 ? 3 : levels - 2;
  }
  /// VTCR_EL2.PS; 7 for a size that there is no code for.
  static constexpr std::uint64_t output_size_code(unsigned bits) {
    constexpr std::uint8_t sizes[] = {32, 36, 40, 42, 44, 48, 52};
    std::uint64_t code = 0;
    while (code < sizeof sizes && sizes[code] != bits) ++code;
    return code;
  }

  constexpr word address_mask() const {
    if constexpr (granule == 16) return field<47, 16>::mask | field<15, 12>::mask;
    return lpa2 ? field<49, granule>::mask | field<9, 8>::mask : field<47, granule>::mask;
  }
  constexpr word address_bits(std::uint64_t byte) const {
    if constexpr (granule == 16) return (byte & field<47, 16>::mask) | field<15, 12>::make(byte >> 48);
    if (!lpa2) return byte & field<47, granule>::mask;
    return (byte & field<49, granule>::mask) | field<9, 8>::make(byte >> 50);
  }
  constexpr std::uint64_t address_of(word e) const {
    if constexpr (granule == 16) return (e & field<47, 16>::mask) | field<15, 12>::get(e) << 48;
    if (!lpa2) return e & field<47, granule>::mask;
    return (e & field<49, granule>::mask) | field<9, 8>::get(e) << 50;
  }

 private:
  /// [armarm] "Stage 2 memory region type and Cacheability attributes"; with FWB another table there.
  constexpr word memattr_of(unsigned t) const { return t == nc ? 5 : t == device ? 1 : fwb ? 6 : 15; }
  constexpr std::uint8_t type_of(word memattr) const {
    if (fwb) return (memattr & 4) == 0 ? device : (memattr & 7) == 5 ? nc : normal;
    return (memattr & 12) == 0 ? device : memattr == 5 ? nc : normal;
  }
  /// [armarm] "Stage 2 data access permissions", "Stage 2 execute permissions".
  constexpr word access_bits(perm p) const {
    const bool x = includes(p, perm::x);
    const bool ux = xnx ? includes(p, perm::ux) : x;
    const word xn = x && ux ? 0 : ux ? 1 : x ? 3 : 2;
    const word w = !includes(p, perm::w) ? 0 : dbm ? DBM : S2AP_W;
    return (includes(p, perm::r) ? S2AP_R : 0) | w | XN::make(xn);
  }
  constexpr perm execute_of(word e) const {
    const word xn = XN::get(e);
    if (!xnx) return xn & 2 ? perm::none : perm::x;
    return (xn == 0 || xn == 3 ? perm::x : perm::none) | (xn <= 1 ? perm::ux : perm::none);
  }
  constexpr perm access_of(word e) const {
    const bool w = (e & S2AP_W) || (dbm && (e & DBM));
    return (e & S2AP_R ? perm::r : perm::none) | (w ? perm::w : perm::none) | execute_of(e);
  }
};

using stage2_4k = stage2<12>;
using stage2_16k = stage2<14>;
using stage2_64k = stage2<16>;

static_assert(parking_format<stage2_4k> && parking_format<stage2_16k> && parking_format<stage2_64k>);

}  // namespace quire::arch
