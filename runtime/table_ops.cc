// Operations on neighbouring entries of one table, scalar, see table_ops.h.
#include "runtime/table_ops.h"

#include <atomic>

namespace quire::runtime {

namespace {

using word = std::uint64_t;

template <bool swapped>
struct scalar_ops {
  static constexpr word turned(word e) { return swapped ? __builtin_bswap64(e) : e; }

  // relaxed, in all of them: the caller publishes what was written, see table_ops.h.
  static word load(const word* at) {
    return turned(std::atomic_ref<word>(*const_cast<word*>(at)).load(std::memory_order_relaxed));
  }
  static void store(word* at, word e) {
    std::atomic_ref<word>(*at).store(turned(e), std::memory_order_relaxed);
  }
  static bool replace(word* at, word& from, word to) {
    word expected = turned(from);
    const bool done = std::atomic_ref<word>(*at).compare_exchange_strong(
        expected, turned(to), std::memory_order_relaxed, std::memory_order_relaxed);
    from = turned(expected);
    return done;
  }

  static std::uint32_t fill_if_empty(word* at, std::uint32_t n, word empty, word first, word step) {
    std::uint32_t i = 0;
    for (; i < n && load(at + i) == empty; ++i) store(at + i, first + i * step);
    return i;
  }
  static void fill(word* at, std::uint32_t n, word first, word step) {
    for (std::uint32_t i = 0; i < n; ++i) store(at + i, first + i * step);
  }
  static std::uint32_t take_run(word* at, std::uint32_t n, word step, word put) {
    if (n == 0) return 0;
    const word first = load(at);
    std::uint32_t i = 0;
    for (; i < n && load(at + i) == first + i * step; ++i) store(at + i, put);
    return i;
  }
  static std::uint32_t change_run(word* at, std::uint32_t n, const run_change& c) {
    std::uint32_t i = 0;
    for (; i < n && (load(at + i) & c.mask) == c.value; ++i) store(at + i, (load(at + i) & c.keep) | c.set);
    return i;
  }
  static std::uint32_t match_run(const word* at, std::uint32_t n, word first, word step, word mask) {
    std::uint32_t i = 0;
    while (i < n && ((load(at + i) ^ (first + i * step)) & mask) == 0) ++i;
    return i;
  }
  static std::uint32_t take_any(word* at, std::uint32_t n, word empty, word put, word* old) {
    std::uint32_t taken = 0;
    for (std::uint32_t i = 0; i < n; ++i) {
      old[i] = load(at + i);
      if (old[i] == empty) continue;
      store(at + i, put);
      ++taken;
    }
    return taken;
  }

  static void note(protect_result& r, std::uint32_t i, word from, word to) {
    if (r.changed++ == 0) r.first = i;
    r.last = i;
    r.lost |= from & ~to;
    r.gained |= to & ~from;
  }
  static protect_result protect(word* at, std::uint32_t n, const protect_rule& rule) {
    protect_result r;
    for (std::uint32_t i = 0; i < n; ++i) {
      const word e = load(at + i), now = rule(e);
      if (now == e) continue;
      store(at + i, now);
      note(r, i, e, now);
    }
    return r;
  }
  static protect_result protect_live(word* at, std::uint32_t n, const protect_rule& rule) {
    protect_result r;
    for (std::uint32_t i = 0; i < n; ++i) {
      word e = load(at + i);
      while (rule(e) != e) {
        const word from = e;
        if (!replace(at + i, e, rule(from))) continue;
        note(r, i, from, rule(from));
        break;
      }
    }
    return r;
  }
  static std::uint32_t harvest_live(word* at, std::uint32_t n, const harvest_rule& rule, std::uint32_t* index,
                                    word* old) {
    std::uint32_t m = 0;
    for (std::uint32_t i = 0; i < n; ++i) {
      word e = load(at + i);
      while (rule(e) != e) {
        const word from = e;
        if (!replace(at + i, e, rule(from))) continue;
        index[m] = i;
        old[m++] = from;
        break;
      }
    }
    return m;
  }
  static std::uint32_t first_not(const word* at, std::uint32_t n, word e) {
    std::uint32_t i = 0;
    while (i < n && load(at + i) == e) ++i;
    return i;
  }

  static constexpr table_ops all = {fill_if_empty, fill,    take_run,     change_run,   match_run, take_any,
                                    protect,       protect_live, harvest_live, first_not};
};

}  // namespace

constinit const table_ops detail::scalar_table_ops[2] = {scalar_ops<false>::all, scalar_ops<true>::all};

const table_ops& table_ops_for(simd v, bool swapped) {
  if constexpr (simd_for_x86) {
    if (v == simd::avx512) return detail::avx512_table_ops[swapped];
    if (v == simd::avx2) return detail::avx2_table_ops[swapped];
  }
  if constexpr (simd_for_arm64) {
    if (v == simd::neon) return detail::neon_table_ops[swapped];
  }
  return detail::scalar_table_ops[swapped];
}

}  // namespace quire::runtime
