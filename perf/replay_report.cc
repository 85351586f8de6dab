// The fields of a replay, once: table, JSON and explanation all come from one list.
#include "perf/replay_report.h"

#include <algorithm>
#include <functional>
#include <variant>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "perf/json_file.h"
#include "perf/numbers.h"

namespace quire::perf {

namespace {

using hv::replay_result;
using value = std::variant<std::uint64_t, double>;

struct report_field {
  std::string name;
  std::string meaning;
  std::function<value(const replay_result&)> get;
};

double per_second(const replay_result& r) { return r.wall_s > 0 ? static_cast<double>(r.updates.updates) / r.wall_s : 0; }
double ns_per_update(const replay_result& r) {
  return r.updates.updates ? static_cast<double>(r.guest.update_ns) / static_cast<double>(r.updates.updates) : 0;
}

/// Adds a field for each cause of a flush.
std::vector<report_field> with_causes(std::vector<report_field> fields) {
  const auto after = std::find_if(fields.begin(), fields.end(), [](const report_field& f) { return f.name == "wait_max_ns"; });
  std::vector<report_field> causes;
  for (unsigned i = 0; i < hv::flush_causes; ++i) {
    const std::string name = hv::cause_name(i);
    causes.push_back({"flushed_" + name, "flushes whose cause was " + name, [i](const replay_result& x) { return x.flushes.by_cause[i]; }});
  }
  fields.insert(after + 1, causes.begin(), causes.end());
  return fields;
}

const std::vector<report_field>& fields() {
  using r = const replay_result&;
  static const std::vector<report_field> all = with_causes({
      {"records", "records of the trace that were replayed", [](r x) { return x.records; }},
      {"epochs", "epochs; vCPUs meet at the end of each", [](r x) { return x.epochs; }},
      {"cpus", "threads that ran vCPUs", [](r x) { return std::uint64_t{x.cpus}; }},
      {"faults", "accesses that found no mapping, or one that did not allow them", [](r x) { return x.guest.faults; }},
      {"write_faults", "of these, writes to write-protected pages", [](r x) { return x.guest.write_faults; }},
      {"updates", "calls that map, unmap, protect or harvest", [](r x) { return x.updates.updates; }},
      {"runs", "records committed; neighbouring updates of a section share one", [](r x) { return x.updates.runs; }},
      {"commits", "batches committed, one per eager update", [](r x) { return x.updates.commits; }},
      {"forced_commits", "of these, because a queue was full or table memory ran short", [](r x) { return x.updates.forced_commits; }},
      {"walks", "descents from a table above the one in hand", [](r x) { return x.updates.walks; }},
      {"entries_written", "stores to table entries", [](r x) { return x.updates.entries_written; }},
      {"tables_taken", "tables linked", [](r x) { return x.updates.tables_taken; }},
      {"tables_allocated", "table frames obtained from the arena", [](r x) { return x.tables_allocated; }},
      {"peak_table_bytes", "most memory that linked tables took, the root included", [](r x) { return x.peak_table_bytes; }},
      {"harvested_pages", "dirty pages that precopy collected", [](r x) { return x.guest.harvested_pages; }},
      {"reclaimed_pages", "pages that reclaim unmapped", [](r x) { return x.guest.reclaimed_pages; }},
      {"flush_requested", "entry changes that left something stale", [](r x) { return x.updates.flush_requested; }},
      {"flush_commands", "invalidations that cpus executed", [](r x) { return x.flushes.commands; }},
      {"flush_deferred", "of these, at VM entry of a cpu that was not in guest mode", [](r x) { return x.flushes.deferred; }},
      {"flush_dropped", "of these, left out by --inject drop-flush", [](r x) { return x.flushes.dropped; }},
      {"flush_full", "flushes widened to the whole space by overflow", [](r x) { return x.updates.flush_full; }},
      {"remote_requests", "requests posted to cpus in guest mode", [](r x) { return x.flushes.remote_requests; }},
      {"acknowledgements", "requests that the cpus they were posted to have dealt with", [](r x) { return x.flushes.acknowledgements; }},
      {"elided_targets", "other cpus that flushes left alone, since they could hold nothing", [](r x) { return x.flushes.elided_targets; }},
      {"flush_waits", "flushes that had to wait for another cpu", [](r x) { return x.flushes.waits.count(); }},
      {"wait_p50_ns", "of these waits, the median, to within a sixteenth", [](r x) { return x.flushes.waits.percentile(0.5); }},
      {"wait_p99_ns", "the 99th percentile, likewise", [](r x) { return x.flushes.waits.percentile(0.99); }},
      {"wait_max_ns", "the longest", [](r x) { return x.flushes.waits.max(); }},
      {"failed_allocations", "table allocations failed by --inject table-oom", [](r x) { return x.failed_allocations; }},
      {"oom_retries", "faults that the vCPU retried for lack of tables", [](r x) { return x.guest.oom_retries; }},
      {"tlb_hits", "accesses that used a cached translation", [](r x) { return x.tlb_hits; }},
      {"stale_uses", "of these, uses of one that a completed flush should have removed", [](r x) { return x.stale_uses; }},
      {"updates_per_s", "updates / wall_s", [](r x) { return per_second(x); }},
      {"ns_per_update", "time in handlers, harvest and ageing, waiting and looking included, / updates", [](r x) { return ns_per_update(x); }},
      {"wall_s", "seconds, reading the trace included", [](r x) { return x.wall_s; }},
  });
  return all;
}

std::string shown(const value& v) {
  if (const auto* whole = std::get_if<std::uint64_t>(&v)) return grouped(*whole);
  const double d = std::get<double>(v);
  return d >= 1000 ? grouped(static_cast<std::uint64_t>(d)) : fmt::format("{:.3f}", d);
}

double number(const value& v) {
  return std::visit([](auto x) { return static_cast<double>(x); }, v);
}

std::string ratio(const value& eager, const value& lazy) {
  return number(lazy) > 0 && number(eager) > 0 ? fmt::format("{:.2f}", number(eager) / number(lazy)) : "";
}

}  // namespace

bool replay_report::equal() const {
  for (const auto& run : runs) {
    if (run.second.digest != runs.front().second.digest) return false;
  }
  return true;
}

bool replay_report::passed() const {
  for (const auto& run : runs) {
    if (run.second.stale_uses > 0) return false;
  }
  return equal();
}

std::string replay_report::scenario() const {
  return std::string("boot") + (options.precopy ? ",precopy" : "") + (options.reclaim ? ",reclaim" : "");
}

std::string replay_report::text() const {
  std::string out = fmt::format("trace {}\nformat {}, scenario {}, fault-around {} pages, {} vCPUs on {} cpus{}\n\n", trace, format,
                                scenario(), options.fault_around_pages, runs.front().second.vcpus, runs.front().second.cpus,
                                runs.front().second.pinned ? "" : " (not pinned: the system refused)");
  out += fmt::format("{:<20}", "");
  for (const auto& run : runs) out += fmt::format("{:>18}", run.first);
  out += runs.size() > 1 ? fmt::format("{:>14}\n", "eager/lazy") : "\n";
  for (const report_field& f : fields()) {
    out += fmt::format("{:<20}", f.name);
    for (const auto& run : runs) out += fmt::format("{:>18}", shown(f.get(run.second)));
    if (runs.size() > 1) out += fmt::format("{:>14}", ratio(f.get(runs[0].second), f.get(runs[1].second)));
    out += "\n";
  }
  out += "\n";
  for (const auto& run : runs) {
    out += fmt::format("digest {:<6} {}\n", run.first, run.second.digest);
    if (run.second.stale_uses > 0) {
      out += fmt::format("FAILED: {}: {} stale uses, the first of page {:#x}\n", run.first, run.second.stale_uses,
                         run.second.first_stale_gfn);
    }
  }
  if (options.precopy && !runs.front().second.precopy_started) {
    out += fmt::format("note: precopy never started: the trace has {}\n",
                       options.precopy_from ? fmt::format("no epoch {}", *options.precopy_from) : "no marker 1");
  }
  if (runs.size() > 1) out += equal() ? "digests are equal\n" : "FAILED: digests differ\n";
  return out;
}

std::string replay_report::json_text() const {
  json j;
  j["trace"] = trace;
  j["format"] = format;
  for (const auto& [name, value] : settings) j["settings"][name] = value;
  j["scenario"] = scenario();
  j["fault_around_pages"] = options.fault_around_pages;
  j["runs"] = json::array();
  for (const auto& run : runs) {
    json r;
    r["mode"] = run.first;
    for (const report_field& f : fields()) std::visit([&](auto v) { r[f.name] = v; }, f.get(run.second));
    r["pinned"] = run.second.pinned;
    r["digest"] = run.second.digest;
    j["runs"].push_back(r);
  }
  j["equal"] = equal();
  return to_text(j);
}

std::string replay_report::explanation() {
  std::string out = "What is printed, and the names in JSON:\n";
  for (const report_field& f : fields()) out += fmt::format("  {:<20} {}\n", f.name, f.meaning);
  out +=
      "  digest               XXH3-128 of the final mapping: maximal runs in ascending order, each as little-endian\n"
      "                       u64 first gfn, u64 pages, u64 first hfn, u32 permissions (r=1 w=2 x=4), u32 memory type.\n"
      "                       Guest RAM is backed by host frames 4 GiB above its guest frames.\n"
      "Exit status: 0 digests are equal and nothing stale was used; 1 not so; 2 the input cannot be used.";
  return out;
}

}  // namespace quire::perf
