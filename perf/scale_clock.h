// The clock of `quire scale`.
#pragma once

#include <chrono>
#include <cstdint>

namespace quire::perf {

/// Nanoseconds of a clock that all processors share and that never steps.
inline std::uint64_t now_ns() {
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(now).count());
}

}  // namespace quire::perf
