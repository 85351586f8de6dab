// Operations on entries of a table, and lookups, with NEON: see table_ops.h, lookup_ops.h.
#include <arm_neon.h>

#include "runtime/leaf_places_vector.h"
#include "runtime/lookup_vector.h"
#include "runtime/table_ops_vector.h"

namespace quire::runtime {

namespace {

/// [armarm] "Requirements for single-copy atomicity": loads and stores of a vector register access each
/// aligned 8 bytes as a whole.
struct neon {
  using word = std::uint64_t;
  using vector = uint64x2_t;
  using mask = uint64x2_t;
  static constexpr unsigned lanes = 2;
  static constexpr bool partial = false;

  static vector load(const word* at) { return vld1q_u64(at); }
  static void load_four(const word* at, vector (&v)[4]) {
    const uint64x2x4_t each = vld4q_u64(at);
    for (unsigned j = 0; j < 4; ++j) v[j] = each.val[j];
  }
  static void store(word* at, vector v) { vst1q_u64(at, v); }
  static void store(word* at, vector v, unsigned bits) {
    // relaxed: see table_ops
    if (bits & 1) __atomic_store_n(at, vgetq_lane_u64(v, 0), __ATOMIC_RELAXED);
    if (bits & 2) __atomic_store_n(at + 1, vgetq_lane_u64(v, 1), __ATOMIC_RELAXED);
  }
  static vector gather(const word* at) {
    const auto from = [at](unsigned i) { return vld1_u64(reinterpret_cast<const word*>(at[i])); };
    return vcombine_u64(from(0), from(1));
  }
  static vector all(word e) { return vdupq_n_u64(e); }
  static vector ramp(word first, word step) {
    return vcombine_u64(vcreate_u64(first), vcreate_u64(first + step));
  }
  static vector add(vector a, vector b) { return vaddq_u64(a, b); }
  static vector and_(vector a, vector b) { return vandq_u64(a, b); }
  static vector or_(vector a, vector b) { return vorrq_u64(a, b); }
  static vector xor_(vector a, vector b) { return veorq_u64(a, b); }
  static vector and_not(vector a, vector b) { return vbicq_u64(a, b); }
  static vector swap_bytes(vector v) { return vreinterpretq_u64_u8(vrev64q_u8(vreinterpretq_u8_u64(v))); }
  static vector shift_left(vector v, unsigned n) { return vshlq_u64(v, vdupq_n_s64(static_cast<int>(n))); }
  static vector shift_right(vector v, unsigned n) { return vshlq_u64(v, vdupq_n_s64(-static_cast<int>(n))); }
  static mask equal(vector a, vector b) { return vceqq_u64(a, b); }
  static mask has_any(vector a, vector b) { return vtstq_u64(a, b); }
  static mask both(mask m, mask n) { return vandq_u64(m, n); }
  static mask either(mask m, mask n) { return vorrq_u64(m, n); }
  static unsigned bits(mask m) {
    // The narrowed lanes are 32 bits each, all or none of them set.
    const word both_lanes = vget_lane_u64(vreinterpret_u64_u32(vmovn_u64(m)), 0);
    return static_cast<unsigned>((both_lanes & 1) | (both_lanes >> 32 & 2));
  }
  static vector select(mask m, vector a, vector b) { return vbslq_u64(m, a, b); }
};

}  // namespace

constinit const table_ops detail::neon_table_ops[2] = {vector_table_ops<neon, false>::all,
                                                       vector_table_ops<neon, true>::all};
constinit const lookup_function detail::neon_lookup[2] = {vector_lookup<neon, false>::look_all,
                                                          vector_lookup<neon, true>::look_all};

constinit const place_functions detail::neon_places[2] = {
    {vector_places<neon, false>::of_updates, vector_places<neon, false>::of_pages},
    {vector_places<neon, true>::of_updates, vector_places<neon, true>::of_pages}};

}  // namespace quire::runtime
