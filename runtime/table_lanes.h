// Neighbouring entries of one table as vectors, for any vector unit: include only in sources of a variant.
#pragma once

#include "arch/level_rule.h"

namespace quire::runtime {

using arch::entry_test;

/// Written in terms of a type V of the variant's source, in an unnamed namespace there, so that no instance
/// is anybody else's:
///   lanes                        entries of a vector
///   partial                      true if V loads and stores less than a vector well
///   vector, mask                 words in all lanes; a truth value for each lane
///   load(at), store(at, v)       each lane as a whole
///   load(at, k), first(k)        if `partial`: the first k lanes, the others 0; true in the first k lanes
///   store(at, v, bits)           the lanes of the bits only
///   all(e), ramp(first, step)    e in each lane; first + lane * step
///   add, and_, or_, xor_, and_not(a, b) = a & ~b, swap_bytes, shift_left(v, n), shift_right(v, n)
///   equal(a, b), has_any(a, b)   masks: a == b; (a & b) != 0
///   both(m, n), either(m, n)     masks
///   bits(m)                      bit i: lane i is true
///   select(m, a, b)              m ? a : b
/// Constants are turned into the byte order of the table before the loop; only what is counted up or goes to
/// the caller is turned in it.
template <class V, bool swapped>
struct table_lanes {
  using word = std::uint64_t;
  using vector = typename V::vector;
  using mask = typename V::mask;
  static constexpr std::uint32_t lanes = V::lanes;

  /// How many lanes are meant: all, as a constant, or the first k.
  struct whole {
    static constexpr bool full = true;
    static constexpr std::uint32_t k = lanes;
  };
  struct part {
    static constexpr bool full = false;
    std::uint32_t k;
  };

  static word turned(word e) { return swapped ? __builtin_bswap64(e) : e; }
  static vector turned(vector v) {
    if constexpr (swapped) return V::swap_bytes(v);
    return v;
  }
  static vector everywhere(word e) { return V::all(turned(e)); }
  static std::uint32_t lowest(unsigned bits) { return static_cast<std::uint32_t>(__builtin_ctz(bits)); }
  static std::uint32_t highest(unsigned bits) { return 31 - static_cast<std::uint32_t>(__builtin_clz(bits)); }
  /// Bits of the first k lanes.
  static constexpr unsigned lower(std::uint32_t k) {
    return static_cast<unsigned>((std::uint64_t{1} << k) - 1);
  }
  template <class Size>
  static vector load(const word* at, Size n) {
    if constexpr (Size::full)
      return V::load(at);
    else
      return V::load(at, n.k);
  }
  template <class Size>
  static void store(word* at, vector v, Size n) {
    if constexpr (Size::full)
      V::store(at, v);
    else
      V::store(at, v, lower(n.k));
  }
  /// Bits of the lanes that are meant and where `m` is false.
  template <class Size>
  static unsigned others(mask m, Size n) {
    return ~V::bits(m) & lower(n.k);
  }

  /// Does all n entries from `i` on: four vectors at a time by fours(i), as long as it returns true; then by
  /// one(i, size), vector by vector, until it returns false; the last ones, too few for a vector where V is
  /// not partial, by rest(i).
  template <class Fours, class One, class Rest>
  [[gnu::always_inline]] static void each(std::uint32_t n, Fours fours, One one, [[maybe_unused]] Rest rest) {
    std::uint32_t i = 0;
    for (; n - i >= 4 * lanes && fours(i); i += 4 * lanes) {
    }
    for (; n - i >= lanes; i += lanes) {
      if (!one(i, whole{})) return;
    }
    if (i == n) return;
    if constexpr (V::partial)
      one(i, part{n - i});
    else
      rest(i);
  }
  /// For each(): no four at a time.
  static bool never(std::uint32_t /*i*/) { return false; }

  /// True if the j-th of four vectors at `at` is expected(j), all of them.
  template <class Expected>
  [[gnu::always_inline]] static bool four_equal(const word* at, Expected expected) {
    mask same[4];
#pragma GCC unroll 4
    for (std::uint32_t j = 0; j < 4; ++j) same[j] = V::equal(V::load(at + j * lanes), expected(j));
    return V::bits(V::both(V::both(same[0], same[1]), V::both(same[2], same[3]))) == lower(lanes);
  }

  /// What an entry_test asks for: the fewer, the faster.
  enum class asks { any, value, both };
  static asks form(const entry_test& t) {
    return t.any == 0 ? asks::value : t.mask == 0 ? asks::any : asks::both;
  }

  template <asks form>
  struct test {
    explicit test(const entry_test& t)
        : any(V::all(t.any == 0 ? ~word{0} : turned(t.any))),
          whatever(V::all(t.any == 0 ? ~word{0} : 0)),
          masked(everywhere(t.mask)),
          value(everywhere(t.value)) {}
    mask operator()(vector e) const {
      if constexpr (form == asks::any) return V::has_any(e, any);
      if constexpr (form == asks::value) return V::equal(V::and_(e, masked), value);
      return V::both(V::has_any(V::or_(e, whatever), any), V::equal(V::and_(e, masked), value));
    }
    vector any, whatever, masked, value;
  };
  // Single entries. relaxed: see table_ops.

  static word load_one(const word* at) { return turned(__atomic_load_n(at, __ATOMIC_RELAXED)); }
  static void store_one(word* at, word e) { __atomic_store_n(at, turned(e), __ATOMIC_RELAXED); }
  /// Changes an entry by the rule, whatever others set in it meanwhile, and gives what it was. False: it
  /// stays as it is.
  template <class Rule>
  static bool change_live(word* at, const Rule& rule, word& was) {
    word now = 0, in_place = __atomic_load_n(at, __ATOMIC_RELAXED);
    do {
      was = turned(in_place);
      now = rule(was);
      if (now == was) return false;
    } while (
        !__atomic_compare_exchange_n(at, &in_place, turned(now), false, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
    return true;
  }
};

}  // namespace quire::runtime
