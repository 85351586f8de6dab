// Operations on neighbouring entries of one table, for any vector unit: include only in sources of a variant.
#pragma once

#include "runtime/table_lanes.h"
#include "runtime/table_ops.h"

namespace quire::runtime {

/// V is as table_lanes wants it.
template <class V, bool swapped>
struct vector_table_ops : table_lanes<V, swapped> {
  using base = table_lanes<V, swapped>;
  using base::change_live, base::each, base::form, base::everywhere, base::four_equal, base::highest,
      base::lanes, base::load, base::load_one, base::lower, base::lowest, base::never, base::others,
      base::store, base::store_one, base::turned;
  using typename base::asks;
  using typename base::mask;
  using typename base::vector;
  using typename base::whole;
  using typename base::word;

  template <asks form>
  using test = typename base::template test<form>;

  static const table_ops& scalar() { return detail::scalar_table_ops[swapped]; }

  static std::uint32_t fill_if_empty(word* at, std::uint32_t n, word empty, word first, word step) {
    const vector wanted = everywhere(empty), more = V::all(lanes * step);
    vector next = V::ramp(first, step);
    std::uint32_t done = 0;
    const auto fours = [&](std::uint32_t i) {
      if (!four_equal(at + i, [&](std::uint32_t) { return wanted; })) return false;
#pragma GCC unroll 4
      for (std::uint32_t j = 0; j < 4; ++j, next = V::add(next, more))
        V::store(at + i + j * lanes, turned(next));
      done = i + 4 * lanes;
      return true;
    };
    const auto one = [&](std::uint32_t i, auto size) {
      const unsigned other = others(V::equal(load(at + i, size), wanted), size);
      done = i + (other == 0 ? size.k : lowest(other));
      if (other != 0) {
        V::store(at + i, turned(next), lower(lowest(other)));
        return false;
      }
      store(at + i, turned(next), size);
      next = V::add(next, more);
      return true;
    };
    each(n, fours, one, [&](std::uint32_t i) {
      done = i + scalar().fill_if_empty(at + i, n - i, empty, first + i * step, step);
    });
    return done;
  }

  static void fill(word* at, std::uint32_t n, word first, word step) {
    const vector more = V::all(lanes * step);
    vector next = V::ramp(first, step);
    const auto one = [&](std::uint32_t i, auto size) {
      store(at + i, turned(next), size);
      next = V::add(next, more);
      return true;
    };
    const auto fours = [&](std::uint32_t i) {
#pragma GCC unroll 4
      for (std::uint32_t j = 0; j < 4; ++j) one(i + j * lanes, whole{});
      return true;
    };
    each(n, fours, one, [&](std::uint32_t i) { scalar().fill(at + i, n - i, first + i * step, step); });
  }

  static std::uint32_t take_run(word* at, std::uint32_t n, word step, word put) {
    if (n == 0) return 0;
    const word first = load_one(at);
    const vector replaced = everywhere(put), more = V::all(lanes * step);
    vector next = V::ramp(first, step);
    std::uint32_t done = 0;
    const auto fours = [&](std::uint32_t i) {
      vector expected[4];
      expected[0] = next;
#pragma GCC unroll 4
      for (std::uint32_t j = 1; j < 4; ++j) expected[j] = V::add(expected[j - 1], more);
      if (!four_equal(at + i, [&](std::uint32_t j) { return turned(expected[j]); })) return false;
#pragma GCC unroll 4
      for (std::uint32_t j = 0; j < 4; ++j) V::store(at + i + j * lanes, replaced);
      next = V::add(expected[3], more);
      done = i + 4 * lanes;
      return true;
    };
    const auto one = [&](std::uint32_t i, auto size) {
      const unsigned other = others(V::equal(load(at + i, size), turned(next)), size);
      done = i + (other == 0 ? size.k : lowest(other));
      if (other != 0) {
        V::store(at + i, replaced, lower(lowest(other)));
        return false;
      }
      store(at + i, replaced, size);
      next = V::add(next, more);
      return true;
    };
    each(n, fours, one, [&](std::uint32_t i) {
      for (done = i; done < n && load_one(at + done) == first + done * step; ++done)
        store_one(at + done, put);
    });
    return done;
  }

