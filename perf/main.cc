// The `quire` command: the options of all subcommands; runs the one that is named.
#include <algorithm>
#include <cstdio>
#include <functional>
#include <memory>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "perf/bench/bench.h"
#include "perf/bulk_command.h"
#include "perf/bulk_report.h"
#include "perf/command.h"
#include "perf/compare/options.h"
#include "perf/formats.h"
#include "perf/numbers.h"
#include "perf/replay_report.h"
#include "perf/scale_command.h"
#include "perf/scale_report.h"
#include "perf/script.h"
#include "runtime/host/simd_choice.h"

namespace quire::perf {

int refuse(const std::string& message) {
  fmt::print(stderr, "quire: {}\n", message);
  return bad_input;
}

namespace {

// What run() does after parsing; returns an exit_status.
using action = std::function<int()>;

// Accepts whole numbers from `least` to `most`, decimal or 0x, and nothing else: no sign, no octal.
CLI::Validator whole_number(std::uint64_t least, std::uint64_t most) {
  const auto check = [least, most](std::string& text) -> std::string {
    const auto v = parse_number(text);
    if (!v || *v < least || *v > most) return fmt::format("'{}' is not a whole number from {} to {}", text, least, most);
    text = std::to_string(*v);
    return {};
  };
  return {check, fmt::format("{} to {}", least, most)};
}

// Accepts any name but the empty one.
CLI::Validator file_name() {
  return {[](std::string& text) { return text.empty() ? std::string("'' is not the name of a file") : std::string(); }, ""};
}

void add_settings(CLI::App& command, std::vector<std::string>& settings) {
  std::string text = "Settings of the format, NAME=VALUE ..., may be repeated;";
  for (const format_choice& f : formats()) text += fmt::format(" {}: {};", f.name, f.settings);
  text.pop_back();
  command.add_option("--set", settings, text)->allow_extra_args(false);
}

void add_replay(CLI::App& app, action& run) {
  auto a = std::make_shared<replay_arguments>();
  auto* c = app.add_subcommand("replay", "Replays a recorded guest, eagerly and lazily, and compares the two");
  c->add_option("TRACE", a->trace, "Trace of a guest (.gpt.zst); the bundled amd64-kv if left out")->check(file_name());
  c->add_option("--format", a->format, "Page-table format: " + format_names())->capture_default_str();
  add_settings(*c, a->settings);
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
  c->callback([a, &run] { run = [a] { return run_replay(*a); }; });
}

void add_scale(CLI::App& app, action& run) {
  auto a = std::make_shared<scale_arguments>();
  auto* c = app.add_subcommand("scale", "Measures how updates by several cpus at once scale");
  c->add_option("--format", a->format, "Page-table format: " + format_names())->capture_default_str();
  add_settings(*c, a->settings);
  c->add_option("--cpus", a->cpus,
                "Numbers of cpus to measure, such as 1,2,4 or 1-4, up to the processors that the process may use. Default: "
                "powers of two, and all processors");
  c->add_option("--op", a->op, "What each cpu does: map, unmap, protect, fault or mixed, see below")
      ->capture_default_str();
  c->add_option("--share", a->share, "What the cpus have in common: private, disjoint, interleaved or same, see below")
      ->capture_default_str();
  c->add_option("--batch", a->batch, "Pages of a block, and updates of a section")
      ->transform(whole_number(1, scale_options::max_batch))
      ->capture_default_str();
  c->add_option("--drain-every", a->drain_every_us,
                "Microseconds after which one more thread drains a space, one after the other; it is not pinned if the cpus "
                "take all processors. Default: no drains")
      ->transform(whole_number(1, scale_options::max_drain_every_us));
  c->add_option("--seconds", a->seconds, "Length of a repetition, 0.001 to 3600")->capture_default_str();
  c->add_option("--repeat", a->repeat, "Repetitions of each number of cpus; results are medians")
      ->transform(whole_number(1, scale_options::max_repeat))
      ->capture_default_str();
  c->add_option("--model", a->model_cpus,
                "Also simulate up to so many cpus, with costs of append, commit, remote request and acknowledgement that are "
                "measured in the same run: a model, and called so")
      ->transform(whole_number(2, scale_options::max_model_cpus));
  c->add_option("--json", a->json_path, "Also write the result to this file")->check(file_name());
  c->footer(scale_report::explanation());
  c->callback([a, &run] { run = [a] { return run_scale(*a); }; });
}

void add_compare(CLI::App& app, action& run) {
  auto a = std::make_shared<compare_arguments>();
  auto* c = app.add_subcommand("compare", "Compares page-table updates with those of Linux and with what the machine can do");
  c->add_option("--ops", a->ops, "Operations, by name or by how names begin, such as map,lookup_1g. Default: all");
  c->add_option("--format", a->format, "Page-table format, see below. Default: all");
  c->add_option("--pages", a->pages, "Pages of 4 KiB that an operation works on, a multiple of 512")
      ->transform(whole_number(compare_options::min_pages, compare_options::max_pages))
      ->capture_default_str();
  c->add_option("--repeats", a->repeats, "Repetitions, in which all contestants take turns; results are medians")
      ->transform(whole_number(compare_options::min_repeats, compare_options::max_repeats))
      ->capture_default_str();
  c->add_option("--inject", a->inject,
                "Spoil one result of kvm, io_pgtable, lazy or eager before it is checked: must end with exit status 1");
  c->add_option("--json", a->json_path, "Also write the result to this file")->check(file_name());
  c->footer(compare_explanation());
  c->callback([a, &run] { run = [a] { return run_compare(*a); }; });
}

void add_bench(CLI::App& app, action& run) {
  auto* c = app.add_subcommand("bench", "Runs micro-benchmarks, by Google Benchmark");
  c->prefix_command();
  c->footer(bench_explanation());
  c->callback([c, &run] { run = [flags = c->remaining()] { return run_bench(flags); }; });
}

void add_bulk(CLI::App& app, action& run) {
  auto a = std::make_shared<bulk_arguments>();
  auto* c = app.add_subcommand("bulk", "Populates, harvests, protects and tears down a guest of terabytes by several threads");
  c->add_option("--format", a->format, "Page-table format: " + format_names())->capture_default_str();
  add_settings(*c, a->settings);
  c->add_option("--size", a->size, "Size of the guest, in steps of 1g")->capture_default_str();
  c->add_option("--small", a->small, "Of it, mapped by the smallest leaves; rounded up to whole leaf tables")
      ->capture_default_str();
  c->add_option("--threads", a->threads,
                "Numbers of threads to measure, such as 1,2,4 or 1-4, up to the processors that the process may use. Default: "
                "powers of two, and all processors");
  c->add_option("--touched", a->touched, "Per cent of the small pages that the guest writes to before the harvest")
      ->transform(whole_number(0, 100))
      ->capture_default_str();
  c->add_option("--repeats", a->repeats, "Repetitions of each number of threads; results are medians")
      ->transform(whole_number(1, bulk_options::max_repeats))
      ->capture_default_str();
  c->add_option("--json", a->json_path, "Also write the result to this file")->check(file_name());
  c->footer(bulk_report::explanation());
  c->callback([a, &run] { run = [a] { return run_bulk(*a); }; });
}

void add_tables(CLI::App& app, action& run) {
  auto a = std::make_shared<tables_arguments>();
  auto* c = app.add_subcommand("tables", "Builds tables from a script of operations and writes them as a flat image");
  c->add_option("--format", a->format, "Page-table format: " + format_names())->capture_default_str();
  add_settings(*c, a->settings);
  c->add_option("--base", a->base, "Physical address of the image; the root table lies there")->required();
  c->add_option("--ops", a->ops, "Script of operations, see below")->required()->check(file_name());
  c->add_option("--image", a->image, "Where to write the tables")->required()->check(file_name());
  c->add_option("--root", a->root, "Where to write registers, counts and flush commands, as JSON")->required()->check(file_name());
  c->add_option("--json", a->json_path, "Write the same JSON to this file too")->check(file_name());
  c->footer(script_language() + "\nExit status: 0 written; 2 the input cannot be used, and nothing was written.");
  c->callback([a, &run] { run = [a] { return run_tables(*a); }; });
}

void add_walk(CLI::App& app, action& run) {
  auto a = std::make_shared<walk_arguments>();
  auto* c = app.add_subcommand("walk", "Walks an image of tables and prints each step, decoded");
  c->add_option("--format", a->format, "Page-table format: " + format_names())->capture_default_str();
  add_settings(*c, a->settings);
  c->add_option("--image", a->image, "Tables as `quire tables` writes them, or any flat dump")->required()->check(file_name());
  c->add_option("--base", a->base, "Physical address of the image's first byte")->required();
  c->add_option("--root", a->root, "JSON with the root registers, as `quire tables` writes it")->required()->check(file_name());
  c->add_option("--json", a->json_path, "Also write the walks to this file")->check(file_name());
  c->add_option("GPA", a->addresses, "Guest-physical addresses, decimal or 0x")->required();
  c->footer(
      "Exit status: 0 all walks are printed, holes too; 2 the input cannot be used, or a walk met an entry that is\n"
      "misconfigured or leads out of the image; nothing was written then.");
  c->callback([a, &run] { run = [a] { return run_walk(*a); }; });
}

// CLI11 misses the subcommand before it looks at words that are none.
std::string explained(const CLI::App& app, const CLI::ParseError& e) {
  const auto unknown = app.remaining();
  if (!app.get_subcommands().empty() || unknown.empty()) return e.what();
  return fmt::format("'{}': no such command; there is replay, tables, walk, scale, bulk, compare, bench", unknown.front());
}

// One --set may be followed by several settings: each gets a --set of its own. In the order that CLI11 wants: last first.
std::vector<std::string> spread_settings(int argc, char** argv) {
  std::vector<std::string> words;
  bool after_setting = false;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    const bool setting = word.find('=') != std::string::npos && word.front() != '-' && word.front() != '/' && word.front() != '.';
    if (after_setting && setting && words.back() != "--set") words.emplace_back("--set");
    after_setting = word == "--set" || (after_setting && setting);
    words.push_back(word);
  }
  std::reverse(words.begin(), words.end());
  return words;
}

int run(int argc, char** argv) {
  if (const std::string wrong = runtime::host::choose_simd_by_environment(); !wrong.empty()) return refuse(wrong);
  CLI::App app{
      "Batched page-table updates for hypervisors: replays recorded guests on second-stage tables, eagerly and in\n"
      "lazy sections, measures how updates scale over cpus and how fast guests of terabytes are made, and builds and\n"
      "walks such tables.",
      "quire"};
  app.require_subcommand(1);
  app.footer(
      "Exit status: 0 all is well; 1 a check failed (digests differ, or a stale translation was used);\n"
      "2 arguments, files or traces cannot be used, and nothing was written.\n"
      "Environment: QUIRE_SIMD=scalar|avx2|avx512|neon  the instructions of the runtime's hot loops; by default the widest\n"
      "that this CPU can run. Results are the same with all of them.\n"
      "`quire COMMAND --help` explains a command.");
  action chosen;
  add_replay(app, chosen);
  add_scale(app, chosen);
  add_compare(app, chosen);
  add_bench(app, chosen);
  add_bulk(app, chosen);
  add_tables(app, chosen);
  add_walk(app, chosen);
  try {
    app.parse(spread_settings(argc, argv));
  } catch (const CLI::ParseError& e) {
    if (e.get_exit_code() == 0) return app.exit(e);  // --help
    return refuse(fmt::format("{}\nTry `quire --help` or `quire COMMAND --help`.", explained(app, e)));
  }
  const int status = chosen();
  if (std::fflush(stdout) != 0 || std::ferror(stdout)) return refuse("cannot write to standard output");
  return status;
}

}  // namespace

}  // namespace quire::perf

int main(int argc, char** argv) {
  try {
    return quire::perf::run(argc, argv);
  } catch (const std::bad_alloc&) {
    return quire::perf::refuse("out of memory");
  } catch (const std::exception& e) {
    return quire::perf::refuse(e.what());
  }
}
