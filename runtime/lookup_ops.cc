// Looking up many pages in tables, one by one, see lookup_ops.h.
#include "runtime/lookup_ops.h"

namespace quire::runtime {

namespace {

using word = std::uint64_t;

template <bool swapped>
word load(std::uint64_t table, std::uint64_t index) {
  auto* at = reinterpret_cast<word*>(static_cast<std::uintptr_t>(table)) + index;
  const word e = std::atomic_ref<word>(*at).load(
      std::memory_order_acquire);  // acquire: comes before the version is read again
  return swapped ? __builtin_bswap64(e) : e;
}

// False if a frame of the space was given back meanwhile.
template <bool swapped>
bool look(const lookup_source& from, std::uint64_t page, std::uint64_t& frame) {
  // acquire: see space::version(); comes before the tables are read.
  const std::uint64_t before = from.version.load(std::memory_order_acquire);
  std::uint64_t table = from.root;
  for (unsigned l = from.shape.levels - 1;; --l) {
    const arch::walk_level& level = from.shape.level[l];
    const word e = load<swapped>(table + from.table_offset, page >> level.shift & level.index_mask);
    if (from.version.load(std::memory_order_acquire) != before)
      return false;  // acquire: see load() and space::version()
    if (level.rule.leaf(e)) {
      const std::uint64_t inside = page & ((std::uint64_t{1} << level.shift) - 1);
      frame = (level.rule.address(e, level.rule.leaf_address) >> arch::page_shift) + inside;
      return true;
    }
    if (!level.rule.table(e)) {
      frame = e == level.empty ? no_frame.value : from.judge(from.context, {page});
      return true;
    }
    table = level.rule.address(e, level.rule.table_address);
  }
}

template <bool swapped>
bool look_all(const lookup_source& from, const arch::gfn* pages, std::size_t n, arch::hfn* frames) {
  std::uint64_t bits = 0;
  for (std::size_t i = 0; i < n; ++i) bits |= pages[i].value;
  if (bits >= from.input_pages) return false;
  for (std::size_t i = 0; i < n; ++i) {
    while (!look<swapped>(from, pages[i].value, frames[i].value)) {
    }
  }
  return true;
}

}  // namespace

constinit const lookup_function detail::scalar_lookup[2] = {look_all<false>, look_all<true>};

lookup_function lookup_for(simd v, bool swapped) {
  if constexpr (simd_for_x86) {
    if (v == simd::avx512) return detail::avx512_lookup[swapped];
    if (v == simd::avx2) return detail::avx2_lookup[swapped];
  }
  if constexpr (simd_for_arm64) {
    if (v == simd::neon) return detail::neon_lookup[swapped];
  }
  return detail::scalar_lookup[swapped];
}

}  // namespace quire::runtime
