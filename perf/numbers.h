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
/// A size in the largest unit of 1 (no letter), k, m, g, t of which it is a multiple.
std::string size_text(std::uint64_t bytes);
/// A whole number with a comma between groups of three digits.
std::string grouped(std::uint64_t v);
/// Rounded to one; not negative.
inline std::string grouped(double v) { return grouped(static_cast<std::uint64_t>(v + 0.5)); }

}  // namespace quire::perf
