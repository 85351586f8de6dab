// Between the files of the arm64 payload: output, entry into the guest, and the execution of one request.
#pragma once

#include <cstdint>

namespace quire::tests::arm64 {

using u64 = std::uint64_t;

/// As pack_run() writes them.
struct packed_request {
  u64 what;
  u64 operand[5];
};

/// The line that answers a request: struct answer of emulator.h.
struct reply {
  u64 done = 0;
  u64 value = 0;
  u64 detail[2] = {};
};

// payload_output.cc
void open_output();
void print(const char* text);
void print_hex(u64 value);
[[noreturn]] void leave(u64 status);

// payload_guest.cc
void set_up_guest(u64 vttbr_el2, u64 vtcr_el2, u64 hcr_el2);
void set_tested_tables(u64 vttbr_el2, u64 vtcr_el2);
reply guest_read(u64 address, bool el0);
reply guest_write(u64 address, u64 arrival, bool el0);
reply guest_fetch(u64 address, bool el0);

}  // namespace quire::tests::arm64

// payload.S
extern "C" {
std::uint64_t semihost(std::uint64_t operation, const void* block);
std::uint64_t run_guest(std::uint64_t pc, std::uint64_t x0, std::uint64_t x1, std::uint64_t spsr);
bool physical_load(std::uint64_t address, std::uint64_t* value);
bool physical_store(std::uint64_t address, std::uint64_t value);
bool at_read(std::uint64_t address);
bool at_write(std::uint64_t address);
[[noreturn]] void unexpected_exception();
[[noreturn]] void payload_main();
extern char stub_load[], stub_store[], stub_idle[], stub_vectors[];
}
