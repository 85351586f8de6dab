// Page numbers to runs, by a method that fits their shape: include only in sources of a variant.
#pragma once

#include "runtime/coalesce.h"
#include "runtime/coalesce_runs.h"
#include "runtime/coalesce_sort.h"

namespace quire::runtime {

/// Keys lie in 32-bit lanes but are one bit shorter, so that 0 does not come next after the greatest one. Parameterized by a
/// type of the variant's, so that it is the variant's own.
template <class Unit>
constexpr std::uint64_t no_key = ~std::uint64_t{0} << 31;  // bits of 64-bit numbers that are no keys

/// @return the page of key 0: half the range of keys below `page`, but so that no page of a key wraps
template <class Unit>
constexpr std::uint64_t key_origin(std::uint64_t page) {
  constexpr std::uint64_t half = std::uint64_t{1} << 30, last = 0 - 2 * half;
  const std::uint64_t below = page - half;
  return page < half ? 0 : below < last ? below : last;
}

/// Pages that are in order, or in reverse, are seen at once; few are sorted in registers. Of many, one pass
/// makes 32-bit keys and finds out their shape: sorted, in runs, dense or none of that.
///
/// `Unit` has, apart from what page_runs wants:
///  - any(v): some bit of 64-bit lanes is set;
///  - load_some(at, k, fill): k < lanes numbers, then lanes of `fill`.
template <class Unit>
struct page_coalescer {
  using keys32 = page_lanes<Unit, std::uint32_t>;
  using keys64 = page_lanes<Unit, std::uint64_t>;
  using vector32 = typename keys32::vector;
  using vector64 = typename keys64::vector;
  using runs = page_runs<Unit>;
  using sorter32 = page_sorter<Unit, std::uint32_t>;
  using sorter64 = page_sorter<Unit, std::uint64_t>;
  static constexpr unsigned count = keys32::count;

  static std::size_t coalesce(const std::uint64_t* pages, std::size_t n, arch::gfn_range* out,
                              std::byte* scratch) {
    if (n == 16) {
      const std::uint64_t step = pages[1] - pages[0];
      if ((step == 1 || step == ~std::uint64_t{0}) && steps16(pages, pages[0], step) &&
          no_wrap(pages, n, step)) {
        return one(pages, n, step, out);
      }
      return in_registers<16>(pages, out);
    }
    return other_sizes(pages, n, out, scratch);
  }

 private:
  [[gnu::noinline]] static std::size_t other_sizes(const std::uint64_t* pages, std::size_t n,
                                                   arch::gfn_range* out, std::byte* scratch) {
    const std::uint64_t step = pages[n > 1] - pages[0];
    if ((step == 1 || step == ~std::uint64_t{0}) && contiguous(pages, n, step))
      return one(pages, n, step, out);
    if (n == 64) return in_registers<64>(pages, out);
    if (n < 64) return filled_up(pages, static_cast<unsigned>(n), out);
    return many(pages, n, out, scratch);
  }
  [[gnu::noinline]] static std::size_t many(const std::uint64_t* pages, std::size_t n, arch::gfn_range* out,
                                            std::byte* scratch) {
    auto* const keys = reinterpret_cast<std::uint32_t*>(scratch);
    const survey s = rebase(pages, n, keys);
    if (s.wide()) return wide(pages, n, out, scratch);
    const std::uint64_t base = origin(pages);
    const std::size_t padded = (n + count - 1) / count * count;
    if (s.ordered()) return runs::of_sorted(keys, keys, padded, base, out, n);
    auto* const rest = reinterpret_cast<std::byte*>(keys + padded + sorter32::slack);
    if (s.steps() <= n / 4) return collapsed(keys, padded, s, base, out, rest, n);
    const std::uint32_t low = s.low(), high = s.high();
    if (high - low < (n <= sorter32::most ? n + n / 2 : 12 * n))
      return mapped(keys, n, low, high, base, out, rest);
    auto* const other = reinterpret_cast<std::uint32_t*>(rest);
    sorter32::sort(keys, padded, other, other + padded + sorter32::slack, low, high);
    return runs::of_sorted(keys, keys, padded, base, out, n);
  }

