// The batch queue of one (cpu, space): updates in program order, neighbours merged into runs.
#pragma once

#include <atomic>
#include <span>

#include "runtime/invariant.h"
#include "runtime/prepare.h"

namespace quire::runtime {

/// An update where another cpu may read it while its owner lets it grow.
struct queued_update {
  gfn first{};
  std::atomic<std::uint64_t> pages{0};
  hfn out{};
  update_kind kind;

  queued_update() = default;
  explicit queued_update(const update& u)
      : first(u.range.first), pages(u.range.pages), out(u.out), kind(u.kind) {}
  void set(const update& u) {
    first = u.range.first;
    pages.store(u.range.pages, std::memory_order_relaxed);  // relaxed: the tail publishes the slot
    out = u.out;
    kind = u.kind;
  }
};

/// Updates in program order, wherever they lie: what a queue held at one moment.
class update_list {
 public:
  static update_list one(const queued_update& u) {
    return {&u, 0, 1, 0, 0, u.pages.load(std::memory_order_relaxed)};  // relaxed: the caller's own
  }
  static update_list nothing() { return {nullptr, 0, 0, 0, 0, 0}; }
  update_list(const queued_update* slots, std::uint32_t first, std::uint32_t count, std::uint32_t mask,
              std::uint64_t skip, std::uint64_t last_pages)
      : slots_(slots), first_(first), count_(count), mask_(mask), skip_(skip), last_pages_(last_pages) {}

  std::uint32_t count() const { return count_; }
  /// True if part of its first update is committed already.
  bool begun() const { return skip_ > 0; }
  /// The i-th update as it lies in the queue, and its pages. Not of one that has begun.
  const queued_update& slot(std::uint32_t i) const { return slots_[(first_ + i) & mask_]; }
  /// Updates from the i-th on that lie one after the other, up to the last one, which may still grow.
  std::span<const queued_update> stretch(std::uint32_t i) const {
    const std::uint32_t at = (first_ + i) & mask_, left = count_ - 1 - i, to_end = mask_ + 1 - at;
    return {slots_ + at, left < to_end ? left : to_end};
  }
  std::uint64_t pages(std::uint32_t i) const {
    // relaxed: a run that is not the newest grows no more, and the tail was read after it.
    return i + 1 == count_ ? last_pages_ : slot(i).pages.load(std::memory_order_relaxed);
  }
  /// Its i-th update alone.
  update_list part(std::uint32_t i) const {
    return {slots_, first_ + i, 1, mask_, i == 0 ? skip_ : 0, pages(i)};
  }
  update operator[](std::uint32_t i) const {
    const queued_update& s = slot(i);
    const std::uint64_t done = i == 0 ? skip_ : 0;
    const bool maps = s.kind.op() == operation::map;
    return {{s.first + done, pages(i) - done}, maps ? s.out + done : s.out, s.kind};
  }

 private:
  friend class batch;
  const queued_update* slots_;
  std::uint32_t first_, count_, mask_;
  std::uint64_t skip_;        // pages of the first one that are committed already
  std::uint64_t last_pages_;  // of the last one; it may have grown since
};

/// A fixed ring with one appender. Appending, or growing the newest run, is plain stores and one release
/// store; nothing on that path locks, allocates or fences. Whoever commits holds the section's drain lock. A
/// cpu that drains leaves the newest run in the ring, since its owner may let it grow at any time, and
/// remembers how many of its pages are done.
///
///                 append/grow    visible/consume  retire  pending
///   owning cpu          X               L            L      any
///   other cpus          -               L            -      any
/// X: serialized, since a cpu is driven by one thread at a time. L: under the drain lock (visible: also
/// without on the owning cpu, to look).
class batch {
 public:
  static constexpr std::uint32_t capacity = 512;  // a power of two: the counters run free

  // For the owning cpu.

  /// True if nothing was appended since retire().
  bool empty() const { return tail() == retired_; }
  /// True if as many records as fit were appended since retire(), drained meanwhile or not: the owner's
  /// claims for them are still held.
  bool full() const { return tail() - retired_ == capacity; }
  /// Pages that pending updates lie between; empty if none is pending. Cost: O(1) for each update since the last call.
  gfn_range box() {
    if (empty()) return box_;
    // The newest one may grow yet.
    for (const std::uint32_t end = tail() - 1; boxed_ != end; ++boxed_) grow_box(range_of(slots_[boxed_ % capacity]));
    grow_box(newest());
    return box_;
  }

