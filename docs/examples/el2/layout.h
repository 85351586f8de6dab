// Where everything lies in the memory of QEMU's machine `virt` with 1 GiB; start.ld and the Makefile know it
// too.
#pragma once

#include <cstdint>

namespace el2 {

using u64 = std::uint64_t;

inline constexpr u64 ram_first = 0x4000'0000, ram_end = 0x8000'0000;

/// The hypervisor's own, which no guest address leads to. Device tree from QEMU, image, then:
inline constexpr u64 own_first = ram_first, own_end = 0x4400'0000;
inline constexpr u64 tables_first = 0x4100'0000, tables_end = 0x4200'0000;  ///< stage-2 tables
inline constexpr u64 spare_first = 0x4200'0000, spare_end = own_end;  ///< frames that guest pages migrate to

/// The guest: QEMU has loaded its image here, and its code begins here too; initrd at 0x48200000.
inline constexpr u64 guest_entry = own_end;
inline constexpr u64 guest_tree = 0x4800'0000;  ///< device tree, 1 MiB at most
inline constexpr u64 tree_bytes = 0x10'0000;

inline constexpr unsigned cpus = 2;

}  // namespace el2
