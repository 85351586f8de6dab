// What the guest may ask by VMCALL: the number in RAX, arguments in RDI and RSI, the answer in RAX.
#pragma once

#include <cstdint>

namespace vmx {

enum class call : std::uint64_t {
  faults,   ///< EPT violations so far
  protect,  ///< address, pages: takes write access away
  swap,     ///< address, address, of 16 pages each: exchanges what is behind them
  unmap,    ///< address, pages: how many were mapped, and how many of them dirty << 32
  finish,   ///< failures: the guest is done
};

/// Guest-physical: where the guest's program begins, its tables (PML4 and PDPT) and the end of its stack.
inline constexpr std::uint64_t guest_entry = 0x10000, guest_tables = 0x1000, guest_stack = 0x10000;
/// Guest-physical addresses go up to here.
inline constexpr std::uint64_t guest_bytes_of_ram = 0x100'0000;

}  // namespace vmx
