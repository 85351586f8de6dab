// How stage-2 translations of one VMID are flushed: TLBI by IPA or for all of the VMID, with their barriers.
#pragma once

#include "arch/arm64/stage2.h"
#include "arch/flush.h"

namespace quire::arch {

/// flush_command::op. TLBI acts on the VMID in VTTBR_EL2, so a sink switches to the space's root register first.
/// operand[0] is the register that a TLBI by IPA takes.
enum class stage2_flush : std::uint16_t { dsb_ishst, dsb_ish, isb, ipas2e1is, ripas2e1is, vmalle1is, vmalls12e1is };

/// Operand of TLBI IPAS2E1IS. [armarm] "TLBI IPAS2E1IS": the IPA in units of 4 KiB for every granule.
struct ipa_operand {
  using TTL = field<47, 44>;
  using IPA = field<39, 0>;
  /// @param leaf_level  of the only leaves to drop, level 0 being pages; `any_level` if others too, or tables
  static constexpr std::uint64_t make(gfn g, unsigned granule, unsigned leaf_level) {
    return IPA::make(g.value) | TTL::make(ttl(granule, leaf_level));
  }
  static constexpr unsigned any_level = 4;
  /// TTL[3:2] is the granule, TTL[1:0] the manual's level, 3 being pages. Level 0 has no hint without LPA2, and 0
  /// in all four bits is "any level": so blocks of level 0 are flushed without a hint.
  static constexpr std::uint64_t ttl(unsigned granule, unsigned leaf_level) {
    return leaf_level >= 3 ? 0 : TG(granule) << 2 | (3 - leaf_level);
  }
  static constexpr std::uint64_t TG(unsigned granule) { return granule == 12 ? 1 : granule == 14 ? 2 : 3; }
};

/// Operand of TLBI RIPAS2E1IS. [armarm] "TLBI RIPAS2E1IS": covers (NUM + 1) << (5 * SCALE + 1) granules.
struct ipa_range_operand {
  using TG = field<47, 46>;
  using SCALE = field<45, 44>;
  using NUM = field<43, 39>;
  using TTL = field<38, 37>;
  using BaseADDR = field<36, 0>;
  static constexpr std::uint64_t max_granules = std::uint64_t{32} << 16;

  static constexpr std::uint64_t granules(std::uint64_t operand) {
    return (NUM::get(operand) + 1) << (5 * SCALE::get(operand) + 1);
  }
  /// With LPA2 the base counts 64 KiB, else granules.
  static constexpr unsigned base_shift(unsigned granule, bool lpa2) { return lpa2 ? 16 : granule; }
  static constexpr std::uint64_t make(std::uint64_t base, unsigned granule, bool lpa2, unsigned scale, std::uint64_t num,
                                      unsigned leaf_level) {
    const std::uint64_t ttl = leaf_level >= 3 ? 0 : 3 - leaf_level;
    return TG::make(ipa_operand::TG(granule)) | SCALE::make(scale) | NUM::make(num) | TTL::make(ttl) |
           BaseADDR::make(base >> base_shift(granule, lpa2));
  }
};

/// Turns ranges into TLBI commands by IPA: at most 5 for up to 2^21 granules, where range operands exist.
///
/// A range operand covers an even number of granules, so one odd granule gets the single form. With LPA2 its base is
/// a multiple of 64 KiB: the granules before that get the single form too, as long as 5 commands do; else the range
/// grows down to the multiple.
class ipa_commands {
 public:
  static constexpr std::uint64_t most = 5;

  constexpr ipa_commands(unsigned granule, bool lpa2, bool ranges, unsigned leaf_level, command_list& out)
      : granule_(granule), lpa2_(lpa2), ranges_(ranges), leaf_level_(leaf_level), out_(out) {}

  /// Adds commands for `r`, whose ends are multiples of the granule. False if the list would grow beyond `limit`.
  constexpr bool add(gfn_range r, std::size_t limit) {
    limit_ = limit;
    std::uint64_t at = r.first.byte();
    std::uint64_t left = r.pages >> (granule_ - page_shift);
    if (!ranges_) return singles(at, left, left);
    const std::uint64_t unit = std::uint64_t{1} << ipa_range_operand::base_shift(granule_, lpa2_);
    if (const std::uint64_t below = (at & (unit - 1)) >> granule_) {
      const std::uint64_t above = (unit >> granule_) - below;
      if (left <= most) return singles(at, left, left);
      if (left >= above && above + commands(left - above) <= most) {
        if (!singles(at, left, above)) return false;
      } else {
        at -= below << granule_;
        left += below;
      }
    }
    return cover(at, left);
  }
  /// Commands that so many granules take from an aligned base.
  static constexpr std::uint64_t commands(std::uint64_t granules) {
    std::uint64_t n = granules / ipa_range_operand::max_granules;
    granules %= ipa_range_operand::max_granules;
    for (unsigned scale = 0; scale < 4; ++scale) n += (granules >> (5 * scale + 1) & 31) != 0;
    return n + (granules & 1);
  }

