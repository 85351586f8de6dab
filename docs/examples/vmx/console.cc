// Text to Bochs' port 0xe9, and the four functions that GCC expects of every freestanding program.
#include <cstddef>

#include "vmx.h"

namespace vmx {

void print(const char* text) {
  for (; *text; ++text) asm volatile("outb %b0, %w1" ::"a"(*text), "Nd"(0xe9) : "memory");
}
void print(u64 value) {
  char digits[21] = {};
  char* first = digits + sizeof digits - 1;
  do {
    *--first = static_cast<char>('0' + value % 10);
    value /= 10;
  } while (value != 0);
  print(first);
}
void stop() {
  for (;;) asm volatile("xchg %%bx, %%bx" ::: "memory");
}
void fatal(const char* text, u64 value) {
  print("vmx: fatal: ");
  print(text);
  print(" ");
  print(value);
  print("\n");
  stop();
}

}  // namespace vmx

extern "C" {
void* memset(void* to, int value, std::size_t bytes) {
  void* at = to;
  asm volatile("rep stosb" : "+D"(at), "+c"(bytes) : "a"(value) : "memory");
  return to;
}
void* memcpy(void* to, const void* from, std::size_t bytes) {
  void* at = to;
  asm volatile("rep movsb" : "+D"(at), "+S"(from), "+c"(bytes)::"memory");
  return to;
}
void* memmove(void* to, const void* from, std::size_t bytes) {
  if (to <= from) return memcpy(to, from, bytes);
  for (auto *t = static_cast<char*>(to) + bytes, *f = static_cast<char*>(const_cast<void*>(from)) + bytes;
       bytes; --bytes)
    *--t = *--f;
  return to;
}
int memcmp(const void* a, const void* b, std::size_t bytes) {
  const auto *l = static_cast<const unsigned char*>(a), *r = static_cast<const unsigned char*>(b);
  for (; bytes; --bytes, ++l, ++r)
    if (*l != *r) return *l < *r ? -1 : 1;
  return 0;
}
}
