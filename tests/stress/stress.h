// Rounds of a stress test: all threads work, then what they left behind is checked.
#pragma once

#include <string>

#include "tests/stress/formats.h"

namespace quire::tests {

struct stress_result {
  std::string problem;  ///< empty if all held
  std::uint64_t rounds = 0, updates = 0;
};

/// Seconds to spend on a program's test cases together: QUIRE_STRESS_SECONDS, by default 10.
double stress_seconds();
stress_result stress(const stress_format& format, double seconds);

}  // namespace quire::tests
