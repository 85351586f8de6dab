// Where the leaves of queued single maps go, one by one, see leaf_places.h.
#include "runtime/leaf_places.h"

namespace quire::runtime {

namespace {

using word = std::uint64_t;

template <bool swapped>
word* place_of(const place_request& q, word page) {
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
word leaf_for(const place_request& q, word out) {
  const word e = q.leaf + (out << q.step_shift);
  return swapped ? __builtin_bswap64(e) : e;
}

template <bool swapped>
bool of_updates(const place_request& q, const queued_update* updates, std::uint32_t n, word** at, word* leaf) {
  bool all = true;
  for (std::uint32_t i = 0; i < n; ++i) {
    const queued_update& u = updates[i];
    const word page = u.first.value, out = page + u.distance;
    // relaxed: a run that grows meanwhile is of more than one leaf
    const bool good = u.kind == q.kind && u.end.load(std::memory_order_relaxed) - page == q.pages && (out & q.beyond) == 0;
    at[i] = good ? place_of<swapped>(q, page) : nullptr;
    leaf[i] = leaf_for<swapped>(q, out);
    all = all && at[i];
  }
  return all;
}

template <bool swapped>
bool of_pages(const place_request& q, const gfn* pages, const hfn* frames, std::uint32_t n, word** at, word* leaf) {
  bool all = true;
  for (std::uint32_t i = 0; i < n; ++i) {
    at[i] = (frames[i].value & q.beyond) == 0 ? place_of<swapped>(q, pages[i].value) : nullptr;
    leaf[i] = leaf_for<swapped>(q, frames[i].value);
    all = all && at[i];
  }
  return all;
}

}  // namespace

constinit const place_functions detail::scalar_places[2] = {{of_updates<false>, of_pages<false>},
                                                            {of_updates<true>, of_pages<true>}};

const place_functions& places_for(simd v, bool swapped) {
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
