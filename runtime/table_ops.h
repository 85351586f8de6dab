// Operations on neighbouring entries of one table: the scalar functions in table_ops.cc are the
// specification.
#pragma once

#include <cstdint>

#include "arch/level_rule.h"
#include "runtime/simd.h"

namespace quire::runtime {

using arch::entry_test;

/// What becomes of a leaf's access: e -> (e & keep) | set. If the bits that go may also say that the page is
/// dirty, those entries that are, by any bit of `dirty` or by all of `dirty_pair`, get `dirty_set` as well;
/// 0: nothing says so.
struct protect_rule {
  entry_test leaf;
  std::uint64_t keep = ~std::uint64_t{0};
  std::uint64_t set = 0;
  std::uint64_t dirty = 0;
  std::uint64_t dirty_pair = 0;
  std::uint64_t dirty_set = 0;

  [[gnu::always_inline]] constexpr bool is_dirty(std::uint64_t e) const {
    return (e & dirty) != 0 || (dirty_pair != 0 && (e & dirty_pair) == dirty_pair);
  }
  /// The entry after, a leaf or not.
  [[gnu::always_inline]] constexpr std::uint64_t operator()(std::uint64_t e) const {
    if (!leaf(e)) return e;
    return (e & keep) | set | (is_dirty(e) ? dirty_set : 0);
  }
};

/// One change of neighbouring entries that agree in some bits.
struct run_change {
  std::uint64_t mask = 0, value = 0;  ///< what they agree in
  std::uint64_t keep = ~std::uint64_t{0}, set = 0;
};

struct protect_result {
  std::uint32_t changed = 0;          ///< entries
  std::uint32_t first = 0, last = 0;  ///< indexes of the first and the last of them, if there are any
  std::uint64_t lost = 0;             ///< bits that any of them had before and has not now
  std::uint64_t gained = 0;           ///< the other way round
};

/// Status that hardware has set in leaves, and how it is taken back. 0 where there is no such bit, or it is
/// not wanted.
struct harvest_rule {
  entry_test leaf;
  std::uint64_t accessed = 0;  ///< the page was accessed; is cleared
  std::uint64_t dirty = 0;     ///< the page is dirty; is cleared
  std::uint64_t dirty_pair =
      0;  ///< the page is dirty if all of these are set: then `pair_clear`, some of them, is cleared
  std::uint64_t pair_clear = 0;  ///< 0 only if `dirty_pair` is
  std::uint64_t protect = 0;     ///< is cleared too where the page is dirty

  [[gnu::always_inline]] constexpr bool is_paired(std::uint64_t e) const {
    return dirty_pair != 0 && (e & dirty_pair) == dirty_pair;
  }
  [[gnu::always_inline]] constexpr bool is_dirty(std::uint64_t e) const { return (e & dirty) != 0 || is_paired(e); }
  /// The entry after: equal if there is nothing to harvest.
  [[gnu::always_inline]] constexpr std::uint64_t operator()(std::uint64_t e) const {
    if (!leaf(e)) return e;
    return e & ~(accessed | dirty | (is_paired(e) ? pair_clear : 0) | (is_dirty(e) ? protect : 0));
  }
};

/// The operations in one variant, for one byte order. Words are values as the format defines them, whatever
/// the byte order of the table. `at` points to the first of `n` entries of a table that the caller holds, n
/// >= 0; each entry is read and written as a whole, in no order that other CPUs could rely on: whoever
/// publishes what was written, by a release or a barrier of the platform, does so afterwards. Bits that wrap:
/// arithmetic is modulo 2^64.
///
/// Plain operations are for entries that hardware does not change meanwhile; the `live` ones lose no bit that
/// hardware, or anybody else, sets in between: they store by one locked instruction per entry that really
/// changes.
///
/// Errors: none. Context: any; they neither block nor allocate. Cost: O(n).
struct table_ops {
  using word = std::uint64_t;

  /// In order, as long as entries are `empty`: the i-th becomes first + i * step. Returns how many did.
  std::uint32_t (*fill_if_empty)(word* at, std::uint32_t n, word empty, word first, word step);
  /// The i-th entry becomes first + i * step, whatever was there.
  void (*fill)(word* at, std::uint32_t n, word first, word step);
  /// In order, as long as the i-th entry is at[0] + i * step: it becomes `put`. Returns how many did: 1 at
  /// least, if n > 0.
  std::uint32_t (*take_run)(word* at, std::uint32_t n, word step, word put);
  /// In order, as long as the bits of entries under `mask` are `value`: e becomes (e & keep) | set. Returns how many did.
  std::uint32_t (*change_run)(word* at, std::uint32_t n, const run_change& c);
  /// Entries, in order, whose bits under `mask` are those of first + i * step.
  std::uint32_t (*match_run)(const word* at, std::uint32_t n, word first, word step, word mask);
  /// Copies all to old[0, n), then those that are not `empty` become `put`. Returns how many did.
  std::uint32_t (*take_any)(word* at, std::uint32_t n, word empty, word put, word* old);
  /// Changes the leaves by the rule.
  protect_result (*protect)(word* at, std::uint32_t n, const protect_rule& rule);
  protect_result (*protect_live)(word* at, std::uint32_t n, const protect_rule& rule);
  /// Takes the status of the leaves back. The indexes of those that had any go to index[0, m), in order, and
  /// what they were to old[0, m); both have room for n. Returns m.
  std::uint32_t (*harvest_live)(word* at, std::uint32_t n, const harvest_rule& rule, std::uint32_t* index,
                                word* old);
  /// Index of the first entry that is not `e`; n if there is none.
  std::uint32_t (*first_not)(const word* at, std::uint32_t n, word e);

  bool all_equal(const word* at, std::uint32_t n, word e) const { return first_not(at, n, e) == n; }
};

/// The operations of a variant that is available, or of scalar.
/// @param swapped  the byte order of the tables is not that of this machine
const table_ops& table_ops_for(simd v, bool swapped);

namespace detail {
// By `swapped`.
extern const table_ops scalar_table_ops[2], avx2_table_ops[2], avx512_table_ops[2], neon_table_ops[2];
}  // namespace detail

}  // namespace quire::runtime
