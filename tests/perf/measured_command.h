// tests/perf/measured_command.h: runs of a `quire` command that measures and writes JSON, and of those that
// it refuses.
#pragma once

#include <doctest/doctest.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "tests/support/command.h"

namespace quire::tests {

using nlohmann::json;
using words = std::vector<std::string>;

inline words operator+(words a, const words& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

/// One run that must go well, and the JSON that it wrote.
struct measured_command : scratch_folder {
  command_result result;
  json j;

  explicit measured_command(const words& command) {
    result = run_quire(command + words{"--json", "a.json"}, path());
    CAPTURE(fmt::format("{}", fmt::join(command, " ")));
    CAPTURE(result.out);
    CAPTURE(result.err);
    REQUIRE(result.status == 0);
    CHECK_FALSE(result.crashed);
    CHECK(result.err.empty());
    j = json::parse(read("a.json"));
  }
  bool says(const std::string& text) const { return result.out.find(text) != std::string::npos; }
};

/// Arguments of a command, and parts of the message that refuses them.
struct refused_line {
  words line;
  words says;
};

/// Each is refused with exit status 2, a message with all parts, and nothing written.
inline void check_refused(const std::string& command, const std::vector<refused_line>& lines) {
  const scratch_folder folder;
  for (const refused_line& b : lines) {
    CAPTURE(fmt::format("{}", fmt::join(b.line, " ")));
    const command_result r = run_quire(words{command} + b.line, folder.path());
    CAPTURE(r.err);
    CHECK(r.status == 2);
    CHECK_FALSE(r.crashed);
    CHECK(r.out.empty());
    CHECK(r.err.starts_with("quire: "));
    for (const std::string& text : b.says) CHECK_MESSAGE(r.err.find(text) != std::string::npos, text);
  }
  CHECK(folder.snapshot().empty());
}

/// `--help` of the command names all of these.
inline void check_help(const std::string& command, const words& names) {
  const command_result r = run_quire({command, "--help"});
  CHECK(r.status == 0);
  for (const std::string& name : names) CHECK_MESSAGE(r.out.find(name) != std::string::npos, name);
}

}  // namespace quire::tests
