// Where the leaves of queued single maps go, for any vector unit: include only in sources of a variant.
#pragma once

#include "runtime/leaf_places.h"
#include "runtime/table_lanes.h"

namespace quire::runtime {

/// V is as table_lanes wants it, with load_four(at, v): words 4 i + j of memory become lane i of v[j].
///
/// All walks go down level by level, as in vector_lookup: addresses in vectors, loads one by one, then tests in vectors.
/// Those that have ended follow the first table of their level, which does no harm.
template <class V, bool swapped>
class vector_places {
 public:
  static void find(const place_request& q, const queued_update* updates, std::uint32_t n, std::uint64_t** at,
                   std::uint64_t* leaf) {
    const std::uint32_t whole = n - n % lanes;
    if (whole > 0 && vector_places(q, whole).look(updates, at, leaf)) {
      if (n > whole) detail::scalar_places[swapped](q, updates + whole, n - whole, at + whole, leaf + whole);
    } else {
      detail::scalar_places[swapped](q, updates, n, at, leaf);
    }
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

  /// False: this is not for vectors.
  bool look(const queued_update* updates, word** at, word* leaf) {
    word differ = 0;
    take(updates, leaf, differ);
    unsigned l = q_.shape.levels - 1;
    word table = q_.root;
    const word page = updates[0].first.value;
    for (; l > 0 && differ >> q_.shape.level[l].shift == 0; --l) {
      const arch::walk_level& level = q_.shape.level[l];
      const word e = in_table::turned(load(table + q_.table_offset + (page >> level.shift & level.index_mask) * sizeof(word)));
      if (!level.rule.table(e)) return false;
      table = level.rule.address(e, level.rule.table_address);
    }
    if (l == 0) return false;  // neighbours, that differ in less than a table: not worth it
    const vector start = V::all(table);
    for (std::uint32_t v = 0; v < vectors_; ++v) table_[v] = start;
    for (; l > 0; --l) {
      const arch::walk_level& level = q_.shape.level[l];
      descend(level);
    }
    finish(at);
    return true;
  }

  /// Sorts out the updates, and makes their leaves.
  void take(const queued_update* updates, word* leaf, word& differ) {
    const vector kind = V::all(__builtin_bit_cast(word, q_.kind)), pages = V::all(q_.pages), beyond = V::all(q_.beyond),
                 first = V::all(updates[0].first.value), leaf_of_0 = V::all(q_.leaf);
    const unsigned shift = q_.step_shift;
    vector all = V::all(0);
    for (std::uint32_t v = 0; v < vectors_; ++v) {
      vector u[4];  // first, end, distance, kind
      V::load_four(reinterpret_cast<const word*>(updates + v * lanes), u);
      const vector out = V::add(u[0], u[2]);
      const mask fit = V::both(V::equal(u[1], V::add(u[0], pages)), V::equal(u[3], kind));
      good_[v] = V::both(fit, V::equal(V::and_(out, beyond), V::all(0)));
      page_[v] = u[0];
      all = V::or_(all, V::xor_(u[0], first));
      V::store(leaf + v * lanes, in_table::turned(V::add(leaf_of_0, V::shift_left(out, shift))));
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
#pragma GCC unroll 8
    for (std::uint32_t i = 0; i < count_; ++i) at[i] = load(at[i]);
    const typename as_read::template test<asks::both> is_table(level.rule.table);
    const vector low = V::all(level.rule.table_address), high = V::all(level.rule.high_bits), harmless = V::all(q_.root);
    for (std::uint32_t v = 0; v < vectors_; ++v) {
      const vector e = in_table::turned(V::load(at + v * lanes));
      good_[v] = V::both(good_[v], is_table(e));
      const vector table = V::or_(V::and_(e, low), V::shift_left(V::and_(e, high), level.rule.high_shift));
      table_[v] = V::select(good_[v], table, harmless);
    }
  }

  /// The entries in tables of level 0, where these are held.
  void finish(word** at) {
    alignas(64) word owner[most_places];
    const auto words = static_cast<word>(reinterpret_cast<std::uintptr_t>(q_.held.words));
    const vector first_word = V::all(words), word_mask = V::all(owner_words::count - 1);
    for (std::uint32_t v = 0; v < vectors_; ++v) {
      const vector index = V::and_(V::shift_right(table_[v], q_.frame_shift), word_mask);
      V::store(owner + v * lanes, V::add(first_word, V::shift_left(index, 2)));
    }
#pragma GCC unroll 8
    for (std::uint32_t i = 0; i < count_; ++i) {
      // acquire: as in owner_words::acquire()
      owner[i] = __atomic_load_n(reinterpret_cast<const std::uint32_t*>(static_cast<std::uintptr_t>(owner[i])), __ATOMIC_ACQUIRE);
    }
    const arch::walk_level& level = q_.shape.level[0];
    const vector index_mask = V::all(level.index_mask), offset = V::all(q_.table_offset), biased = V::all(q_.held.biased),
                 locked = V::all(q_.held.locked);
    for (std::uint32_t v = 0; v < vectors_; ++v) {
      const vector seen = V::load(owner + v * lanes);
      const mask held = V::either(V::equal(seen, biased), V::equal(seen, locked));
      const vector index = V::and_(V::shift_right(page_[v], level.shift), index_mask);
      const vector place = V::add(V::add(table_[v], offset), V::shift_left(index, 3));
      V::store(reinterpret_cast<word*>(at + v * lanes), V::select(V::both(good_[v], held), place, V::all(0)));
    }
  }

  const place_request& q_;
  const std::uint32_t count_, vectors_;
  vector page_[most_places / lanes], table_[most_places / lanes];  // physical addresses
  mask good_[most_places / lanes];
};

}  // namespace quire::runtime
