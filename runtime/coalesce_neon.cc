// Pages and ranges to disjoint ranges with NEON, see coalesce.h.
#include <arm_neon.h>

#include "runtime/coalesce_ranges_vector.h"

namespace quire::runtime {

namespace {

/// Entry m: the bytes of those lanes whose bits are set in m.
struct compress_table {
  alignas(16) std::uint8_t bytes[16][16];
};
constexpr compress_table compress_orders = [] {
  compress_table t{};
  for (unsigned m = 0; m < 16; ++m) {
    unsigned to = 0;
    for (unsigned i = 0; i < 4; ++i) {
      for (unsigned k = 0; (m >> i & 1) && k < 4; ++k)
        t.bytes[m][to++] = static_cast<std::uint8_t>(4 * i + k);
    }
  }
  return t;
}();

struct neon {
  static constexpr unsigned bytes = 16;
  using vector32 = page_lanes<neon, std::uint32_t>::vector;
  using vector64 = page_lanes<neon, std::uint64_t>::vector;

  static unsigned above(vector32 a, vector32 b) {
    const vector32 bits = {1, 2, 4, 8};
    return vaddvq_u32(reinterpret_cast<uint32x4_t>(reinterpret_cast<vector32>(a > b) & bits));
  }
  static bool any(vector64 v) { return vmaxvq_u32(reinterpret_cast<uint32x4_t>(v)) != 0; }
  static vector32 pick(vector32 v, uint8x16_t order) {
    return reinterpret_cast<vector32>(vqtbl1q_u8(reinterpret_cast<uint8x16_t>(v), order));
  }
  static vector32 compress(vector32 v, unsigned bits) {
    return pick(v, vld1q_u8(compress_orders.bytes[bits]));
  }
  static vector32 place(vector32 v, vector32 w, unsigned at, unsigned n) {
    const vector32 from = page_lanes<neon, std::uint32_t>::ramp() - at;
    const vector32 order = from * 0x04040404 + 0x03020100;
    return from < n ? pick(w, reinterpret_cast<uint8x16_t>(order)) : v;
  }
  static std::uint64_t nonzero(const std::uint8_t* at) {
    const uint8x16_t bit = vreinterpretq_u8_u64(vdupq_n_u64(0x8040201008040201));
    const auto bits = [&](unsigned i) {
      const uint8x16_t v = vld1q_u8(at + 16 * i);
      return vandq_u8(vtstq_u8(v, v), bit);
    };
    const uint8x16_t low = vpaddq_u8(bits(0), bits(1)), high = vpaddq_u8(bits(2), bits(3));
    const uint8x16_t half = vpaddq_u8(low, high);
    return vgetq_lane_u64(vreinterpretq_u64_u8(vpaddq_u8(half, half)), 0);
  }
  static vector64 load_some(const std::uint64_t* at, unsigned k, vector64 fill) {
    if (k > 0) fill[0] = *at;
    return fill;
  }
};

}  // namespace

std::size_t detail::neon_coalesce_pages(const std::uint64_t* pages, std::size_t n, arch::gfn_range* out,
                                        std::byte* scratch) {
  return page_coalescer<neon>::coalesce(pages, n, out, scratch);
}

std::size_t detail::neon_coalesce_ranges(arch::gfn_range* r, std::size_t n) {
  return range_coalescer<neon>::coalesce(r, n);
}

}  // namespace quire::runtime
