// `quire replay`: runs a recorded guest in both modes and prints them side by side.
#include <cstdlib>
#include <optional>

#include <fmt/format.h>

#include "hv/replay.h"
#include "perf/command.h"
#include "perf/formats.h"
#include "perf/json_file.h"
#include "perf/progress.h"
#include "perf/replay_report.h"

namespace quire::perf {

namespace {

struct replay_arguments {
  std::string trace = QUIRE_TRACES "/amd64-kv.gpt.zst";
  std::string format = arch::ept::name;
  std::string mode = "both";
  std::vector<std::string> scenario = {"boot", "precopy", "reclaim"};
  std::uint64_t fault_around = 16;
  unsigned cpus = 0;
  std::optional<std::uint64_t> precopy_from;
  std::vector<std::string> inject;
  std::uint64_t seed = 1;
  std::string json_path;
};

// Reads a probability. NaN, trailing text and anything outside 0..1 give nothing.
std::optional<double> share(const std::string& text) {
  char* end = nullptr;
  const double p = std::strtod(text.c_str(), &end);
  if (text.empty() || *end != '\0' || !(p >= 0 && p <= 1)) return {};
  return p;
}

std::string parse_injection(const std::string& text, hv::replay_options& o) {
  const auto at = text.find('=');
  const std::string name = text.substr(0, at);
  const auto p = at == std::string::npos ? std::nullopt : share(text.substr(at + 1));
  if (name == "drop-flush") {
    if (!p) return fmt::format("--inject {}: the share P of drop-flush=P is a number from 0 to 1", text);
    o.drop_flush = *p;
  } else if (name == "table-oom") {
    if (!p || *p >= 1) {
      return fmt::format("--inject {}: the share P of table-oom=P is a number from 0 to below 1 (at 1 no fault could "
                         "ever be served)", text);
    }
    o.table_oom = *p;
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

int replay(const replay_arguments& a) {
  hv::replay_options o;
  if (const std::string wrong = to_options(a, o); !wrong.empty()) return refuse(wrong);
  if (const std::string twice = same_file_twice({{"TRACE", a.trace}, {"--json", a.json_path}}); !twice.empty()) return refuse(twice);
  chosen_format format = choose_format(a.format, {"ad=on"});
  if (!format.error.empty()) return refuse(format.error);
  replay_report report;
  report.trace = a.trace;
  report.format = a.format;
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

}  // namespace

void add_replay(CLI::App& app, action& run) {
  auto a = std::make_shared<replay_arguments>();
  auto* c = app.add_subcommand("replay", "Replays a recorded guest, eagerly and lazily, and compares the two");
  c->add_option("TRACE", a->trace, "Trace of a guest (.gpt.zst); the bundled amd64-kv if left out")->check(file_name());
  c->add_option("--format", a->format, "Page-table format: " + format_names())->capture_default_str();
  c->add_option("--mode", a->mode, "eager: each update commits and flushes at once; lazy: updates are batched in sections")
      ->check(CLI::IsMember({"eager", "lazy", "both"}))
      ->capture_default_str();
  c->add_option("--scenario", a->scenario,
                "What the hypervisor does: boot (always on): maps what the guest touches; precopy: from marker 1 on, "
                "harvests dirty pages at each epoch's end and write-protects them; reclaim: every 8 epochs unmaps what "
                "was not touched since")
      ->delimiter(',')
      ->allow_extra_args(false)  // a word behind it is the trace
      ->default_str("boot,precopy,reclaim");
  c->add_option("--fault-around", a->fault_around, "Pages of the aligned window that a fault maps")
      ->transform(whole_number(1, std::uint64_t{1} << 20))
      ->capture_default_str();
  c->add_option("--cpus", a->cpus, "Threads, pinned; vCPU v runs on thread v modulo N. Default: one for each vCPU")
      ->transform(whole_number(1, 256));
  c->add_option("--precopy-from", a->precopy_from, "Epoch to start precopy with, instead of marker 1")
      ->transform(whole_number(0, ~std::uint64_t{0}));
  c->add_option("--inject", a->inject,
                "Fault to inject: drop-flush=P leaves out that share of flush commands (must end as stale uses, exit "
                "status 1); table-oom=P fails that share of table allocations (must change nothing)")
      ->allow_extra_args(false);
  c->add_option("--seed", a->seed, "Seed of what is injected")
      ->transform(whole_number(0, ~std::uint64_t{0}))
      ->capture_default_str();
  c->add_option("--json", a->json_path, "Also write the result to this file")->check(file_name());
  c->footer(replay_report::explanation());
  c->callback([a, &run] { run = [a] { return replay(*a); }; });
}

}  // namespace quire::perf
