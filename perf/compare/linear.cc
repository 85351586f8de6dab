// Loops and tables of linear.h.
#include "perf/compare/linear.h"

#include <algorithm>

#include <fmt/format.h>

#include "perf/compare/quire_tables.h"
#include "perf/compare/stopwatch.h"
#include "perf/progress.h"

namespace quire::perf {

namespace {

constexpr unsigned first_power = 10, last_power = 24;
constexpr const char* range_operations[] = {"map_range", "protect_range", "unmap_range"};
constexpr std::size_t operations = std::size(range_operations);
constexpr double allowed_growth = 3;

/// Medians of one format, by operation and power.
struct range_times {
  double ns[operations][last_power + 1] = {};
};

double median_of(std::vector<double>& all) {
  std::nth_element(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(all.size() / 2), all.end());
  return all[all.size() / 2];
}

// Maps, protects and unmaps a range, one call each.
bool time_range(quire_tables& t, std::uint64_t pages, std::vector<double> (&ns)[operations]) {
  bool good = true;
  for (std::size_t i = 0; i < operations; ++i) {
    const stopwatch watch;
    good &= i == 0   ? t.map_range(first_page, pages)
            : i == 1 ? t.protect_range(first_page, pages)
                     : t.unmap_tables(first_page, pages);
    ns[i].push_back(watch.ns() / static_cast<double>(pages));
  }
  return good;
}

bool time_format(const row_format& f, range_times& times) {
  quire_tables t(f.format, update_mode::lazy, true, table_memory(sparse_pages, sparse_pages));
  progress_line line(fmt::format("linear, {}: 2 to the power of", f.name));
  bool good = true;
  for (unsigned power = first_power; power <= last_power; ++power) {
    line.show(power, last_power);
    std::vector<double> ns[operations];
    // The largest takes seconds where the smallest takes microseconds; the first round makes table frames
    // known.
    const unsigned rounds = power <= 18 ? 10 : 4;
    for (unsigned i = 0; i < rounds; ++i) good &= time_range(t, std::uint64_t{1} << power, ns);
    for (std::size_t i = 0; i < operations; ++i) {
      ns[i].erase(ns[i].begin());
      times.ns[i][power] = median_of(ns[i]);
    }
  }
  return good;
}

std::uint64_t tables_for(const arch::geometry& shape, unsigned level, std::uint64_t pages) {
  if (level == shape.top()) return 1;
  const std::uint64_t covers = shape.table_pages(level);
  return (first_page + pages - 1) / covers - first_page / covers + 1;
}

}  // namespace

std::string measure_linear(const compare_options& o, compare_report& report) {
  json all = json::array();
  report.more_text += fmt::format(
      "\nns per page of one call for a range of 2^{} to 2^{} pages, with reports of what was removed\n{:<14} "
      "{:<9}",
      first_power, last_power, "operation", "format");
  for (unsigned power = first_power; power <= last_power; ++power)
    report.more_text += fmt::format(" {:>7}", fmt::format("2^{}", power));
  report.more_text += "  last/first\n";
  for (const row_format& f : o.formats) {
    if (f.tracks_status) continue;
    range_times times;
    if (!time_format(f, times)) return fmt::format("linear: {} refused a range", f.name);
    for (std::size_t i = 0; i < operations; ++i) {
      const auto& ns = times.ns[i];
      const double growth = ns[last_power] / ns[first_power];
      report.more_text += fmt::format("{:<14} {:<9}", range_operations[i], f.name);
      json pages = json::array(), values = json::array();
      for (unsigned power = first_power; power <= last_power; ++power) {
        report.more_text += fmt::format(" {:>7.3f}", ns[power]);
        pages.push_back(std::uint64_t{1} << power);
        values.push_back(ns[power]);
      }
      report.more_text +=
          fmt::format("  {:.2f}{}\n", growth, growth <= allowed_growth ? "" : " (more than 3)");
      all.push_back({{"operation", range_operations[i]},
                     {"format", f.name},
                     {"pages", pages},
                     {"ns", values},
                     {"last_over_first", growth}});
    }
  }
  report.more["linear"] = all;
  return {};
}

std::string measure_memory(const compare_options& o, compare_report& report) {
  json all = json::array();
  report.more_text +=
      fmt::format("\nmemory with {} pages mapped, in bytes\n{:<12} {:>12} {:>12}  {:>12} {:>12} {:>16}\n",
                  o.pages, "format", "tables", "exact budget", "machine, cpu", "space", "(cpu, space)");
  for (const row_format& f : o.formats) {
    if (f.tracks_status) continue;
    quire_tables t(f.format, update_mode::lazy, false, table_memory(o.pages, o.pages));
    if (!t.map_range(first_page, o.pages)) return fmt::format("memory: {} refused a range", f.name);
    const arch::geometry& shape = t.space().shape;
    std::uint64_t budget = 0;
    for (unsigned level = 0; level <= shape.top(); ++level)
      budget += tables_for(shape, level, o.pages) * shape.table_bytes[level];
    const std::uint64_t used = t.space().peak_table_bytes();
    const auto& records = t.records();
    report.more_text += fmt::format("{:<12} {:>12} {:>12}  {:>12} {:>12} {:>16}\n", f.name, used, budget,
                                    records.machine, records.space, records.state);
    all.push_back({{"format", f.name},
                   {"pages", o.pages},
                   {"table_bytes", used},
                   {"budget_bytes", budget},
                   {"machine_bytes", records.machine},
                   {"space_bytes", records.space},
                   {"cpu_space_bytes", records.state}});
    if (used != budget)
      return fmt::format("memory: {} took {} bytes of tables, the exact budget is {}", f.name, used, budget);
  }
  report.more["memory"] = all;
  return {};
}

}  // namespace quire::perf
