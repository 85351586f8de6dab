// Where other cpus ask one cpu to flush: one cache line, and all that they write of the cpu's.
#pragma once

#include <atomic>
#include <cstdint>

namespace quire::hv {

/// Spaces that a cpu is asked to flush. A request that finds no place asks for everything.
///
/// All changes of a place are atomic read-modify-writes, a request that is there already included: so whoever
/// empties the place has seen everything that came before each of the requests.
///
///              post  pending  take
///   own cpu     any     X       X
///   others      any     -       -
class alignas(64) mailbox {
 public:
  static constexpr unsigned places = 8;

  void post(std::uint32_t space) {
    bool placed = false;
    for (std::atomic<std::uint32_t>& place : places_) {
      std::uint32_t found = place.load(std::memory_order_relaxed);  // relaxed: the exchange below decides
      while (!placed && (found == 0 || found == space + 1)) {
        // acq_rel: see the head comment.
        placed = place.compare_exchange_weak(found, space + 1, std::memory_order_acq_rel,
                                             std::memory_order_relaxed);
      }
      if (placed) break;
    }
    if (!placed) everything_.fetch_or(1, std::memory_order_acq_rel);  // acq_rel: likewise
    posted_.fetch_add(1, std::memory_order_acq_rel);  // acq_rel: pending() finds the place filled
  }
  /// Requests posted and not taken. Cost: one load.
  std::uint32_t pending() const {
    return posted_.load(std::memory_order_acquire) - taken_;  // acquire: pairs with post()
  }
  /// Empties the mailbox: calls `one(space)` for each space, or `all()` instead if it had overflowed.
  /// @return requests that this answers
  template <class One, class All>
  std::uint32_t take(One one, All all) {
    const std::uint32_t n = pending();
    taken_ += n;
    // acq_rel: see the head comment.
    const bool overflowed = everything_.exchange(0, std::memory_order_acq_rel) != 0;
    for (std::atomic<std::uint32_t>& place : places_) {
      const std::uint32_t found = place.exchange(0, std::memory_order_acq_rel);  // acq_rel: likewise
      if (found != 0 && !overflowed) one(found - 1);
    }
    if (overflowed) all();
    return n;
  }

 private:
  std::atomic<std::uint32_t> posted_{0};  // free-running
  std::atomic<std::uint32_t> everything_{0};
  std::atomic<std::uint32_t> places_[places] = {};  // space + 1; 0 = free
  std::uint32_t taken_ = 0;                         // the owner's
};
static_assert(sizeof(mailbox) == 64);

}  // namespace quire::hv
