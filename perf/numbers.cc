// Parsing of numbers.h by std::from_chars.
#include "perf/numbers.h"

#include <charconv>

namespace quire::perf {

std::optional<std::uint64_t> parse_number(std::string_view text) {
  int base = 10;
  if (text.starts_with("0x") || text.starts_with("0X")) {
    text.remove_prefix(2);
    base = 16;
  }
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (text.empty() || error != std::errc() || end != text.data() + text.size()) return {};
  return value;
}

std::optional<std::uint64_t> parse_size(std::string_view text) {
  unsigned shift = 0;
  if (!text.empty()) {
    switch (text.back()) {
      case 'k': case 'K': shift = 10; break;
      case 'm': case 'M': shift = 20; break;
      case 'g': case 'G': shift = 30; break;
      case 't': case 'T': shift = 40; break;
      default: break;
    }
  }
  if (shift) text.remove_suffix(1);
  const auto value = parse_number(text);
  if (!value || *value << shift >> shift != *value) return {};
  return *value << shift;
}

std::optional<arch::perm> parse_perm(std::string_view text) {
  arch::perm p = arch::perm::none;
  for (const char c : text) {
    const arch::perm one = c == 'r'   ? arch::perm::r
                           : c == 'w' ? arch::perm::w
                           : c == 'x' ? arch::perm::x
                                      : arch::perm::none;
    if (one == arch::perm::none || includes(p, one)) return {};
    p = p | one;
  }
  if (p == arch::perm::none) return {};
  return p;
}

std::string perm_text(arch::perm p) {
  std::string text;
  text += includes(p, arch::perm::r) ? 'r' : '-';
  text += includes(p, arch::perm::w) ? 'w' : '-';
  text += includes(p, arch::perm::x) ? 'x' : '-';
  if (includes(p, arch::perm::ux)) text += 'u';
  return text;
}

std::string size_text(std::uint64_t bytes) {
  constexpr const char* units[] = {"", "k", "m", "g", "t"};
  unsigned unit = 0;
  for (; bytes > 0 && bytes % 1024 == 0 && unit < 4; ++unit) bytes /= 1024;
  return std::to_string(bytes) + units[unit];
}

std::string grouped(std::uint64_t v) {
  std::string digits = std::to_string(v);
  for (std::size_t i = digits.size(); i > 3; i -= 3) digits.insert(i - 3, 1, ',');
  return digits;
}

}  // namespace quire::perf
