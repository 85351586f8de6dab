// `quire replay`: runs a recorded guest in both modes and prints them side by side.
#include <cstdlib>
#include <limits>

#include <fmt/format.h>

#include "hv/replay.h"
#include "perf/command.h"
#include "perf/formats.h"
#include "perf/json_file.h"
#include "perf/progress.h"
#include "perf/replay_report.h"

namespace quire::perf {

namespace {

// Reads a probability. Trailing text and anything outside 0..1 give NaN, which compares as false.
double share(const std::string& text) {
  char* end = nullptr;
  const double p = std::strtod(text.c_str(), &end);
  const bool good = !text.empty() && *end == '\0' && p >= 0 && p <= 1;
  return good ? p : std::numeric_limits<double>::quiet_NaN();
}

std::string parse_injection(const std::string& text, hv::replay_options& o) {
  const auto at = text.find('=');
  const std::string name = text.substr(0, at);
  const double p = share(at == std::string::npos ? std::string() : text.substr(at + 1));
  if (name == "drop-flush") {
    if (!(p <= 1)) return fmt::format("--inject {}: the share P of drop-flush=P is a number from 0 to 1", text);
    o.drop_flush = p;
  } else if (name == "table-oom") {
    if (!(p < 1)) {
      return fmt::format("--inject {}: the share P of table-oom=P is a number from 0 to below 1 (at 1 no fault could "
                         "ever be served)", text);
    }
    o.table_oom = p;
  } else {
    return fmt::format("--inject {}: no such fault; there is drop-flush=P and table-oom=P", text);
  }
  return {};
}

std::string parse_scenario(const std::vector<std::string>& names, hv::replay_options& o) {
  for (const std::string& name : names) {
    if (name == "precopy") {
      o.precopy = true;
    } else if (name == "reclaim") {
      o.reclaim = true;
    } else if (name != "boot") {
      return fmt::format("--scenario {}: no such scenario; there is boot, precopy, reclaim", name);
    }
  }
  return {};
}

std::string to_options(const replay_arguments& a, hv::replay_options& o) {
  o.trace = a.trace;
  o.precopy_from = a.precopy_from;
  o.fault_around_pages = a.fault_around;
  o.cpus = a.cpus;
  o.seed = a.seed;
  std::string wrong = parse_scenario(a.scenario, o);
  for (const std::string& text : a.inject) {
    if (wrong.empty()) wrong = parse_injection(text, o);
  }
  return wrong;
}

}  // namespace

int run_replay(const replay_arguments& a) {
  hv::replay_options o;
  if (const std::string wrong = to_options(a, o); !wrong.empty()) return refuse(wrong);
  if (const std::string twice = same_file_twice({{"TRACE", a.trace}, {"--json", a.json_path}}); !twice.empty()) return refuse(twice);
  chosen_format format = choose_format(a.format, a.settings);  // what is wrong is wrong with --set alone
  if (format.error.empty()) format = choose_format(a.format, a.settings, format.choice->replay_settings);
  if (!format.error.empty()) return refuse(format.error);
  replay_report report;
  report.trace = a.trace;
  report.format = a.format;
  report.settings = format.choice->values(format.format);
  report.options = o;
  for (const bool lazy : {false, true}) {
    const char* mode = lazy ? "lazy" : "eager";
    if (a.mode != "both" && a.mode != mode) continue;
    o.lazy = lazy;
    hv::replay_result result;
    progress_line line(fmt::format("{}: epoch", mode));
    const auto show = [&line](std::uint64_t done, std::uint64_t all) { line.show(done, all); };
    const auto run = [&](const auto& f) { return hv::replay(f, o, show, result); };
    if (const std::string wrong = std::visit(run, format.format); !wrong.empty()) return refuse(wrong);
    report.runs.emplace_back(mode, result);
  }
  if (!a.json_path.empty()) {
    if (const std::string wrong = write_files({{a.json_path, report.json_text()}}); !wrong.empty()) return refuse(wrong);
  }
  fmt::print("{}", report.text());
  return report.passed() ? success : check_failed;
}

}  // namespace quire::perf
