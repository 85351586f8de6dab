// Vectors of page numbers, and sorting networks over them: include only in sources of a variant.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

namespace quire::runtime {

/// A vector register of unsigned T. `Unit` is a type of the variant's unnamed namespace, so that nothing here
/// is shared between variants.
template <class Unit, class T>
struct page_lanes {
  static constexpr unsigned count = Unit::bytes / sizeof(T);
  typedef T vector __attribute__((vector_size(Unit::bytes)));

  [[gnu::always_inline]] static vector load(const T* at) {
    vector v;
    __builtin_memcpy(&v, at, sizeof v);
    return v;
  }
  /// To memory of any integers.
  [[gnu::always_inline]] static void store_as(void* at, vector v) { __builtin_memcpy(at, &v, sizeof v); }
  [[gnu::always_inline]] static vector all(T x) { return x - vector{}; }
  /// 0, 1, 2 ...
  [[gnu::always_inline]] static vector ramp() {
    return each([]<std::size_t... i>(std::index_sequence<i...>) { return vector{i...}; });
  }
  [[gnu::always_inline]] static vector min(vector a, vector b) { return a < b ? a : b; }
  [[gnu::always_inline]] static vector max(vector a, vector b) { return a > b ? a : b; }
  /// Lane i gets lane i ^ m.
  template <unsigned m>
  [[gnu::always_inline]] static vector exchange(vector v) {
    return each([&]<std::size_t... i>(std::index_sequence<i...>) {
      return __builtin_shufflevector(v, v, (i ^ m)...);
    });
  }
  /// Lanes whose number has `bit` come from `b`, the others from `a`.
  template <unsigned bit>
  [[gnu::always_inline]] static vector select(vector a, vector b) {
    return each([&]<std::size_t... i>(std::index_sequence<i...>) {
      return __builtin_shufflevector(a, b, (i & bit ? i + count : i)...);
    });
  }
  /// a0 b0 a1 b1 ...: the lower half of that, or the upper one.
  template <bool upper>
  [[gnu::always_inline]] static vector zip(vector a, vector b) {
    return each([&]<std::size_t... i>(std::index_sequence<i...>) {
      return __builtin_shufflevector(a, b, (i / 2 + (upper ? count / 2 : 0) + (i % 2 ? count : 0))...);
    });
  }
  /// The last lane of `a`, then all lanes of `b` but the last.
  [[gnu::always_inline]] static vector shift_in(vector a, vector b) {
    return each([&]<std::size_t... i>(std::index_sequence<i...>) {
      return __builtin_shufflevector(a, b, (i + count - 1)...);
    });
  }

  template <class F>
  [[gnu::always_inline]] static auto each(F f) {
    return f(std::make_index_sequence<count>{});
  }
};

/// The comparators of Batcher's odd-even merge sort for n = 2^k keys.
template <unsigned n>
struct batcher_network {
  struct comparator {
    unsigned low, high;
  };
  static constexpr unsigned list(comparator* c) {
    unsigned m = 0;
    for (unsigned p = 1; p < n; p *= 2) {
      for (unsigned k = p; k >= 1; k /= 2) {
        for (unsigned j = k % p; j + k < n; j += 2 * k) {
          for (unsigned i = 0; i < k && i + j + k < n; ++i) {
            if ((i + j) / (2 * p) != (i + j + k) / (2 * p)) continue;
            if (c) c[m] = {i + j, i + j + k};
            ++m;
          }
        }
      }
    }
    return m;
  }
  static constexpr unsigned size = list(nullptr);
  struct table {
    comparator c[size ? size : 1] = {};
  };
  static constexpr table all = [] {
    table t;
    list(t.c);
    return t;
  }();
};

/// Sorts `rows` vectors, a power of two, in registers: first each lane on its own, then lanes merge into
/// pairs, fours and so on, where key e of a group is in lane e / rows; at last the keys move to where memory
/// wants them.
template <class Unit, class T, unsigned rows>
struct page_network {
  using lanes = page_lanes<Unit, T>;
  using vector = typename lanes::vector;
  static constexpr unsigned keys = rows * lanes::count;

