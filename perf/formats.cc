// Choosing a format by name and settings.
#include "perf/formats.h"

#include <algorithm>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace quire::perf {

namespace {

std::string apply(chosen_format& chosen, const std::string& setting) {
  const auto at = setting.find('=');
  if (at == std::string::npos) {
    return fmt::format("--set {}: not of the form NAME=VALUE; {} has {}", setting, chosen.choice->name, chosen.choice->settings);
  }
  const std::string wrong = chosen.choice->set(chosen.format, setting.substr(0, at), setting.substr(at + 1));
  return wrong.empty() ? wrong : "--set " + wrong;
}

}  // namespace

std::string set_switch(const std::string& name, const std::string& value, bool& to) {
  if (value != "on" && value != "off") return fmt::format("{}={}: {} is on or off", name, value, name);
  to = value == "on";
  return {};
}

std::string no_such_setting(const format_choice& f, const std::string& name) {
  return fmt::format("{} has no setting '{}'; it has {}", f.name, name, f.settings);
}

std::string size_name(std::uint64_t bytes) {
  constexpr const char* units[] = {"", "k", "m", "g", "t", "p", "e"};
  unsigned unit = 0;
  while (bytes >= 1024) {
    bytes /= 1024;
    ++unit;
  }
  return fmt::format("{}{}", bytes, units[unit]);
}

const std::vector<format_choice>& formats() {
  static const std::vector<format_choice> all = {ept_choice(), stage2_choice(), dat_choice()};
  return all;
}

std::string format_names() {
  std::vector<std::string> names;
  for (const format_choice& f : formats()) names.push_back(f.name);
  return fmt::format("{}", fmt::join(names, ", "));
}

arch::geometry chosen_format::shape() const {
  return std::visit([](const auto& f) { return arch::geometry_of(f); }, format);
}

std::vector<std::string> chosen_format::page_sizes() const {
  const arch::geometry s = shape();
  std::vector<std::string> all;
  for (unsigned level = 0; level < s.levels && s.leaf[level]; ++level) {
    all.push_back(size_name(s.slot_pages(level) << arch::page_shift));
  }
  return all;
}

chosen_format choose_format(const std::string& name, const std::vector<std::string>& settings,
                            const std::vector<std::string>& first) {
  chosen_format chosen;
  const auto at = std::find_if(formats().begin(), formats().end(), [&](const auto& f) { return f.name == name; });
  if (at == formats().end()) {
    chosen.error = fmt::format("--format {}: no such format; there is {}", name, format_names());
    return chosen;
  }
  chosen.choice = &*at;
  chosen.format = at->initial;
  for (const auto* list : {&first, &settings}) {
    for (const std::string& s : *list) {
      if (chosen.error.empty()) chosen.error = apply(chosen, s);
    }
  }
  if (chosen.error.empty()) {
    const std::string wrong = at->check(chosen.format);
    if (!wrong.empty()) chosen.error = "--set " + wrong;
  }
  return chosen;
}

}  // namespace quire::perf
