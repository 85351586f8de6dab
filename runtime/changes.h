// Changes of entries that are completed after the flush of their commit: by an instruction, or by making them valid.
#pragma once

#include <algorithm>

#include "arch/flush.h"
#include "runtime/invariant.h"

namespace quire::runtime {

/// A valid entry and what it becomes.
struct entry_change {
  std::uint64_t* at = nullptr;
  arch::gfn first{};  ///< of the slot
  arch::table_address table;
  std::uint8_t level = 0;
  bool replace = false;  ///< by an instruction that puts `to` in place itself
  bool undone = false;   ///< changed back: who uses `from` notices nothing, so no instruction is needed
  std::uint64_t from = 0, to = 0;
};

/// Valid neighbours in one table that all change alike: e becomes (e & keep) | set. No other change touches them.
struct entry_span {
  std::uint64_t* at = nullptr;
  std::uint32_t entries = 0;
  std::uint8_t level = 0;
  bool emptied = false;  ///< all become empty
  arch::gfn first{};     ///< of the first slot
  arch::table_address table;
  std::uint64_t keep = 0, set = 0;
};

/// The changes of one commit: single ones, found again by their slot, and spans. One cpu uses it, inside one commit.
class entry_changes {
 public:
  static constexpr std::size_t capacity = arch::command_list::capacity;
  static constexpr std::size_t span_capacity = 64;

  bool empty() const { return size_ == 0 && spans_size_ == 0; }
  std::size_t left() const { return capacity - size_ - spans_size_; }
  /// True if a single entry of a table of `level` is to change.
  bool has_single(unsigned level) const { return singles_ >> level & 1; }
  bool has_room_for_span() const { return spans_size_ < span_capacity && left() > 0; }
  std::span<const entry_span> spans() const { return {spans_, spans_size_}; }
  void add(const entry_span& s) {
    QUIRE_INVARIANT(has_room_for_span(), "a commit flushes before it holds back more changes than it can");
    if (spans_size_ == 0 || s.at < lowest_) lowest_ = s.at;
    if (spans_size_ == 0 || s.at + s.entries > highest_) highest_ = s.at + s.entries;
    spans_[spans_size_++] = s;
  }
  /// The span that the slot is in; null if it is in none.
  const entry_span* span_of(const std::uint64_t* at) const {
    if (spans_size_ == 0 || at < lowest_ || at >= highest_) return nullptr;
    for (std::size_t i = spans_size_; i-- > 0;) {
      if (at >= spans_[i].at && at < spans_[i].at + spans_[i].entries) return &spans_[i];
    }
    return nullptr;
  }
  /// Takes the span out, whose entries are to be added one by one.
  void remove(const entry_span& s) {
    for (std::size_t i = static_cast<std::size_t>(&s - spans_) + 1; i < spans_size_; ++i) spans_[i - 1] = spans_[i];
    --spans_size_;
  }
  /// Slots from `at` on, at most n, before the next span begins.
  std::uint32_t free_of_spans(const std::uint64_t* at, std::uint32_t n) const {
    if (spans_size_ == 0 || at >= highest_ || at + n <= lowest_) return n;
    for (const entry_span& s : spans()) {
      if (s.at >= at && s.at < at + n) n = static_cast<std::uint32_t>(s.at - at);
    }
    return n;
  }
  std::span<entry_change> all() { return {changes_, size_}; }

  /// Null if the entry in this slot is not to change. O(1).
  entry_change* find(const std::uint64_t* at) {
    if (size_ == 0) return nullptr;
    for (std::size_t i = home(at);; i = (i + 1) % buckets) {
      if (bucket_[i] == 0) return nullptr;
      if (changes_[bucket_[i] - 1].at == at) return &changes_[bucket_[i] - 1];
    }
  }
  /// The slot has no change yet, and there is room.
  void add(const entry_change& c) {
    QUIRE_INVARIANT(size_ < capacity, "a commit flushes before it holds back more changes than it can");
    changes_[size_++] = c;
    singles_ |= 1u << c.level;
    std::size_t i = home(c.at);
    while (bucket_[i] != 0) i = (i + 1) % buckets;
    bucket_[i] = static_cast<std::uint16_t>(size_);
  }
  void clear() {
    if (!empty()) std::fill_n(bucket_, buckets, std::uint16_t{0});
    size_ = spans_size_ = 0;
    singles_ = 0;
  }