  static std::uint32_t change_run(word* at, std::uint32_t n, const run_change& c) {
    const vector under = everywhere(c.mask), wanted = everywhere(c.value), keep = everywhere(c.keep), set = everywhere(c.set);
    std::uint32_t done = 0;
    const auto fours = [&](std::uint32_t i) {
      vector e[4];
#pragma GCC unroll 4
      for (std::uint32_t j = 0; j < 4; ++j) e[j] = V::load(at + i + j * lanes);
      const mask first = V::both(V::equal(V::and_(e[0], under), wanted), V::equal(V::and_(e[1], under), wanted));
      const mask second = V::both(V::equal(V::and_(e[2], under), wanted), V::equal(V::and_(e[3], under), wanted));
      if (others(V::both(first, second), whole{}) != 0) return false;
#pragma GCC unroll 4
      for (std::uint32_t j = 0; j < 4; ++j) V::store(at + i + j * lanes, V::or_(V::and_(e[j], keep), set));
      done = i + 4 * lanes;
      return true;
    };
    const auto one = [&](std::uint32_t i, auto size) {
      const vector e = load(at + i, size), now = V::or_(V::and_(e, keep), set);
      const unsigned other = others(V::equal(V::and_(e, under), wanted), size);
      done = i + (other == 0 ? size.k : lowest(other));
      if (other != 0) {
        V::store(at + i, now, lower(lowest(other)));
        return false;
      }
      store(at + i, now, size);
      return true;
    };
    each(n, fours, one, [&](std::uint32_t i) { done = i + scalar().change_run(at + i, n - i, c); });
    return done;
  }

  static std::uint32_t match_run(const word* at, std::uint32_t n, word first, word step, word mask) {
    const vector under = everywhere(mask), more = V::all(lanes * step);
    vector next = V::ramp(first, step);
    std::uint32_t done = 0;
    const auto one = [&](std::uint32_t i, auto size) {
      const auto same = V::equal(V::and_(load(at + i, size), under), V::and_(turned(next), under));
      const unsigned other = others(same, size);
      done = i + (other == 0 ? size.k : lowest(other));
      next = V::add(next, more);
      return other == 0;
    };
    each(n, never, one, [&](std::uint32_t i) { done = i + scalar().match_run(at + i, n - i, first + i * step, step, mask); });
    return done;
  }

  static std::uint32_t take_any(word* at, std::uint32_t n, word empty, word put, word* old) {
    const vector skipped = everywhere(empty), replaced = everywhere(put);
    std::uint32_t taken = 0;
    const auto one = [&](std::uint32_t i, auto size) {
      const vector e = load(at + i, size);
      const mask is_empty = V::equal(e, skipped);
      const unsigned other = others(is_empty, size);
      store(old + i, turned(e), size);
      if (other != 0) store(at + i, V::select(is_empty, e, replaced), size);
      taken += static_cast<std::uint32_t>(__builtin_popcount(other));
      return true;
    };
    each(n, never, one,
         [&](std::uint32_t i) { taken += scalar().take_any(at + i, n - i, empty, put, old + i); });
    return taken;
  }

  static std::uint32_t first_not(const word* at, std::uint32_t n, word e) {
    const vector wanted = everywhere(e);
    std::uint32_t found = n;
    const auto fours = [&](std::uint32_t i) {
      return four_equal(at + i, [&](std::uint32_t) { return wanted; });
    };
    const auto one = [&](std::uint32_t i, auto size) {
      const unsigned other = others(V::equal(load(at + i, size), wanted), size);
      if (other != 0) found = i + lowest(other);
      return other == 0;
    };
    each(n, fours, one, [&](std::uint32_t i) { found = i + scalar().first_not(at + i, n - i, e); });
    return found;
  }

