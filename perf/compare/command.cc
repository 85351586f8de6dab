// `quire compare`: makes contests, checks them, lets the lanes take turns, and prints.
#include <algorithm>
#include <functional>

#include <fmt/format.h>

#include "perf/command.h"
#include "perf/compare/contestant.h"
#include "perf/compare/options.h"
#include "perf/compare/other_contests.h"
#include "perf/compare/report.h"
#include "perf/json_file.h"
#include "perf/progress.h"
#include "perf/scale_processors.h"

namespace quire::perf {

namespace {

/// An operation by name, and how it is set up.
struct named_contest {
  std::string name;
  std::string text;  ///< for --help
  std::function<contest(const compare_options&)> make;
};

std::vector<named_contest> all_contests() {
  std::vector<named_contest> all;
  for (const table_operation& t : table_operations()) {
    all.push_back({std::string(t.name), std::string(t.text),
                   [&t](const compare_options& o) { return make_contest(t, o.formats, o.pages, o.inject); }});
  }
  all.push_back({"append", "queues updates that merge with nothing; limit: pushes the same records to a vector",
                 [](const compare_options& o) { return make_append(o.formats, o.pages, o.inject); }});
  all.push_back({"enter_leave", "opens and closes an empty section; ns per section",
                 [](const compare_options& o) { return make_enter_leave(o.formats, o.pages); }});
  all.push_back({"harvest_1pct", "reports and clears A and D of a range, 1 % of whose pages were written to",
                 [](const compare_options& o) { return make_harvest(o.formats, o.pages, o.inject); }});
  return all;
}

// Everyone is checked first; then all take turns, so that what drifts meets all alike.
std::string measure(contest& c, std::uint64_t repeats) {
  progress_line line(c.operation + ": step");
  std::uint64_t done = 0;
  const std::uint64_t all = (repeats + 1) * c.lanes.size();
  for (lane& l : c.lanes) {
    if (std::string wrong = l.check(l); !wrong.empty()) return wrong;
    line.show(++done, all);
  }
  for (std::uint64_t r = 0; r < repeats; ++r) {
    for (lane& l : c.lanes) {
      l.ns.push_back(l.run());
      line.show(++done, all);
    }
  }
  // What a lane holds is not needed any more; the next contest wants the memory.
  for (lane& l : c.lanes) l.check = nullptr, l.run = nullptr;
  return {};
}

}  // namespace

std::vector<std::string> operation_names() {
  std::vector<std::string> names;
  for (const named_contest& c : all_contests()) names.push_back(c.name);
  return names;
}

std::string compare_explanation() {
  std::string text = "Operations, each from the state that it needs, which is made and checked before:\n";
  for (const named_contest& c : all_contests()) text += fmt::format("  {:<18} {}\n", c.name, c.text);
  return text;
}

int run_compare(const compare_arguments& a) {
  compare_options o;
  if (const std::string wrong = to_options(a, o); !wrong.empty()) return refuse(wrong);
  const processor_list processors;
  if (!processors.pin(processors.count() - 1)) return refuse("the system does not let this thread be pinned to a processor");
  compare_report report;
  report.machine = processor_model();
  for (const named_contest& n : all_contests()) {
    if (!o.wants(n.name)) continue;
    contest c = n.make(o);
    if (c.formats.empty()) continue;
    if (const std::string wrong = measure(c, o.repeats); !wrong.empty()) {
      fmt::print("FAILED: {}\n", wrong);
      return check_failed;
    }
    report.contests.push_back(std::move(c));
  }
  if (!a.json_path.empty()) {
    if (const std::string wrong = write_files({{a.json_path, report.json_text()}}); !wrong.empty()) return refuse(wrong);
  }
  fmt::print("{}", report.text(o));
  return success;
}

}  // namespace quire::perf
