// How the s390 payload's answers become lines of text, and how the text leaves each emulator.
#include "tests/emulator/s390/payload_output.h"

namespace quire::tests::s390 {
extern "C" std::uint64_t service_call(std::uint64_t command, void* sccb);
extern "C" void virtual_console(const char* command, std::uint64_t length);

namespace {

char* const text = reinterpret_cast<char*>(answers_address);
std::uint64_t text_bytes = 0;

void put_hex(std::uint64_t value) {
  text[text_bytes++] = ' ';
  unsigned shift = 60;
  while (shift > 0 && value >> shift == 0) shift -= 4;
  for (;; shift -= 4) {
    text[text_bytes++] = "0123456789abcdef"[value >> shift & 15];
    if (shift == 0) break;
  }
}

/// One page: the SCLP's "write event data" with one event, of ASCII console text.
struct alignas(4096) sclp_block {
  std::uint16_t length;
  std::uint8_t function;
  std::uint8_t control[3];
  std::uint16_t response;
  std::uint16_t event_length;
  std::uint8_t event_type;
  std::uint8_t event_flags;
  std::uint16_t reserved;
  char text[4096 - 14];
};
static_assert(sizeof(sclp_block) == 4096);

void print(const char* from, std::uint64_t bytes) {
  static sclp_block block;
  constexpr std::uint64_t write_event_data = 0x00760005;
  constexpr std::uint64_t busy = 2;
  block = {};
  for (std::uint64_t i = 0; i < bytes; ++i) block.text[i] = from[i];
  block.event_length = static_cast<std::uint16_t>(6 + bytes);
  block.length = static_cast<std::uint16_t>(8 + block.event_length);
  block.event_type = 0x1a;
  while (service_call(write_event_data, &block) == busy) {
  }
}

constexpr unsigned char to_ebcdic(char c) {
  const auto at = [c](char first, int code) { return static_cast<unsigned char>(code + c - first); };
  if (c >= '0' && c <= '9') return at('0', 0xf0);
  if (c >= 'a' && c <= 'i') return at('a', 0x81);
  if (c >= 'j' && c <= 'r') return at('j', 0x91);
  if (c >= 's' && c <= 'z') return at('s', 0xa2);
  return 0x40;
}

/// Executes a command of Hercules.
void hercules_command(const char* command) {
  static char ebcdic[64];
  std::uint64_t length = 0;
  for (; command[length] != 0; ++length) ebcdic[length] = static_cast<char>(to_ebcdic(command[length]));
  virtual_console(ebcdic, length);
}

}  // namespace

void put(const probe_answer& a) {
  text[text_bytes++] = 'A';
  text[text_bytes++] = ' ';
  text[text_bytes++] = a.done != 0 ? '1' : '0';
  put_hex(a.value);
  put_hex(a.detail[0]);
  put_hex(a.detail[1]);
  text[text_bytes++] = '\n';
}

void put_interruption(std::uint64_t code, std::uint64_t address) {
  for (const char* c = "program interruption:"; *c != 0; ++c) text[text_bytes++] = *c;
  put_hex(code);
  put_hex(address);
  text[text_bytes++] = '\n';
}

void finish(machine on) {
  if (on == machine::hercules) {
    static_assert(answers_address == 0x400000 && tables_address == 0x1000000);  // said to `savecore` below
    text[text_bytes] = 0;
    hercules_command("cpu 1");  // `savecore` wants the command's processor stopped: one that never ran is
    hercules_command("savecore answers 400000 ffffff");
    hercules_command("quit");
    return;
  }
  constexpr std::uint64_t most = sizeof(sclp_block::text);
  for (std::uint64_t at = 0; at < text_bytes; at += most)
    print(text + at, text_bytes - at < most ? text_bytes - at : most);
}

}  // namespace quire::tests::s390
