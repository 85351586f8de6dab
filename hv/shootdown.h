// The flush sink of the microhypervisor: tells every CPU that may hold translations to drop them.
#pragma once

#include <atomic>
#include <memory>
#include <random>
#include <vector>

#include "hv/tlb.h"
#include "runtime/machine.h"

namespace quire::hv {

/// What flushes cost, of one CPU. Written by that CPU alone.
struct flush_counters {
  std::uint64_t commands = 0;         ///< invalidations that the CPU executed for itself, dropped ones included
  std::uint64_t remote_requests = 0;  ///< requests that it posted to CPUs in guest mode
  std::uint64_t deferred = 0;         ///< commands that it executed at VM entry
  std::uint64_t dropped = 0;          ///< commands that fault injection left out
};

/// One generation per space goes up with every flush. A CPU compares it at VM entry and, in guest mode, before
/// each access; a CPU that is behind invalidates and catches up. So a flush posts to all CPUs in guest mode by that
/// one increment, and then waits for them; the others catch up when they enter.
///
///                    enter_guest, leave_guest, poll   flush
///   own cpu                        X                    X
///   other cpus                    any                  any
class shootdown {
 public:
  /// @param drop  share of commands left out, 0..1, for fault injection
  shootdown(unsigned cpus, double drop, std::uint64_t seed);

  /// VM entry of `cpu` into the guest of `s`: catches up first.
  void enter_guest(unsigned cpu, runtime::space& s);
  /// VM exit.
  void leave_guest(unsigned cpu);
  /// To be called in guest mode between two accesses, as an interrupt would come.
  void poll(unsigned cpu, const runtime::space& s) {
    const target& t = targets_[cpu];
    // acquire: the accesses that follow see the tables as the flush found them.
    if (generations_[s.id].load(std::memory_order_acquire) != t.caught_up_to(s.id)) catch_up(cpu, s.id);
  }
  /// platform::flush.
  void flush(unsigned cpu, const runtime::flush_plan& plan, const runtime::platform& host);

  tlb& cache(unsigned cpu) { return targets_[cpu].cache; }
  const flush_counters& counts(unsigned cpu) const { return targets_[cpu].count; }
  unsigned cpus() const { return static_cast<unsigned>(targets_.size()); }

 private:
  static constexpr std::uint32_t host_mode = ~std::uint32_t{0};

  struct view_of_space {
    std::atomic<std::uint64_t> caught_up{0};
    bool ever_entered = false;
    bool may_hold = false;  // entered since the last invalidation
  };
  struct alignas(64) target {
    std::atomic<std::uint32_t> mode{host_mode};  // or the space whose guest runs
    std::unique_ptr<view_of_space[]> views = std::make_unique<view_of_space[]>(runtime::machine::max_spaces);
    tlb cache;
    flush_counters count;
    std::mt19937_64 random;

    std::uint64_t caught_up_to(std::uint32_t space) const {
      return views[space].caught_up.load(std::memory_order_relaxed);  // relaxed: only the cpu itself writes it
    }
  };

  void invalidate(target& t, std::uint32_t space);
  void catch_up(unsigned cpu, std::uint32_t space);

  std::vector<target> targets_;
  std::vector<std::atomic<std::uint64_t>> generations_;  // by space
  double drop_;
};

}  // namespace quire::hv
