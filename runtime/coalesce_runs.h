// From page numbers in registers to runs: include only in sources of a variant.
#pragma once

#include <bit>

#include "arch/address.h"
#include "runtime/coalesce_lanes.h"

namespace quire::runtime {

/// Pages are 32-bit keys here: page = base + key. `Unit` has, apart from `bytes`:
///  - above(a, b): bit i is set where lane i of `a` is greater;
///  - compress(v, bits): those lanes first, the others unspecified;
///  - place(v, w, at, n): `v` with n lanes of `w` from lane `at` on, as far as there are lanes;
///  - nonzero(at): bit i is set where byte i of 64 is not 0.
template <class Unit>
struct page_runs {
  using lanes = page_lanes<Unit, std::uint32_t>;
  using vector = typename lanes::vector;
  using wide = page_lanes<Unit, std::uint64_t>;
  static constexpr unsigned count = lanes::count;

  /// Writes `count` ranges, from their first keys and their pages.
  [[gnu::always_inline]] static void put(arch::gfn_range* out, vector first, vector pages,
                                         std::uint64_t base) {
    part<0>(out, first, pages, base);
    part<1>(out, first, pages, base);
    part<2>(out, first, pages, base);
    part<3>(out, first, pages, base);
  }
  /// As put(), but the first n only.
  [[gnu::noinline]] static void put_some(arch::gfn_range* out, vector first, vector pages, std::uint64_t base,
                                         std::size_t n) {
    arch::gfn_range all[count];
    put(all, first, pages, base);
    for (std::size_t i = 0; i < n; ++i) out[i] = all[i];
  }

  /// Ranges of sorted keys in a register.
  /// @param out  has room for `count`
  [[gnu::always_inline]] static std::size_t of_register(vector keys, std::uint64_t base,
                                                        arch::gfn_range* out) {
    const unsigned at = starts(keys, lanes::shift_in(keys, keys)) | 1;
    if (at == (top - 1) * 2 + 1) {  // each key is a run of its own
      put(out, keys, lanes::all(1), base);
      return count;
    }
    const vector first = Unit::compress(keys, at);
    put(out, first, Unit::compress(keys, at >> 1 | top) - first + 1, base);
    return popcount(at);
  }
  /// The same of runs: their first keys, sorted, are in the even lanes, their last ones, sorted, in the odd
  /// lanes.
  [[gnu::always_inline]] static std::size_t of_alternate(vector keys, std::uint64_t base,
                                                         arch::gfn_range* out) {
    constexpr unsigned even = (top * 2 - 1) / 3;
    const unsigned at = (starts(keys, lanes::shift_in(keys, keys)) & even) | 1;
    const vector ranges = Unit::compress(keys, at | at >> 1 | top);
    const vector pages = ranges - lanes::shift_in(ranges, ranges) + 1;
    put_alternate<0>(out, lanes::template select<1>(ranges, pages), base);
    put_alternate<1>(out, lanes::template select<1>(ranges, pages), base);
    return popcount(at);
  }

  /// Ranges of runs, given by their first keys, sorted, and by their last keys, sorted: where as many runs
  /// have ended as have begun is a gap, whichever belong together.
  /// @param n     a multiple of `count`, not 0
  /// @param room  in `out`, which is enough for all ranges
  static std::size_t of_sorted(const std::uint32_t* firsts, const std::uint32_t* lasts, std::size_t n,
                               std::uint64_t base, arch::gfn_range* out, std::size_t room) {
    std::size_t done = 0;
    std::uint32_t newest = firsts[0];  // where the newest range begins
    vector before = lanes::load(lasts);
    for (std::size_t i = 0; i < n; i += count) {
      const vector first = lanes::load(firsts + i), last = lanes::load(lasts + i);
      unsigned at = starts(first, lanes::shift_in(before, last));
      before = last;
      if (i == 0) {
        at |= 1;
      } else {
        const auto more =
            static_cast<unsigned>(std::countr_zero(at | top << 1));  // lanes that the newest goes on for
        out[done - 1].pages = std::uint64_t{lasts[i + more - 1] - newest} + 1;
      }
      const unsigned ends = at >> 1 | top, goes_on = ~at & 1;
      const vector f = Unit::compress(first, at),
                   pages = Unit::compress(last, ends & (ends - goes_on)) - f + 1;
      const std::size_t found = popcount(at);
      if (room - done >= count) {
        put(out + done, f, pages, base);
      } else {
        put_some(out + done, f, pages, base, found);
      }
      done += found;
      newest = at ? firsts[i + static_cast<unsigned>(std::bit_width(at)) - 1] : newest;
    }
    return done;
  }

  /// The first keys of a sequence's ascending runs and the last ones, in no order that matters.
  /// @param n  a multiple of `count`, not 0
  /// @param firsts, lasts  have room for all runs and 2 * `count` more: copies of the last key of all fill
  ///                       up to a multiple of `count`
  /// @return how many there are then
  static std::size_t collapse(const std::uint32_t* keys, std::size_t n, std::uint32_t* firsts,
                              std::uint32_t* lasts) {
    std::size_t done = 0;
    firsts[0] = keys[0];
    each_break(keys, n, [&](vector first, vector last, unsigned found) {
      lanes::store_as(firsts + 1 + done, first);
      lanes::store_as(lasts + done, last);
      done += found;
    });
    const vector fill = lanes::all(keys[n - 1]);
    lanes::store_as(firsts + 1 + done, fill);
    lanes::store_as(lasts + done, fill);
    return done / count * count + count;
  }
  /// As collapse() for count / 2 runs at most, all in registers; first keys and last ones alternate.
  /// @param at  where keys do not follow the one before; the first key is meant to do so
  template <unsigned rows>
  [[gnu::always_inline]] static vector collapse_few(const vector (&keys)[rows], const unsigned (&at)[rows]) {
    vector both = lanes::all(keys[rows - 1][count - 1]);
    both[0] = keys[0][0];
    unsigned done = 1;
#pragma GCC unroll 16
    for (unsigned i = 0; i < rows; ++i) {
      const vector previous = lanes::shift_in(keys[i == 0 ? 0 : i - 1], keys[i]);
      const vector last_first =
          lanes::template zip<false>(Unit::compress(previous, at[i]), Unit::compress(keys[i], at[i]));
      const auto found = static_cast<unsigned>(std::popcount(at[i]));
      both = Unit::place(both, last_first, done, 2 * found);
      done += 2 * found;
    }
    return both;
  }

