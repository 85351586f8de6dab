// Table, JSON and explanation of bulk_report.h.
#include "perf/bulk_report.h"

#include <algorithm>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "perf/json_file.h"
#include "perf/numbers.h"
#include "perf/scale_report.h"

namespace quire::perf {

namespace {

using operation_times = std::array<std::uint64_t, bulk_operations> bulk_run::*;

// Of one operation, by repetition: bulk_run::ns or bulk_run::path_ns.
std::vector<double> times_of(const bulk_point& p, operation_times which, std::size_t operation) {
  std::vector<double> all;
  for (const bulk_run& r : p.runs) {
    all.push_back(static_cast<double>(std::max<std::uint64_t>((r.*which)[operation], 1)));
  }
  return all;
}

// By repetition, against the repetition of the first point next to it.
spread speedup_of(const bulk_point& p, const bulk_point& one, operation_times which, std::size_t operation) {
  std::vector<double> all = times_of(one, which, operation);
  const std::vector<double> own = times_of(p, which, operation);
  for (std::size_t i = 0; i < all.size(); ++i) all[i] /= own[i];
  return spread_of(all);
}

double per_second(std::uint64_t n, double ns) { return static_cast<double>(n) * 1e9 / ns; }

std::uint64_t bytes_of(std::uint64_t pages) { return pages << arch::page_shift; }

std::string leaf_text(const bulk_report& r) {
  std::string out;
  const arch::geometry shape = r.options.format.shape();
  for (unsigned level = 0; level <= shape.top(); ++level) {
    if (r.layout.leaves[level] == 0) continue;
    out += fmt::format("{}{} of {}", out.empty() ? "" : ", ", grouped(r.layout.leaves[level]),
                       size_text(bytes_of(shape.slot_pages(level))));
  }
  return out;
}

std::string guest_text(const bulk_report& r) {
  const bulk_layout& l = r.layout;
  const bulk_run& run = r.points.front().runs.front();
  return fmt::format(
      "guest of {}, format {}, {} repetitions, {} processors\n"
      "leaves: {}; small ones in {} pieces of {}, in {} of {} stretches of 1g\n"
      "tables: {} in {} KiB, as computed from the layout; {} KiB were obtained for them\n",
      size_text(bytes_of(l.pages)), r.options.format.choice->name, r.options.repeats, r.processors,
      leaf_text(r), grouped(l.pieces.size()), size_text(bytes_of(l.piece_pages)), grouped(l.mixed_stretches),
      grouped(l.pages / bulk_layout::stretch_pages), grouped(run.tables), grouped(run.table_bytes >> 10),
      grouped(run.allocated_bytes >> 10));
}

std::string status_note(const bulk_report& r) {
  const bulk_run& run = r.points.front().runs.front();
  if (run.touched_pages > 0) {
    return fmt::format("harvested: A and D of {} small pages of 4k, all that the guest wrote to\n",
                       grouped(run.harvested_pages));
  }
  return "harvested: nothing; no A and D are in the tables (--touched 0, or a format or setting without "
         "them)\n";
}

json spread_json(const spread& s, double scale) { return {s.least / scale, s.most / scale}; }

json operation_json(const bulk_report& r, const bulk_point& p, std::size_t operation) {
  const spread ns = spread_of(times_of(p, &bulk_run::ns, operation));
  const spread speedup = speedup_of(p, r.points.front(), &bulk_run::ns, operation);
  const spread path_speedup = speedup_of(p, r.points.front(), &bulk_run::path_ns, operation);
  json j;
  j["ms"] = ns.median / 1e6;
  j["ms_spread"] = spread_json(ns, 1e6);
  j["pages_per_s"] = per_second(r.layout.pages, ns.median);
  j["leaves_per_s"] = per_second(r.layout.all_leaves(), ns.median);
  j["speedup"] = speedup.median;
  j["speedup_spread"] = spread_json(speedup, 1);
  j["path_ms"] = spread_of(times_of(p, &bulk_run::path_ns, operation)).median / 1e6;
  j["path_speedup"] = path_speedup.median;
  j["path_speedup_spread"] = spread_json(path_speedup, 1);
  return j;
}

json point_json(const bulk_report& r, const bulk_point& p) {
  const bulk_run& run = p.runs.front();
  json j;
  j["threads"] = p.threads;
  j["numa_nodes"] = run.nodes;
  for (std::size_t operation = 0; operation < bulk_operations; ++operation)
    j["operations"][bulk_operation_names[operation]] = operation_json(r, p, operation);
  j["contentions"] = run.contentions;
  j["flush_commands"] = run.flush_commands;
  j["tables_obtained_bytes"] = run.allocated_bytes;
  return j;
}

}  // namespace

std::string bulk_report::text() const {
  std::string out = guest_text(*this) + status_note(*this);
  out +=
      fmt::format("\n{:>7}  {:<10}{:>11}{:>11}{:>11}{:>16}{:>10}{:>15}{:>11}{:>10}\n", "threads", "operation",
                  "ms", "least", "most", "pages/s", "speed-up", "least to most", "path ms", "speed-up");
  for (const bulk_point& p : points) {
    for (std::size_t i = 0; i < bulk_operations; ++i) {
      const spread ns = spread_of(times_of(p, &bulk_run::ns, i));
      const spread speedup = speedup_of(p, points.front(), &bulk_run::ns, i);
      out += fmt::format("{:>7}  {:<10}{:>11.3f}{:>11.3f}{:>11.3f}{:>16}{:>10.2f}{:>15}{:>11.3f}{:>10.2f}\n",
                         p.threads, bulk_operation_names[i], ns.median / 1e6, ns.least / 1e6, ns.most / 1e6,
                         grouped(per_second(layout.pages, ns.median)), speedup.median,
                         fmt::format("{:.2f} to {:.2f}", speedup.least, speedup.most),
                         spread_of(times_of(p, &bulk_run::path_ns, i)).median / 1e6,
                         speedup_of(p, points.front(), &bulk_run::path_ns, i).median);
    }
  }
  return out;
}

std::string bulk_report::json_text() const {
  const arch::geometry shape = options.format.shape();
  const bulk_run& run = points.front().runs.front();
  json j;
  j["format"] = options.format.choice->name;
  for (const auto& [name, value] : options.format.choice->values(options.format.format))
    j["settings"][name] = value;
  j["processors"] = processors;
  j["size_bytes"] = bytes_of(layout.pages);
  j["small_bytes"] = bytes_of(layout.pieces.size() * layout.piece_pages);
  j["pieces"] = layout.pieces.size();
  j["repeats"] = options.repeats;
  j["touched_per_cent"] = options.touched;
  for (unsigned level = 0; level <= shape.top(); ++level) {
    if (shape.leaf[level]) j["leaves"][size_text(bytes_of(shape.slot_pages(level)))] = layout.leaves[level];
  }
  j["tables"] = {{"counted", run.tables},
                 {"counted_bytes", run.table_bytes},
                 {"budget", layout.all_tables()},
                 {"budget_bytes", layout.table_bytes}};
  j["touched_pages"] = run.touched_pages;
  j["harvested_pages"] = run.harvested_pages;
  j["points"] = json::array();
  for (const bulk_point& p : points) j["points"].push_back(point_json(*this, p));
  return to_text(j);
}

std::string bulk_report::explanation() {
  return "The guest is sparse in its small pages. It consists of stretches of 1 GiB. The small pages "
         "(--small) come in\n"
         "pieces of one leaf table each, 2 MiB with tables of 512 entries of 4 KiB, spread evenly over the "
         "first of every\n"
         "four stretches (two, or all of them, if there are many). All else is mapped by the largest leaves "
         "that fit: 2 MiB\n"
         "between the pieces of a stretch, 1 GiB elsewhere. Each piece has host frames of its own, apart "
         "from its\n"
         "neighbours'. With the defaults that is 1 TiB in 4,194,304 leaves of 4 KiB, 122,880 of 2 MiB and "
         "768 of 1 GiB.\n"
         "Hardware records accesses in its tables where the format can, and all leaf sizes are there: "
         "settings start from\n"
         "ad=on (EPT), dbm=on (stage 2), edat=2 (DAT).\n"
         "Operations, in this order, each by so many threads (--threads), one cpu of the runtime each:\n"
         "  populate   maps all of it, from an empty root\n"
         "  harvest    reports and clears A and D; before it, untimed, the guest writes to a share of its "
         "small pages\n"
         "             (--touched), at random, walked as hardware does, which sets A and D\n"
         "  protect    takes write access from all of it\n"
         "  tear_down  unmaps all of it and destroys the space\n"
         "  limit_fill, limit_read  no guest: as many bytes as its tables take, stored, then read, by as "
         "many threads\n"
         "Threads are TBB's, in an arena for each NUMA node; they do units of one table of at most 2 GiB "
         "(EPT: 1 GiB).\n"
         "Flushes are planned and counted, not executed. Table memory is touched before anything is timed, "
         "so that page\n"
         "faults of this process are not measured; each repetition starts with an empty machine. Repetitions "
         "of the numbers\n"
         "of threads take turns, and speed-up compares one with the 1-thread repetition next to it: medians, "
         "with least and\n"
         "most. 1 is always there. pages/s counts 4 KiB of guest memory. path is processor time: of what one "
         "thread does\n"
         "before the others, and of the thread that then takes longest. On a machine that does other work "
         "too, its speed-up\n"
         "is the one to look at.\n"
         "Before anything is timed, a guest is made by plain calls of one thread, and one by each number of "
         "threads: all\n"
         "have the same digest of their mappings, before and after protect, and as many leaves of each size "
         "as the layout.\n"
         "In every repetition the tables are as many as the layout takes, every touched page is harvested, "
         "every page is\n"
         "reported as removed, and no table is in use at the end.\n"
         "Exit status: 0 measured; 1 one of these checks failed; 2 the arguments cannot be used.";
}

}  // namespace quire::perf
