// s390 DAT on the command line: settings and the ASCE.
#include <algorithm>
#include <array>

#include <fmt/format.h>

#include "perf/formats.h"

namespace quire::perf {

namespace {

constexpr std::array tops = {"segment", "region3", "region2", "region1"};

std::string set(any_format& format, const std::string& name, const std::string& value) {
  auto& f = std::get<arch::dat>(format);
  if (name == "iep") return set_switch(name, value, f.iep);
  if (name == "asce") {
    const auto at = std::find(tops.begin(), tops.end(), value);
    if (at == tops.end()) return fmt::format("asce={}: asce is segment, region3, region2 or region1", value);
    f.asce = static_cast<arch::dat::top>(at - tops.begin());
    return {};
  }
  if (name != "edat") return no_such_setting(dat_choice(), name);
  if (value != "0" && value != "1" && value != "2") return fmt::format("edat={}: edat is 0, 1 or 2", value);
  f.edat = static_cast<std::uint8_t>(value[0] - '0');
  return {};
}

std::string check(const any_format& /*format*/) { return {}; }

named_texts values(const any_format& format) {
  const auto& f = std::get<arch::dat>(format);
  return {{"asce", tops[static_cast<unsigned>(f.asce)]}, {"edat", std::to_string(f.edat)}, {"iep", switch_text(f.iep)}};
}

named_values registers(const any_format& format, arch::table_address root) {
  return {{"asce", std::get<arch::dat>(format).root_register(root)}};
}

std::string from_registers(any_format& format, const register_reader& read, arch::table_address& root) {
  auto& f = std::get<arch::dat>(format);
  std::uint64_t asce = 0;
  if (std::string wrong = read("asce", asce); !wrong.empty()) return wrong;
  if (asce & arch::zbit(58)) return fmt::format("asce {:#x}: bit 58 is 1: a real space has no tables", asce);
  if (arch::dat::TL::get(asce) != 3) {
    return fmt::format("asce {:#x}: table length is {}; allowed: 3, a whole table", asce, arch::dat::TL::get(asce));
  }
  f.asce = static_cast<arch::dat::top>(arch::dat::TT::get(asce));
  root = {asce & ~std::uint64_t{0xfff}};
  return {};
}

}  // namespace

const format_choice& dat_choice() {
  static const format_choice choice = {arch::dat::name,
                                       "asce=segment|region3|region2|region1, edat=0|1|2, iep=on|off (default: "
                                       "asce=region3 edat=0 iep=off)",
                                       {},
                                       {"PT", "ST", "R3", "R2", "R1"},
                                       "mapped pages are readable, and executable without iep=on",
                                       arch::dat{},
                                       {},
                                       {"edat=2"},
                                       set,
                                       check,
                                       values,
                                       registers,
                                       from_registers};
  return choice;
}

}  // namespace quire::perf
