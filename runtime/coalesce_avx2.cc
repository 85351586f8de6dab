// Pages and ranges to disjoint ranges with AVX2, see coalesce.h.
#include <immintrin.h>

#include "runtime/coalesce_ranges_vector.h"

namespace quire::runtime {

namespace {

/// Entry m: the numbers of the bits set in m, one a byte.
struct compress_table {
  std::uint64_t lanes[256];
};
constexpr compress_table compress_orders = [] {
  compress_table t{};
  for (unsigned m = 0; m < 256; ++m) {
    unsigned to = 0;
    for (std::uint64_t i = 0; i < 8; ++i) {
      if (m >> i & 1) t.lanes[m] |= i << (8 * to++);
    }
  }
  return t;
}();

struct avx2 {
  static constexpr unsigned bytes = 32;
  using vector32 = page_lanes<avx2, std::uint32_t>::vector;
  using vector64 = page_lanes<avx2, std::uint64_t>::vector;

  static __m256i raw(vector32 v) { return reinterpret_cast<__m256i>(v); }
  static __m256i raw(vector64 v) { return reinterpret_cast<__m256i>(v); }
  static unsigned above(vector32 a, vector32 b) {
    const __m256i not_above = _mm256_cmpeq_epi32(_mm256_max_epu32(raw(a), raw(b)), raw(b));
    return static_cast<unsigned>(_mm256_movemask_ps(_mm256_castsi256_ps(not_above))) ^ 0xff;
  }
  static bool any(vector64 v) { return !_mm256_testz_si256(raw(v), raw(v)); }
  static vector32 compress(vector32 v, unsigned bits) {
    const __m128i order = _mm_cvtsi64_si128(static_cast<long long>(compress_orders.lanes[bits]));
    return reinterpret_cast<vector32>(_mm256_permutevar8x32_epi32(raw(v), _mm256_cvtepu8_epi32(order)));
  }
  static vector32 place(vector32 v, vector32 w, unsigned at, unsigned n) {
    const vector32 from = page_lanes<avx2, std::uint32_t>::ramp() - at;
    return from < n ? reinterpret_cast<vector32>(_mm256_permutevar8x32_epi32(raw(w), raw(from))) : v;
  }
  static std::uint64_t nonzero(const std::uint8_t* at) {
    const auto half = [](const std::uint8_t* from) {
      const __m256i v = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
      return ~static_cast<unsigned>(_mm256_movemask_epi8(_mm256_cmpeq_epi8(v, _mm256_setzero_si256())));
    };
    return half(at) | std::uint64_t{half(at + 32)} << 32;
  }
  static vector64 load_some(const std::uint64_t* at, unsigned k, vector64 fill) {
    const __m256i loaded =
        _mm256_cmpgt_epi64(_mm256_set1_epi64x(static_cast<long long>(k)), _mm256_set_epi64x(3, 2, 1, 0));
    const __m256i v = _mm256_maskload_epi64(reinterpret_cast<const long long*>(at), loaded);
    return reinterpret_cast<vector64>(_mm256_blendv_epi8(raw(fill), v, loaded));
  }
};

}  // namespace

std::size_t detail::avx2_coalesce_pages(const std::uint64_t* pages, std::size_t n, arch::gfn_range* out,
                                        std::byte* scratch) {
  return page_coalescer<avx2>::coalesce(pages, n, out, scratch);
}

std::size_t detail::avx2_coalesce_ranges(arch::gfn_range* r, std::size_t n) {
  return range_coalescer<avx2>::coalesce(r, n);
}

}  // namespace quire::runtime