  // Rules in vectors.

  /// True where an entry has any bit of `one`, or all of `pair` if that is not 0.
  struct marked {
    marked(word one, word pair) : any(everywhere(one)), all(everywhere(pair)), paired(V::has_any(all, all)) {}
    mask operator()(vector e) const {
      return V::either(V::has_any(e, any), V::both(V::equal(V::and_(e, all), all), paired));
    }
    vector any, all;
    mask paired;
  };
  template <asks form, bool with_dirty>
  struct protection {
    explicit protection(const protect_rule& r)
        : leaf(r.leaf),
          is_dirty(r.dirty, r.dirty_pair),
          keep(everywhere(r.keep)),
          set(everywhere(r.set)),
          dirty_set(everywhere(r.set | r.dirty_set)) {}
    vector operator()(vector e) const {
      vector more = set;
      if constexpr (with_dirty) more = V::select(is_dirty(e), dirty_set, set);
      return V::select(leaf(e), V::or_(V::and_(e, keep), more), e);
    }
    test<form> leaf;
    marked is_dirty;
    vector keep, set, dirty_set;
  };

  static void note(protect_result& r, std::uint32_t i, unsigned changed) {
    if (r.changed == 0) r.first = i + lowest(changed);
    r.last = i + highest(changed);
    r.changed += static_cast<std::uint32_t>(__builtin_popcount(changed));
  }
  /// Adds what became of the entries from i on.
  static void join(protect_result& r, std::uint32_t i, const protect_result& more) {
    if (more.changed == 0) return;
    if (r.changed == 0) r.first = i + more.first;
    r.last = i + more.last;
    r.changed += more.changed;
    r.lost |= more.lost;
    r.gained |= more.gained;
  }
  static word or_of_lanes(vector v) {
    word lane[lanes], all = 0;
    V::store(lane, v);
    for (const word e : lane) all |= e;
    return turned(all);
  }

  template <asks form, bool with_dirty>
  static protect_result protect_in_form(word* at, std::uint32_t n, const protect_rule& rule) {
    const protection<form, with_dirty> changed(rule);
    protect_result r;
    vector lost = V::all(0), gained = V::all(0);
    const auto account = [&](vector e, vector now) {
      lost = V::or_(lost, V::and_not(e, now));
      gained = V::or_(gained, V::and_not(now, e));
    };
    const auto fours = [&](std::uint32_t i) {
      unsigned other = 0;
      vector e[4], now[4];
#pragma GCC unroll 4
      for (std::uint32_t j = 0; j < 4; ++j) {
        e[j] = V::load(at + i + j * lanes);
        now[j] = changed(e[j]);
        other |= others(V::equal(e[j], now[j]), whole{}) << (j * lanes);
      }
      if (other == 0) return true;
#pragma GCC unroll 4
      for (std::uint32_t j = 0; j < 4; ++j) {
        V::store(at + i + j * lanes, now[j]);
        account(e[j], now[j]);
      }
      note(r, i, other);
      return true;
    };
    const auto one = [&](std::uint32_t i, auto size) {
      const vector e = load(at + i, size);
      vector now = changed(e);
      if constexpr (!size.full) now = V::select(V::first(size.k), now, e);
      const unsigned other = others(V::equal(e, now), size);
      if (other == 0) return true;
      store(at + i, now, size);
      account(e, now);
      note(r, i, other);
      return true;
    };
    protect_result end;
    std::uint32_t end_at = 0;
    each(n, fours, one, [&](std::uint32_t i) { end = scalar().protect(at + (end_at = i), n - i, rule); });
    r.lost = or_of_lanes(lost);
    r.gained = or_of_lanes(gained);
    join(r, end_at, end);
    return r;
  }
  static protect_result protect(word* at, std::uint32_t n, const protect_rule& rule) {
    if (rule.dirty_set != 0) return protect_in_form<asks::both, true>(at, n, rule);
    switch (form(rule.leaf)) {
      case asks::any:
        return protect_in_form<asks::any, false>(at, n, rule);
      case asks::value:
        return protect_in_form<asks::value, false>(at, n, rule);
      case asks::both:
        break;
    }
    return protect_in_form<asks::both, false>(at, n, rule);
  }

