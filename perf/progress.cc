// Timing and terminal control of progress.h.
#include "perf/progress.h"

#include <unistd.h>

#include <cstdio>

#include <fmt/format.h>

namespace quire::perf {

progress_line::progress_line(std::string what)
    : what_(std::move(what)), next_(std::chrono::steady_clock::now() + std::chrono::seconds(2)), terminal_(isatty(STDERR_FILENO)) {}

progress_line::~progress_line() {
  if (shown_) fmt::print(stderr, "\r\033[K");
}

void progress_line::show(std::uint64_t done, std::uint64_t all) {
  if (!terminal_) return;
  const auto now = std::chrono::steady_clock::now();
  if (now < next_) return;
  fmt::print(stderr, "\r{} {} of {} ({} %)", what_, done, all, all ? done * 100 / all : 100);
  std::fflush(stderr);
  next_ = now + std::chrono::milliseconds(200);
  shown_ = true;
}

}  // namespace quire::perf
