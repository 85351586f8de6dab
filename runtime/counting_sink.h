// A flush sink that only counts: for measuring what batching asks for, and as the start of a real one.
#pragma once

#include <atomic>

#include "runtime/platform.h"

namespace quire::runtime {

/// Counts plans and commands. Any cpu may call any function at any time; a platform::flush forwards to record().
class counting_sink {
 public:
  void record(const flush_plan& plan) {
    // relaxed, here and below: statistics that order nothing.
    plans_[static_cast<unsigned>(plan.reason)].fetch_add(1, std::memory_order_relaxed);
    commands_.fetch_add(plan.commands.size(), std::memory_order_relaxed);
    whole_.fetch_add(plan.whole, std::memory_order_relaxed);
  }

  std::uint64_t plans(flush_reason r) const { return plans_[static_cast<unsigned>(r)].load(std::memory_order_relaxed); }
  std::uint64_t plans() const {
    std::uint64_t n = 0;
    for (const auto& p : plans_) n += p.load(std::memory_order_relaxed);
    return n;
  }
  std::uint64_t commands() const { return commands_.load(std::memory_order_relaxed); }
  /// Plans widened to the whole space.
  std::uint64_t whole() const { return whole_.load(std::memory_order_relaxed); }

 private:
  std::atomic<std::uint64_t> plans_[flush_reasons] = {};
  std::atomic<std::uint64_t> commands_{0};
  std::atomic<std::uint64_t> whole_{0};
};

}  // namespace quire::runtime
