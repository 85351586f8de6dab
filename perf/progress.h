// Shows on a terminal how far something is that takes longer than two seconds.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace quire::perf {

/// One line on standard error, rewritten in place; nothing at all if that is not a terminal or work ends sooner.
class progress_line {
 public:
  /// @param what  what is counted, for example "lazy: epoch"
  explicit progress_line(std::string what);
  ~progress_line();
  progress_line(const progress_line&) = delete;
  progress_line& operator=(const progress_line&) = delete;

  void show(std::uint64_t done, std::uint64_t all);

 private:
  std::string what_;
  std::chrono::steady_clock::time_point next_;
  bool terminal_;
  bool shown_ = false;
};

}  // namespace quire::perf