  // What one pass over the pages has found, still in vectors.
  struct survey {
    vector64 all{};  // or of the distances from the origin
    vector32 lowest, highest, breaks{}, falls{};

    // Keys do not have room for all pages: nothing else is meant then.
    bool wide() const { return Unit::any(all & keys64::all(no_key<Unit>)); }
    bool ordered() const { return !Unit::any(reinterpret_cast<vector64>(falls)); }
    // Places where not the next page follows.
    std::size_t steps() const {
      return fold(breaks, [](auto a, auto b) { return a + b; });
    }
    std::uint32_t low() const {
      return fold(lowest, [](auto a, auto b) { return a < b ? a : b; });
    }
    std::uint32_t high() const {
      return fold(highest, [](auto a, auto b) { return a > b ? a : b; });
    }
  };

  static std::uint64_t origin(const std::uint64_t* pages) { return key_origin<Unit>(pages[0]); }

  /// The range of pages that ascend or descend by one.
  static std::size_t one(const std::uint64_t* pages, std::size_t n, std::uint64_t step,
                         arch::gfn_range* out) {
    *out = {arch::gfn{pages[step == 1 ? 0 : n - 1]}, n};
    return 1;
  }
  /// True if 16 pages are `first`, first + step, ...
  [[gnu::always_inline]] static bool steps16(const std::uint64_t* pages, std::uint64_t first,
                                             std::uint64_t step) {
    vector64 expected = keys64::all(first) + keys64::ramp() * step, differ{};
#pragma GCC unroll 8
    for (unsigned k = 0; k < 16; k += keys64::count, expected += keys64::count * step) {
      differ |= keys64::load(pages + k) ^ expected;
    }
    return !Unit::any(differ);
  }
  static bool no_wrap(const std::uint64_t* pages, std::size_t n, std::uint64_t step) {
    return (pages[0] < pages[n - 1]) == (step == 1);
  }
  static bool contiguous(const std::uint64_t* pages, std::size_t n, std::uint64_t step) {
    if (pages[n - 1] - pages[0] != step * (n - 1) || !no_wrap(pages, n, step)) return false;
    std::size_t i = 0;
    for (; i + 16 <= n; i += 16) {
      if (!steps16(pages + i, pages[0] + i * step, step)) return false;
    }
    for (; i < n; ++i) {
      if (pages[i] - pages[0] != step * i) return false;
    }
    return true;
  }

  /// Two vectors of 64-bit numbers, their lower halves.
  [[gnu::always_inline]] static vector32 narrow(vector64 a, vector64 b) {
    return keys32::each([&]<std::size_t... i>(std::index_sequence<i...>) {
      return __builtin_shufflevector(reinterpret_cast<vector32>(a), reinterpret_cast<vector32>(b),
                                     (2 * i)...);
    });
  }

