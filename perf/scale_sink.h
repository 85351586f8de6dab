// The flush sink of `quire scale`: counts commands and asks the other cpus that run the space to invalidate.
#pragma once

#include <atomic>
#include <cstdint>
#include <vector>

#include "hv/latency.h"
#include "runtime/platform.h"

namespace quire::perf {

/// What the flushes of one cpu cost. Written by that cpu alone.
struct scale_flush_counts {
  std::uint64_t flushes = 0;          ///< plans that the runtime handed over
  std::uint64_t commands = 0;         ///< commands of these plans
  std::uint64_t remote_requests = 0;  ///< posted to other cpus
  std::uint64_t waits = 0;            ///< flushes that posted any
  std::uint64_t wait_ns = 0;          ///< spent on their acknowledgements
};

/// One mailbox per cpu: a flush adds one to those of the other cpus that ran the space since they were last
/// asked, and waits until each has acknowledged. A cpu does so when it polls: every few updates, between
/// sections, and while it waits for anything, but not during a commit. Nothing is cached here, so an
/// invalidation itself takes no time.
///
///              run, stop, poll  flush
///   own cpu           X           X
///   other cpus       any         any
class scale_sink {
 public:
  explicit scale_sink(unsigned cpus);

  /// `cpu` is about to run the guest of `space`, and may cache translations from now on.
  void run(unsigned cpu, std::uint32_t space);
  /// `cpu` runs no guest any more, and polls no more.
  void stop(unsigned cpu);
  /// Does what was asked of `cpu` meanwhile. Returns whether anything was.
  bool poll(unsigned cpu) {
    target& t = targets_[cpu];
    // acquire: the invalidation that is asked for comes after the table writes that ask for it.
    const std::uint64_t posted = t.posted.load(std::memory_order_acquire);
    if (posted == t.answered) return false;
    acknowledge(t, posted);
    return true;
  }
  /// platform::flush.
  void flush(unsigned cpu, const runtime::flush_plan& plan, const runtime::platform& host);

  /// Asks `to` to invalidate, and returns what acknowledged() takes. These two are what flush() consists of.
  std::uint64_t post(unsigned to) {
    // acq_rel: publishes the table writes to the cpu that polls, and keeps those of earlier requests
    // published.
    return targets_[to].posted.fetch_add(1, std::memory_order_acq_rel) + 1;
  }
  bool acknowledged(unsigned of, std::uint64_t ticket) const {
    // acquire: what the cpu did with the old translations is over.
    return targets_[of].acknowledged.load(std::memory_order_acquire) >= ticket;
  }

  /// Of a cpu that is quiet.
  const scale_flush_counts& counts(unsigned cpu) const { return senders_[cpu].count; }
  const hv::latency_histogram& waits(unsigned cpu) const { return senders_[cpu].waits; }
  void clear_counts();

 private:
  static constexpr std::uint32_t nothing = 0;

  struct alignas(128) target {             // two lines, since processors fetch them in pairs
    std::atomic<std::uint64_t> posted{0};  // requests ever
    std::atomic<std::uint64_t> acknowledged{0};
    std::atomic<std::uint32_t> runs{nothing};  // 1 + the space whose translations may be cached
    std::uint64_t answered = 0;                // what `acknowledged` holds, for the cpu itself
  };
  struct alignas(128) sender {
    scale_flush_counts count;
    hv::latency_histogram waits;
    std::vector<std::uint64_t> tickets;  // by target; 0 = not asked
  };

  void acknowledge(target& t, std::uint64_t posted);

  std::vector<target> targets_;
  std::vector<sender> senders_;
};

}  // namespace quire::perf
