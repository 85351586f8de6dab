// Operations on entries of a table, and lookups, with AVX2: see table_ops.h, lookup_ops.h.
#include <immintrin.h>

#include "runtime/leaf_places_vector.h"
#include "runtime/lookup_vector.h"
#include "runtime/table_ops_vector.h"

namespace quire::runtime {

namespace {

struct avx2 {
  using word = std::uint64_t;
  using vector = __m256i;
  using mask = __m256i;
  static constexpr unsigned lanes = 4;
  static constexpr bool partial = false;  // VPMASKMOVQ exists, but its stores are slow on some CPUs

  static vector load(const word* at) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at)); }
  static void load_four(const word* at, vector (&v)[4]) {
    const vector a = load(at), b = load(at + 4), c = load(at + 8), d = load(at + 12);
    const vector ab02 = _mm256_unpacklo_epi64(a, b), ab13 = _mm256_unpackhi_epi64(a, b);
    const vector cd02 = _mm256_unpacklo_epi64(c, d), cd13 = _mm256_unpackhi_epi64(c, d);
    v[0] = _mm256_permute2x128_si256(ab02, cd02, 0x20);
    v[1] = _mm256_permute2x128_si256(ab13, cd13, 0x20);
    v[2] = _mm256_permute2x128_si256(ab02, cd02, 0x31);
    v[3] = _mm256_permute2x128_si256(ab13, cd13, 0x31);
  }
  static void store(word* at, vector v) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(at), v); }
  static void store(word* at, vector v, unsigned bits) {
    word lane[lanes];
    store(lane, v);
    for (unsigned i = 0; i < lanes; ++i) {
      if (bits >> i & 1) __atomic_store_n(at + i, lane[i], __ATOMIC_RELAXED);  // relaxed: see table_ops
    }
  }
  static vector gather(const word* at) {
    const auto from = [at](unsigned i) {
      return static_cast<long long>(*reinterpret_cast<const word*>(at[i]));
    };
    return _mm256_set_epi64x(from(3), from(2), from(1), from(0));
  }
  static vector all(word e) { return _mm256_set1_epi64x(static_cast<long long>(e)); }
  static vector ramp(word first, word step) {
    const auto lane = [&](word i) { return static_cast<long long>(first + i * step); };
    return _mm256_set_epi64x(lane(3), lane(2), lane(1), lane(0));
  }
  static vector add(vector a, vector b) { return _mm256_add_epi64(a, b); }
  static vector and_(vector a, vector b) { return _mm256_and_si256(a, b); }
  static vector or_(vector a, vector b) { return _mm256_or_si256(a, b); }
  static vector xor_(vector a, vector b) { return _mm256_xor_si256(a, b); }
  static vector and_not(vector a, vector b) { return _mm256_andnot_si256(b, a); }
  static vector swap_bytes(vector v) {
    const __m128i order = _mm_set_epi64x(0x08090a0b0c0d0e0f, 0x0001020304050607);
    return _mm256_shuffle_epi8(v, _mm256_broadcastsi128_si256(order));
  }
  static vector shift_left(vector v, unsigned n) { return _mm256_sll_epi64(v, _mm_cvtsi64_si128(n)); }
  static vector shift_right(vector v, unsigned n) { return _mm256_srl_epi64(v, _mm_cvtsi64_si128(n)); }
  static mask equal(vector a, vector b) { return _mm256_cmpeq_epi64(a, b); }
  static mask has_any(vector a, vector b) {
    return _mm256_xor_si256(_mm256_cmpeq_epi64(_mm256_and_si256(a, b), _mm256_setzero_si256()),
                            _mm256_set1_epi64x(-1));
  }
  static mask both(mask m, mask n) { return _mm256_and_si256(m, n); }
  static mask either(mask m, mask n) { return _mm256_or_si256(m, n); }
  static unsigned bits(mask m) { return static_cast<unsigned>(_mm256_movemask_pd(_mm256_castsi256_pd(m))); }
  static vector select(mask m, vector a, vector b) { return _mm256_blendv_epi8(b, a, m); }
};

}  // namespace

constinit const table_ops detail::avx2_table_ops[2] = {vector_table_ops<avx2, false>::all,
                                                       vector_table_ops<avx2, true>::all};
constinit const lookup_function detail::avx2_lookup[2] = {vector_lookup<avx2, false>::look_all,
                                                          vector_lookup<avx2, true>::look_all};

constinit const place_functions detail::avx2_places[2] = {
    {vector_places<avx2, false>::of_updates, vector_places<avx2, false>::of_pages},
    {vector_places<avx2, true>::of_updates, vector_places<avx2, true>::of_pages}};

}  // namespace quire::runtime
