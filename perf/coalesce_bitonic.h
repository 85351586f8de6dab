// Coalescing up to 16 pages with a bitonic network in one AVX-512 register.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "arch/address.h"

namespace quire::perf {

bool coalesce_bitonic_available();
/// As coalesce_method::run. At most 16 pages; spans below 2^32, 0 otherwise.
std::size_t coalesce_bitonic(std::span<std::uint64_t> pages, std::span<arch::gfn_range> out,
                             std::span<std::byte>);

}  // namespace quire::perf
