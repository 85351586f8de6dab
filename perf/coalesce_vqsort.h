// Methods of coalescing pages that are written with Google Highway, each for several vector units.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "arch/address.h"

namespace quire::perf {

/// One vector unit. Signatures are those of coalesce_method::run.
struct coalesce_vectors {
  using function = std::size_t (*)(std::span<std::uint64_t>, std::span<arch::gfn_range>,
                                   std::span<std::byte>);
  function vqsort_u64;     ///< vqsort of the header, then a scan
  function vqsort_u32;     ///< the same of 32-bit distances from the least page; spans below 2^32
  function library_u64;    ///< vqsort of libhwy_contrib, then a scan
  function detect;         ///< contiguous or reversed input only
  function runs_in_order;  ///< sorted input only
  function collapse_runs;  ///< runs are cut out, sorted by vqsort, merged; spans below 2^32
};

/// Null if this CPU does not have the unit.
const coalesce_vectors* coalesce_vectors_avx2();
const coalesce_vectors* coalesce_vectors_avx512();

}  // namespace quire::perf