  /// True if growing the newest run by `u` means the same as queueing `u`.
  bool continues(const geometry& s, const update& u) const {
    if (empty()) return false;
    const queued_update& last = *newest_;
    const std::uint64_t pages = range_of(last).pages;
    // Records join only where that changes no table: between leaves, and groups of leaves, of the largest
    // size. What is unmapped leaves no leaf behind.
    const unsigned leaf = u.kind.leaf_level();
    const bool any_border = u.kind.op() == operation::unmap || (leaf == 0 && s.group_bits[0] == 0);
    const std::uint64_t unit = s.slot_pages(leaf) << s.group_bits[leaf];
    return last.first + pages == u.range.first && last.kind == u.kind &&
           (u.kind.op() != operation::map || last.out + pages == u.out) &&
           (any_border || (u.range.first.value & (unit - 1)) == 0);
  }
  /// True if page `g` is the one after the newest run.
  bool ends_before(gfn g) const { return g.value - newest_->first.value == range_of(*newest_).pages; }
  /// As grow(), for page `g` after the newest run, if that is of this kind and was let grow. What is written is known from the
  /// arguments: so a call does not wait for the store of the one before.
  bool grow_by_page(gfn g, update_kind k) {
    if (g.value >= growth_end_ || !(newest_->kind == k)) return false;
    newest_->pages.store(g.value - newest_->first.value + 1, std::memory_order_release);  // release: as in grow()
    return true;
  }
  bool grow_by_page(gfn g, hfn out, update_kind k) {
    return out.value - newest_->out.value == g.value - newest_->first.value && grow_by_page(g, k);
  }
  /// Lets grow_by_page() go on up to page `end`.
  void grow_up_to(std::uint64_t end) { growth_end_ = end; }
  /// The newest run; the queue is not empty.
  gfn_range newest() const { return range_of(*newest_); }
  update_kind newest_kind() const { return newest_->kind; }
  hfn newest_output() const { return newest_->out; }
  /// Queues `u` in the newest run, which it continues.
  void grow(const update& u) {
    std::atomic<std::uint64_t>& pages = newest_->pages;
    // relaxed: as in continues(). release: what was queued, and done, before is seen by who commits these
    // pages.
    pages.store(pages.load(std::memory_order_relaxed) + u.range.pages, std::memory_order_release);
  }
  /// The queue is not full.
  void append(const update& u) {
    QUIRE_INVARIANT(!full(), "a full queue commits itself before it takes the next update");
    const std::uint32_t at = tail();
    newest_ = &slots_[at % capacity];
    newest_->set(u);
    growth_end_ = 0;
    if (prepaid_ == at) ++prepaid_;  // it was claimed for by itself
    tail_.store(at + 1, std::memory_order_release);  // release: publishes the slot to whoever commits it
  }
  /// As append(), for one page, if a level-0 table is prepaid for it.
  bool append_if_prepaid(gfn g, hfn out, update_kind k) {
    const std::uint32_t at = tail();
    if (at == prepaid_) return false;
    queued_update* slot = &slots_[at % capacity];
    asm("" : "+r"(slot));  // else the compiler computes the address several times
    slot->first = g;
    slot->pages.store(1, std::memory_order_relaxed);  // relaxed: the tail publishes the slot
    slot->out = out;
    slot->kind = k;
    newest_ = slot;
    growth_end_ = 0;
    tail_.store(at + 1, std::memory_order_release);  // release: as in append()
    return true;
  }
  /// Level-0 tables that can be claimed for updates to come, one for each. The update that was queued last was claimed
  /// for by itself.
  std::uint32_t to_prepay() const {
    return prepaid_ == tail() ? capacity - (tail() - retired_) : 0;
  }
  bool prepaid_spent() const { return prepaid_ == tail(); }
  /// As many were claimed.
  void prepay(std::uint32_t tables) { prepaid_ += tables; }
  /// After everything visible was committed, under the drain lock: the newest run grows no more.
  void retire() {
    retired_ = prepaid_ = tail();
    newest_ = &nothing_;
    growth_end_ = 0;
    taken_.store(make_taken(tail(), 0), std::memory_order_release);  // release: as in consume()
    box_ = {};
    boxed_ = retired_;
  }