  /// Puts neighbouring entries of a table into one run, also across entries that are invalid anyway: an instruction
  /// does no harm there. What was undone is in none. Runs are in the order of their slots. Changes cannot be found any more
  /// afterwards.
  /// @param most     `most(level)`: entries that one instruction takes
  /// @param invalid  `invalid(const entry_change&, n)`: true if the entry n slots further in the same table is invalid
  template <class Most, class Invalid>
  std::span<const arch::entry_run> runs(Most most, Invalid invalid) {
    std::size_t n = 0;
    const entry_change* last = nullptr;
    for (const std::uint16_t i : by_slot()) {
      if (i >= size_) {
        const entry_span& s = spans_[i - size_];
        runs_[n++] = {s.table, s.first, s.entries, s.level, false, 0, 0};
        last = nullptr;
        continue;
      }
      const entry_change& c = changes_[i];
      if (c.undone) continue;
      if (last && same_table(*last, c) && runs_[n - 1].entries + distance(*last, c) <= most(c.level) &&
          all_between(*last, c, invalid)) {
        runs_[n - 1].entries += distance(*last, c);
      } else {
        runs_[n++] = {c.table, c.first, 1, c.level, c.replace, c.from, c.to};
      }
      last = &c;
    }
    return {runs_, n};
  }

 private:
  static constexpr std::size_t buckets = 2 * capacity;  // so that searches end
  static std::size_t home(const std::uint64_t* at) {
    const std::uint64_t v = (reinterpret_cast<std::uintptr_t>(at) >> 3) * 0x9e3779b97f4a7c15u;
    return v >> 32 & (buckets - 1);
  }
  /// Indices of all changes, and behind them of spans, in the order of their slots. They lie where find() had its own.
  std::span<const std::uint16_t> by_slot();
  static std::uint32_t distance(const entry_change& a, const entry_change& b) {
    return static_cast<std::uint32_t>(b.at - a.at);
  }
  static bool same_table(const entry_change& a, const entry_change& b) {
    return a.table == b.table && a.level == b.level && !a.replace && !b.replace;
  }
  template <class Invalid>
  static bool all_between(const entry_change& a, const entry_change& b, Invalid invalid) {
    for (std::uint32_t n = 1; n < distance(a, b); ++n) {
      if (!invalid(a, n)) return false;
    }
    return true;
  }

  std::size_t size_ = 0;
  std::size_t spans_size_ = 0;
  unsigned singles_ = 0;  // bit l: has_single(l)
  entry_span spans_[span_capacity];
  std::uint16_t bucket_[buckets] = {};  // index + 1; 0 = free
  entry_change changes_[capacity];
  arch::entry_run runs_[capacity];
  const std::uint64_t *lowest_ = nullptr, *highest_ = nullptr;  // all spans lie between, if there are any
};

/// Entries that a commit has made invalid, or left so, while they keep the word that they get after the flush. One cpu
/// uses it, inside one phase.
class parked_entries {
 public:
  static constexpr std::size_t capacity = 512;

  std::size_t left() const { return capacity - size_; }
  void add(std::uint64_t* at) {
    if (size_ > 0 && runs_[size_ - 1].first + runs_[size_ - 1].count == at) {
      ++runs_[size_ - 1].count;
    } else {
      runs_[size_++] = {at, 1};
    }
  }
  /// Calls `visit(at)` for each; one that was parked twice comes twice.
  template <class Visit>
  void each(Visit visit) const {
    for (std::size_t i = 0; i < size_; ++i) {
      for (std::uint64_t n = 0; n < runs_[i].count; ++n) visit(runs_[i].first + n);
    }
  }
  void clear() { size_ = 0; }

 private:
  struct run {
    std::uint64_t* first;
    std::uint64_t count;
  };
  std::size_t size_ = 0;
  run runs_[capacity];
};

}  // namespace quire::runtime
