// `quire scale`: measures, fits and models, then prints.
#include "perf/scale_command.h"

#include <algorithm>
#include <list>

#include <fmt/format.h>

#include "perf/command.h"
#include "perf/cpu_list.h"
#include "perf/json_file.h"
#include "perf/progress.h"
#include "perf/scale_report.h"

namespace quire::perf {

namespace {

struct outcome {
  int status = success;
  std::string message;
};

outcome checked(std::list<scale_world>& worlds) {
  for (scale_world& w : worlds) {
    if (std::string wrong = w.check(); !wrong.empty()) return {check_failed, wrong};
  }
  return {};
}

// Repetitions of all numbers of cpus take turns, so that what drifts meets all alike.
outcome measure(const processor_list& processors, scale_report& report) {
  const scale_options& o = report.options;
  std::list<scale_world> worlds;
  progress_line warming("warming tables, cpus");
  for (const unsigned n : o.cpus) {
    worlds.emplace_back(o, processors, n);
    if (std::string wrong = worlds.back().prepare(); !wrong.empty()) return {bad_input, wrong};
    warming.show(n, o.cpus.back());
  }
  if (outcome early = checked(worlds); early.status != success) return early;
  progress_line line("repetition");
  std::uint64_t done = 0;
  for (std::uint64_t r = 0; r < o.repeat; ++r) {
    for (scale_world& w : worlds) {
      if (std::string wrong = w.repeat(); !wrong.empty()) return {bad_input, wrong};
      line.show(++done, o.repeat * worlds.size());
    }
  }
  for (scale_world& w : worlds) report.points.push_back(w.result());
  return checked(worlds);
}

void fit(scale_report& report) {
  std::vector<usl_point> points;
  for (const scale_point& p : report.points) {
    points.push_back({static_cast<double>(p.cpus), spread_of(p.updates_per_s).median});
  }
  report.law = fit_usl(points);
}

std::string model(const processor_list& processors, scale_report& report) {
  const scale_options& o = report.options;
  if (o.model_cpus == 0) return {};
  std::string wrong = measure_sections(o, processors, 1, report.costs.alone);
  report.costs.shared = report.costs.alone;
  if (wrong.empty() && o.one_space()) {
    report.costs.shared = {};
    wrong = measure_sections(o, processors, 2, report.costs.shared);
    report.costs.requests = measure_requests(processors);
  }
  if (!wrong.empty()) return wrong;
  std::vector<unsigned> cpus = doubling_to(o.model_cpus);
  cpus.insert(cpus.end(), o.cpus.begin(), o.cpus.end());
  std::sort(cpus.begin(), cpus.end());
  cpus.erase(std::unique(cpus.begin(), cpus.end()), cpus.end());
  report.model = simulate(o, report.costs, cpus);
  return {};
}

}  // namespace

int run_scale(const scale_arguments& a) {
  const processor_list processors;
  scale_report report;
  report.processors = processors.count();
  report.cores = processors.cores();
  if (const std::string wrong = to_options(a, processors.count(), report.options); !wrong.empty())
    return refuse(wrong);
  const outcome measured = measure(processors, report);
  if (measured.status == bad_input) return refuse(measured.message);
  if (measured.status == check_failed) {
    fmt::print("FAILED: {}\n", measured.message);
    return check_failed;
  }
  fit(report);
  if (const std::string wrong = model(processors, report); !wrong.empty()) return refuse(wrong);
  if (!a.json_path.empty()) {
    if (const std::string wrong = write_files({{a.json_path, report.json_text()}}); !wrong.empty())
      return refuse(wrong);
  }
  fmt::print("{}", report.text());
  return success;
}

}  // namespace quire::perf
