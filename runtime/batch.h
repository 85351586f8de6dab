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
  std::atomic<std::uint64_t> end{0};  ///< the page after the last one
  std::uint64_t distance = 0;         ///< from pages to their outputs, modulo 2^64; of unmaps and the like it is not looked at
  update_kind kind;

  queued_update() = default;
  explicit queued_update(const update& u)
      : first(u.range.first), end(u.range.end().value), distance(u.out.value - u.range.first.value), kind(u.kind) {}
  void set(const update& u) {
    first = u.range.first;
    end.store(u.range.end().value, std::memory_order_relaxed);  // relaxed: batch::end_ publishes the slot
    distance = u.out.value - u.range.first.value;
    kind = u.kind;
  }
  hfn out() const { return hfn{first.value + distance}; }  ///< of the first page; of a map
};

/// Updates in program order, wherever they lie: what a queue held at one moment.
class update_list {
 public:
  static update_list one(const queued_update& u) {
    return {&u, 0, 1, 0, u.end.load(std::memory_order_relaxed)};  // relaxed: the caller's own
  }
  static update_list nothing() { return {nullptr, 0, 0, 0, 0}; }
  /// @param skip  pages of the first one that are committed already
  /// @param end   of the last one, which may have grown since
  update_list(const queued_update* slots, std::uint32_t first, std::uint32_t count, std::uint64_t skip, std::uint64_t end)
      : slots_(slots), first_(first), count_(count), skip_(skip), end_(end) {}

  std::uint32_t count() const { return count_; }
  /// True if part of its first update is committed already.
  bool begun() const { return skip_ > 0; }
  /// The i-th update as it lies in the queue, with the others behind it, and where it ends.
  const queued_update& slot(std::uint32_t i) const { return slots_[first_ + i]; }
  std::uint64_t end(std::uint32_t i) const {
    // relaxed: a run that is not the newest grows no more, and the end of the queue was read after it.
    return i + 1 == count_ ? end_ : slot(i).end.load(std::memory_order_relaxed);
  }
  /// Its i-th update alone.
  update_list part(std::uint32_t i) const { return {slots_, first_ + i, 1, i == 0 ? skip_ : 0, end(i)}; }
  update operator[](std::uint32_t i) const {
    const queued_update& s = slot(i);
    const gfn first = s.first + (i == 0 ? skip_ : 0);
    return {{first, end(i) - first.value}, s.kind.op() == operation::map ? hfn{first.value + s.distance} : hfn{}, s.kind};
  }

 private:
  friend class batch;
  const queued_update* slots_;
  std::uint32_t first_, count_;
  std::uint64_t skip_, end_;
};

/// A fixed array with one appender. Appending, or growing the newest run, is plain stores and one release
/// store; nothing on that path locks, allocates or fences. Whoever commits holds the section's drain lock. A
/// cpu that drains leaves the newest run in place, since its owner may let it grow at any time, and
/// remembers how many of its pages are done.
///
///                 append/grow    visible/consume  retire  pending
///   owning cpu          X               L            L      any
///   other cpus          -               L            -      any
/// L: under the drain lock. The owner may append while another cpu commits what was visible.
class batch {
 public:
  static constexpr std::uint32_t capacity = 512;

  batch() { before_first().end.store(~std::uint64_t{0}, std::memory_order_relaxed); }  // relaxed: nobody else knows it yet

  // For the owning cpu.

  /// True if nothing was appended since retire().
  bool empty() const { return end() == updates(); }
  /// True if as many records as fit were appended since retire(), drained meanwhile or not: the owner's
  /// claims for them are still held.
  bool full() const { return end() == updates() + capacity; }
  /// Pages that pending updates lie between; empty if none is pending. Cost: O(1) for each update since the last call.
  gfn_range box() {
    if (empty()) return {};
    // The newest one may grow yet.
    for (; boxed_ != end() - 1; ++boxed_) grow_box(range_of(*boxed_));
    grow_box(newest());
    return box_;
  }

