// Measures what the calls of a guest's hypervisor cost.
#pragma once

#include <chrono>

#include "hv/vm.h"

namespace quire::hv {

/// Adds the time of its life to a counter.
class vm::update_timer {
 public:
  explicit update_timer(std::uint64_t& ns) : ns_(ns), start_(std::chrono::steady_clock::now()) {}
  ~update_timer() {
    const auto spent = std::chrono::steady_clock::now() - start_;
    ns_ += static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(spent).count());
  }
  update_timer(const update_timer&) = delete;
  update_timer& operator=(const update_timer&) = delete;

 private:
  std::uint64_t& ns_;
  std::chrono::steady_clock::time_point start_;
};

}  // namespace quire::hv
