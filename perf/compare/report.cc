// Table and JSON of report.h.
#include "perf/compare/report.h"

#include <algorithm>
#include <fstream>

#include <fmt/format.h>

#include "perf/compare/contestant.h"

namespace quire::perf {

namespace {

/// One row's lane in one column; null if nobody is there.
const lane* find(const contest& c, const std::string& format, std::string_view column) {
  for (const lane& l : c.lanes) {
    if (l.column == column && (l.format.empty() || l.format == format)) return &l;
  }
  return nullptr;
}

std::pair<double, double> spread(const lane& l) {
  const auto [least, most] = std::minmax_element(l.ns.begin(), l.ns.end());
  return {*least, *most};
}

// Three figures that matter, whatever the size.
std::string figure(double v) {
  if (v < 0.1) return fmt::format("{:.4f}", v);
  if (v < 10) return fmt::format("{:.2f}", v);
  return fmt::format("{:.1f}", v);
}
std::string time_text(const lane* l) { return l ? figure(l->median()) : "-"; }
std::string spread_text(const lane* l) {
  return l ? fmt::format("{}..{}", figure(spread(*l).first), figure(spread(*l).second)) : "-";
}
std::string ratio_text(const lane* over, const lane* under) {
  return over && under ? fmt::format("{:.2f}x", over->median() / under->median()) : "-";
}
std::string count_text(const lane* l) { return l && l->commands ? fmt::format("{}", *l->commands) : "-"; }

std::vector<std::string> extra_columns(const contest& c) {
  std::vector<std::string> extra;
  for (const lane& l : c.lanes) {
    const bool known = std::find(std::begin(columns), std::end(columns), l.column) != std::end(columns) ||
                       std::find(extra.begin(), extra.end(), l.column) != extra.end();
    if (!known) extra.push_back(l.column);
  }
  return extra;
}

json row(const contest& c, const std::string& format) {
  json ns, spreads, commands, barriers;
  std::vector<std::string> names(std::begin(columns), std::end(columns));
  for (std::string& extra : extra_columns(c)) names.push_back(std::move(extra));
  for (const std::string& name : names) {
    const lane* l = find(c, format, name);
    ns[name] = l ? json(l->median()) : json();
    spreads[name] = l ? json::array({spread(*l).first, spread(*l).second}) : json();
    commands[name] = l && l->commands ? json(*l->commands) : json();
    barriers[name] = l && l->barriers ? json(*l->barriers) : json();
  }
  json all = {{"operation", c.operation}, {"format", format},     {"pages", c.pages},    {"ns", ns},
              {"spread", spreads},        {"commands", commands}, {"barriers", barriers}};
  if (c.limit_is_best_method) all["limit_method"] = find(c, format, "limit")->method;
  return all;
}

std::string rows_text(const contest& c) {
  std::string text;
  for (const std::string& format : c.formats) {
    const lane* at[std::size(columns)];
    for (std::size_t i = 0; i < std::size(columns); ++i) at[i] = find(c, format, columns[i]);
    const lane *kvm = at[0], *io = at[1], *lazy = at[2], *eager = at[3], *limit = at[4];
    text += fmt::format(
        "{:<22} {:<12} {:>8} {:>8} {:>8} {:>8} {:>8}  {:>8} {:>8} {:>8}  {:>8} {:>8}  {:<17} {:>8} {:>8} "
        "{:>8} {:>8}\n",
        c.operation, format, time_text(kvm), time_text(io), time_text(lazy), time_text(eager),
        time_text(limit), ratio_text(kvm, lazy), ratio_text(io, lazy), ratio_text(lazy, limit),
        ratio_text(kvm, eager), ratio_text(io, eager), spread_text(lazy), count_text(kvm), count_text(io),
        count_text(lazy), count_text(eager));
    for (const std::string& extra : extra_columns(c)) {
      if (c.limit_is_best_method && extra != "std_sort") continue;
      const lane* l = find(c, format, extra);
      if (l)
        text += fmt::format("{:>22} {}: {} ns, {} of lazy\n", "", extra, time_text(l), ratio_text(l, lazy));
    }
    if (c.limit_is_best_method) text += fmt::format("{:>22} limit: {}\n", "", limit->method);
  }
  return text;
}

}  // namespace

std::string processor_model() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);) {
    if (line.starts_with("model name") && line.find(": ") != std::string::npos)
      return line.substr(line.find(": ") + 2);
  }
  return "unknown";
}

std::string compare_report::text(const compare_options& o) const {
  std::string text = fmt::format(
      "{}; {} pages of 4 KiB, medians of {} repetitions in turn, one pinned thread; ns per page\n", machine,
      o.pages, o.repeats);
  if (!contests.empty()) {
    text += fmt::format(
        "{:<22} {:<12} {:>8} {:>8} {:>8} {:>8} {:>8}  {:>8} {:>8} {:>8}  {:>8} {:>8}  {:<17} {:>8} {:>8} "
        "{:>8} {:>8}\n",
        "operation", "format", "kvm", "io-pgt", "lazy", "eager", "limit", "kvm/lazy", "io/lazy", "lazy/lim",
        "kvm/eag", "io/eager", "spread of lazy", "cmd kvm", "cmd io", "cmd lazy", "cmd eag");
  }
  for (const contest& c : contests) text += rows_text(c);
  if (!has_peers() && !contests.empty()) {
    text +=
        "No peers in this build: perf/run compare makes one with KVM's and io-pgtable's tables of Linux 6.1 "
        "(-Dpeers=enabled).\n";
  }
  return text + more_text;
}

std::string compare_report::json_text() const {
  json rows = json::array();
  for (const contest& c : contests) {
    for (const std::string& format : c.formats) rows.push_back(row(c, format));
  }
  json all = {{"machine", machine}, {"rows", rows}};
  all.update(more);
  return to_text(all);
}

}  // namespace quire::perf
