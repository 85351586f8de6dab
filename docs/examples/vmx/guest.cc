// The guest: a loop that verifies from inside what happens to its memory from outside.
#include "calls.h"

namespace {

using vmx::call;
using u64 = std::uint64_t;

constexpr u64 a = 0x40'0000, b = 0x60'0000, page = 4096, pages = 64;

u64 ask(call number, u64 first = 0, u64 second = 0) {
  u64 answer = static_cast<u64>(number);
  asm volatile("vmcall" : "+a"(answer), "+D"(first), "+S"(second)::"memory");
  return answer;
}
volatile u64& word(u64 address) { return *reinterpret_cast<volatile u64*>(address); }

void fill(u64 first, u64 value) {
  for (u64 i = 0; i < pages; ++i) word(first + i * page) = value + i;
}
/// Pages from the n-th on that do not hold `value` and their number.
u64 wrong(u64 first, u64 value, u64 from = 0, u64 end = pages) {
  u64 n = 0;
  for (u64 i = from; i < end; ++i) n += word(first + i * page) != value + i;
  return n;
}
/// EPT violations that `work` causes.
template <class Work>
u64 faults_of(Work work) {
  const u64 before = ask(call::faults);
  work();
  return ask(call::faults) - before;
}

u64 round(u64 n) {
  u64 failures = 0;
  const auto expect = [&failures](bool condition) { failures += !condition; };
  expect(faults_of([n] { fill(a, n); }) == pages / 16);  // nothing was mapped: 16 pages a fault
  fill(b, 1000 + n);
  expect(wrong(a, n) == 0 && wrong(b, 1000 + n) == 0);
  ask(call::protect, a, pages);
  expect(faults_of([n] { wrong(a, n); }) == 0);
  expect(faults_of([n] { fill(a, n + 1); }) == pages);  // each page gets write access back by its own fault
  ask(call::swap, a, b);
  expect(wrong(a, 1000 + n, 0, 16) == 0 && wrong(a, n + 1, 16) == 0 && wrong(b, n + 1, 0, 16) == 0);
  const u64 report = ask(call::unmap, a, pages);
  expect((report & 0xffff'ffff) == pages && report >> 32 == pages - 16);
  ask(call::unmap, b, pages);
  return failures;
}

}  // namespace

extern "C" [[gnu::section(".text.start")]] void guest_main() {
  u64 failures = 0;
  for (u64 n = 0; n < 20; ++n) failures += round(n);
  ask(call::finish, failures);
}
