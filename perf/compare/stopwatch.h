// Time of one repetition, on a machine where others want the processor too.
#pragma once

#include <sys/resource.h>
#include <time.h>

#include <algorithm>

#include "perf/scale_clock.h"

namespace quire::perf {

/// Runs from its construction. If the thread lost its processor meanwhile, what it was without it does not
/// count.
class stopwatch {
 public:
  stopwatch() : switches_(switches()), cpu_(thread_ns()), wall_(now_ns()) {}

  double ns() const {
    const std::uint64_t wall = now_ns() - wall_;
    const std::uint64_t cpu = thread_ns() - cpu_;
    return static_cast<double>(switches() == switches_ ? wall : std::min(cpu, wall));
  }

 private:
  static std::uint64_t thread_ns() {
    timespec t{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return static_cast<std::uint64_t>(t.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(t.tv_nsec);
  }
  static long switches() {
    rusage use{};
    getrusage(RUSAGE_THREAD, &use);
    return use.ru_nivcsw + use.ru_nvcsw;
  }

  const long switches_;
  const std::uint64_t cpu_, wall_;  // in this order: the wall clock starts last
};

}  // namespace quire::perf