  // For whoever commits.

  /// False if all that was queued before the call is committed. Any cpu, without the lock.
  bool pending() const {
    const std::uint64_t taken = taken_.load(std::memory_order_acquire);  // acquire: pairs with consume()
    const std::uint32_t end = tail_.load(std::memory_order_acquire);     // acquire: pairs with append()
    const std::uint32_t ahead = end - head_of(taken, end);
    if (ahead == 0) return false;
    // acquire: pairs with grow()
    return ahead > 1 || slots_[(end - 1) % capacity].pages.load(std::memory_order_acquire) != pages_of(taken);
  }
  /// What is queued and not committed.
  update_list visible() const {
    const std::uint32_t end = tail_.load(std::memory_order_acquire);     // acquire: pairs with append()
    const std::uint64_t taken = taken_.load(std::memory_order_acquire);  // acquire: pairs with consume()
    const std::uint32_t head = head_of(taken, end);
    std::uint64_t skip = pages_of(taken);
    std::uint64_t last = 0;
    // acquire: pairs with grow()
    if (head != end) last = slots_[(end - 1) % capacity].pages.load(std::memory_order_acquire);
    if (head == end || (end - head == 1 && last == skip)) return {slots_, end, 0, capacity - 1, 0, 0};
    // relaxed: grows no more if it is not the newest
    const bool first_done = skip > 0 && skip == slots_[head % capacity].pages.load(std::memory_order_relaxed);
    if (first_done) skip = 0;
    const std::uint32_t from = head + first_done;
    return {slots_, from, end - from, capacity - 1, skip, last};
  }
  /// Marks what visible() gave as committed.
  void consume(const update_list& l) {
    if (l.count_ == 0) return;
    // release: the slots were read before they are used again.
    taken_.store(make_taken(l.first_ + l.count_ - 1, l.last_pages_), std::memory_order_release);
  }

 private:
  // One word, so that both parts are seen together: a slot's number, modulo its field, and the pages done of
  // that slot.
  using in_head = arch::field<63, 53>;
  using in_pages = arch::field<52, 0>;
  static constexpr std::uint32_t head_mask = 0x7ff;
  static_assert(head_mask >= 2 * capacity);
  static constexpr std::uint64_t make_taken(std::uint32_t head, std::uint64_t pages) {
    return in_head::make(head & head_mask) | in_pages::make(pages);
  }
  static constexpr std::uint64_t pages_of(std::uint64_t taken) { return in_pages::get(taken); }
  static constexpr std::uint32_t head_of(std::uint64_t taken, std::uint32_t tail) {
    return tail - ((tail - static_cast<std::uint32_t>(in_head::get(taken))) & head_mask);
  }

  std::uint32_t tail() const {
    return tail_.load(std::memory_order_relaxed);  // relaxed: only append() writes it
  }
  static gfn_range range_of(const queued_update& u) {
    return {u.first, u.pages.load(std::memory_order_relaxed)};  // relaxed: the owner alone asks, and writes it
  }
  void grow_box(gfn_range r) {
    if (box_.pages == 0) {
      box_ = r;
      return;
    }
    const gfn first = r.first < box_.first ? r.first : box_.first;
    const gfn end = r.end() > box_.end() ? r.end() : box_.end();
    box_ = {first, end - first};
  }

  std::atomic<std::uint32_t> tail_{0};
  std::uint32_t retired_ = 0;  // tail at the last retire(); the owner's
  std::uint32_t prepaid_ = 0;  // tail up to which level-0 tables are claimed; at most that of a full queue
  queued_update* newest_ = &nothing_;
  std::uint64_t growth_end_ = 0;
  queued_update nothing_;  // where nothing was appended since retire()
  std::uint32_t boxed_ = 0;    // updates before this one lie in `box_`
  gfn_range box_;
  alignas(64) std::atomic<std::uint64_t> taken_{0};
  queued_update slots_[capacity];
};

}  // namespace quire::runtime
