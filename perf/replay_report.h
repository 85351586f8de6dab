// What `quire replay` prints and writes as JSON.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "hv/replay.h"

namespace quire::perf {

struct replay_report {
  std::string trace;
  std::string format;
  std::vector<std::pair<std::string, std::string>> settings;  ///< of the format
  hv::replay_options options;
  std::vector<std::pair<std::string, hv::replay_result>> runs;  ///< mode and what it gave

  /// True if all digests are equal.
  bool equal() const;
  /// True if they are and no stale translation was used.
  bool passed() const;
  std::string scenario() const;
  std::string text() const;
  /// The result as a JSON document.
  std::string json_text() const;
  /// What the fields mean, for --help.
  static std::string explanation();
};

}  // namespace quire::perf
