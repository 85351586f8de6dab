// The subcommands of `quire`: each adds its options and leaves what to run.
#pragma once

#include <functional>

#include <CLI/CLI.hpp>

namespace quire::perf {

/// Exit statuses of all commands.
enum exit_status : int {
  success = 0,
  check_failed = 1,  ///< digests differ, or a stale translation was used
  bad_input = 2,     ///< arguments, files or traces that cannot be used; nothing was written
};

/// What main() runs after parsing; returns an exit_status.
using action = std::function<int()>;

void add_replay(CLI::App& app, action& run);
void add_tables(CLI::App& app, action& run);
void add_walk(CLI::App& app, action& run);

/// Accepts whole numbers from `least` to `most`, decimal or 0x, and nothing else: no sign, no octal.
CLI::Validator whole_number(std::uint64_t least, std::uint64_t most);
/// Accepts any name but the empty one.
CLI::Validator file_name();

/// Prints `quire: message` on standard error and returns bad_input.
int refuse(const std::string& message);

}  // namespace quire::perf