  /// Keys of all pages, copies of the last behind them up to a multiple of the vector.
  [[gnu::always_inline]] static survey rebase(const std::uint64_t* pages, std::size_t n,
                                              std::uint32_t* keys) {
    const vector64 from = keys64::all(origin(pages));
    vector32 before = keys32::all(static_cast<std::uint32_t>(pages[0] - origin(pages)));
    survey s;
    s.lowest = s.highest = before;
    const auto take = [&](std::size_t i, vector64 a, vector64 b) {
      s.all |= a | b;
      const vector32 now = narrow(a, b), previous = keys32::shift_in(before, now);
      before = now;
      s.lowest = keys32::min(s.lowest, now);
      s.highest = keys32::max(s.highest, now);
      s.breaks += keys32::min(now - previous - 1, keys32::all(1));
      s.falls |= keys32::min(now, previous) ^ previous;
      keys32::store_as(keys + i, now);
    };
    std::size_t i = 0;
    for (; i + count <= n; i += count) {
      take(i, keys64::load(pages + i) - from, keys64::load(pages + i + keys64::count) - from);
    }
    if (i < n) {
      const vector64 last = keys64::all(pages[n - 1]);
      const auto [a, b] = load_some(pages + i, static_cast<unsigned>(n - i), last);
      take(i, a - from, b - from);
    }
    return s;
  }
  struct pair64 {
    vector64 a, b;
  };
  /// 0 < k <= count pages, then `fill`.
  [[gnu::always_inline]] static pair64 load_some(const std::uint64_t* at, unsigned k, vector64 fill) {
    if (k < keys64::count) return {Unit::load_some(at, k, fill), fill};
    return {keys64::load(at), Unit::load_some(at + keys64::count, k - keys64::count, fill)};
  }
  template <unsigned step = count / 2, class F>
  [[gnu::always_inline]] static std::uint32_t fold(vector32 v, F f) {
    if constexpr (step == 0) {
      return v[0];
    } else {
      return fold<step / 2>(f(v, keys32::template exchange<step>(v)), f);
    }
  }

  /// n pages: 16, 32 or 64.
  template <unsigned n>
  [[gnu::always_inline]] static std::size_t in_registers(const std::uint64_t* pages, arch::gfn_range* out) {
    constexpr unsigned rows = n / count;
    const std::uint64_t base = origin(pages);
    const vector64 from = keys64::all(base);
    vector32 v[rows];
    vector64 all{};
#pragma GCC unroll 16
    for (unsigned i = 0; i < rows; ++i) {
      const vector64 a = keys64::load(pages + i * count) - from;
      const vector64 b = keys64::load(pages + i * count + keys64::count) - from;
      all |= a | b;
      v[i] = narrow(a, b);
    }
    if (Unit::any(all & keys64::all(no_key<Unit>))) return few_wide(pages, n, out);
    if constexpr (n > 16) {
      unsigned at[rows];
      if (breaks(v, at) < count / 2) {
        using network = page_network<Unit, std::uint32_t, 1>;
        return runs::of_alternate(network::sort_alternate(runs::collapse_few(v, at)), base, out);
      }
    }
    page_network<Unit, std::uint32_t, rows>::sort(v);
    if constexpr (rows == 1) return runs::of_register(v[0], base, out);
    alignas(Unit::bytes) std::uint32_t keys[n];
    store(v, keys);
    return runs::of_sorted(keys, keys, n, base, out, n);
  }
  template <unsigned rows>
  [[gnu::always_inline]] static void store(const vector32 (&v)[rows], std::uint32_t* keys) {
#pragma GCC unroll 16
    for (unsigned i = 0; i < rows; ++i) keys32::store_as(keys + i * count, v[i]);
  }
  /// Where keys do not follow the one before, of each row, and how often in all.
  template <unsigned rows>
  [[gnu::always_inline]] static unsigned breaks(const vector32 (&v)[rows], unsigned (&at)[rows]) {
    unsigned all = 0;
#pragma GCC unroll 16
    for (unsigned i = 0; i < rows; ++i) {
      const vector32 previous = keys32::shift_in(v[i == 0 ? 0 : i - 1], v[i]);
      at[i] = Unit::above((v[i] - previous) ^ 1, vector32{});
      if (i == 0) at[i] &= ~1u;
      all += static_cast<unsigned>(std::popcount(at[i]));
    }
    return all;
  }
  /// 0 < n < 64 pages: copies of the last page fill up.
  [[gnu::noinline]] static std::size_t filled_up(const std::uint64_t* pages, unsigned n,
                                                 arch::gfn_range* out) {
    alignas(Unit::bytes) std::uint64_t filled[64];
    arch::gfn_range ranges[64];
    const unsigned size = n <= 16 ? 16 : n <= 32 ? 32 : 64;
    const vector64 fill = keys64::all(pages[n - 1]);
    for (unsigned i = 0; i < size; i += keys64::count) {
      const unsigned left = n > i ? n - i : 0;
      keys64::store_as(filled + i, left >= keys64::count ? keys64::load(pages + i)
                                                         : Unit::load_some(pages + i, left, fill));
    }
    const std::size_t found = size == 16   ? in_registers<16>(filled, ranges)
                              : size == 32 ? in_registers<32>(filled, ranges)
                                           : in_registers<64>(filled, ranges);
    for (std::size_t i = 0; i < found; ++i) out[i] = ranges[i];
    return found;
  }
  // Pages that keys do not reach.
  [[gnu::noinline]] static std::size_t few_wide(const std::uint64_t* pages, unsigned n,
                                                arch::gfn_range* out) {
    std::uint64_t sorted[sorter64::most];
    for (unsigned i = 0; i < n; ++i) sorted[i] = pages[i];
    sorter64::sort_few(sorted, sorted, n);
    return of_sorted64(sorted, n, out);
  }

