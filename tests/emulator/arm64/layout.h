// Where the arm64 payload and its request block lie in the memory of QEMU's machine `virt`.
#pragma once

#include <cstdint>

namespace quire::tests::arm64 {

inline constexpr std::uint64_t ram_first = 0x4000'0000, ram_end = 0xc000'0000;  // -m 2G

/// The payload's own, with the device tree that QEMU puts at the start of RAM; tables and landings lie above
/// it.
inline constexpr std::uint64_t payload_end = 0x4100'0000;

/// Request block as of pack_run(), with VTTBR_EL2, VTCR_EL2 and HCR_EL2; the payload lies below it
/// (payload.ld).
inline constexpr std::uint64_t block_first = 0x4030'0000, block_end = payload_end;

/// Guest address of the 4 KiB page with the payload's own code at EL1 and EL0: far from addresses that tests
/// like. Real accesses of a test must not go there; translations and entries for it are free.
inline constexpr std::uint64_t stub_page = 0xf'5175'6972'e000;

/// flush_command::op that the payload knows.
enum class command : std::uint64_t {
  dsb_ishst,
  dsb_ish,
  isb,
  tlbi_ipas2e1is,
  tlbi_ripas2e1is,
  tlbi_vmalle1is,
  tlbi_vmalls12e1is,
  load_tables,  ///< operands: VTTBR_EL2, VTCR_EL2. For many tables in one run; executes no TLBI.
};

/// operand[2] of a read, write or fetch: 1 has it done at EL0, not EL1.
inline constexpr std::uint64_t at_el0 = 1;

}  // namespace quire::tests::arm64
