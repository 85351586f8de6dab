// `quire bulk`: checks, measures, then prints.
#include "perf/bulk_command.h"

#include <fmt/format.h>

#include "perf/bulk_limits.h"
#include "perf/bulk_report.h"
#include "perf/command.h"
#include "perf/json_file.h"
#include "perf/progress.h"
#include "runtime/host/hosted.h"

namespace quire::perf {

namespace {

// A guest of each number of threads, against one that plain calls make.
std::string check(const bulk_report& r, bulk_memory& memory) {
  bulk_run plain;
  std::string wrong = run_bulk_guest(r.options, r.layout, memory, 1, bulk_way::plain, plain);
  progress_line line("checked, threads");
  for (const unsigned threads : r.options.threads) {
    if (!wrong.empty()) break;
    bulk_run run;
    wrong = run_bulk_guest(r.options, r.layout, memory, threads, bulk_way::checked, run);
    const bool same = run.populated_digest == plain.populated_digest &&
                      run.protected_digest == plain.protected_digest &&
                      run.harvested_pages == plain.harvested_pages && !plain.populated_digest.empty();
    if (wrong.empty() && !same) wrong = "the mappings are not those that plain calls make";
    if (!wrong.empty()) wrong = fmt::format("--threads {}: {}", threads, wrong);
    line.show(threads, r.options.threads.back());
  }
  return wrong;
}

// Repetitions of all numbers of threads take turns, so that what drifts meets all alike.
std::string measure(bulk_report& r, bulk_memory& memory) {
  progress_line line("repetition");
  for (const unsigned threads : r.options.threads) r.points.push_back({threads, {}});
  for (std::uint64_t done = 0; done < r.options.repeats; ++done) {
    for (bulk_point& p : r.points) {
      bulk_run& run = p.runs.emplace_back();
      std::string wrong = run_bulk_guest(r.options, r.layout, memory, p.threads, bulk_way::timed, run);
      if (wrong.empty()) wrong = measure_bulk_limits(r.layout, memory, p.threads, run);
      if (!wrong.empty()) return fmt::format("--threads {}: {}", p.threads, wrong);
    }
    line.show(done + 1, r.options.repeats);
  }
  return {};
}

}  // namespace

int run_bulk(const bulk_arguments& a) {
  bulk_report report;
  report.processors = runtime::host::processors();
  if (const std::string wrong = to_options(a, report.processors, report.options); !wrong.empty())
    return refuse(wrong);
  const bulk_options& o = report.options;
  report.layout = lay_out_guest(o.format.shape(), o.pages, o.small_pages);
  bulk_memory memory;
  if (const std::string wrong = memory.start(table_memory_for(o, report.layout)); !wrong.empty()) {
    return refuse(fmt::format("--size {} --small {}: {}", a.size, a.small, wrong));
  }
  std::string wrong = check(report, memory);
  if (wrong.empty()) wrong = measure(report, memory);
  if (!wrong.empty()) {
    fmt::print("FAILED: {}\n", wrong);
    return check_failed;
  }
  if (!a.json_path.empty()) {
    wrong = write_files({{a.json_path, report.json_text()}});
    if (!wrong.empty()) return refuse(wrong);
  }
  fmt::print("{}", report.text());
  return success;
}

}  // namespace quire::perf