  static std::size_t of_sorted64(const std::uint64_t* keys, std::size_t n, arch::gfn_range* out) {
    std::uint64_t first = keys[0];
    std::size_t done = 0;
    for (std::size_t i = 1; i < n; ++i) {
      if (keys[i] - keys[i - 1] <= 1) continue;
      out[done++] = {arch::gfn{first}, keys[i - 1] - first + 1};
      first = keys[i];
    }
    out[done] = {arch::gfn{first}, keys[n - 1] - first + 1};
    return done + 1;
  }

  static std::size_t wide(const std::uint64_t* pages, std::size_t n, arch::gfn_range* out,
                          std::byte* scratch) {
    auto* const keys = reinterpret_cast<std::uint64_t*>(scratch);
    auto* const other = keys + n + sorter64::slack;
    std::uint64_t low = pages[0], high = pages[0];
    for (std::size_t i = 0; i < n; ++i) {
      keys[i] = pages[i];
      low = pages[i] < low ? pages[i] : low;
      high = pages[i] > high ? pages[i] : high;
    }
    sorter64::sort(keys, n, other, reinterpret_cast<std::uint32_t*>(other + n + sorter64::slack), low, high);
    return of_sorted64(keys, n, out);
  }

  /// Runs are cut out, and sorted in place of pages: their first keys and their last ones apart.
  static std::size_t collapsed(const std::uint32_t* keys, std::size_t padded, const survey& s,
                               std::uint64_t base, arch::gfn_range* out, std::byte* rest, std::size_t room) {
    auto* const firsts = reinterpret_cast<std::uint32_t*>(rest);
    const std::size_t room_for_runs = padded / 4 + 4 * count + sorter32::slack;
    auto* const lasts = firsts + room_for_runs;
    auto* const other = lasts + room_for_runs;
    auto* const counts = other + room_for_runs;
    const std::size_t m = runs::collapse(keys, padded, firsts, lasts);
    const std::uint32_t low = m > sorter32::most ? s.low() : 0, high = m > sorter32::most ? s.high() : 0;
    sorter32::sort(firsts, m, other, counts, low, high);
    sorter32::sort(lasts, m, other, counts, low, high);
    return runs::of_sorted(firsts, lasts, m, base, out, room);
  }

  /// One byte for each page of the window: no page waits for another one's store, as with bits. Below
  /// sorter32::most pages a network is faster unless the window is narrow, above it until 16 times their
  /// number.
  static std::size_t mapped(const std::uint32_t* keys, std::size_t n, std::uint32_t low, std::uint32_t high,
                            std::uint64_t base, arch::gfn_range* out, std::byte* rest) {
    auto* const map = reinterpret_cast<std::uint8_t*>(rest);
    const std::size_t bytes = (high - low) / 64 * 64 + 64;
    for (std::size_t i = 0; i < bytes; i += Unit::bytes) keys32::store_as(map + i, vector32{});
    for (std::size_t i = 0; i < n; ++i) map[keys[i] - low] = 1;
    return runs::of_bytes(map, bytes, base + low, out, n);
  }
};

}  // namespace quire::runtime
