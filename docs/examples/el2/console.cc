// Text through the PL011, and the four functions that GCC expects of every freestanding program.
#include "console.h"

#include <cstddef>

namespace el2 {
namespace {

// [pl011] "Summary of registers": UARTDR; UARTFR with TXFF, transmit FIFO full.
constexpr u64 UARTDR = 0x0900'0000, UARTFR = UARTDR + 0x18, TXFF = 1 << 5;

void put(char c) {
  while (*reinterpret_cast<volatile std::uint32_t*>(UARTFR) & TXFF) continue;
  *reinterpret_cast<volatile std::uint32_t*>(UARTDR) = static_cast<unsigned char>(c);
}

void put_number(u64 value, unsigned base) {
  char digits[21] = {};
  char* first = digits + sizeof digits - 1;
  do {
    *--first = "0123456789abcdef"[value % base];
    value /= base;
  } while (value != 0);
  print_one(first);
}

}  // namespace

void print_one(const char* text) {
  for (; *text != 0; ++text) put(*text);
}
void print_one(u64 value) { put_number(value, 10); }
void print_one(hex h) {
  print_one("0x");
  put_number(h.value, 16);
}

void stop() {
  register u64 x0 asm("x0") = 0x8400'0008;  // [psci] SYSTEM_OFF
  for (;;) asm volatile("smc #0" : "+r"(x0)::"memory");
}

}  // namespace el2

// Compiled with -fno-tree-loop-distribute-patterns, or the loops would become calls of these very functions.
extern "C" {
void* memset(void* to, int value, std::size_t bytes) {
  for (std::size_t i = 0; i < bytes; ++i)
    static_cast<unsigned char*>(to)[i] = static_cast<unsigned char>(value);
  return to;
}
void* memmove(void* to, const void* from, std::size_t bytes) {
  auto* t = static_cast<unsigned char*>(to);
  const auto* f = static_cast<const unsigned char*>(from);
  for (std::size_t i = 0; i < bytes; ++i) t <= f ? t[i] = f[i] : t[bytes - 1 - i] = f[bytes - 1 - i];
  return to;
}
void* memcpy(void* to, const void* from, std::size_t bytes) { return memmove(to, from, bytes); }
int memcmp(const void* a, const void* b, std::size_t bytes) {
  const auto *l = static_cast<const unsigned char*>(a), *r = static_cast<const unsigned char*>(b);
  for (std::size_t i = 0; i < bytes; ++i)
    if (l[i] != r[i]) return l[i] < r[i] ? -1 : 1;
  return 0;
}
}
