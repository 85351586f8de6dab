// Where the leaves of queued single maps go, for any vector unit: include only in sources of a variant.
#pragma once

#include <bit>

#include "runtime/leaf_places.h"
#include "runtime/table_lanes.h"

namespace quire::runtime {

/// V is as table_lanes wants it, with load_four(at, v): words 4 i + j of memory become lane i of v[j]; and gather(at): the
/// words at so many addresses, each as a whole.
///
/// All walks go down level by level, as in vector_lookup: addresses in vectors, then loads one by one into vectors.
/// Those that have ended follow the first table of their level, which does no harm.
template <class V, bool swapped>
class vector_places {
 public:
  static bool of_updates(const place_request& q, const queued_update* updates, std::uint32_t n, std::uint64_t** at,
                         std::uint64_t* leaf) {
    const std::uint32_t whole = n - n % lanes;
    vector_places all(q, whole);
    if (whole == 0 || !all.look(updates->first.value, updates, nullptr, at, leaf)) return detail::scalar_places[swapped].of_updates(q, updates, n, at, leaf);
    return all.found() & (n == whole || detail::scalar_places[swapped].of_updates(q, updates + whole, n - whole, at + whole, leaf + whole));
  }
  static bool of_pages(const place_request& q, const gfn* pages, const hfn* frames, std::uint32_t n, std::uint64_t** at,
                       std::uint64_t* leaf) {
    const std::uint32_t whole = n - n % lanes;
    vector_places all(q, whole);
    if (whole == 0 || !all.look(pages->value, pages, frames, at, leaf)) return detail::scalar_places[swapped].of_pages(q, pages, frames, n, at, leaf);
    return all.found() & (n == whole || detail::scalar_places[swapped].of_pages(q, pages + whole, frames + whole, n - whole, at + whole, leaf + whole));
  }

 private:
  using in_table = table_lanes<V, swapped>;
  using as_read = table_lanes<V, false>;
  using asks = typename as_read::asks;
  using word = std::uint64_t;
  using vector = typename V::vector;
  using mask = typename V::mask;
  static constexpr std::uint32_t lanes = V::lanes;
  static_assert(sizeof(queued_update) == 4 * sizeof(word) && most_places % lanes == 0);

  vector_places(const place_request& q, std::uint32_t count) : q_(q), count_(count), vectors_(count / lanes) {}

  bool found() const { return all_found_; }

  /// False: this is not for vectors. `maps` are queued_updates, or pages with their frames.
  template <class Map>
  [[gnu::always_inline]] bool look(word page, const Map* maps, const hfn* frames, word** at, word* leaf) {
    word differ = 0;
    take(maps, frames, V::all(page), leaf, differ);
    unsigned l = q_.shape.levels - 1;
    word table = q_.root;
    for (; l > 0 && differ >> q_.shape.level[l].shift == 0; --l) {
      const arch::walk_level& level = q_.shape.level[l];
      const word e = in_table::turned(load(table + q_.table_offset + (page >> level.shift & level.index_mask) * sizeof(word)));
      if (!level.rule.table(e)) return false;
      table = level.rule.address(e, level.rule.table_address);
    }
    const vector start = V::all(table);
    for (std::uint32_t v = 0; v < vectors_; ++v) table_[v] = start;
    for (; l > 0; --l) descend(q_.shape.level[l]);
    finish(at);
    return true;
  }

  struct map_lanes {
    vector page, out;
    mask good;
  };
  // Of the newest record the end may move meanwhile: seen before or after, it is of one page, or of more and has no place.
  [[gnu::always_inline]] map_lanes read(const queued_update* updates, const hfn* /*frames*/, std::uint32_t i) const {
    vector u[4];  // first, end, distance, kind
    V::load_four(reinterpret_cast<const word*>(updates + i), u);
    const mask one_page = V::equal(u[1], V::add(u[0], V::all(q_.pages)));
    return {u[0], V::add(u[0], u[2]), V::both(one_page, V::equal(u[3], V::all(__builtin_bit_cast(word, q_.kind))))};
  }
  [[gnu::always_inline]] map_lanes read(const gfn* pages, const hfn* frames, std::uint32_t i) const {
    return {V::load(&pages[i].value), V::load(&frames[i].value), V::equal(V::all(0), V::all(0))};
  }

