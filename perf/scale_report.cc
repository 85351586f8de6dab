// Table, JSON and explanation of scale_report.h.
#include "perf/scale_report.h"

#include <algorithm>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "perf/json_file.h"
#include "perf/numbers.h"

namespace quire::perf {

namespace {

constexpr double half = 0.5, most = 0.99;

std::vector<double> cpu_medians(const scale_point& p) {
  std::vector<double> medians;
  for (unsigned cpu = 0; cpu < p.cpus; ++cpu) {
    std::vector<double> all;
    for (const auto& repetition : p.per_cpu) all.push_back(repetition[cpu]);
    medians.push_back(spread_of(all).median);
  }
  return medians;
}

// Drains are best seen where the thread that drains has a processor for itself, and most cpus are at work.
const scale_point& drained_point(const std::vector<scale_point>& points) {
  const scale_point* best = &points.front();
  for (const scale_point& p : points) {
    if (p.drains_undisturbed) best = &p;
  }
  return *best;
}

double mean_pending(const scale_point& p) {
  return p.drains.count() ? static_cast<double>(p.pending) / static_cast<double>(p.drains.count()) : 0;
}

json drain_json(const scale_point& p) {
  json j;
  j["p50_ns"] = p.drains.percentile(half);
  j["p99_ns"] = p.drains.percentile(most);
  j["max_ns"] = p.drains.max();
  j["drains"] = p.drains.count();
  j["pending"] = mean_pending(p);
  j["cpus"] = p.cpus;
  j["own_processor"] = p.drains_undisturbed;
  return j;
}

json point_json(const scale_point& p, const scale_point& one) {
  const spread rate = spread_of(p.updates_per_s);
  const spread speedup = speedup_of(p, one);
  json j;
  j["cpus"] = p.cpus;
  j["updates_per_s"] = rate.median;
  j["speedup"] = speedup.median;
  j["spread"] = {rate.least, rate.most};
  j["remote_requests"] = p.flushes.remote_requests;
  j["wait_p50_ns"] = p.waits.percentile(half);
  j["wait_p99_ns"] = p.waits.percentile(most);
  j["speedup_spread"] = {speedup.least, speedup.most};
  j["per_cpu_updates_per_s"] = cpu_medians(p);
  j["updates"] = p.updates;
  j["sections"] = p.sections;
  j["forced_commits"] = p.forced_commits;
  j["flushes"] = p.flushes.flushes;
  j["flush_commands"] = p.flushes.commands;
  j["waits"] = p.flushes.waits;
  j["pinned"] = p.pinned;
  if (p.drains.count()) j["drain"] = drain_json(p);
  return j;
}

json model_json(const scale_report& r) {
  json j;
  j["kind"] = "discrete-event simulation with costs measured in this run; not a measurement";
  j["cpus"] = r.options.model_cpus;
  const section_costs& shared = r.costs.shared;
  j["costs"] = {
      {"append_ns", shared.append_ns_per_update()},          {"commit_ns", shared.commit_ns_per_update()},
      {"flushes_per_section", shared.flushes_per_section()}, {"request_ns", r.costs.requests.request_ns},
      {"acknowledge_ns", r.costs.requests.acknowledge_ns},   {"latency_ns", r.costs.requests.latency_ns}};
  j["points"] = json::array();
  for (const model_point& p : r.model) {
    j["points"].push_back({{"cpus", p.cpus},
                           {"updates_per_s", p.updates_per_s},
                           {"speedup", p.speedup},
                           {"remote_requests", p.remote_requests},
                           {"wait_p50_ns", p.waits.percentile(half)},
                           {"wait_p99_ns", p.waits.percentile(most)},
                           {"sections", p.sections}});
  }
  return j;
}

std::string points_text(const scale_report& r) {
  std::string out =
      fmt::format("{:>4} {:>15} {:>15} {:>9} {:>15} {:>15} {:>11} {:>11} {:>9} {:>9}\n", "cpus", "updates/s",
                  "per cpu", "speed-up", "least", "greatest", "commands", "requests", "wait p50", "p99 (ns)");
  for (const scale_point& p : r.points) {
    const spread rate = spread_of(p.updates_per_s);
    out += fmt::format("{:>4} {:>15} {:>15} {:>9.2f} {:>15} {:>15} {:>11} {:>11} {:>9} {:>9}\n", p.cpus,
                       grouped(rate.median), grouped(rate.median / p.cpus),
                       speedup_of(p, r.points.front()).median, grouped(rate.least), grouped(rate.most),
                       grouped(p.flushes.commands), grouped(p.flushes.remote_requests),
                       p.flushes.waits ? grouped(p.waits.percentile(half)) : "-",
                       p.flushes.waits ? grouped(p.waits.percentile(most)) : "-");
  }
  return out;
}

std::string cpus_text(const scale_report& r) {
  std::string out;
  for (const scale_point& p : r.points) {
    if (p.cpus == 1) continue;
    out += fmt::format("{} cpus, updates/s of each:", p.cpus);
    for (const double rate : cpu_medians(p)) out += fmt::format(" {}", grouped(rate));
    out += "\n";
  }
  return out;
}

std::string law_text(const scale_report& r) {
  if (!r.law) return "usl: too few numbers of cpus to fit the universal scalability law\n";
  return fmt::format(
      "usl: lambda {}, sigma {:.5f}, kappa {:.7f}{}\n", grouped(r.law->lambda), r.law->sigma, r.law->kappa,
      r.law->kappa_fitted ? "" : " (two numbers of cpus do not tell it from sigma: taken as 0)");
}

std::string drain_text(const scale_report& r) {
  if (r.options.drain_every_us == 0) return {};
  const scale_point& p = drained_point(r.points);
  return fmt::format(
      "drain of {} cpu{}: p50 {} ns, p99 {} ns, max {} ns; {} drains, {:.1f} updates pending on average{}\n",
      p.cpus, p.cpus > 1 ? "s" : "", grouped(p.drains.percentile(half)), grouped(p.drains.percentile(most)),
      grouped(p.drains.max()), grouped(p.drains.count()), mean_pending(p),
      p.drains_undisturbed ? "" : "; the thread that drains shared a processor");
}

std::string model_text(const scale_report& r) {
  if (r.model.empty()) return {};
  const section_costs& shared = r.costs.shared;
  const request_costs& q = r.costs.requests;
  std::string out = fmt::format(
      "\nMODEL, not measured: discrete-event simulation of up to {} cpus with costs measured in this run\n"
      "costs in ns: append {:.2f} and commit {:.2f} per update, {:.2f} flushes per section",
      r.options.model_cpus, shared.append_ns_per_update(), shared.commit_ns_per_update(),
      shared.flushes_per_section());
  if (r.options.one_space()) {
    out += fmt::format(", request {:.0f}, acknowledgement {:.0f}, latency {:.0f}", q.request_ns,
                       q.acknowledge_ns, q.latency_ns);
  }
  out += fmt::format("\n{:>4} {:>15} {:>9} {:>9} {:>9} {:>20}\n", "cpus", "updates/s", "speed-up", "wait p50",
                     "p99 (ns)", "measured speed-up");
  for (const model_point& p : r.model) {
    const auto same =
        std::find_if(r.points.begin(), r.points.end(), [&](const auto& x) { return x.cpus == p.cpus; });
    out += fmt::format(
        "{:>4} {:>15} {:>9.2f} {:>9} {:>9} {:>20}\n", p.cpus, grouped(p.updates_per_s), p.speedup,
        p.waits.count() ? grouped(p.waits.percentile(half)) : "-",
        p.waits.count() ? grouped(p.waits.percentile(most)) : "-",
        same == r.points.end() ? "" : fmt::format("{:.2f}", speedup_of(*same, r.points.front()).median));
  }
  return out;
}

}  // namespace

spread spread_of(std::vector<double> values) {
  if (values.empty()) return {};
  std::sort(values.begin(), values.end());
  const std::size_t middle = values.size() / 2;
  const double median = values.size() % 2 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
  return {median, values.front(), values.back()};
}

spread speedup_of(const scale_point& p, const scale_point& one) {
  std::vector<double> all;
  for (std::size_t i = 0; i < p.updates_per_s.size(); ++i) {
    all.push_back(one.updates_per_s[i] > 0 ? p.updates_per_s[i] / one.updates_per_s[i] : 0);
  }
  return spread_of(all);
}

std::string scale_report::text() const {
  const bool pinned = std::all_of(points.begin(), points.end(), [](const auto& p) { return p.pinned; });
  return fmt::format(
             "op {}, share {}, format {}, sections of {} updates, {} repetitions of {} s, {} processors on "
             "{} cores{}\n\n",
             options.op_name(), options.share_name(), options.format.choice->name,
             options.op == scale_op::fault ? std::min(options.batch, scale_work::fault_around)
                                           : options.batch,
             options.repeat, options.seconds, processors, cores,
             pinned ? "" : " (not pinned: the system refused)") +
         points_text(*this) + "\n" + cpus_text(*this) + law_text(*this) + drain_text(*this) +
         model_text(*this);
}

std::string scale_report::json_text() const {
  json j;
  j["op"] = options.op_name();
  j["share"] = options.share_name();
  j["format"] = options.format.choice->name;
  j["points"] = json::array();
  for (const scale_point& p : points) j["points"].push_back(point_json(p, points.front()));
  j["usl"]["sigma"] = law ? json(law->sigma) : json();
  j["usl"]["kappa"] = law ? json(law->kappa) : json();
  j["usl"]["lambda"] = law ? json(law->lambda) : json();
  j["drain"] = options.drain_every_us ? drain_json(drained_point(points)) : json();
  j["model"] = model.empty() ? json() : model_json(*this);
  for (const auto& [name, value] : options.format.choice->values(options.format.format))
    j["settings"][name] = value;
  j["batch"] = options.batch;
  j["seconds"] = options.seconds;
  j["repeat"] = options.repeat;
  j["drain_every_us"] = options.drain_every_us;
  j["processors"] = processors;
  j["cores"] = cores;
  return to_text(j);
}

std::string scale_report::explanation() {
  return "Each cpu is a pinned thread, on a core of its own as long as there are any. It works on 65,536 of "
         "the format's\n"
         "smallest pages, whose tables are warm, block by block: BATCH neighbouring pages, one update each, "
         "in one section.\n"
         "Neighbours of a section join into one record of its queue. What the cpus share (--share):\n"
         "  private      nothing: a space for each\n"
         "  disjoint     a space; each has a region with leaf tables, and where it fits next-level tables, "
         "of its own\n"
         "  interleaved  a space; blocks of the same leaf tables in turn (with a batch below the entries of "
         "a leaf table)\n"
         "  same         a space and all pages\n"
         "What counts as updates (--op), none of it untimed:\n"
         "  map          maps mapped pages to another frame, so that each changes an entry and each section "
         "flushes\n"
         "  unmap        unmaps the block in one section and maps it again in the next; both count\n"
         "  protect      takes w away in one pass over all pages and gives it back in the next\n"
         "  fault        serves faults on absent pages: sections that map 16 pages one by one; then one call "
         "unmaps the block\n"
         "  mixed        random pages of the block: 70 % map what is absent, 20 % protect, 10 % unmap\n"
         "Between sections a cpu runs its guest for a moment, so a flush asks each other cpu that did since "
         "it "
         "was last\n"
         "asked (requests), and waits until all have answered (wait). They answer at any time but during a "
         "commit: "
         "between\n"
         "sections, every 16 updates of one, and while they wait themselves.\n"
         "commands and requests are sums over all repetitions; updates/s, per cpu and speed-up are medians. "
         "Repetitions of\n"
         "the numbers of cpus take turns, and speed-up compares one with the 1-cpu repetition next to it; 1 "
         "is always there.\n"
         "usl: X(n) = lambda n / (1 + sigma (n - 1) + kappa n (n - 1)), least squares over the medians.\n"
         "drain: of the most cpus that leave a processor to the thread that drains; pending are updates that "
         "were queued, or\n"
         "in a commit that was under way.\n"
         "JSON: \"spread\" is the least and greatest updates_per_s; waits are 0 if nobody waited; null: not "
         "asked for.\n"
         "Exit status: 0 measured; 1 tables or counters are not what the updates should have left; 2 the "
         "arguments cannot\n"
         "be used.";
}

}  // namespace quire::perf