  /// True if growing the newest run by `u` means the same as queueing `u`.
  bool continues(const geometry& s, const update& u) const {
    if (empty()) return false;
    const queued_update& last = newest_slot();
    // Records join only where that changes no table: between leaves, and groups of leaves, of the largest
    // size. What is unmapped leaves no leaf behind.
    const unsigned leaf = u.kind.leaf_level();
    const bool any_border = u.kind.op() == operation::unmap || (leaf == 0 && s.group_bits[0] == 0);
    const std::uint64_t unit = s.slot_pages(leaf) << s.group_bits[leaf];
    return end_of(last) == u.range.first.value && last.kind == u.kind &&
           (u.kind.op() != operation::map || last.distance == u.out.value - u.range.first.value) &&
           (any_border || (u.range.first.value & (unit - 1)) == 0);
  }
  /// True if page `g` is the one after the newest run.
  bool ends_before(gfn g) const { return end_of(newest_slot()) == g.value; }
  enum class growth : std::uint8_t { done, refused, elsewhere };
  /// Where the next update goes. A caller that tries more than one way to queue it reads this once: each load waits for the store
  /// of the append before.
  queued_update* next() const { return end(); }
  /// As grow(), for page `g`, if the newest run is of this kind, was let grow, and `g` is not the first page of a growth_block;
  /// `elsewhere`: the run does not end before `g`.
  /// What is written is known from the argument: so a call does not wait for the store of the one before.
  [[gnu::always_inline]] growth grow_by_page(gfn g, update_kind k) {
    return grow_by_page(next(), g, k, [](const queued_update&) { return true; });
  }
  /// Likewise for a map, before next().
  [[gnu::always_inline]] growth grow_by_page(queued_update* next, gfn g, hfn out, update_kind k) {
    return grow_by_page(next, g, k, [g, out](const queued_update& last) { return last.distance == out.value - g.value; });
  }
  /// Pages in which grow_by_page() goes on without asking. A number that the compiler knows costs the loop that appends less than
  /// a limit that is loaded; where tables or the input are no multiples of it, nothing is let grow.
  static constexpr std::uint64_t growth_block = 256;
  /// Lets grow_by_page() go on.
  void let_grow() {
    counted_end_ = end_of(newest_slot());
    growing_ = newest_slot().kind;
  }
  /// The newest run; the queue is not empty.
  gfn_range newest() const { return range_of(newest_slot()); }
  update_kind newest_kind() const { return newest_slot().kind; }
  hfn newest_output() const { return newest_slot().out(); }
  /// Queues `u` in the newest run, which it continues.
  void grow(const update& u) {
    stop_growth();
    ++joined_;
    // release: what was queued, and done, before is seen by who commits these pages.
    newest_slot().end.store(u.range.end().value, std::memory_order_release);
  }
  /// The queue is not full.
  void append(const update& u) {
    QUIRE_INVARIANT(!full(), "a full queue commits itself before it takes the next update");
    stop_growth();
    queued_update* const slot = end();
    slot->set(u);
    if (prepaid_ == slot) ++prepaid_;  // it was claimed for by itself
    end_.store(slot + 1, std::memory_order_release);  // release: publishes the slot to whoever commits it
  }
  /// As append() at next(), for one page, if a level-0 table is prepaid for it, or its table is one that the update before has
  /// claimed.
  [[gnu::always_inline]] bool append_claimed(queued_update* slot, gfn g, hfn out, update_kind k, bool same_table) {
    if (slot == prepaid_) [[unlikely]] {
      if (!same_table || empty() || full()) return false;
      ++prepaid_;
    }
    if (is_growing()) [[unlikely]] stop_growth();
    slot->first = g;
    slot->end.store(g.value + 1, std::memory_order_relaxed);  // relaxed: end_ publishes the slot
    slot->distance = out.value - g.value;
    slot->kind = k;
    end_.store(slot + 1, std::memory_order_release);  // release: as in append()
    return true;
  }
  /// Level-0 tables that can be claimed for updates to come, one for each. The update that was queued last was claimed
  /// for by itself.
  std::uint32_t to_prepay() const {
    return prepaid_spent() ? static_cast<std::uint32_t>(updates() + capacity - end()) : 0;
  }
  bool prepaid_spent() const { return prepaid_ == end(); }
  /// As many were claimed.
  void prepay(std::uint32_t tables) { prepaid_ += tables; }
  /// Calls that have appended or grown something since retire(), as long as grow_by_page() was told of each page.
  std::uint64_t calls() const {
    const std::uint64_t grown = is_growing() ? end_of(newest_slot()) - counted_end_ : 0;
    return static_cast<std::uint64_t>(end() - updates()) + joined_ + grown;
  }
  /// After everything visible was committed, under the drain lock: the newest run grows no more.
  void retire() {
    prepaid_ = boxed_ = updates();
    joined_ = 0;
    growing_ = update_kind::none();
    box_ = {};
    // release: whoever reads `taken_` from before compares it with this end or a later one, and takes nothing that was
    // appended meanwhile for something from before its own call.
    end_.store(updates(), std::memory_order_release);
    taken_.store(0, std::memory_order_release);  // release: as in consume()
  }

