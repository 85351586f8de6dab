// Looking up many pages in tables at once, for any vector unit: include only in sources of a variant.
#pragma once

#include "runtime/lookup_ops.h"
#include "runtime/table_lanes.h"

namespace quire::runtime {

/// V is as table_lanes wants it, and has
///   gather(at)                   the words at `lanes` addresses, each as a whole
///
/// All walks of a batch go down level by level, so that their loads overlap: addresses in vectors, loads one
/// by one, then tests in vectors. What is stored in between are the addresses of the next level's entries.
/// Where walks part, those that have ended leave the batch one by one.
template <class V, bool swapped>
class vector_lookup {
 public:
  static bool look_all(const lookup_source& from, const arch::gfn* pages, std::size_t n, arch::hfn* frames) {
    if (!all_below(pages, n, from.input_pages)) return false;
    for (std::size_t i = 0; i < n; i += capacity) {
      vector_lookup batch(from, frames + i);
      const auto count = static_cast<std::uint32_t>(n - i < capacity ? n - i : capacity);
      for (unsigned tries = 0; !batch.look(pages + i, count); ++tries) {
        if (tries == most_tries) return detail::scalar_lookup[swapped](from, pages + i, n - i, frames + i);
      }
    }
    return true;
  }

 private:
  using in_table = table_lanes<V, swapped>;
  using as_read = table_lanes<V, false>;  // entries are turned when they are read
  using asks = typename as_read::asks;
  using word = std::uint64_t;
  using vector = typename V::vector;
  using mask = typename V::mask;
  static constexpr std::uint32_t lanes = V::lanes, capacity = 64;
  static constexpr unsigned every = as_read::lower(lanes);
  /// A batch takes longer than one walk, and so is disturbed more often.
  static constexpr unsigned most_tries = 4;

  /// All bits of all lanes.
  static word any_lane(vector v) {
    word lane[lanes], bits = 0;
    V::store(lane, v);
    for (const word b : lane) bits |= b;
    return bits;
  }
  /// @param end  a power of two
  static bool all_below(const arch::gfn* pages, std::size_t n, word end) {
    vector all = V::all(0);
    std::size_t i = 0;
    for (; n - i >= lanes; i += lanes) all = V::or_(all, V::load(&pages[i].value));
    word bits = 0;
    for (; i < n; ++i) bits |= pages[i].value;
    return V::bits(V::has_any(all, V::all(~(end - 1)))) == 0 && bits < end;
  }

  vector_lookup(const lookup_source& from, arch::hfn* frames) : from_(from), frames_(frames) {}

  /// To be asked after entries were read, before they are followed or believed.
  bool undisturbed() const {
    std::atomic_thread_fence(std::memory_order_acquire);  // acquire: the entries come before the version
    return from_.version.load(std::memory_order_acquire) == before_;  // acquire: see space::version()
  }
  /// The entry at a virtual address, in the byte order of this machine.
  static word entry(word at) {
    // relaxed: undisturbed() comes after it.
    return in_table::turned(
        __atomic_load_n(reinterpret_cast<const word*>(static_cast<std::uintptr_t>(at)), __ATOMIC_RELAXED));
  }
  std::uint32_t vectors() const { return (count_ + lanes - 1) / lanes; }

  /// False if a frame of the space was given back meanwhile.
  bool look(const arch::gfn* pages, std::uint32_t n) {
    before_ = from_.version.load(std::memory_order_acquire);  // acquire: comes before the tables are read
    count_ = n;
    apart_ = false;
    page_ = &pages->value;
    found_ = &frames_->value;
    if (n % lanes != 0) {
      __builtin_memcpy(own_page_, page_, n * sizeof *own_page_);
      fill_up(own_page_);
      page_ = own_page_;
      found_ = own_found_;
    }
    unsigned l = from_.shape.levels - 1;
    word table = from_.root;
    if (!descend_together(l, table)) return false;
    start(from_.shape.level[l], table);
    const bool far = l > 1;
    for (;; --l) {
      const arch::walk_level& level = from_.shape.level[l];
      const bool all = l == 0 ? finish(level) : descend(&level);
      if (!undisturbed()) return false;
      if (all) {
        if (l == 0) return deliver();
        if (l == 1 && far) prefetch();
      } else if (!part(level)) {
        return true;
      }
    }
  }

