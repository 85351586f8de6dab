// tests/emulator/arm64/payload_output.cc: text to the host's standard output, and the end of the emulator.
//
// Semihosting calls: [semihosting] "Semihosting operations". A call costs the same for a byte as for many, so
// lines gather in a buffer.
#include "tests/emulator/arm64/payload.h"

namespace quire::tests::arm64 {
namespace {

constexpr u64 SYS_OPEN = 0x01, SYS_WRITE = 0x05, SYS_EXIT = 0x18;
constexpr u64 mode_w = 4;  // of the file ":tt": standard output
constexpr u64 ADP_Stopped_ApplicationExit = 0x20026;

char buffer[65536];
u64 filled = 0;
u64 output_handle = 0;

void flush() {
  const u64 block[] = {output_handle, reinterpret_cast<u64>(buffer), filled};
  if (filled != 0) semihost(SYS_WRITE, block);
  filled = 0;
}

}  // namespace

void open_output() {
  const u64 block[] = {reinterpret_cast<u64>(":tt"), mode_w, 3};
  output_handle = semihost(SYS_OPEN, block);
}

void print(const char* text) {
  for (; *text != 0; ++text) {
    if (filled == sizeof buffer) flush();
    buffer[filled++] = *text;
  }
}

void print_hex(u64 value) {
  char digits[17] = {};
  char* first = digits + 16;
  do {
    *--first = "0123456789abcdef"[value & 15];
    value >>= 4;
  } while (value != 0);
  print(first);
}

void leave(u64 status) {
  flush();
  const u64 block[] = {ADP_Stopped_ApplicationExit, status};
  for (;;) semihost(SYS_EXIT, block);
}

}  // namespace quire::tests::arm64