  // For whoever commits.

  /// False if all that was queued before the call is committed. Any cpu, without the lock.
  bool pending() const {
    const std::uint64_t taken = taken_.load(std::memory_order_acquire);  // acquire: pairs with consume()
    const std::uint32_t head = head_of(taken), count = visible_count();
    if (count <= head) return false;
    // acquire: pairs with grow()
    return count - head > 1 || updates()[head].end.load(std::memory_order_acquire) != end_of_done(taken);
  }
  /// What is queued and not committed.
  update_list visible() const {
    const std::uint32_t count = visible_count();
    const std::uint64_t taken = taken_.load(std::memory_order_acquire);  // acquire: pairs with consume()
    const std::uint32_t head = head_of(taken);
    const std::uint64_t done = end_of_done(taken);
    if (head == count) return update_list::nothing();
    // acquire: pairs with grow()
    const std::uint64_t end = updates()[count - 1].end.load(std::memory_order_acquire);
    if (done == 0) return {updates(), head, count - head, 0, end};
    const queued_update& begun = updates()[head];
    if (done == (head + 1 == count ? end : end_of(begun))) return {updates(), head + 1, count - head - 1, 0, end};
    return {updates(), head, count - head, done - begun.first.value, end};
  }
  /// Marks what visible() gave as committed.
  void consume(const update_list& l) {
    if (l.count_ == 0) return;
    const std::uint32_t last = l.first_ + l.count_ - 1;
    // release: the slots were read before they are used again.
    taken_.store(make_taken(last, l.end_), std::memory_order_release);
  }

 private:
  // One word, so that both parts are seen together: the number of a slot, before which all are committed, and the page up to
  // which that slot is too; 0 if none of it.
  using in_head = arch::field<63, 53>;
  using in_end = arch::field<52, 0>;
  static_assert(capacity < 1u << 10);
  static constexpr std::uint64_t make_taken(std::uint32_t head, std::uint64_t end) {
    return in_head::make(head) | in_end::make(end);
  }
  static constexpr std::uint64_t end_of_done(std::uint64_t taken) { return in_end::get(taken); }
  static constexpr std::uint32_t head_of(std::uint64_t taken) { return static_cast<std::uint32_t>(in_head::get(taken)); }

  queued_update* updates() { return slots_ + 1; }
  const queued_update* updates() const { return slots_ + 1; }
  queued_update& before_first() { return slots_[0]; }
  queued_update* end() const {
    return end_.load(std::memory_order_relaxed);  // relaxed: only the owner writes it
  }
  std::uint32_t visible_count() const {
    return static_cast<std::uint32_t>(end_.load(std::memory_order_acquire) - updates());  // acquire: pairs with append()
  }
  // Where nothing was appended since retire(), one that no page continues.
  queued_update& newest_slot() const { return end()[-1]; }
  static std::uint64_t end_of(const queued_update& u) {
    return u.end.load(std::memory_order_relaxed);  // relaxed: the owner alone asks, and writes it
  }
  static gfn_range range_of(const queued_update& u) { return {u.first, end_of(u) - u.first.value}; }
  template <class GoesOn>
  [[gnu::always_inline]] growth grow_by_page(queued_update* next, gfn g, update_kind k, GoesOn goes_on) {
    queued_update& last = next[-1];
    if (end_of(last) != g.value) return growth::elsewhere;
    if (!goes_on(last) || g.value % growth_block == 0 || !(growing_ == k)) return growth::refused;
    last.end.store(g.value + 1, std::memory_order_release);  // release: as in grow()
    return growth::done;
  }
  bool is_growing() const { return !(growing_ == update_kind::none()); }
  void stop_growth() {
    if (!is_growing()) return;
    joined_ += end_of(newest_slot()) - counted_end_;
    growing_ = update_kind::none();
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

  std::atomic<queued_update*> end_{updates()};
  queued_update* prepaid_ = updates();  // the first one for which no level-0 table is claimed; end_ or behind it
  update_kind growing_ = update_kind::none();  // of the newest run while grow_by_page() may go on
  std::uint64_t counted_end_ = 0;       // of the newest run, when it was let grow
  std::uint64_t joined_ = 0;            // calls that grew a run; those since counted_end_ are not in it
  queued_update* boxed_ = updates();    // updates before this one lie in `box_`
  gfn_range box_;
  alignas(64) std::atomic<std::uint64_t> taken_{0};
  queued_update slots_[1 + capacity];  // the first one never holds anything
};

}  // namespace quire::runtime
