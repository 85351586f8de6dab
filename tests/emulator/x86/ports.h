// Input and output of the payload: characters to port 0xe9, sectors from the first ATA disk.
#pragma once

#include <cstdint>

namespace quire::tests::x86 {

void print(const char* text);
void print_hex(std::uint64_t value);

/// Ends the machine: the debugger of the emulator stops at this instruction.
[[noreturn]] void stop();

/// Prints `E <text> <value>` and ends the machine.
[[noreturn]] void fail(const char* text, std::uint64_t value);

/// Reads `bytes` bytes that start in `sector`; nothing beyond them is written.
void read_disk(std::uint64_t sector, std::uint64_t bytes, void* to);

}  // namespace quire::tests::x86
