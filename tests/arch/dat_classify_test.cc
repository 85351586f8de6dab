// Which changes of a DAT entry are stores and which need an instruction.
#include <doctest/doctest.h>

#include <initializer_list>

#include "arch/s390/dat.h"

namespace quire::tests {

using arch::dat;
using arch::transition;

namespace {

constexpr auto store = transition::store;
constexpr auto invalidate = transition::invalidate_by_instruction;
constexpr auto replace = transition::replace_by_instruction;

dat with(std::uint8_t edat) {
  dat f;
  f.asce = dat::top::region1;
  f.edat = edat;
  return f;
}

struct change {
  std::uint64_t from, to;
  transition needs;
};

void check(const dat& f, std::initializer_list<unsigned> levels, std::initializer_list<change> changes) {
  for (const unsigned level : levels) {
    for (const change& c : changes) {
      CAPTURE(level);
      CAPTURE(c.from);
      CAPTURE(c.to);
      CHECK(f.classify(c.from, c.to, level) == c.needs);
    }
  }
}

}  // namespace

TEST_SUITE("dat_classify") {
TEST_CASE("what is invalid changes by a store") {
  for (std::uint8_t edat = 0; edat <= 2; ++edat) {
    check(with(edat), {0}, {{0x400, 0x1234000, store}, {0x1234400, 0x5678000, store}, {0x400, 0x400, store}});
    check(with(edat), {1, 2, 3, 4}, {{0x2c, 0x8007, store}, {0x8027, 0x100400, store}});
  }
}
TEST_CASE("a valid page-table entry changes by IPTE only, even if it gains access") {
  for (std::uint8_t edat = 0; edat <= 2; ++edat) {
    check(with(edat), {0},
          {{0x1234000, 0x400, invalidate},
           {0x1234000, 0x1234400, invalidate},
           {0x1234000, 0x1235000, invalidate},
           {0x1234000, 0x1234200, invalidate},
           {0x1234200, 0x1234000, invalidate},
           {0x1234100, 0x1234000, invalidate}});
  }
}
TEST_CASE("bits 56 to 63 of a page-table entry are free for software: a store changes them") {
  check(with(0), {0},
        {{0x1234000, 0x12340ff, store}, {0x12340ff, 0x1234000, store}, {0x1234001, 0x1234203, invalidate}});
}
TEST_CASE("without EDAT-2 a valid segment- or region-table entry is invalidated by IDTE first") {
  for (std::uint8_t edat = 0; edat <= 1; ++edat) {
    check(with(edat), {1, 2, 3, 4},
          {{0x8000, 0x20, invalidate},
           {0x8000, 0xc000, invalidate},
           {0x8000, 0x8200, invalidate},
           {0x8200, 0x8000, invalidate},
           {0x8000, 0x8010, invalidate}});
  }
  check(with(1), {1},
        {{0x100400, 0x5800, invalidate}, {0x5800, 0x100400, invalidate}, {0x100400, 0x100600, invalidate}});
}
TEST_CASE(
    "with EDAT-2 CRDTE replaces a valid segment- or region-table entry by a valid one; invalidation stays "
    "IDTE's") {
  check(with(2), {1, 2, 3, 4},
        {{0x8000, 0xc000, replace}, {0x8000, 0x8200, replace}, {0x8000, 0x20, invalidate}});
  check(with(2), {1},
        {{0x100400, 0x5800, replace}, {0x5800, 0x100400, replace}, {0x100600, 0x100400, replace}});
  check(with(2), {2}, {{0x80000404, 0x8007, replace}, {0x8007, 0x80000404, replace}});
}
TEST_CASE("a change of nothing is a store") {
  for (std::uint8_t edat = 0; edat <= 2; ++edat) {
    check(with(edat), {0, 1, 2, 3, 4}, {{0x8000, 0x8000, store}, {0x8200, 0x8200, store}});
  }
}
TEST_CASE("one instruction takes the entries of a page table if IPTE has ranges, and 2048 of the others") {
  dat f = with(2);
  CHECK(f.run_limit(0) == 256);
  for (unsigned level = 1; level < 5; ++level) CHECK(f.run_limit(level) == 2048);
  f.ipte_ranges = false;
  CHECK(f.run_limit(0) == 1);
  CHECK(f.run_limit(1) == 2048);
}
}

}  // namespace quire::tests
