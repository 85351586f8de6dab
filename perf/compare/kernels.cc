// Loops of kernels.h: one body for each, compiled for each instruction set that the compiler makes vectors
// for.
#include "perf/compare/kernels.h"

#include <algorithm>
#include <atomic>
#include <cstring>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace quire::perf {

namespace {

[[gnu::always_inline]] inline bool fill_body(std::span<std::uint64_t> words, std::uint64_t first,
                                             std::uint64_t step) {
  bool clean = true;
  for (std::size_t table = 0; table < words.size(); table += table_words) {
    const std::size_t n = std::min(table_words, words.size() - table);
    std::uint64_t* const at = words.data() + table;
    std::uint64_t any = 0;
    for (std::size_t i = 0; i < n; ++i) any |= at[i];
    clean &= any == 0;
    for (std::size_t i = 0; i < n; ++i) at[i] = first + (table + i) * step;
  }
  return clean;
}

[[gnu::always_inline]] inline void and_not_body(std::span<std::uint64_t> words, std::uint64_t bits) {
  for (std::uint64_t& w : words) w &= ~bits;
}

std::uint64_t take_bits(std::uint64_t& word, std::uint64_t bits) {
  // relaxed: one thread; the instruction is what costs.
  return std::atomic_ref(word).fetch_and(~bits, std::memory_order_relaxed) & bits;
}

#if defined(__x86_64__)
[[gnu::target("avx512f,prefer-vector-width=512")]] bool fill_avx512(std::span<std::uint64_t> words,
                                                                    std::uint64_t first, std::uint64_t step) {
  return fill_body(words, first, step);
}
[[gnu::target("avx2")]] bool fill_avx2(std::span<std::uint64_t> words, std::uint64_t first,
                                       std::uint64_t step) {
  return fill_body(words, first, step);
}
[[gnu::target("avx512f,prefer-vector-width=512")]] void and_not_avx512(std::span<std::uint64_t> words,
                                                                       std::uint64_t bits) {
  and_not_body(words, bits);
}
[[gnu::target("avx2")]] void and_not_avx2(std::span<std::uint64_t> words, std::uint64_t bits) {
  and_not_body(words, bits);
}

[[gnu::target("avx512f")]] std::uint64_t harvest_avx512(std::span<std::uint64_t> words, std::uint64_t bits) {
  const __m512i mask = _mm512_set1_epi64(static_cast<long long>(bits));
  std::uint64_t found = 0;
  std::size_t i = 0;
  for (; i + 8 <= words.size(); i += 8) {
    unsigned set = _mm512_test_epi64_mask(_mm512_loadu_si512(words.data() + i), mask);
    for (; set != 0; set &= set - 1)
      found += take_bits(words[i + static_cast<unsigned>(__builtin_ctz(set))], bits) != 0;
  }
  return found + harvest_scalar(words.subspan(i), bits);
}

const bool has_avx512 = __builtin_cpu_supports("avx512f"), has_avx2 = __builtin_cpu_supports("avx2");
#else
constexpr bool has_avx512 = false, has_avx2 = false;
#endif

}  // namespace

std::string_view kernel_variant() { return has_avx512 ? "avx512" : has_avx2 ? "avx2" : "scalar"; }

bool check_and_fill(std::span<std::uint64_t> words, std::uint64_t first, std::uint64_t step) {
#if defined(__x86_64__)
  if (has_avx512) return fill_avx512(words, first, step);
  if (has_avx2) return fill_avx2(words, first, step);
#endif
  return fill_body(words, first, step);
}

void scatter(std::uint64_t* words, std::span<const std::uint32_t> index) {
  for (const std::uint32_t i : index) words[i] = i;
}

void and_not(std::span<std::uint64_t> words, std::uint64_t bits) {
#if defined(__x86_64__)
  if (has_avx512) return and_not_avx512(words, bits);
  if (has_avx2) return and_not_avx2(words, bits);
#endif
  and_not_body(words, bits);
}

void zero(std::span<std::uint64_t> words) { std::memset(words.data(), 0, words.size_bytes()); }

void gather(const std::uint64_t* words, std::span<const std::uint32_t> index, std::span<std::uint64_t> to) {
  // Loads that depend on nothing: as many are in flight as the core allows, which a gather instruction does
  // not better.
  for (std::size_t i = 0; i < index.size(); ++i) to[i] = words[index[i]];
}

std::uint64_t exchange_each(std::span<std::uint64_t> words, std::uint64_t to) {
  std::uint64_t found = 0;
  // relaxed: one thread; the instruction is what costs.
  for (std::uint64_t& w : words) found += std::atomic_ref(w).exchange(to, std::memory_order_relaxed) != 0;
  return found;
}

void locked_and_each(std::span<std::uint64_t> words, std::uint64_t mask) {
  for (std::uint64_t& w : words)
    std::atomic_ref(w).fetch_and(mask, std::memory_order_relaxed);  // relaxed: as above
}

std::uint64_t harvest_scalar(std::span<std::uint64_t> words, std::uint64_t bits) {
  std::uint64_t found = 0;
  for (std::uint64_t& w : words) {
    // Read as hardware's writes have to be: each word by itself.
    if (std::atomic_ref(w).load(std::memory_order_relaxed) & bits)
      found += take_bits(w, bits) != 0;  // relaxed: as above
  }
  return found;
}

std::uint64_t harvest(std::span<std::uint64_t> words, std::uint64_t bits) {
#if defined(__x86_64__)
  if (has_avx512) return harvest_avx512(words, bits);
#endif
  return harvest_scalar(words, bits);
}

}  // namespace quire::perf
