// Operations on entries of a table, and lookups, with AVX-512: see table_ops.h, lookup_ops.h.
#include <immintrin.h>

#include "runtime/leaf_places_vector.h"
#include "runtime/lookup_vector.h"
#include "runtime/table_ops_vector.h"

namespace quire::runtime {

namespace {

struct avx512 {
  using word = std::uint64_t;
  using vector = __m512i;
  using mask = __mmask8;
  static constexpr unsigned lanes = 8;
  static constexpr bool partial = true;

  static mask first(std::uint32_t k) { return static_cast<mask>((1u << k) - 1); }
  static vector load(const word* at) { return _mm512_loadu_si512(at); }
  static vector load(const word* at, std::uint32_t k) { return _mm512_maskz_loadu_epi64(first(k), at); }
  static void load_four(const word* at, vector (&v)[4]) {
    const vector a = load(at), b = load(at + 8), c = load(at + 16), d = load(at + 24);
    const vector even = _mm512_set_epi64(13, 9, 5, 1, 12, 8, 4, 0), odd = _mm512_set_epi64(15, 11, 7, 3, 14, 10, 6, 2);
    const vector ab01 = _mm512_permutex2var_epi64(a, even, b), cd01 = _mm512_permutex2var_epi64(c, even, d);
    const vector ab23 = _mm512_permutex2var_epi64(a, odd, b), cd23 = _mm512_permutex2var_epi64(c, odd, d);
    v[0] = _mm512_shuffle_i64x2(ab01, cd01, 0x44);
    v[1] = _mm512_shuffle_i64x2(ab01, cd01, 0xee);
    v[2] = _mm512_shuffle_i64x2(ab23, cd23, 0x44);
    v[3] = _mm512_shuffle_i64x2(ab23, cd23, 0xee);
  }
  static void store(word* at, vector v) { _mm512_storeu_si512(at, v); }
  static void store(word* at, vector v, unsigned bits) {
    _mm512_mask_storeu_epi64(at, static_cast<mask>(bits), v);
  }
  static vector gather(const word* at) {
    const auto from = [at](unsigned i) {
      return static_cast<long long>(*reinterpret_cast<const word*>(at[i]));
    };
    return _mm512_set_epi64(from(7), from(6), from(5), from(4), from(3), from(2), from(1), from(0));
  }
  static vector all(word e) { return _mm512_set1_epi64(static_cast<long long>(e)); }
  static vector ramp(word first, word step) {
    return add(all(first), _mm512_mullo_epi64(all(step), _mm512_set_epi64(7, 6, 5, 4, 3, 2, 1, 0)));
  }
  static vector add(vector a, vector b) { return _mm512_add_epi64(a, b); }
  static vector and_(vector a, vector b) { return _mm512_and_si512(a, b); }
  static vector or_(vector a, vector b) { return _mm512_or_si512(a, b); }
  static vector xor_(vector a, vector b) { return _mm512_xor_si512(a, b); }
  static vector and_not(vector a, vector b) { return _mm512_andnot_si512(b, a); }
  static vector swap_bytes(vector v) {
    const __m128i order = _mm_set_epi64x(0x08090a0b0c0d0e0f, 0x0001020304050607);
    return _mm512_shuffle_epi8(v, _mm512_broadcast_i32x4(order));
  }
  static vector shift_left(vector v, unsigned n) { return _mm512_sll_epi64(v, _mm_cvtsi64_si128(n)); }
  static vector shift_right(vector v, unsigned n) { return _mm512_srl_epi64(v, _mm_cvtsi64_si128(n)); }
  static mask equal(vector a, vector b) { return _mm512_cmpeq_epi64_mask(a, b); }
  static mask has_any(vector a, vector b) { return _mm512_test_epi64_mask(a, b); }
  static mask both(mask m, mask n) { return m & n; }
  static mask either(mask m, mask n) { return m | n; }
  static unsigned bits(mask m) { return m; }
  static vector select(mask m, vector a, vector b) { return _mm512_mask_blend_epi64(m, b, a); }
};

}  // namespace

constinit const table_ops detail::avx512_table_ops[2] = {vector_table_ops<avx512, false>::all,
                                                         vector_table_ops<avx512, true>::all};
constinit const lookup_function detail::avx512_lookup[2] = {vector_lookup<avx512, false>::look_all,
                                                            vector_lookup<avx512, true>::look_all};

constinit const place_functions detail::avx512_places[2] = {
    {vector_places<avx512, false>::of_updates, vector_places<avx512, false>::of_pages},
    {vector_places<avx512, true>::of_updates, vector_places<avx512, true>::of_pages}};

}  // namespace quire::runtime
