// What a mapping allows and how memory behind it is cached, in words that no format owns.
#pragma once

#include <cstdint>

namespace quire::arch {

/// Accesses that a mapping allows. `ux` matters only where a format tells user from supervisor execution;
/// there `x` is supervisor execution alone.
enum class perm : std::uint8_t { none = 0, r = 1, w = 2, x = 4, ux = 8, rw = 3, rx = 5, rwx = 7 };

constexpr perm operator|(perm a, perm b) { return static_cast<perm>(static_cast<unsigned>(a) | static_cast<unsigned>(b)); }
constexpr perm operator&(perm a, perm b) { return static_cast<perm>(static_cast<unsigned>(a) & static_cast<unsigned>(b)); }
/// True if `all` holds every access of `some`.
constexpr bool includes(perm all, perm some) { return (all & some) == some; }
/// Number of values that `perm` can take; `access_set` has a bit for each.
inline constexpr unsigned perm_values = 16;

struct attributes {
  perm access = perm::none;
  /// Memory type: 0 is the format's default, the others are listed by the format.
  std::uint8_t type = 0;
  /// Leaf options that only one format knows; the format lists them. 0 = none.
  std::uint16_t options = 0;

  friend constexpr bool operator==(const attributes&, const attributes&) = default;
};

}  // namespace quire::arch
