// Where the leaves of queued single maps go, one by one, see leaf_places.h.
#include "runtime/leaf_places.h"

namespace quire::runtime {

namespace {

using word = std::uint64_t;

template <bool swapped>
word* place_of(const place_request& q, const queued_update& u) {
  const word page = u.first.value, out = page + u.distance;
  // relaxed: a run that grows meanwhile is of more than one leaf
  if (!(u.kind == q.kind) || u.end.load(std::memory_order_relaxed) - page != q.pages || (out & q.beyond) != 0) return nullptr;
  word table = q.root;
  for (unsigned l = q.shape.levels - 1;; --l) {
    const arch::walk_level& level = q.shape.level[l];
    auto* const at = reinterpret_cast<word*>(static_cast<std::uintptr_t>(table + q.table_offset)) + (page >> level.shift & level.index_mask);
    if (l == 0) return q.held(arch::table_address{table}, q.frame_shift) ? at : nullptr;
    word e = std::atomic_ref<word>(*at).load(std::memory_order_acquire);  // acquire: as slot::load()
    if (swapped) e = __builtin_bswap64(e);
    if (!level.rule.table(e)) return nullptr;
    table = level.rule.address(e, level.rule.table_address);
  }
}

template <bool swapped>
void find_places(const place_request& q, const queued_update* updates, std::uint32_t n, word** at, word* leaf) {
  for (std::uint32_t i = 0; i < n; ++i) {
    at[i] = place_of<swapped>(q, updates[i]);
    const word e = q.leaf + (updates[i].out().value << q.step_shift);
    leaf[i] = swapped ? __builtin_bswap64(e) : e;
  }
}

}  // namespace

constinit const place_function detail::scalar_places[2] = {find_places<false>, find_places<true>};

place_function places_for(simd v, bool swapped) {
  if constexpr (simd_for_x86) {
    if (v == simd::avx512) return detail::avx512_places[swapped];
    if (v == simd::avx2) return detail::avx2_places[swapped];
  }
  if constexpr (simd_for_arm64) {
    if (v == simd::neon) return detail::neon_places[swapped];
  }
  return detail::scalar_places[swapped];
}

}  // namespace quire::runtime
