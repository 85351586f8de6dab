// Times too short for a stopwatch: the median of many.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

namespace quire::perf {

/// Times of sections, or other small pieces; their median is not moved by those in which the thread lost its
/// processor.
class section_times {
 public:
  void add(std::uint64_t ns, std::uint64_t updates) {
    all_.push_back(static_cast<double>(ns) / static_cast<double>(updates));
  }
  double median() {
    std::nth_element(all_.begin(), all_.begin() + static_cast<std::ptrdiff_t>(all_.size() / 2), all_.end());
    return all_[all_.size() / 2];
  }

 private:
  std::vector<double> all_;
};

}  // namespace quire::perf
