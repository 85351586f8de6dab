// `quire compare`: makes contests, has them measured, and prints.
#include <functional>

#include <fmt/format.h>

#include "perf/command.h"
#include "perf/compare/coalesce_contest.h"
#include "perf/compare/linear.h"
#include "perf/compare/options.h"
#include "perf/compare/other_contests.h"
#include "perf/compare/report.h"
#include "perf/json_file.h"
#include "perf/scale_processors.h"

namespace quire::perf {

namespace {

/// An operation by name, and how it is set up.
struct named_contest {
  std::string name;
  std::string text;  ///< for --help, which leaves out what has none
  std::function<contest(const compare_options&)> make;
};

/// What is measured beside the contests, without rows.
struct side_measurement {
  std::string_view name, text;
  std::string (*measure)(const compare_options& o, compare_report& report);
};
constexpr side_measurement side_measurements[] = {
    {"linear", "ns per page of one range of 2^10 to 2^24 pages, printed behind the table", measure_linear},
    {"memory", "table memory against the exact budget, and the runtime's own records; likewise",
     measure_memory},
};

std::vector<named_contest> all_contests() {
  std::vector<named_contest> all;
  for (const table_operation& t : table_operations()) {
    all.push_back({std::string(t.name), std::string(t.text),
                   [&t](const compare_options& o) { return make_contest(t, o.formats, o.pages, o.inject); }});
  }
  all.push_back({"append",
                 "queues updates that merge with nothing; limit: pushes the same records to a vector",
                 [](const compare_options& o) { return make_append(o.formats, o.pages, o.inject); }});
  all.push_back({"enter_leave", "opens and closes an empty section; ns per section",
                 [](const compare_options& o) { return make_enter_leave(o.formats, o.pages); }});
  all.push_back({"harvest_1pct", "reports and clears A and D of a range, 1 % of whose pages were written to",
                 [](const compare_options& o) { return make_harvest(o.formats, o.pages, o.inject); }});
  for (const std::size_t n : coalesce_sizes) {
    for (const coalesce_shape shape : coalesce_shapes) {
      all.push_back({coalesce_operation(shape, n), "",
                     [shape, n](const compare_options& o) { return make_coalesce(shape, n, o.inject); }});
    }
  }
  all.back().text = "makes ranges of N pages, as all coalesce_N_SHAPE; limit: the best of single methods";
  return all;
}

}  // namespace

std::vector<std::string> operation_names() {
  std::vector<std::string> names;
  for (const named_contest& c : all_contests()) names.push_back(c.name);
  for (const side_measurement& s : side_measurements) names.emplace_back(s.name);
  return names;
}

std::string compare_explanation() {
  std::string text =
      "Contestants: kvm, arch/arm64/kvm/hyp/pgtable.c, and io-pgt, drivers/iommu/io-pgtable-arm.c (stage 2), "
      "of Linux 6.1;\n"
      "lazy, Quire in sections of 512 updates; eager, Quire with one call each and no section; limit, what "
      "the machine needs\n"
      "for the memory accesses alone. Leaves are of 4 KiB; rows with +ad have hardware that sets A and D. "
      "Each result is\n"
      "checked by the contestant's own lookup before anything is timed; in each repetition all take "
      "turns.\n\n"
      "Operations, each from the state that it needs, made while nobody measures:\n";
  for (const named_contest& c : all_contests()) {
    if (!c.text.empty()) text += fmt::format("  {:<25} {}\n", c.name, c.text);
  }
  for (const side_measurement& s : side_measurements) text += fmt::format("  {:<25} {}\n", s.name, s.text);
  return text +
         "\nColumns: medians in ns per page; kvm/lazy and io/lazy, how much faster Quire is; lazy/lim, how "
         "far from the limit;\n"
         "cmd, invalidations that the whole operation asks for, barriers left out. Formats: x86-ept, "
         "arm64-s2, s390-dat,\n"
         "x86-ept+ad, arm64-s2+ad; one without +ad stands for both.\n"
         "Exit status: 0 all results were right; 1 one was wrong; 2 arguments cannot be used, and nothing "
         "was written.";
}

namespace {

/// Runs what is asked for. Returns what is wrong, or nothing.
std::string run_all(const compare_options& o, compare_report& report) {
  for (const named_contest& n : all_contests()) {
    if (!o.wants(n.name)) continue;
    contest c = n.make(o);
    if (c.formats.empty()) continue;
    if (std::string wrong = measure(c, o.repeats); !wrong.empty()) return wrong;
    report.contests.push_back(std::move(c));
  }
  for (const side_measurement& s : side_measurements) {
    if (!o.wants(s.name)) continue;
    if (std::string wrong = s.measure(o, report); !wrong.empty()) return wrong;
  }
  return {};
}

}  // namespace

int run_compare(const compare_arguments& a) {
  compare_options o;
  if (const std::string wrong = to_options(a, o); !wrong.empty()) return refuse(wrong);
  const processor_list processors;
  if (!processors.pin(processors.count() - 1))
    return refuse("the system does not let this thread be pinned to a processor");
  compare_report report;
  report.machine = processor_model();
  if (const std::string wrong = run_all(o, report); !wrong.empty()) {
    fmt::print("FAILED: {}\n", wrong);
    return check_failed;
  }
  if (!a.json_path.empty()) {
    if (const std::string wrong = write_files({{a.json_path, report.json_text()}}); !wrong.empty())
      return refuse(wrong);
  }
  fmt::print("{}", report.text(o));
  return success;
}

}  // namespace quire::perf
