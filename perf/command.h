// The subcommands of `quire`: what each takes and the function that runs it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "arch/x86/ept.h"

namespace quire::perf {

/// Exit statuses of all commands.
enum exit_status : int {
  success = 0,
  check_failed = 1,  ///< digests differ, or a stale translation was used
  bad_input = 2,     ///< arguments, files or traces that cannot be used; nothing was written
};

struct replay_arguments {
  std::string trace = QUIRE_TRACES "/amd64-kv.gpt.zst";
  std::string format = arch::ept::name;
  std::vector<std::string> settings;
  std::string mode = "both";
  std::vector<std::string> scenario = {"boot", "precopy", "reclaim"};
  std::uint64_t fault_around = 16;
  unsigned cpus = 0;
  std::optional<std::uint64_t> precopy_from;
  std::vector<std::string> inject;
  std::uint64_t seed = 1;
  std::string json_path;
};
int run_replay(const replay_arguments& a);

struct tables_arguments {
  std::string format = arch::ept::name;
  std::vector<std::string> settings;
  std::string base, ops, image, root, json_path;
};
int run_tables(const tables_arguments& a);

struct walk_arguments {
  std::string format = arch::ept::name;
  std::vector<std::string> settings;
  std::string image, base, root, json_path;
  std::vector<std::string> addresses;
};
int run_walk(const walk_arguments& a);

/// Prints `quire: message` on standard error and returns bad_input.
int refuse(const std::string& message);

}  // namespace quire::perf