  /// Sorts out the maps, and makes their leaves.
  template <class Map>
  [[gnu::always_inline]] void take(const Map* maps, const hfn* frames, vector first, word* leaf, word& differ) {
    const vector beyond = V::all(q_.beyond), leaf_of_0 = V::all(q_.leaf), none = V::all(0);
    const unsigned shift = q_.step_shift;
    vector all = V::all(0);
    for (std::uint32_t v = 0; v < vectors_; ++v) {
      const map_lanes m = read(maps, frames, v * lanes);
      good_[v] = V::both(m.good, V::equal(V::and_(m.out, beyond), none));
      page_[v] = m.page;
      all = V::or_(all, V::xor_(m.page, first));
      V::store(leaf + v * lanes, in_table::turned(V::add(leaf_of_0, V::shift_left(m.out, shift))));
    }
    word each[lanes];
    V::store(each, all);
    for (const word e : each) differ |= e;
  }

  static word load(word at) {
    // acquire: as slot::load()
    return __atomic_load_n(reinterpret_cast<const word*>(static_cast<std::uintptr_t>(at)), __ATOMIC_ACQUIRE);
  }

  /// Goes on to the tables that entries of `level` link.
  void descend(const arch::walk_level& level) {
    alignas(64) word at[most_places];
    const vector index_mask = V::all(level.index_mask), offset = V::all(q_.table_offset);
    for (std::uint32_t v = 0; v < vectors_; ++v) {
      const vector index = V::and_(V::shift_right(page_[v], level.shift), index_mask);
      V::store(at + v * lanes, V::add(V::add(table_[v], offset), V::shift_left(index, 3)));
    }
    const typename as_read::template test<asks::both> is_table(level.rule.table);
    const vector low = V::all(level.rule.table_address), high = V::all(level.rule.high_bits), harmless = V::all(q_.root);
    for (std::uint32_t v = 0; v < vectors_; ++v) {
      const vector e = in_table::turned(V::gather(at + v * lanes));
      good_[v] = V::both(good_[v], is_table(e));
      const vector table = V::or_(V::and_(e, low), V::shift_left(V::and_(e, high), level.rule.high_shift));
      table_[v] = V::select(good_[v], table, harmless);
    }
    std::atomic_thread_fence(std::memory_order_acquire);  // acquire: as slot::load(), for all of them
  }

  /// The entries in tables of level 0, where these are held. Owner words are read in pairs, as they lie in memory.
  void finish(word** at) {
    alignas(64) word owner[most_places];
    static_assert(std::endian::native == std::endian::little);
    const auto words = static_cast<word>(reinterpret_cast<std::uintptr_t>(q_.held.words));
    const vector first_word = V::all(words), word_mask = V::all(owner_words::count - 1);
    for (std::uint32_t v = 0; v < vectors_; ++v) {
      const vector pair = V::shift_right(V::and_(V::shift_right(table_[v], q_.frame_shift), word_mask), 1);
      V::store(owner + v * lanes, V::add(first_word, V::shift_left(pair, 3)));
    }
    const arch::walk_level& level = q_.shape.level[0];
    const vector index_mask = V::all(level.index_mask), offset = V::all(q_.table_offset), biased = V::all(q_.held.biased),
                 locked = V::all(q_.held.locked), none = V::all(0), odd = V::all(word{1} << q_.frame_shift), low = V::all(0xffffffff);
    unsigned every = as_read::lower(lanes);
    for (std::uint32_t v = 0; v < vectors_; ++v) {
      const vector both = V::gather(owner + v * lanes);
      const vector seen = V::select(V::has_any(table_[v], odd), V::shift_right(both, 32), V::and_(both, low));
      const mask held = V::either(V::equal(seen, biased), V::equal(seen, locked));
      const vector index = V::and_(V::shift_right(page_[v], level.shift), index_mask);
      const vector place = V::add(V::add(table_[v], offset), V::shift_left(index, 3));
      const mask found = V::both(good_[v], held);
      every &= V::bits(found);
      V::store(reinterpret_cast<word*>(at + v * lanes), V::select(found, place, none));
    }
    all_found_ = every == as_read::lower(lanes);
    std::atomic_thread_fence(std::memory_order_acquire);  // acquire: as in owner_words::acquire()
  }

  const place_request& q_;
  const std::uint32_t count_, vectors_;
  bool all_found_ = false;
  vector page_[most_places / lanes], table_[most_places / lanes];  // physical addresses
  mask good_[most_places / lanes];
};

}  // namespace quire::runtime
