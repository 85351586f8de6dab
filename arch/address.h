// Frame numbers of the guest and of the host, and ranges of them.
#pragma once

#include <compare>
#include <cstdint>

namespace quire::arch {

/// Frame numbers count 4 KiB units in every format, whatever its granule is.
inline constexpr unsigned page_shift = 12;
inline constexpr std::uint64_t page_bytes = std::uint64_t{1} << page_shift;

/// Number of a 4 KiB frame in the address space that `Space` names; `gfn` and `hfn` do not convert into each other.
template <class Space>
struct frame_number {
  std::uint64_t value = 0;

  friend constexpr auto operator<=>(frame_number, frame_number) = default;
  friend constexpr frame_number operator+(frame_number f, std::uint64_t pages) { return {f.value + pages}; }
  /// Pages from `b` up to `a`; `b` is not above `a`.
  friend constexpr std::uint64_t operator-(frame_number a, frame_number b) { return a.value - b.value; }
  /// Byte address of the frame. Wraps for frame numbers of 2^52 and above.
  constexpr std::uint64_t byte() const { return value << page_shift; }
};

using gfn = frame_number<struct guest_space>;  ///< guest frame number
using hfn = frame_number<struct host_space>;   ///< host frame number

/// Half-open range of guest pages.
struct gfn_range {
  gfn first{};
  std::uint64_t pages = 0;

  friend constexpr bool operator==(const gfn_range&, const gfn_range&) = default;
  constexpr gfn end() const { return first + pages; }
  constexpr bool contains(gfn g) const { return g.value - first.value < pages; }
  /// True if some page lies in both: an empty range has none. Right up to the end of the address space.
  constexpr bool overlaps(const gfn_range& o) const {
    return pages && (o.contains(first) || (o.pages && contains(o.first)));
  }
};

}  // namespace quire::arch
