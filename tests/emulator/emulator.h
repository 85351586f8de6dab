// What a test asks an emulator to do with page tables, and what the emulator answers.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace quire::tests {

/// Bytes that lie in the emulated machine's memory when it starts.
struct memory_blob {
  std::uint64_t address = 0;  ///< physical; a multiple of 8
  std::string bytes;
};

/// Frames whose first word is their own physical address, so that a read tells where it went.
struct landing_area {
  std::uint64_t address = 0;  ///< physical; a multiple of 4096
  std::uint64_t bytes = 0;    ///< a multiple of 4096
};

enum class probe : std::uint64_t {
  read,             ///< operands: guest address, a multiple of 4096
  write,            ///< operands: guest address, a multiple of 4096; the physical address where it should arrive
  fetch,            ///< operands: guest address, a multiple of 4096
  translate_read,   ///< operands: guest address. By the instruction that translates, where there is one: no landing
  translate_write,  ///< likewise
  poke,             ///< operands: physical address, value: stores 8 bytes, in the byte order of the machine
  command,          ///< operands: arch::flush_command::op, then its operands: executes the instruction
  peek,             ///< operands: physical address: answers with the 8 bytes there
};

struct request {
  probe what = probe::read;
  std::uint64_t operand[5] = {};
};

/// What became of one request; in the order of requests.
struct answer {
  /// The access was done. True for poke, command and peek.
  bool done = false;
  /// Physical address that was reached; for a write the expected one if it arrived there, else 0; for a fetch 0; for
  /// peek the value. Of a fault 0; on x86 its guest-physical address.
  std::uint64_t value = 0;
  /// Of a fault, as the architecture reports it: arm64 ESR_EL2 (or PAR_EL1 for translations) and HPFAR_EL2; s390 the
  /// program-interruption code and the TEID; x86 the exit reason and the exit qualification. Of a translation that
  /// succeeded on arm64: PAR_EL1. Else 0.
  std::uint64_t detail[2] = {};
};

/// One run of an emulator.
struct emulator_run {
  std::vector<memory_blob> memory;
  std::vector<landing_area> landings;
  /// Values by the architecture's name, lower case: vttbr_el2 and vtcr_el2; asce; eptp.
  std::vector<std::pair<std::string, std::uint64_t>> registers;
  std::vector<request> requests;
};

struct emulator_result {
  std::string error;  ///< empty, or why there are no answers: the emulator's last output included
  std::vector<answer> answers;
};

/// Runs one emulator to its end, in a scratch folder. Blocks for the time that it takes; 60 s at most.
using emulator = emulator_result (*)(const emulator_run& run);

emulator_result run_qemu_arm64(const emulator_run& run);
emulator_result run_qemu_s390x(const emulator_run& run);
emulator_result run_hercules(const emulator_run& run);
emulator_result run_bochs(const emulator_run& run);

}  // namespace quire::tests
