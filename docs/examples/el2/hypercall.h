// What a guest may ask of the hypervisor by HVC #0: the number in x0, arguments in x1 to x3, the answer in
// x0.
#pragma once

#include <cstdint>

namespace el2 {

enum class hypercall : std::uint64_t {
  faults = 0x5155'0000,  ///< address, pages: faults that were taken there since the last such call
  protect,     ///< address, access (1 read and execute, 3 all), hold: writes wait until all is allowed again
  swap,        ///< address, address: exchanges the frames behind two pages; 1 if done
  unmap,       ///< address, pages, n: each n-th page goes, in one section; see unmap_report
  set_leaf,    ///< address, level (0 pages, 1 one leaf of 2 MiB), access; 1 if done
  leaf_level,  ///< address: 0, 1, or 255 where nothing is mapped
};

/// What is not a hypercall.
inline constexpr std::uint64_t unknown_hypercall = ~std::uint64_t{0};

/// Pages that an unmap removed, and how hardware had marked them.
struct unmap_report {
  std::uint64_t removed, accessed, dirty;
  constexpr std::uint64_t pack() const { return removed | accessed << 16 | dirty << 32; }
  static constexpr unmap_report unpack(std::uint64_t word) {
    return {word & 0xffff, word >> 16 & 0xffff, word >> 32 & 0xffff};
  }
};

}  // namespace el2
