// The formats of formats.h and their settings.
#include "perf/formats.h"

#include <algorithm>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace quire::perf {

namespace {

std::string set_ept(any_format& format, const std::string& name, const std::string& value) {
  auto& f = std::get<arch::ept>(format);
  if (name == "levels") {
    if (value != "4" && value != "5") return fmt::format("levels={}: levels is 4 or 5", value);
    f.five_levels = value == "5";
  } else if (name == "ad") {
    if (value != "on" && value != "off") return fmt::format("ad={}: ad is on or off", value);
    f.access_dirty = value == "on";
  } else {
    return fmt::format("{} has no setting '{}'; it has levels=4|5, ad=on|off", arch::ept::name, name);
  }
  return {};
}

std::string read_eptp(arch::ept& f, std::uint64_t eptp, arch::table_address& root) {
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

std::vector<std::pair<std::string, std::uint64_t>> root_registers(const any_format& f, arch::table_address root) {
  return {{"eptp", std::get<arch::ept>(f).root_register(root)}};
}

std::string from_root_registers(any_format& f, const register_reader& read, arch::table_address& root) {
  std::uint64_t eptp = 0;
  if (std::string wrong = read("eptp", eptp); !wrong.empty()) return wrong;
  return read_eptp(std::get<arch::ept>(f), eptp, root);
}

const std::vector<format_choice>& formats() {
  static const std::vector<format_choice> all = {{arch::ept::name,
                                                  "levels=4|5 (default 4), ad=on|off (default off)",
                                                  {"4k", "2m", "1g"},
                                                  {"wb", "wt", "wp", "wc", "uc"},
                                                  {"PT", "PD", "PDPT", "PML4", "PML5"},
                                                  set_ept,
                                                  arch::ept{}}};
  return all;
}

const format_choice* find_format(const std::string& name) {
  const auto at = std::find_if(formats().begin(), formats().end(), [&](const auto& f) { return f.name == name; });
  return at == formats().end() ? nullptr : &*at;
}

std::string format_names() {
  std::vector<std::string> names;
  for (const format_choice& f : formats()) names.push_back(f.name);
  return fmt::format("{}", fmt::join(names, ", "));
}

chosen_format choose_format(const std::string& name, const std::vector<std::string>& settings) {
  chosen_format chosen;
  chosen.choice = find_format(name);
  if (!chosen.choice) {
    chosen.error = fmt::format("--format {}: no such format; there is {}", name, format_names());
    return chosen;
  }
  chosen.format = chosen.choice->initial;
  for (const std::string& s : settings) {
    const auto at = s.find('=');
    if (at == std::string::npos) {
      chosen.error = fmt::format("--set {}: not of the form NAME=VALUE; {} has {}", s, name, chosen.choice->settings);
    } else if (std::string wrong = chosen.choice->set(chosen.format, s.substr(0, at), s.substr(at + 1)); !wrong.empty()) {
      chosen.error = "--set " + wrong;
    }
    if (!chosen.error.empty()) break;
  }
  return chosen;
}

}  // namespace quire::perf
