// Inputs of the coalescing benchmarks: page numbers of the six shapes that are measured.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace quire::perf {

enum class coalesce_shape : std::uint8_t {
  contiguous,  ///< N pages in order
  reversed,    ///< N pages, the last one first
  dense,       ///< N distinct pages of a window of 2N, shuffled
  sparse,      ///< N distinct pages of 2^24, shuffled
  runs,        ///< runs of 16 pages (one of N if that is less) somewhere in 2^24, apart, shuffled
  duplicates   ///< N draws from a window of N/4 pages
};
inline constexpr coalesce_shape coalesce_shapes[] = {coalesce_shape::contiguous, coalesce_shape::reversed,
                                                     coalesce_shape::dense,      coalesce_shape::sparse,
                                                     coalesce_shape::runs,       coalesce_shape::duplicates};
/// Pages per input that are measured.
inline constexpr std::size_t coalesce_sizes[] = {16, 64, 256, 512, 4096, 65536};

const char* coalesce_shape_text(coalesce_shape s);

/// N page numbers, 4 KiB units, of shape `s` somewhere below 2^36: the same for the same seed.
/// @param n  1 .. 2^20
std::vector<std::uint64_t> coalesce_input(coalesce_shape s, std::size_t n, std::uint64_t seed);

}  // namespace quire::perf
