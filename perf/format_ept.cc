// EPT on the command line: settings and the EPTP.
#include <fmt/format.h>

#include "perf/formats.h"

namespace quire::perf {

namespace {

std::string set(any_format& format, const std::string& name, const std::string& value) {
  auto& f = std::get<arch::ept>(format);
  if (name == "ad") return set_switch(name, value, f.access_dirty);
  if (name != "levels") return no_such_setting(ept_choice(), name);
  if (value != "4" && value != "5") return fmt::format("levels={}: levels is 4 or 5", value);
  f.five_levels = value == "5";
  return {};
}

std::string check(const any_format& /*format*/) { return {}; }

named_texts values(const any_format& format) {
  const auto& f = std::get<arch::ept>(format);
  return {{"levels", std::to_string(f.levels())}, {"ad", switch_text(f.access_dirty)}};
}

named_values registers(const any_format& format, arch::table_address root) {
  return {{"eptp", std::get<arch::ept>(format).root_register(root)}};
}

std::string from_registers(any_format& format, const register_reader& read, arch::table_address& root) {
  auto& f = std::get<arch::ept>(format);
  std::uint64_t eptp = 0;
  if (std::string wrong = read("eptp", eptp); !wrong.empty()) return wrong;
  const auto length = arch::field<5, 3>::get(eptp);
  if (length != 3 && length != 4) {
    return fmt::format("eptp {:#x}: page-walk length field is {}; allowed: 3 or 4", eptp, length);
  }
  const auto type = eptp & 7;
  if (type != 6 && type != 0) return fmt::format("eptp {:#x}: memory type is {}; allowed: 6 or 0", eptp, type);
  if (eptp & (arch::field<11, 8>::mask | arch::field<63, 52>::mask)) {
    return fmt::format("eptp {:#x}: reserved bits 63:52 or 11:8 are not 0", eptp);
  }
  f.five_levels = length == 4;
  f.access_dirty = eptp & arch::bit(6);
  f.shadow_stack = eptp & arch::bit(7);
  root = {eptp & arch::ept::frame::mask};
  return {};
}

}  // namespace

const format_choice& ept_choice() {
  static const format_choice choice = {arch::ept::name,
                                       "levels=4|5, ad=on|off (default: levels=4 ad=off)",
                                       {"wb", "wt", "wp", "wc", "uc"},
                                       {"PT", "PD", "PDPT", "PML4", "PML5"},
                                       "",
                                       arch::ept{},
                                       {"ad=on"},
                                       {"ad=on"},
                                       set,
                                       check,
                                       values,
                                       registers,
                                       from_registers};
  return choice;
}

}  // namespace quire::perf
