// Backends of the formats that only tests use, the list of cases, and what flush commands cover.
#include "tests/support/formats.h"

#include "arch/geometry.h"
#include "runtime/backend_of.h"

namespace quire::runtime {

template const backend& backend_for<tests::ept5_ad>();
template const backend& backend_for<tests::stage2_dbm>();
template const backend& backend_for<tests::dat_iep>();
template const backend& backend_for<tests::example>();
template const backend& backend_for<arch::example_format>();

}  // namespace quire::runtime

namespace quire::tests {

using arch::gfn;
using arch::gfn_range;

namespace {

template <class F>
any_format stage2(unsigned ipa_bits, unsigned oa_bits, bool lpa2, bool contiguous) {
  F f;
  f.ipa_bits = ipa_bits;
  f.oa_bits = oa_bits;
  f.lpa2 = lpa2;
  f.contiguous = contiguous;
  f.dbm = (ipa_bits + contiguous) % 8 != 0;  // both, over the list
  f.fwb = contiguous;
  f.vmid = contiguous ? 0x1234 : 7;
  return f;
}

std::vector<format_case> all_cases() {
  std::vector<format_case> all = {{"ept", arch::ept{}}, {"npt", arch::npt{}}, {"example", arch::example_format{}}};
  arch::ept five;
  five.five_levels = five.access_dirty = true;
  all.push_back({"ept levels=5 ad=on", five});
  for (const bool contiguous : {false, true}) {
    const std::string tail = contiguous ? " contiguous=on" : "";
    all.push_back({"stage 2 4k 32" + tail, stage2<arch::stage2_4k>(32, 48, false, contiguous)});
    all.push_back({"stage 2 4k 40" + tail, stage2<arch::stage2_4k>(40, 48, false, contiguous)});
    all.push_back({"stage 2 4k 48" + tail, stage2<arch::stage2_4k>(48, 48, false, contiguous)});
    all.push_back({"stage 2 4k 52 lpa2" + tail, stage2<arch::stage2_4k>(52, 52, true, contiguous)});
    all.push_back({"stage 2 16k 40" + tail, stage2<arch::stage2_16k>(40, 48, false, contiguous)});
    all.push_back({"stage 2 16k 48" + tail, stage2<arch::stage2_16k>(48, 48, false, contiguous)});
    all.push_back({"stage 2 16k 52 lpa2" + tail, stage2<arch::stage2_16k>(52, 52, true, contiguous)});
    all.push_back({"stage 2 64k 33" + tail, stage2<arch::stage2_64k>(33, 48, false, contiguous)});
    all.push_back({"stage 2 64k 48" + tail, stage2<arch::stage2_64k>(48, 48, false, contiguous)});
    all.push_back({"stage 2 64k 52" + tail, stage2<arch::stage2_64k>(52, 52, false, contiguous)});
  }
  constexpr const char* asce[] = {"segment", "region3", "region2", "region1"};
  for (unsigned top = 0; top < 4; ++top) {
    for (unsigned edat = 0; edat < 3; ++edat) {
      arch::dat f;
      f.asce = static_cast<arch::dat::top>(top);
      f.edat = static_cast<std::uint8_t>(edat);
      f.iep = (top + edat) % 2;
      f.ipte_ranges = top != 2;
      all.push_back({"dat " + std::string(asce[top]) + " edat=" + std::to_string(edat), f});
    }
  }
  return all;
}

bool command_covers(const arch::ept& /*f*/, const arch::flush_command& /*c*/, gfn /*g*/) { return true; }
bool command_covers(const arch::npt& /*f*/, const arch::flush_command& /*c*/, gfn /*g*/) { return true; }
bool command_covers(const arch::example_format& /*f*/, const arch::flush_command& c, gfn g) {
  return c.op == static_cast<std::uint16_t>(arch::example_flush::whole) || gfn_range{{c.operand[0]}, c.operand[1]}.contains(g);
}

template <unsigned granule>
bool command_covers(const arch::stage2<granule>& f, const arch::flush_command& c, gfn g) {
  constexpr unsigned shift = granule - arch::page_shift;
  using range = arch::ipa_range_operand;
  switch (static_cast<arch::stage2_flush>(c.op)) {
    case arch::stage2_flush::vmalls12e1is: return true;
    case arch::stage2_flush::ipas2e1is: return gfn_range{{arch::ipa_operand::IPA::get(c.operand[0])}, 1u << shift}.contains(g);
    case arch::stage2_flush::ripas2e1is: {
      const unsigned base = range::base_shift(granule, f.lpa2) - arch::page_shift;
      return gfn_range{{range::BaseADDR::get(c.operand[0]) << base}, range::granules(c.operand[0]) << shift}.contains(g);
    }
    default: return false;
  }
}

bool command_covers(const arch::dat& f, const arch::flush_command& c, gfn g) {
  const auto slots = [&](unsigned level, std::uint64_t address, std::uint64_t n) {
    const auto s = arch::geometry_of(f);
    return gfn_range{s.slot_first({address >> arch::page_shift}, level), n << s.shift[level]}.contains(g);
  };
  const auto level_of = [](std::uint64_t table) { return static_cast<unsigned>(arch::dat::TT::get(table)) + 1; };
  switch (static_cast<arch::dat_flush>(c.op & ~1u)) {
    case arch::dat_flush::ipte: return slots(0, c.operand[1], c.operand[2] + 1);
    case arch::dat_flush::idte: return slots(level_of(c.operand[0]), c.operand[1], c.operand[2] + 1);
    case arch::dat_flush::crdte: return slots(level_of(c.operand[2]), c.operand[3], 1);
    default: return true;
  }
}

}  // namespace

const std::vector<format_case>& format_cases() {
  static const std::vector<format_case> all = all_cases();
  return all;
}

bool breaks_first(const any_format& format) {
  if (const auto* dat = std::get_if<arch::dat>(&format)) return dat->edat < 2;  // else CRDTE replaces
  return std::visit([]<class F>(const F&) { return F::breaks; }, format);
}

bool covers(const any_format& format, const runtime::flush_plan& plan, gfn g) {
  const auto any = [&](const auto& f) {
    for (const auto& c : plan.commands) {
      if (command_covers(f, c, g)) return true;
    }
    return false;
  };
  return std::visit(any, format);
}

}  // namespace quire::tests