 private:
  constexpr bool cover(std::uint64_t& at, std::uint64_t left) {
    while (left >= ipa_range_operand::max_granules) {
      if (!range(at, left, 3, 31)) return false;
    }
    for (unsigned scale = 4; scale-- > 0;) {
      const std::uint64_t units = left >> (5 * scale + 1);
      if (units && !range(at, left, scale, units - 1)) return false;
    }
    return left == 0 || single(at);
  }
  constexpr bool singles(std::uint64_t& at, std::uint64_t& left, std::uint64_t n) {
    for (; n; --n, --left) {
      if (!single(at)) return false;
    }
    return true;
  }
  constexpr bool single(std::uint64_t& at) {
    const bool fits = add({op(stage2_flush::ipas2e1is), {ipa_operand::make({at >> page_shift}, granule_, leaf_level_)}});
    at += std::uint64_t{1} << granule_;
    return fits;
  }
  constexpr bool range(std::uint64_t& at, std::uint64_t& left, unsigned scale, std::uint64_t num) {
    const std::uint64_t operand = ipa_range_operand::make(at, granule_, lpa2_, scale, num, leaf_level_);
    at += ipa_range_operand::granules(operand) << granule_;
    left -= ipa_range_operand::granules(operand);
    return add({op(stage2_flush::ripas2e1is), {operand}});
  }
  constexpr bool add(flush_command c) { return out_.all().size() < limit_ && out_.add(c); }
  static constexpr std::uint16_t op(stage2_flush o) { return static_cast<std::uint16_t>(o); }

  const unsigned granule_;
  const bool lpa2_;
  const bool ranges_;
  const unsigned leaf_level_;
  command_list& out_;
  std::size_t limit_ = command_list::capacity;
};

/// Commands by IPA that cost more than dropping all of the VMID. Each is a broadcast; Linux gives up above 512 pages.
inline constexpr std::size_t max_ipa_commands = 64;

/// [armarm] "TLB maintenance instructions": stage-1 walks may have cached combined entries, so that a flush by IPA
/// is followed by one of all stage-1 entries. The barrier between them keeps a walk elsewhere from refilling a combined
/// entry from the old stage 2.
template <unsigned granule>
constexpr void plan_flush(const stage2<granule>& f, std::uint64_t /*root*/, const flush_request& r, command_list& out) {
  const auto add = [&out](stage2_flush o) { out.add({static_cast<std::uint16_t>(o), {}}); };
  unsigned level = ipa_operand::any_level;
  for (unsigned l = 0; l < 3; ++l) {
    if (!r.tables_removed && r.levels == 1u << l) level = l;
  }
  out.clear();
  add(stage2_flush::dsb_ishst);
  bool fits = !r.whole;
  ipa_commands by_ipa(granule, f.lpa2, f.tlbi_ranges, level, out);
  for (std::size_t i = 0; fits && i < r.ranges.size(); ++i) fits = by_ipa.add(r.ranges[i], 1 + max_ipa_commands);
  if (!fits) {
    out.clear();
    add(stage2_flush::dsb_ishst);
    add(stage2_flush::vmalls12e1is);
  } else {
    add(stage2_flush::dsb_ish);
    add(stage2_flush::vmalle1is);
  }
  add(stage2_flush::dsb_ish);
  add(stage2_flush::isb);
}

template <unsigned granule>
constexpr text_line describe(const stage2<granule>& /*f*/, const flush_command& c) {
  text_line line;
  switch (static_cast<stage2_flush>(c.op)) {
    case stage2_flush::dsb_ishst: return line << "dsb ishst";
    case stage2_flush::dsb_ish: return line << "dsb ish";
    case stage2_flush::isb: return line << "isb";
    case stage2_flush::ipas2e1is: return line << "tlbi ipas2e1is " << c.operand[0];
    case stage2_flush::ripas2e1is: return line << "tlbi ripas2e1is " << c.operand[0];
    case stage2_flush::vmalle1is: return line << "tlbi vmalle1is";
    case stage2_flush::vmalls12e1is: return line << "tlbi vmalls12e1is";
  }
  return line << "unknown command " << c.op;
}

static_assert(flushing_format<stage2_4k> && flushing_format<stage2_16k> && flushing_format<stage2_64k>);

}  // namespace quire::arch
