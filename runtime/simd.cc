// Which vector variants a CPU can run, see simd.h.
#include "runtime/simd.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace quire::runtime {

namespace {

#if defined(__x86_64__)
// By hand, since __builtin_cpu_supports() wants libgcc and its constructor.

struct cpuid_words {
  unsigned a = 0, b = 0, c = 0, d = 0;
};

cpuid_words cpuid(unsigned leaf) {
  cpuid_words w;
  __get_cpuid_count(leaf, 0, &w.a, &w.b, &w.c, &w.d);  // leaves them 0 if there is no such leaf
  return w;
}

constexpr bool all_of(unsigned word, unsigned bits) { return (word & bits) == bits; }

// The register states that the operating system saves, and so allows.
unsigned xcr0() {
  unsigned low = 0, high = 0;
  asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return low;
}

// FMA, CX16, SSE4.1, SSE4.2, MOVBE, POPCNT, OSXSAVE, AVX, F16C; then BMI1, AVX2, BMI2; LAHF, LZCNT.
bool has_v3() {
  constexpr unsigned basic =
      1u << 12 | 1u << 13 | 1u << 19 | 1u << 20 | 1u << 22 | 1u << 23 | 1u << 27 | 1u << 28 | 1u << 29;
  return all_of(cpuid(1).c, basic) && all_of(xcr0(), 0x6) &&
         all_of(cpuid(7).b, 1u << 3 | 1u << 5 | 1u << 8) && all_of(cpuid(0x80000001).c, 1u << 0 | 1u << 5);
}

// AVX512F, DQ, CD, BW, VL; their masks and upper halves are saved.
bool has_v4() {
  return has_v3() && all_of(xcr0(), 0xe6) &&
         all_of(cpuid(7).b, 1u << 16 | 1u << 17 | 1u << 28 | 1u << 30 | 1u << 31);
}
#else
bool has_v3() { return false; }
bool has_v4() { return false; }
#endif

// Bare metal may not have made vector registers usable, or keeps a guest's values in them.
#if defined(__SANITIZE_THREAD__) || !__STDC_HOSTED__
constexpr bool scalar_by_default = true;
#else
constexpr bool scalar_by_default = false;
#endif

}  // namespace

constinit std::atomic<std::uint8_t> detail::simd_in_use{0};

bool simd_available(simd v) {
  switch (v) {
    case simd::scalar:
      return true;
    case simd::avx2:
      return has_v3();
    case simd::avx512:
      return has_v4();
    case simd::neon:
      return simd_for_arm64;
  }
  return false;
}

simd best_simd() {
  if constexpr (simd_for_arm64) return simd::neon;
  return has_v4() ? simd::avx512 : has_v3() ? simd::avx2 : simd::scalar;
}

simd detail::choose_default_simd() {
  const simd best = scalar_by_default ? simd::scalar : best_simd();
  std::uint8_t seen = 0;
  // relaxed: as in chosen_simd(). If choose_simd() comes in between, what it says stays.
  const auto wanted = static_cast<std::uint8_t>(static_cast<unsigned>(best) + 1);
  const bool first =
      simd_in_use.compare_exchange_strong(seen, wanted, std::memory_order_relaxed, std::memory_order_relaxed);
  return first ? best : static_cast<simd>(seen - 1);
}

bool choose_simd(simd v) {
  if (!simd_available(v)) return false;
  // relaxed: as in chosen_simd().
  detail::simd_in_use.store(static_cast<std::uint8_t>(static_cast<unsigned>(v) + 1),
                            std::memory_order_relaxed);
  return true;
}

}  // namespace quire::runtime
