// Which EPT entries a CPU never caches and which changes of one need INVEPT.
#include "arch/x86/ept.h"

#include <doctest/doctest.h>

#include <initializer_list>
#include <string>

namespace quire::tests {

using arch::ept;
using arch::transition;

namespace {

constexpr ept plain;

ept with(bool ad, bool mbec) {
  ept f;
  f.access_dirty = ad;
  f.mode_based_execute = mbec;
  return f;
}
ept without_execute_only(bool mbec) {
  ept f = with(false, mbec);
  f.execute_only = false;
  return f;
}

constexpr auto store = transition::store;
constexpr auto flush = transition::store_then_flush;

struct change {
  std::uint64_t from, to;
  transition needs;
};

void check(const ept& f, std::initializer_list<unsigned> levels, std::initializer_list<change> changes) {
  for (const unsigned level : levels) {
    for (const change& c : changes) {
      CAPTURE(level);
      CAPTURE(c.from);
      CAPTURE(c.to);
      CHECK(f.classify(c.from, c.to, level) == c.needs);
    }
  }
}

/// The bits of `e` that need INVEPT when they alone change.
std::uint64_t flushing_bits(const ept& f, std::uint64_t e, unsigned level) {
  std::uint64_t found = 0;
  for (unsigned b = 0; b < 64; ++b) {
    const std::uint64_t one = std::uint64_t{1} << b;
    if (f.classify(e, e ^ one, level) != store) found |= one;
  }
  return found;
}

/// Why `e` is malformed, or an empty string.
std::string fault(const ept& f, std::uint64_t e, unsigned level) {
  const char* why = f.malformed(e, level);
  return why ? why : "";
}

constexpr const char* write_only = "write without read";
constexpr const char* execute_only = "execute without read, on a CPU without execute-only";
constexpr const char* reserved_bits = "reserved bits 7:3 of a table entry are not 0";
constexpr const char* reserved_type = "reserved memory type";
constexpr const char* reserved_address = "reserved low address bits of a large page are not 0";

}  // namespace

TEST_SUITE("ept_classify") {
TEST_CASE("W without R is a misconfiguration; X without R is one on CPUs without execute-only") {
  struct row {
    std::uint64_t access;  // bits 10 and 2:0
    const char* any;
    const char* no_execute_only;
  };
  constexpr row rows[] = {
      {0x000, "", ""},           {0x001, "", ""}, {0x002, write_only, write_only}, {0x003, "", ""},
      {0x004, "", execute_only}, {0x005, "", ""}, {0x006, write_only, write_only}, {0x007, "", ""},
      {0x400, "", execute_only}, {0x401, "", ""}, {0x402, write_only, write_only}, {0x403, "", ""},
      {0x404, "", execute_only}, {0x405, "", ""}, {0x406, write_only, write_only}, {0x407, "", ""},
  };
  for (const row& r : rows) {
    for (unsigned level = 0; level <= 4; ++level) {
      CAPTURE(r.access);
      CAPTURE(level);
      const std::uint64_t e = (level == 0 ? 0x1234030 : 0x5000) | r.access;
      CHECK(fault(with(false, true), e, level) == r.any);
      CHECK(fault(without_execute_only(true), e, level) == r.no_execute_only);
      if (r.access == 0x400) continue;
      CHECK(fault(plain, e, level) == r.any);
      CHECK(fault(without_execute_only(false), e, level) == r.no_execute_only);
    }
  }
  CHECK(fault(without_execute_only(false), 0x1234430, 0).empty());  // not present there
}
TEST_CASE("the reserved memory types 2, 3 and 7 are misconfigurations of a leaf") {
  for (const unsigned level : {0u, 1u, 2u}) {
    CAPTURE(level);
    CHECK(fault(plain, 0x40000091, level) == reserved_type);
    CHECK(fault(plain, 0x40000099, level) == reserved_type);
    CHECK(fault(plain, 0x400000b9, level) == reserved_type);
    for (const std::uint64_t good : {0x40000081u, 0x40000089u, 0x400000a1u, 0x400000a9u, 0x400000b1u}) {
      CHECK(fault(plain, good, level).empty());
    }
  }
  CHECK(fault(plain, 0x40000010, 0).empty());  // not present
}
TEST_CASE("bits 7 to 3 of a table entry are reserved") {
  for (unsigned level = 1; level <= 4; ++level) {
    CAPTURE(level);
    for (const std::uint64_t word : {0x500fu, 0x5017u, 0x5027u, 0x5047u})
      CHECK(fault(plain, word, level) == reserved_bits);
    CHECK(fault(plain, 0xfff0000000005f07, level).empty());  // ignored bits
  }
  CHECK(fault(plain, 0x40000087, 3) == reserved_bits);
  CHECK(fault(plain, 0x40000087, 4) == reserved_bits);
  CHECK(fault(plain, 0x40000087, 2).empty());  // a leaf
}
TEST_CASE("low address bits of a large leaf are reserved") {
  CHECK(fault(plain, 0x12010b7, 1) == reserved_address);
  CHECK(fault(plain, 0x13000b7, 1) == reserved_address);
  CHECK(fault(plain, 0x12000b7, 1).empty());
  CHECK(fault(plain, 0x400010b7, 2) == reserved_address);
  CHECK(fault(plain, 0x600000b7, 2) == reserved_address);
  CHECK(fault(plain, 0x400000b7, 2).empty());
  CHECK(fault(plain, 0x12010b7, 0).empty());
}
TEST_CASE("a change of what was not present needs no INVEPT") {
  check(plain, {0, 1, 2, 3, 4},
        {
            {0, 0, store},
            {0, 0x5007, store},
            {0, 0x80000000400000b7, store},
            {0x8000000000000000, 0x400000b7, store},
            {0xfffffffffffffff8, 0x5007, store},  // bits 2:0 clear; bit 10 is ignored
            {0xfffffffffffffff8, 0, store},
        });
  check(with(true, true), {0, 1, 2, 3, 4},
        {
            {0xfffffffffffffbf8, 0x5007, store},  // bits 2:0 and 10 clear
            {0xfffffffffffffbf8, 0, store},
        });
}
TEST_CASE("a change of what was misconfigured needs no INVEPT") {
  check(plain, {0},
        {{0x1234036, 0x1234037, store},
         {0x1234032, 0x9999033, store},
         {0x1234017, 0x1234037, store},
         {0x123401f, 0, store},
         {0x123403f, 0x1234031, store}});
  check(plain, {1}, {{0x12010b7, 0x12000b7, store}, {0x12000b6, 0x5007, store}, {0x500f, 0x5007, store}});
  check(plain, {2}, {{0x600000b7, 0x400000b1, store}, {0x40000097, 0x400000b7, store}, {0x5047, 0, store}});
  check(plain, {3, 4}, {{0x5087, 0x5007, store}, {0x5002, 0x6007, store}});
  check(without_execute_only(false), {0}, {{0x1234034, 0x9999031, store}});
  check(plain, {0}, {{0x1234034, 0x9999031, flush}});
}
TEST_CASE("taking a present entry away needs INVEPT, whatever replaces it") {
  check(plain, {0},
        {{0x1234031, 0, flush},
         {0x1234037, 0x8000000000000000, flush},
         {0x1234037, 0x1234032, flush},
         {0x1234034, 0, flush}});
  check(
      plain, {1, 2},
      {{0x400000b7, 0, flush}, {0x5007, 0, flush}, {0x5007, 0x400000b7, flush}, {0x400000b7, 0x5007, flush}});
  check(plain, {3, 4}, {{0x5007, 0, flush}, {0x5007, 0x6007, flush}});
}
TEST_CASE("R, W or X from 1 to 0 needs INVEPT, in leaves and in table entries") {
  check(plain, {0},
        {{0x1234037, 0x1234036, flush}, {0x1234037, 0x1234035, flush}, {0x1234037, 0x1234033, flush}});
  check(plain, {1, 2, 3, 4}, {{0x5007, 0x5006, flush}, {0x5007, 0x5005, flush}, {0x5007, 0x5003, flush}});
  check(plain, {1, 2}, {{0x400000b7, 0x400000b5, flush}});
  check(plain, {0}, {{0x1234035, 0x1234033, flush}});  // W comes, X goes
}
TEST_CASE("R, W or X from 0 to 1 needs no INVEPT") {
  check(plain, {0},
        {{0x1234031, 0x1234033, store},
         {0x1234031, 0x1234035, store},
         {0x1234034, 0x1234035, store},
         {0x1234031, 0x1234037, store}});
  check(plain, {1, 2}, {{0x400000b1, 0x400000b7, store}});
  check(plain, {1, 2, 3, 4}, {{0x5001, 0x5007, store}});
}
TEST_CASE("bit 10 is a privilege bit under mode-based execute control, else ignored") {
  check(with(false, true), {0},
        {{0x1234437, 0x1234037, flush}, {0x1234037, 0x1234437, store}, {0x1234430, 0, flush}});
  check(with(false, true), {1, 2, 3, 4}, {{0x5407, 0x5007, flush}, {0x5007, 0x5407, store}});
  check(plain, {0}, {{0x1234437, 0x1234037, store}, {0x1234037, 0x1234437, store}, {0x1234430, 0, store}});
  check(plain, {1, 2, 3, 4}, {{0x5407, 0x5007, store}, {0x5007, 0x5407, store}});
}
TEST_CASE("a new address needs INVEPT") {
  check(plain, {0},
        {{0x1234037, 0x1235037, flush}, {0x1234037, 0x8000001234037, flush}, {0x1037, 0x37, flush}});
  check(plain, {1}, {{0x12000b7, 0x14000b7, flush}, {0x12000b7, 0x12010b7, flush}});
  check(plain, {2}, {{0x400000b7, 0x800000b7, flush}});
  check(plain, {1, 2, 3, 4}, {{0x5007, 0x6007, flush}, {0x5007, 0x8000000005007, flush}});
}
TEST_CASE("bit 7 changes the kind at levels 1 and 2 and is ignored at level 0") {
  check(plain, {1, 2}, {{0x40000007, 0x40000087, flush}, {0x40000087, 0x40000007, flush}});
  check(plain, {0}, {{0x40000007, 0x40000087, store}, {0x40000087, 0x40000007, store}});
}
TEST_CASE("memory type and IPAT of a leaf need INVEPT, both ways") {
  check(plain, {0, 1, 2},
        {{0x400000b7, 0x40000087, flush},
         {0x40000087, 0x400000b7, flush},
         {0x400000b7, 0x400000a7, flush},
         {0x400000a7, 0x400000af, flush},
         {0x400000b7, 0x400000f7, flush},
         {0x400000f7, 0x400000b7, flush}});
}
TEST_CASE("A and D from 1 to 0 need INVEPT where the EPTP enables them") {
  check(with(true, false), {0, 1, 2},
        {{0x400003b7, 0x400002b7, flush},
         {0x400003b7, 0x400001b7, flush},
         {0x400003b7, 0x400000b7, flush},
         {0x400000b7, 0x400003b7, store}});
  check(plain, {0, 1, 2},
        {{0x400003b7, 0x400002b7, store},
         {0x400003b7, 0x400001b7, store},
         {0x400003b7, 0x400000b7, store},
         {0x400000b7, 0x400003b7, store}});
}
TEST_CASE("a table entry has A, and ignores D") {
  check(with(true, false), {1, 2, 3, 4},
        {{0x5107, 0x5007, flush}, {0x5007, 0x5107, store}, {0x5207, 0x5007, store}});
  check(plain, {1, 2, 3, 4}, {{0x5107, 0x5007, store}, {0x5207, 0x5007, store}});
}
TEST_CASE("suppress-#VE and the bits for software need no INVEPT") {
  check(with(true, true), {0},
        {{0x8000000001234037, 0x1234037, store},
         {0x1234037, 0x8000000001234037, store},
         {0x49f0000001234837, 0x1234037, store},
         {0x1234037, 0x49f0000001234837, store}});
  check(with(true, true), {1, 2},
        {{0xe9f00000400008b7, 0x400000b7, store}, {0x400000b7, 0xe9f00000400008b7, store}});
  check(with(true, true), {1, 2, 3, 4},
        {{0xfff0000000005a07, 0x5007, store}, {0x5007, 0xfff0000000005a07, store}});
}
TEST_CASE("leaf options: what takes a right away needs INVEPT, what gives one does not") {
  check(plain, {0, 1, 2},
        {
            {0x04000000400000b7, 0x400000b7, flush},  // paging-write
            {0x400000b7, 0x04000000400000b7, store},
            {0x10000000400000b7, 0x400000b7, flush},  // supervisor shadow stack
            {0x400000b7, 0x10000000400000b7, store},
            {0x400000b7, 0x02000000400000b7, flush},  // verify guest paging
            {0x02000000400000b7, 0x400000b7, store},
            {0x400000b7, 0x20000000400000b7, store},  // sub-page write
        });
  check(plain, {0}, {{0x20000000400000b7, 0x400000b7, flush}});
  check(plain, {1, 2}, {{0x20000000400000b7, 0x400000b7, store}});  // ignored there
}
TEST_CASE("these bits need INVEPT when they alone change from 1 to 0, and no others") {
  constexpr std::uint64_t leaf = 0xfffffffffffffff7;   // every bit, memory type 6
  constexpr std::uint64_t table = 0xffffffffffffff07;  // every bit that is not reserved
  CHECK(flushing_bits(with(true, true), leaf, 0) == 0x340ffffffffff77f);
  CHECK(flushing_bits(with(true, false), leaf, 0) == 0x340ffffffffff37f);
  CHECK(flushing_bits(with(false, true), leaf, 0) == 0x340ffffffffff47f);
  CHECK(flushing_bits(plain, leaf, 0) == 0x340ffffffffff07f);
  CHECK(flushing_bits(with(true, true), 0xffffffffffe00ff7, 1) == 0x140ffffffffff7ff);
  CHECK(flushing_bits(with(true, true), 0xffffffffc0000ff7, 2) == 0x140ffffffffff7ff);
  for (const unsigned level : {1u, 2u})
    CHECK(flushing_bits(with(true, true), table, level) == 0x000ffffffffff587);
  for (const unsigned level : {3u, 4u})
    CHECK(flushing_bits(with(true, true), table, level) == 0x000ffffffffff507);
  for (const unsigned level : {3u, 4u}) CHECK(flushing_bits(plain, table, level) == 0x000ffffffffff007);
}
TEST_CASE("these bits need INVEPT when they alone change in an entry that only reads, and no others") {
  for (const bool ad : {false, true}) {
    const ept f = with(ad, ad);
    CHECK(flushing_bits(f, 0x1, 0) == 0x020ffffffffff079);
    CHECK(flushing_bits(f, 0x81, 1) == 0x020ffffffffff0f9);
    CHECK(flushing_bits(f, 0x81, 2) == 0x020ffffffffff0f9);
    for (const unsigned level : {1u, 2u}) CHECK(flushing_bits(f, 0x1, level) == 0x000ffffffffff081);
    for (const unsigned level : {3u, 4u}) CHECK(flushing_bits(f, 0x1, level) == 0x000ffffffffff001);
  }
}
TEST_CASE("a change of nothing needs no INVEPT") {
  check(with(true, true), {0, 1, 2, 3, 4}, {{0x5507, 0x5507, store}, {0x400007b7, 0x400007b7, store}});
}
}

}  // namespace quire::tests
