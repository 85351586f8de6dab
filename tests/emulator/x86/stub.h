// Where the guest of the x86 payload lives: the one page that the tables under test must map for it.
#pragma once

#include <cstdint>

namespace quire::tests::x86 {

/// Guest-physical address of the stub page: the last page that a 40-bit MAXPHYADDR can name. The tables under test
/// map it to `stub_frame_address` as a 4 KiB leaf with R, W and X, write-back.
inline constexpr std::uint64_t stub_guest_address = 0xff'ffff'f000;

/// Physical address of the stub page. The payload fills it; no blob or landing area may lie there.
inline constexpr std::uint64_t stub_frame_address = 0x20'0000;

/// Lowest physical address of blobs and landing areas; the payload and the request block lie below.
inline constexpr std::uint64_t free_memory_start = 0x100'0000;
/// End of the physical addresses that blobs and landing areas may use.
inline constexpr std::uint64_t free_memory_end = 0x4000'0000;

}  // namespace quire::tests::x86