  [[gnu::always_inline]] static void sort(vector (&v)[rows]) {
    columns(v, std::make_index_sequence<batcher_network<rows>::size>{});
    merge_groups<1, 1>(v);
    to_memory_order<rows>(v);
  }
  /// Sorts the even lanes and the odd lanes, each for themselves.
  [[gnu::always_inline]] static vector sort_alternate(vector v) requires(rows == 1) {
    vector one[1] = {v};
    merge_groups<2, 2>(one);
    return one[0];
  }

 private:
  template <unsigned n, class F>
  [[gnu::always_inline]] static void times(F f) {
    [&]<std::size_t... i>(std::index_sequence<i...>) __attribute__((always_inline)) {
      (f(std::integral_constant<unsigned, i>{}), ...);
    }
    (std::make_index_sequence<n>{});
  }
  [[gnu::always_inline]] static void order(vector& a, vector& b) {
    const vector low = lanes::min(a, b);
    b = lanes::max(a, b);
    a = low;
  }
  template <std::size_t... i>
  [[gnu::always_inline]] static void columns(vector (&v)[rows], std::index_sequence<i...>) {
    constexpr auto& c = batcher_network<rows>::all.c;
    (order(v[c[i].low], v[c[i].high]), ...);
  }
  // Lanes that differ in `bit` of their number.
  template <unsigned m, unsigned bit>
  [[gnu::always_inline]] static vector order_lanes(vector v) {
    const vector other = lanes::template exchange<m>(v);
    return lanes::template select<bit>(lanes::min(v, other), lanes::max(v, other));
  }
  template <unsigned stride>
  [[gnu::always_inline]] static void order_rows(vector (&v)[rows]) {
    if constexpr (stride > 0) {
      times<rows>([&](auto i) __attribute__((always_inline)) {
        if constexpr ((i & stride) == 0) order(v[i], v[i + stride]);
      });
      order_rows<stride / 2>(v);
    }
  }
  template <unsigned stride, unsigned least>
  [[gnu::always_inline]] static void order_all_lanes(vector (&v)[rows]) {
    if constexpr (stride >= least) {
      times<rows>([&](auto i) __attribute__((always_inline)) { v[i] = order_lanes<stride, stride>(v[i]); });
      order_all_lanes<stride / 2, least>(v);
    }
  }
  // Groups of g lanes are sorted, or every `nth` lane in them; two of them become one: a bitonic merge that
  // takes the second one backwards.
  template <unsigned g, unsigned nth>
  [[gnu::always_inline]] static void merge_groups(vector (&v)[rows]) {
    if constexpr (g < lanes::count) {
      constexpr unsigned mirror = 2 * g - nth;
      if constexpr (rows == 1) {
        v[0] = order_lanes<mirror, g>(v[0]);
      } else {
        times<rows / 2>([&](auto i) __attribute__((always_inline)) {
          vector& a = v[i];
          vector& b = v[rows - 1 - i];
          const vector other = lanes::template exchange<mirror>(b);
          const vector low = lanes::min(a, other), high = lanes::max(a, other);
          a = lanes::template select<g>(low, high);
          b = lanes::template exchange<mirror>(lanes::template select<g>(high, low));
        });
      }
      order_all_lanes<g / 2, nth>(v);
      order_rows<rows / 2>(v);
      merge_groups<2 * g, nth>(v);
    }
  }
  template <unsigned n>
  [[gnu::always_inline]] static void to_memory_order(vector (&v)[rows]) {
    if constexpr (n > 1) {
      vector z[rows];
      times<rows / 2>([&](auto i) __attribute__((always_inline)) {
        z[2 * i] = lanes::template zip<false>(v[i], v[i + rows / 2]);
        z[2 * i + 1] = lanes::template zip<true>(v[i], v[i + rows / 2]);
      });
      times<rows>([&](auto i) __attribute__((always_inline)) { v[i] = z[i]; });
      to_memory_order<n / 2>(v);
    }
  }
};

}  // namespace quire::runtime
