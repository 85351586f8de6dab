// Pages and ranges to disjoint ranges with AVX-512, see coalesce.h.
#include <immintrin.h>

#include "runtime/coalesce_ranges_vector.h"

namespace quire::runtime {

namespace {

struct avx512 {
  static constexpr unsigned bytes = 64;
  using vector32 = page_lanes<avx512, std::uint32_t>::vector;
  using vector64 = page_lanes<avx512, std::uint64_t>::vector;

  static __m512i raw(vector32 v) { return reinterpret_cast<__m512i>(v); }
  static __m512i raw(vector64 v) { return reinterpret_cast<__m512i>(v); }
  static unsigned above(vector32 a, vector32 b) { return _mm512_cmpgt_epu32_mask(raw(a), raw(b)); }
  static bool any(vector64 v) { return _mm512_test_epi64_mask(raw(v), raw(v)) != 0; }
  static vector32 compress(vector32 v, unsigned bits) {
    return reinterpret_cast<vector32>(_mm512_maskz_compress_epi32(static_cast<__mmask16>(bits), raw(v)));
  }
  static vector32 place(vector32 v, vector32 w, unsigned at, unsigned n) {
    const auto lanes = static_cast<__mmask16>(((1u << n) - 1) << at);
    return reinterpret_cast<vector32>(_mm512_mask_expand_epi32(raw(v), lanes, raw(w)));
  }
  static std::uint64_t nonzero(const std::uint8_t* at) {
    const __m512i v = _mm512_loadu_si512(at);
    return _mm512_test_epi8_mask(v, v);
  }
  static vector64 load_some(const std::uint64_t* at, unsigned k, vector64 fill) {
    return reinterpret_cast<vector64>(
        _mm512_mask_loadu_epi64(raw(fill), static_cast<__mmask8>((1u << k) - 1), at));
  }
};

}  // namespace

std::size_t detail::avx512_coalesce_pages(const std::uint64_t* pages, std::size_t n, arch::gfn_range* out,
                                          std::byte* scratch) {
  return page_coalescer<avx512>::coalesce(pages, n, out, scratch);
}

std::size_t detail::avx512_coalesce_ranges(arch::gfn_range* r, std::size_t n) {
  return range_coalescer<avx512>::coalesce(r, n);
}

}  // namespace quire::runtime
