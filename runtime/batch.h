// The batch queue of one (cpu, space): updates in program order, neighbours merged into runs.
#pragma once

#include <atomic>

#include "runtime/invariant.h"
#include "runtime/prepare.h"

namespace quire::runtime {

/// Updates in program order, wherever they lie.
struct update_list {
  const update* slots = nullptr;
  std::uint32_t first = 0, count = 0, mask = 0;
  const update& operator[](std::uint32_t i) const { return slots[(first + i) & mask]; }
};

/// A fixed ring with one appender. Appending is plain stores and one release store; nothing on that path locks,
/// allocates or fences.
///
///                 append/extend  pending/consume
///   owning cpu          X               X
/// X: serialized, since a cpu is driven by one thread at a time.
class batch {
 public:
  static constexpr std::uint32_t capacity = 512;  // a power of two: the counters run free

  bool empty() const { return tail() == head_; }
  bool full() const { return tail() - head_ == capacity; }
  /// Pages that pending updates lie between; empty if none is pending.
  gfn_range box() const { return box_; }
  update_list pending() const { return {slots_, head_, tail() - head_, capacity - 1}; }

  /// True if growing the newest run by `u` means the same as queueing `u`.
  bool continues(const geometry& s, const update& u) const {
    if (empty()) return false;
    const update& last = slots_[(tail() - 1) % capacity];
    // Records join only where that changes no table: between leaves, and groups of leaves, of the largest size.
    const unsigned leaf = u.kind.leaf_level();
    const bool any_border = leaf == 0 && s.group_bits[0] == 0;
    const std::uint64_t unit = s.slot_pages(leaf) << s.group_bits[leaf];
    return last.range.end() == u.range.first && last.kind == u.kind &&
           (u.kind.op() != operation::map || last.out + last.range.pages == u.out) &&
           (any_border || (u.range.first.value & (unit - 1)) == 0);
  }
  /// Queues `u` in the newest run if it continues it. Returns false if it does not.
  bool extend(const geometry& s, const update& u) {
    if (!continues(s, u)) return false;
    slots_[(tail() - 1) % capacity].range.pages += u.range.pages;
    grow_box(u.range);
    return true;
  }
  /// The queue is not full.
  void append(const update& u) {
    QUIRE_INVARIANT(!full(), "a full queue commits itself before it takes the next update");
    const std::uint32_t at = tail();
    slots_[at % capacity] = u;
    grow_box(u.range);
    tail_.store(at + 1, std::memory_order_release);  // release: publishes the slot to whoever commits it
  }
  void consume_all() {
    head_ = tail();
    box_ = {};
  }

 private:
  std::uint32_t tail() const { return tail_.load(std::memory_order_relaxed); }  // relaxed: only append() writes it
  void grow_box(gfn_range r) {
    if (box_.pages == 0) {
      box_ = r;
      return;
    }
    const gfn first = r.first < box_.first ? r.first : box_.first;
    const gfn end = r.end() > box_.end() ? r.end() : box_.end();
    box_ = {first, end - first};
  }

  std::uint32_t head_ = 0;
  std::atomic<std::uint32_t> tail_{0};
  gfn_range box_;
  update slots_[capacity];
};

}  // namespace quire::runtime
