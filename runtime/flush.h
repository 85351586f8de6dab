// What one commit has made stale and must remember until its flush is done.
#pragma once

#include "arch/flush.h"
#include "runtime/update.h"

namespace quire::runtime {

using arch::table_address;

/// Collects ranges that went stale; more than it can hold become "the whole space", never less.
/// One cpu uses it, inside one commit.
class gather {
 public:
  static constexpr std::size_t capacity = 256;

  bool empty() const { return size_ == 0 && !whole_; }
  bool whole() const { return whole_; }
  bool tables_removed() const { return tables_removed_; }
  /// Bit l: leaves of level l are among them.
  std::uint8_t levels() const { return levels_; }
  std::span<gfn_range> ranges() { return {ranges_, size_}; }

  /// What one entry of `level` stood for.
  void add(gfn_range r, unsigned level, bool table_removed) {
    tables_removed_ |= table_removed;
    if (!table_removed) levels_ = static_cast<std::uint8_t>(levels_ | 1u << level);
    if (whole_) return;
    if (size_ > 0 && ranges_[size_ - 1].end() == r.first) {
      ranges_[size_ - 1].pages += r.pages;
    } else if (size_ < capacity) {
      ranges_[size_++] = r;
    } else {
      whole_ = true;
    }
  }
  /// What leaves of one table stood for, `pages` each: those so many places behind the one of `first`, in order.
  void add_leaves(gfn first, std::span<const std::uint32_t> places, std::uint64_t pages, unsigned level) {
    if (!places.empty()) levels_ = static_cast<std::uint8_t>(levels_ | 1u << level);
    for (std::size_t i = 0; i < places.size() && !whole_; ++i) add({first + places[i] * pages, pages}, level, false);
  }
  /// True if the newest range lies in `r`, or all is stale.
  bool reaches(gfn_range r) const { return whole_ || (size_ > 0 && ranges_[size_ - 1].overlaps(r)); }
  /// A table went whose last leaves are among the ranges already: flushing those, whatever their level, drops what is
  /// cached of the way to them.
  void add_drained_table() { tables_removed_ = true; }
  void add_whole() { whole_ = true; }
  void clear() {
    size_ = 0;
    whole_ = tables_removed_ = false;
    levels_ = 0;
  }

 private:
  std::size_t size_ = 0;
  bool whole_ = false;
  bool tables_removed_ = false;
  std::uint8_t levels_ = 0;
  gfn_range ranges_[capacity];
};

/// Pages whose mapping an update took away, or whose A and D it cleared, as they were when no CPU could use them
/// any more.
struct report {
  enum class kind : std::uint8_t { removed, harvested };
  gfn_range range;
  hfn out{};  ///< of the first page; the others follow
  attributes attr;
  kind what = kind::removed;
  // removed: as hardware left them; harvested: set where they were cleared.
  bool accessed = false;
  bool dirty = false;

  /// Takes `next` in if it continues this one.
  [[gnu::always_inline]] bool extend(const report& next) {
    const bool follows = next.range.first == range.end() && next.out == out + range.pages && next.attr == attr &&
                         next.what == what && next.accessed == accessed && next.dirty == dirty;
    if (follows) range.pages += next.range.pages;
    return follows;
  }
};

/// Who hears of reports: of one at least in each call, in the order in which they came about. Called after the flush that
/// makes them final, on the cpu that commits, while that cpu holds no table; on several cpus at once if several commit. It
/// may not call the runtime, and should be short. The reports are gone when it returns.
struct observer {
  void* context = nullptr;
  void (*receive)(void* context, unsigned cpu, std::span<const report> reports) = nullptr;
};

/// Reports that wait for the flush, neighbours joined.
class report_queue {
 public:
  static constexpr std::size_t capacity = 1024;
  /// So many more can be added as long as left() is not 0: whoever takes the status of leaves does not know before how many
  /// have any.
  static constexpr std::size_t spare = 512;

  std::size_t left() const { return size_ < capacity ? capacity - size_ : 0; }
  /// Inline, so that a report is never built from narrow stores and then copied by wide loads, which wait for them.
  [[gnu::always_inline]] void add(const report& r) {
    if (size_ == 0 || !reports_[size_ - 1].extend(r)) reports_[size_++] = r;
  }
  /// Delivers all, in one call at most.
  void deliver(const observer& to, unsigned cpu) {
    if (size_ > 0) to.receive(to.context, cpu, {reports_, size_});
    size_ = 0;
  }
  /// Delivers all but the newest, which may be continued yet.
  void deliver_settled(const observer& to, unsigned cpu) {
    if (size_ < 2) return;
    to.receive(to.context, cpu, {reports_, size_ - 1});
    reports_[0] = reports_[size_ - 1];
    size_ = 1;
  }

 private:
  std::size_t size_ = 0;
  report reports_[capacity + spare];
};

/// A table that left the tree, with all tables below it. Hardware may walk it until the flush is done.
struct removed_table {
  table_address table;
  gfn first{};
  unsigned level = 0;    ///< of the table
  bool emptied = false;  ///< all its entries are empty
};

/// Removed tables that wait for the flush.
class removed_tables {
 public:
  static constexpr std::size_t capacity = 1024;

  bool empty() const { return size_ == 0 && unheard_ == capacity; }
  /// As many of each kind can be added.
  std::size_t left() const { return size_ > capacity - unheard_ ? capacity - size_ : unheard_; }
  void add(const removed_table& t) { tables_[size_++] = t; }
  /// Tables of level 0 whose leaves nobody wants to hear of, at most n <= left(). `next(i)` gives the i-th, and whether there is
  /// one. Returns how many it gave.
  template <class Next>
  std::uint32_t add_unheard(std::uint32_t n, Next next) {
    table_address* const to = unheard_tables_ + unheard_;
    std::uint32_t i = 0;
    for (; i < n && next(i, to[-1 - static_cast<std::ptrdiff_t>(i)]); ++i) {
    }
    unheard_ -= i;
    return i;
  }
  std::span<const removed_table> all() const { return {tables_, size_}; }
  /// The last one that was added first.
  std::span<const table_address> unheard() const { return {unheard_tables_ + unheard_, capacity - unheard_}; }
  /// How many were added.
  std::size_t count() const { return size_ + capacity - unheard_; }
  void clear() {
    size_ = 0;
    unheard_ = capacity;
  }

 private:
  std::size_t size_ = 0;
  std::size_t unheard_ = capacity;  // where the newest of them is
  removed_table tables_[capacity];
  table_address unheard_tables_[capacity];
};

}  // namespace quire::runtime