  /// Gives the lanes behind the last walk something that does no harm.
  void fill_up(word* lane) const {
    for (std::uint32_t i = count_; i % lanes != 0; ++i) lane[i] = lane[0];
  }

  /// Walks down from `table` of level l as long as all pages lie under one entry.
  bool descend_together(unsigned& l, word& table) const {
    const word* const page = page_;
    const vector first = V::all(page[0]);
    vector differ = V::all(0);
    for (std::uint32_t i = 0, end = vectors() * lanes; i < end; i += lanes)
      differ = V::or_(differ, V::xor_(V::load(page + i), first));
    const word different = any_lane(differ);
    for (; l > 0 && different >> from_.shape.level[l].shift == 0; --l) {
      const arch::walk_level& level = from_.shape.level[l];
      const word index = page[0] >> level.shift & level.index_mask;
      const word e = entry(table + from_.table_offset + index * sizeof(word));
      if (!undisturbed()) return false;
      if (!level.rule.table(e)) break;
      table = level.rule.address(e, level.rule.table_address);
    }
    return true;
  }

  /// Where walks find their entries in tables of a level.
  struct place {
    explicit place(const arch::walk_level& level)
        : index_mask(V::all(level.index_mask)), shift(level.shift) {}
    [[gnu::always_inline]] vector operator()(vector table, vector page) const {
      return V::add(table, V::shift_left(V::and_(V::shift_right(page, shift), index_mask), 3));
    }
    vector index_mask;
    unsigned shift;
  };

  /// All walks come to the same table of this level.
  void start(const arch::walk_level& level, word table) {
    const place in(level);
    const vector all = V::all(table + from_.table_offset);
    const word* const page = page_;
    word* const at = at_;
    for (std::uint32_t i = 0, end = vectors() * lanes; i < end; i += lanes)
      V::store(at + i, in(all, V::load(page + i)));
  }

  /// For entries that lie so far apart that caches may not hold them: loads wait in order until they are
  /// there, and then fewer of them are on their way at once.
  void prefetch() const {
    for (std::uint32_t i = 0; i < count_; ++i) __builtin_prefetch(reinterpret_cast<const void*>(at_[i]));
  }

  /// level_rule::address() in vectors.
  template <bool wide>
  struct address {
    address(const arch::level_rule& rule, word bits)
        : low(V::all(bits)), high(V::all(rule.high_bits)), shift(rule.high_shift) {}
    [[gnu::always_inline]] vector operator()(vector e) const {
      if constexpr (!wide) return V::and_(e, low);
      return V::or_(V::and_(e, low), V::shift_left(V::and_(e, high), shift));
    }
    vector low, high;
    unsigned shift;
  };

  // The loops below take what they need out of memory first: the compiler does not know that their stores
  // change none of it.

  /// Goes on to the entries in the tables that the entries of a level name, which is not 0. False: not all of
  /// them are tables.
  template <asks form, bool wide>
  bool descend_in(const arch::walk_level* level) {
    const place below(level[-1]);
    const typename as_read::template test<form> is_table(level->rule.table);
    const address<wide> table(level->rule, level->rule.table_address);
    const vector offset = V::all(from_.table_offset);
    const word* const page = page_;
    word *const at = at_, *const entry = entry_;
    unsigned all = every;
    for (std::uint32_t i = 0, end = vectors() * lanes; i < end; i += lanes) {
      const vector e = in_table::turned(V::gather(at + i));
      V::store(entry + i, e);
      all &= V::bits(is_table(e));
      V::store(at + i, below(V::add(table(e), offset), V::load(page + i)));
    }
    return all == every;
  }
  bool descend(const arch::walk_level* level) {
    const bool wide = level->rule.high_bits != 0;
    if (as_read::form(level->rule.table) == asks::value) {
      return wide ? descend_in<asks::value, true>(level) : descend_in<asks::value, false>(level);
    }
    return wide ? descend_in<asks::both, true>(level) : descend_in<asks::both, false>(level);
  }