  static protect_result protect_live(word* at, std::uint32_t n, const protect_rule& rule) {
    const protection<asks::both, true> changed(rule);
    protect_result r;
    const auto change = [&](std::uint32_t i, unsigned other) {
      for (; other != 0; other &= other - 1) {
        word was = 0;
        if (!change_live(at + i + lowest(other), rule, was)) continue;
        note(r, i, other & ~(other - 1));
        r.lost |= was & ~rule(was);
        r.gained |= rule(was) & ~was;
      }
    };
    const auto one = [&](std::uint32_t i, auto size) {
      const vector e = load(at + i, size);
      change(i, others(V::equal(e, changed(e)), size));
      return true;
    };
    each(n, never, one, [&](std::uint32_t i) { join(r, i, scalar().protect_live(at + i, n - i, rule)); });
    return r;
  }

  /// The entries of the bits, from i on: those whose status is taken go to index[m, ...), old[m, ...).
  /// Returns the new m.
  [[gnu::always_inline]] static std::uint32_t harvest_lanes(word* at, std::uint32_t i, unsigned left,
                                                            const harvest_rule& rule, std::uint32_t m,
                                                            std::uint32_t* index, word* old) {
    for (; left != 0; left &= left - 1) {
      const std::uint32_t lane = i + lowest(left);
      index[m] = lane;
      m += change_live(at + lane, rule, old[m]);
    }
    return m;
  }

  /// Most tables have little status. So entries that may have some are noted without a branch first, four
  /// vectors at a time; locked instructions come after that, since no load passes them.
  static std::uint32_t harvest_live(word* at, std::uint32_t n, const harvest_rule& rule, std::uint32_t* index,
                                    word* old) {
    struct note {
      std::uint32_t from;
      unsigned bits;
    };
    constexpr std::uint32_t noted_at_once = 64;
    const vector anything = everywhere(rule.accessed | rule.dirty | rule.pair_clear);
    std::uint32_t m = 0, i = 0;
    while (n - i >= 4 * lanes) {
      note noted[noted_at_once];
      std::uint32_t count = 0;
      for (std::uint32_t k = 0; k < noted_at_once && n - i >= 4 * lanes; ++k, i += 4 * lanes) {
        unsigned bits = 0;
#pragma GCC unroll 4
        for (std::uint32_t j = 0; j < 4; ++j)
          bits |= V::bits(V::has_any(V::load(at + i + j * lanes), anything)) << (j * lanes);
        noted[count] = {i, bits};
        count += bits != 0;
      }
      for (std::uint32_t k = 0; k < count; ++k)
        m = harvest_lanes(at, noted[k].from, noted[k].bits, rule, m, index, old);
    }
    const auto one = [&](std::uint32_t j, auto size) {
      const unsigned bits = V::bits(V::has_any(load(at + i + j, size), anything)) & lower(size.k);
      m = harvest_lanes(at, i + j, bits, rule, m, index, old);
      return true;
    };
    each(n - i, never, one, [&](std::uint32_t j) {
      const std::uint32_t from = i + j;
      const std::uint32_t more = scalar().harvest_live(at + from, n - from, rule, index + m, old + m);
      for (std::uint32_t k = 0; k < more; ++k) index[m + k] += from;
      m += more;
    });
    return m;
  }

  static constexpr table_ops all = {fill_if_empty, fill,    take_run,     change_run,   match_run, take_any,
                                    protect,       protect_live, harvest_live, first_not};
};

}  // namespace quire::runtime