  /// Ranges of the keys whose byte in `map` is not 0.
  /// @param bytes  a multiple of 64
  /// @param room   in `out`
  static std::size_t of_bytes(const std::uint8_t* map, std::size_t bytes, std::uint64_t base,
                              arch::gfn_range* out, std::size_t room) {
    // The begin and the end of each run alternate, as in gfn_range; what is written too much lies in ranges
    // to come.
    constexpr unsigned at_once = 8;
    std::size_t edges = 0;
    std::uint64_t inside = 0;
    for (std::size_t i = 0; i < bytes; i += 64) {
      const std::uint64_t set = Unit::nonzero(map + i);
      const std::uint64_t edge = set ^ (set << 1 | inside);
      inside = set >> 63;
      const bool ample = edges + 64 + at_once <= 2 * room;
      edges =
          ample ? put_edges<at_once>(edge, base + i, out, edges) : put_edges<1>(edge, base + i, out, edges);
    }
    if (inside) edges = put_edges<1>(1, base + bytes, out, edges);
    for (std::size_t i = 0; i < edges / 2; ++i) out[i].pages -= out[i].first.value;
    return edges / 2;
  }

 private:
  static constexpr unsigned top = 1u << (count - 1);

  // Lanes that begin after a gap.
  [[gnu::always_inline]] static unsigned starts(vector first, vector last_before) {
    return Unit::above(lanes::max(first, last_before) - last_before, lanes::all(1));
  }
  // Keys that do not follow the one before, each with that one.
  template <class Take>
  [[gnu::always_inline]] static void each_break(const std::uint32_t* keys, std::size_t n, Take take) {
    vector before = lanes::all(keys[0] - 1);
    for (std::size_t i = 0; i < n; i += count) {
      const vector now = lanes::load(keys + i), previous = lanes::shift_in(before, now);
      before = now;
      const unsigned at = Unit::above((now - previous) ^ 1, vector{});
      take(Unit::compress(now, at), Unit::compress(previous, at), static_cast<unsigned>(std::popcount(at)));
    }
  }
  static std::size_t popcount(unsigned bits) { return static_cast<std::size_t>(std::popcount(bits)); }

  // Numbers of set bits, as 64-bit words from the edges-th on. Eight at a time, so that random bits cost few
  // branches that nobody foresees.
  template <unsigned at_once>
  [[gnu::always_inline]] static std::size_t put_edges(std::uint64_t edge, std::uint64_t base,
                                                      arch::gfn_range* out, std::size_t edges) {
    auto* at = reinterpret_cast<std::byte*>(out) + edges * sizeof(std::uint64_t);
    const auto all = static_cast<unsigned>(std::popcount(edge));
    for (unsigned done = 0; done < all; done += at_once) {
#pragma GCC unroll 8
      for (unsigned i = 0; i < at_once; ++i, at += sizeof(std::uint64_t)) {
        const std::uint64_t number = base + static_cast<unsigned>(std::countr_zero(edge));
        __builtin_memcpy(at, &number, sizeof number);
        edge &= edge - 1;
      }
    }
    return edges + all;
  }
  // Ranges [q * count / 4, (q + 1) * count / 4) of first keys and pages that alternate.
  template <unsigned q>
  [[gnu::always_inline]] static void put_alternate(arch::gfn_range* out, vector both, std::uint64_t base) {
    const auto spread = lanes::each([&]<std::size_t... i>(std::index_sequence<i...>) {
      return __builtin_shufflevector(both, both, (i / 2 + q * count / 2)...) & vector{(i & 1 ? 0 : ~0u)...};
    });
    const auto bases = wide::each([&]<std::size_t... i>(std::index_sequence<i...>) {
      return typename wide::vector{(i & 1 ? 0 : base)...};
    });
    wide::store_as(out + q * count / 4, reinterpret_cast<typename wide::vector>(spread) + bases);
  }
  // Ranges [q * count / 4, (q + 1) * count / 4): each 32-bit key and its pages widen to 64 bits.
  template <unsigned q>
  [[gnu::always_inline]] static void part(arch::gfn_range* out, vector first, vector pages,
                                          std::uint64_t base) {
    const auto [spread, mask, bases] = lanes::each([&]<std::size_t... i>(std::index_sequence<i...>) {
      struct all {
        vector spread, mask;
        typename wide::vector bases;
      };
      all a;
      a.spread = __builtin_shufflevector(first, pages, (i / 4 + q * count / 4 + (i & 2 ? count : 0))...);
      a.mask = vector{(i & 1 ? 0 : ~0u)...};
      a.bases = wide::each([&]<std::size_t... k>(std::index_sequence<k...>) {
        return typename wide::vector{(k & 1 ? 0 : base)...};
      });
      return a;
    });
    const typename wide::vector ranges = reinterpret_cast<typename wide::vector>(spread & mask) + bases;
    wide::store_as(out + q * count / 4, ranges);
  }
};

}  // namespace quire::runtime
