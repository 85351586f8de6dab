// Sorting page numbers with vectors: include only in sources of a variant.
#pragma once

#include <bit>

#include "runtime/coalesce_lanes.h"

namespace quire::runtime {

/// Up to `most` keys go through one network; more are dealt out to buckets of about 100 by their value, so
/// that a small network sorts each; where values cluster, so that buckets overflow, all are sorted by their
/// bytes.
template <class Unit, class T>
struct page_sorter {
  using lanes = page_lanes<Unit, T>;
  static constexpr unsigned most_rows = 32;
  static constexpr std::size_t most = most_rows * lanes::count;
  static constexpr std::size_t per_bucket = 96;
  /// Keys that may be written behind the n of either array.
  static constexpr std::size_t slack = most;

  static constexpr std::size_t buckets_for(std::size_t n) { return n / per_bucket + 1; }

  /// Sorts n <= `most` keys from one place to another, which may be the same, and fills up behind them to a
  /// power of two of vectors with the greatest number there is.
  template <unsigned rows = 1>
  [[gnu::always_inline]] static void sort_few(const T* from, T* to, std::size_t n) {
    if constexpr (rows < most_rows) {
      if (n > rows * lanes::count) return sort_few<2 * rows>(from, to, n);
    }
    network<rows>(from, to, n);
  }

  /// Sorts n keys.
  /// @param keys    n + slack
  /// @param other   n + slack, for use meanwhile
  /// @param counts  buckets_for(n) + 256 numbers, for use meanwhile
  /// @param low, high  bounds of all keys
  static void sort(T* keys, std::size_t n, T* other, std::uint32_t* counts, T low, T high) {
    if (n <= most) return sort_few(keys, keys, n);
    if (!by_buckets(keys, n, other, counts, low, high)) by_bytes(keys, n, other, counts, low, high);
  }

 private:
  template <unsigned rows>
  [[gnu::noinline]] static void network(const T* from, T* to, std::size_t n) {
    typename lanes::vector v[rows];
    const auto end = lanes::all(static_cast<T>(n));
#pragma GCC unroll 32
    for (unsigned i = 0; i < rows; ++i) {
      const auto key = lanes::load(from + i * lanes::count);
      v[i] = key | (end <= lanes::ramp() + static_cast<T>(i * lanes::count));
    }
    page_network<Unit, T, rows>::sort(v);
#pragma GCC unroll 32
    for (unsigned i = 0; i < rows; ++i) lanes::store_as(to + i * lanes::count, v[i]);
  }

  static bool by_buckets(T* keys, std::size_t n, T* other, std::uint32_t* counts, T low, T high) {
    const std::size_t buckets = buckets_for(n);
    const T span = high - low;
    const unsigned bits = static_cast<unsigned>(std::bit_width(span));
    const unsigned down = bits > 32 ? bits - 32 : 0;
    const std::uint64_t factor = (std::uint64_t{buckets} << 32) / (std::uint64_t{span >> down} + 1);
    const auto bucket = [&](T key) {
      return static_cast<std::uint32_t>(std::uint64_t{(key - low) >> down} * factor >> 32);
    };
    for (std::size_t i = 0; i < buckets; ++i) counts[i] = 0;
    for (std::size_t i = 0; i < n; ++i) ++counts[bucket(keys[i])];
    std::uint32_t sum = 0, longest = 0;
    for (std::size_t i = 0; i < buckets; ++i) {
      const std::uint32_t c = counts[i];
      longest = c > longest ? c : longest;
      counts[i] = sum;
      sum += c;
    }
    if (longest > most) return false;
    for (std::size_t i = 0; i < n; ++i) other[counts[bucket(keys[i])]++] = keys[i];
    // counts[i] is the end of bucket i now. What a network writes too much, those after it write anew.
    std::uint32_t from = 0;
    for (std::size_t i = 0; i < buckets; ++i) {
      sort_few(other + from, keys + from, counts[i] - from);
      from = counts[i];
    }
    return true;
  }

  static void by_bytes(T* keys, std::size_t n, T* other, std::uint32_t* counts, T low, T high) {
    T *from = keys, *to = other;
    for (unsigned down = 0; down < 8 * sizeof(T) && (high - low) >> down != 0; down += 8) {
      const auto digit = [&](T key) { return static_cast<std::uint8_t>((key - low) >> down); };
      for (unsigned i = 0; i < 256; ++i) counts[i] = 0;
      for (std::size_t i = 0; i < n; ++i) ++counts[digit(from[i])];
      std::uint32_t sum = 0;
      for (unsigned i = 0; i < 256; ++i) {
        const std::uint32_t c = counts[i];
        counts[i] = sum;
        sum += c;
      }
      for (std::size_t i = 0; i < n; ++i) to[counts[digit(from[i])]++] = from[i];
      T* const sorted = to;
      to = from;
      from = sorted;
    }
    if (from != keys) __builtin_memcpy(keys, from, n * sizeof(T));
  }
};

}  // namespace quire::runtime
