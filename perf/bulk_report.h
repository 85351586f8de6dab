// What `quire bulk` prints and writes as JSON.
#pragma once

#include "perf/bulk_guest.h"

namespace quire::perf {

/// Timed guests of so many threads, by repetition.
struct bulk_point {
  unsigned threads = 0;
  std::vector<bulk_run> runs;
};

struct bulk_report {
  bulk_options options;
  bulk_layout layout;
  unsigned processors = 0;
  std::vector<bulk_point> points;  ///< ascending, 1 thread first

  std::string text() const;
  std::string json_text() const;
  /// The guest, what is measured and printed, for --help.
  static std::string explanation();
};

}  // namespace quire::perf