  /// Frames and holes of level 0. False: some entries are neither leaf nor
  /// empty.
  template <asks form, bool wide>
  bool finish_in(const arch::walk_level& level) {
    const typename as_read::template test<form> is_leaf(level.rule.leaf);
    const address<wide> output(level.rule, level.rule.leaf_address);
    const vector inside = V::all((word{1} << level.shift) - 1), hole = V::all(no_frame.value),
                 empty = V::all(level.empty);
    const word *const page = page_, *const at = at_;
    word *const entry = entry_, *const found = found_;
    unsigned all = every;
    for (std::uint32_t i = 0, end = vectors() * lanes; i < end; i += lanes) {
      const vector e = in_table::turned(V::gather(at + i));
      V::store(entry + i, e);
      const mask leaf = is_leaf(e);
      all &= V::bits(V::either(leaf, V::equal(e, empty)));
      const vector frame =
          V::add(V::shift_right(output(e), arch::page_shift), V::and_(V::load(page + i), inside));
      V::store(found + i, V::select(leaf, frame, hole));
    }
    return all == every;
  }
  bool finish(const arch::walk_level& level) {
    const bool wide = level.rule.high_bits != 0;
    switch (as_read::form(level.rule.leaf)) {
      case asks::value:
        return wide ? finish_in<asks::value, true>(level) : finish_in<asks::value, false>(level);
      case asks::any:
        return wide ? finish_in<asks::any, true>(level) : finish_in<asks::any, false>(level);
      case asks::both:
        break;
    }
    return wide ? finish_in<asks::both, true>(level) : finish_in<asks::both, false>(level);
  }

  bool deliver() const {
    if (apart_) {
      for (std::uint32_t i = 0; i < count_; ++i) frames_[where_[i]].value = found_[i];
    } else if (found_ == own_found_) {
      __builtin_memcpy(&frames_->value, found_, count_ * sizeof *found_);
    }
    return true;
  }

  /// Ends the walks that have ended at this level, one by one, and keeps the others. False: there are no
  /// others.
  [[gnu::noinline]] bool part(const arch::walk_level& level) {
    const arch::level_rule& rule = level.rule;
    word table[capacity];
    std::uint32_t kept = 0;
    for (std::uint32_t i = 0; i < count_; ++i) {
      const word e = entry_[i], page = page_[i];
      const auto where = apart_ ? where_[i] : static_cast<std::uint8_t>(i);
      if (rule.table(e)) {
        own_page_[kept] = page;
        table[kept] = rule.address(e, rule.table_address) + from_.table_offset;
        where_[kept++] = where;
      } else if (rule.leaf(e)) {
        const word inside = page & ((word{1} << level.shift) - 1);
        frames_[where].value = (rule.address(e, rule.leaf_address) >> arch::page_shift) + inside;
      } else {
        frames_[where].value = e == level.empty ? no_frame.value : from_.judge(from_.context, {page});
      }
    }
    count_ = kept;
    apart_ = true;
    page_ = own_page_;
    found_ = own_found_;
    if (kept == 0) return false;
    const arch::walk_level& below = (&level)[-1];
    for (std::uint32_t i = 0; i < kept; ++i)
      at_[i] = table[i] + (own_page_[i] >> below.shift & below.index_mask) * sizeof(word);
    fill_up(own_page_);
    fill_up(at_);
    return true;
  }

  const lookup_source& from_;
  arch::hfn* const frames_;
  std::uint64_t before_ = 0;
  std::uint32_t count_ = 0;
  bool apart_ = false;                // where_ says which walk is which
  const word* page_ = nullptr;        // by walk, as all of the following: the caller's, or own_page_
  word* found_ = nullptr;             // the caller's, or own_found_
  alignas(64) word at_[capacity];     // virtual addresses of the entries of the level that is read next
  alignas(64) word entry_[capacity];  // of the level that was read last
  alignas(64) word own_page_[capacity];
  alignas(64) word own_found_[capacity];
  std::uint8_t where_[capacity];
};

}  // namespace quire::runtime
