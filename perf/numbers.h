// Numbers, sizes and permissions as people write them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "arch/attributes.h"

namespace quire::perf {

/// Decimal, or hexadecimal after 0x; the whole text, below 2^64.
std::optional<std::uint64_t> parse_number(std::string_view text);
/// As parse_number(), with one of k, m, g, t behind for powers of 1024; below 2^64.
std::optional<std::uint64_t> parse_size(std::string_view text);
/// Letters of r, w, x, each at most once, at least one.
std::optional<arch::perm> parse_perm(std::string_view text);
std::string perm_text(arch::perm p);

}  // namespace quire::perf
