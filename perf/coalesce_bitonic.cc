// A bitonic network in one AVX-512 register, see coalesce_bitonic.h.
#include "perf/coalesce_bitonic.h"

#include <bit>

#include "runtime/simd.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace quire::perf {

bool coalesce_bitonic_available() { return runtime::simd_available(runtime::simd::avx512); }

#if defined(__x86_64__)
namespace {

// GCC 12 warns of its own header: _mm512_undefined_epi32().
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,bmi2,popcnt,lzcnt")

// Lanes i and i ^ m in order, the greater one where `greater` has a bit.
template <int m, unsigned greater>
__m512i step(__m512i v) {
  __m512i other;
  if constexpr (m < 4) {
    constexpr int order = m | (1 ^ m) << 2 | (2 ^ m) << 4 | (3 ^ m) << 6;
    other = _mm512_shuffle_epi32(v, static_cast<_MM_PERM_ENUM>(order));
  } else {
    constexpr int k = m / 4;
    other = _mm512_shuffle_i32x4(v, v, k | (1 ^ k) << 2 | (2 ^ k) << 4 | (3 ^ k) << 6);
  }
  return _mm512_mask_max_epu32(_mm512_min_epu32(v, other), static_cast<__mmask16>(greater), v, other);
}

__m512i sorted(__m512i v) {
  v = step<1, 0b0110'0110'0110'0110>(v);
  v = step<2, 0b0011'1100'0011'1100>(v);
  v = step<1, 0b0101'1010'0101'1010>(v);
  v = step<4, 0b0000'1111'1111'0000>(v);
  v = step<2, 0b0011'0011'1100'1100>(v);
  v = step<1, 0b0101'0101'1010'1010>(v);
  v = step<8, 0b1111'1111'0000'0000>(v);
  v = step<4, 0b1111'0000'1111'0000>(v);
  v = step<2, 0b1100'1100'1100'1100>(v);
  return step<1, 0b1010'1010'1010'1010>(v);
}

void put(arch::gfn_range* out, __m256i first, __m256i pages, __m512i base) {
  const __m512i f = _mm512_add_epi64(_mm512_cvtepu32_epi64(first), base), p = _mm512_cvtepu32_epi64(pages);
  const __m512i low = _mm512_set_epi64(11, 3, 10, 2, 9, 1, 8, 0),
                high = _mm512_set_epi64(15, 7, 14, 6, 13, 5, 12, 4);
  _mm512_storeu_si512(out, _mm512_permutex2var_epi64(f, low, p));
  _mm512_storeu_si512(out + 4, _mm512_permutex2var_epi64(f, high, p));
}

std::size_t bitonic(const std::uint64_t* pages, std::size_t n, arch::gfn_range* out) {
  const unsigned valid = (1u << n) - 1;
  const __m512i any = _mm512_set1_epi64(static_cast<long long>(pages[0]));
  const __m512i a = _mm512_mask_loadu_epi64(any, static_cast<__mmask8>(valid), pages);
  const __m512i b = _mm512_mask_loadu_epi64(any, static_cast<__mmask8>(valid >> 8), pages + 8);
  const std::uint64_t least = _mm512_reduce_min_epu64(_mm512_min_epu64(a, b));
  const __m512i base = _mm512_set1_epi64(static_cast<long long>(least));
  const __m512i x = _mm512_sub_epi64(a, base), y = _mm512_sub_epi64(b, base);
  if (_mm512_test_epi64_mask(_mm512_or_si512(x, y), _mm512_set1_epi64(~0xffffffffll))) return 0;
  const __m512i low_halves = _mm512_set_epi32(30, 28, 26, 24, 22, 20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0);
  const __m512i v = sorted(_mm512_permutex2var_epi32(x, low_halves, y));
  const __m512i distance = _mm512_sub_epi32(v, _mm512_alignr_epi32(v, v, 15));
  const unsigned starts = _mm512_cmpgt_epu32_mask(distance, _mm512_set1_epi32(1)) | 1u;
  const unsigned ends = starts >> 1 | 0x8000u;
  const __m512i first = _mm512_maskz_compress_epi32(static_cast<__mmask16>(starts), v);
  const __m512i last = _mm512_maskz_compress_epi32(static_cast<__mmask16>(ends), v);
  const __m512i size = _mm512_add_epi32(_mm512_sub_epi32(last, first), _mm512_set1_epi32(1));
  arch::gfn_range all[16];
  arch::gfn_range* const to = n == 16 ? out : all;
  put(to, _mm512_castsi512_si256(first), _mm512_castsi512_si256(size), base);
  put(to + 8, _mm512_extracti64x4_epi64(first, 1), _mm512_extracti64x4_epi64(size, 1), base);
  const auto found = static_cast<std::size_t>(std::popcount(starts));
  for (std::size_t i = 0; to == all && i < found; ++i) out[i] = all[i];
  return found;
}

#pragma GCC pop_options

}  // namespace

std::size_t coalesce_bitonic(std::span<std::uint64_t> pages, std::span<arch::gfn_range> out,
                             std::span<std::byte>) {
  return bitonic(pages.data(), pages.size(), out.data());
}
#else
std::size_t coalesce_bitonic(std::span<std::uint64_t>, std::span<arch::gfn_range>, std::span<std::byte>) {
  return 0;
}
#endif

}  // namespace quire::perf
