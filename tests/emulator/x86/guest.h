// The guest of the payload: 64-bit code on the stub page that makes the accesses of one probe for each VM entry.
#pragma once

#include <cstdint>

namespace quire::tests::x86 {

enum class access { read, write, fetch };

struct outcome {
  bool done = false;
  std::uint64_t value = 0;          ///< what was read; of a fault, its guest-physical address
  std::uint64_t reason = 0;         ///< basic exit reason of a fault
  std::uint64_t qualification = 0;  ///< of a fault
};

/// Enters VMX root operation, prepares the VMCS and the stub page. Once.
void start_guest(std::uint64_t eptp);

/// Other tables, for the VM entries that follow; they map the stub page too.
void change_tables(std::uint64_t eptp);

/// Reads 8 bytes at `address`, stores `value` at `address` + 8, or fetches at `address`; ends the machine if the guest
/// comes to something else than this access or its fault.
///
/// @param address  guest-physical, a multiple of 4096, below 2^40
outcome access_guest(access what, std::uint64_t address, std::uint64_t value);

/// Within one VM entry: reads at `address`, stores `entry` at `entry_address`, reads at `address` again. Only so does a
/// missing INVEPT show where the emulator forgets all translations at a VM exit.
///
/// @param entry_address  guest-physical: the tables under test map one of themselves there, writable
/// @return what was read last, or the fault of a read
outcome read_poke_read(std::uint64_t address, std::uint64_t entry_address, std::uint64_t entry);

}  // namespace quire::tests::x86
