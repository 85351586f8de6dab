// Names and lists of options.h.
#include "perf/compare/options.h"

#include <algorithm>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace quire::perf {

namespace {

// Marks the names that begin with `word`. False if there are none.
bool mark(const std::vector<std::string>& names, std::string_view word, std::vector<bool>& wanted) {
  bool found = false;
  for (std::size_t i = 0; i < names.size() && !word.empty(); ++i) {
    if (names[i].starts_with(word)) found = wanted[i] = true;
  }
  return found;
}

std::string choose_operations(const std::optional<std::string>& list, std::vector<std::string>& chosen) {
  const std::vector<std::string> names = operation_names();
  std::vector<bool> wanted(names.size(), !list);
  std::string_view rest = list ? std::string_view(*list) : std::string_view();
  while (list) {
    const std::string_view word = rest.substr(0, rest.find(','));
    if (!mark(names, word, wanted)) {
      return fmt::format("--ops '{}': no operation is called '{}', or begins so; there is {}", *list, word,
                         fmt::join(names, ", "));
    }
    if (word.size() == rest.size()) break;
    rest.remove_prefix(word.size() + 1);
  }
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (wanted[i]) chosen.push_back(names[i]);
  }
  return {};
}

// A row for each format, and one for each with A and D where it can have them.
std::vector<row_format> all_formats() {
  std::vector<row_format> all;
  for (const format_choice& f : formats()) all.push_back({f.name, f.initial, false});
  for (const auto& [name, setting] : {std::pair("x86-ept", "ad=on"), std::pair("arm64-s2", "dbm=on")}) {
    all.push_back({fmt::format("{}+ad", name), choose_format(name, {setting}).format, true});
  }
  // Without A and D, as in the peers.
  for (row_format& f : all) {
    if (auto* e = std::get_if<arch::ept>(&f.format); e && !f.tracks_status) e->access_dirty = false;
  }
  return all;
}

std::string choose_formats(const std::string& name, std::vector<row_format>& chosen) {
  chosen = all_formats();
  if (name.empty()) return {};
  std::vector<std::string> names;
  for (const row_format& f : chosen) names.push_back(f.name);
  std::erase_if(chosen, [&](const row_format& f) { return f.name != name && f.name != name + "+ad"; });
  if (!chosen.empty()) return {};
  return fmt::format("--format {}: no such format; there is {}", name, fmt::join(names, ", "));
}

}  // namespace

bool compare_options::wants(std::string_view operation) const {
  return std::find(operations.begin(), operations.end(), operation) != operations.end();
}

std::string to_options(const compare_arguments& a, compare_options& o) {
  o.pages = a.pages;
  o.repeats = a.repeats;
  std::string wrong = choose_operations(a.ops, o.operations);
  if (wrong.empty()) wrong = choose_formats(a.format, o.formats);
  if (wrong.empty() && (a.pages % 512 != 0 || a.pages < o.min_pages || a.pages > o.max_pages)) {
    wrong = fmt::format("--pages {}: allowed are multiples of 512 from {} to {}", a.pages, o.min_pages,
                        o.max_pages);
  }
  if (wrong.empty() && !a.inject.empty()) {
    if (std::find(std::begin(columns), std::end(columns) - 1, a.inject) == std::end(columns) - 1) {
      wrong = fmt::format("--inject {}: allowed are kvm, io_pgtable, lazy and eager", a.inject);
    }
    o.inject.column = a.inject;
  }
  return wrong;
}

}  // namespace quire::perf
