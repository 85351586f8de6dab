// Which changes of a stage-2 descriptor need break-before-make, which a flush, and which neither.
#include <doctest/doctest.h>

#include <initializer_list>

#include "arch/arm64/stage2.h"

namespace quire::tests {

using arch::stage2_16k;
using arch::stage2_4k;
using arch::stage2_64k;
using arch::transition;

namespace {

constexpr auto store = transition::store;
constexpr auto flush = transition::store_then_flush;
constexpr auto breaks = transition::break_before_make;

template <class F>
F plain() {
  F f;
  f.ipa_bits = 48;
  return f;
}
template <class F>
F wide() {
  F f;
  f.ipa_bits = f.oa_bits = 52;
  f.lpa2 = F::base_shift != 16;
  return f;
}
stage2_4k with(bool dbm, bool xnx) {
  auto f = plain<stage2_4k>();
  f.dbm = dbm;
  f.xnx = xnx;
  return f;
}

struct change {
  std::uint64_t from, to;
  transition needs;
};

template <class F>
void check(const F& f, std::initializer_list<unsigned> levels, std::initializer_list<change> changes) {
  for (const unsigned level : levels) {
    for (const change& c : changes) {
      CAPTURE(level);
      CAPTURE(c.from);
      CAPTURE(c.to);
      CHECK(f.classify(c.from, c.to, level) == c.needs);
    }
  }
}

/// The bits of `e` that need `needed` when they alone change.
template <class F>
std::uint64_t bits_that(const F& f, std::uint64_t e, unsigned level, transition needed) {
  std::uint64_t found = 0;
  for (unsigned b = 0; b < 64; ++b) {
    const std::uint64_t one = std::uint64_t{1} << b;
    if (f.classify(e, e ^ one, level) == needed) found |= one;
  }
  return found;
}

}  // namespace

TEST_SUITE("stage2_classify") {
TEST_CASE("what is invalid is never cached: a store replaces it") {
  check(plain<stage2_4k>(), {0},
        {{0, 0x12347ff, store}, {0xfffffffffffffffe, 0x12347ff, store}, {0, 0, store}});
  check(plain<stage2_4k>(), {0}, {{0x12347fd, 0x12347ff, store}});  // 0b01 at the last level
  check(plain<stage2_4k>(), {1, 2},
        {{0, 0x400007fd, store}, {0, 0x5003, store}, {0x400007fc, 0x5003, store}});
  check(plain<stage2_4k>(), {3}, {{0x80000007fd, 0x5003, store}});  // a block where there is none
}
TEST_CASE("a valid descriptor that goes needs a flush") {
  check(plain<stage2_4k>(), {0},
        {{0x12347ff, 0, flush}, {0x12347ff, 0x12347fe, flush}, {0x12347ff, 0x12347fd, flush}});
  check(plain<stage2_4k>(), {1, 2}, {{0x400007fd, 0, flush}, {0x5003, 0, flush}});
  check(plain<stage2_4k>(), {3}, {{0x5003, 0, flush}, {0x5003, 0x80000007fd, flush}});
}
TEST_CASE("a new output address needs break-before-make") {
  check(plain<stage2_4k>(), {0}, {{0x12347ff, 0x12357ff, breaks}, {0x12347ff, 0x8000012347ff, breaks}});
  check(plain<stage2_4k>(), {1}, {{0x12007fd, 0x14007fd, breaks}});
  check(plain<stage2_4k>(), {2}, {{0x400007fd, 0x800007fd, breaks}});
  check(wide<stage2_4k>(), {0}, {{0x12344ff, 0x12345ff, breaks}, {0x12344ff, 0x20000012344ff, breaks}});
  check(wide<stage2_4k>(), {3}, {{0x80000004fd, 0x100000004fd, breaks}});
  check(wide<stage2_64k>(), {0}, {{0x507ff, 0x517ff, breaks}, {0x507ff, 0x607ff, breaks}});
}
TEST_CASE("address and permissions at once need break-before-make") {
  check(plain<stage2_4k>(), {0},
        {{0x12347ff, 0x004000000123577f, breaks}, {0x004000000123477f, 0x12357ff, breaks}});
}
TEST_CASE("block to table, table to block and table to another table need break-before-make") {
  check(plain<stage2_4k>(), {1, 2},
        {{0x400007fd, 0x5003, breaks}, {0x5003, 0x400007fd, breaks}, {0x5003, 0x6003, breaks}});
  check(plain<stage2_4k>(), {1}, {{0x400007fd, 0x40000003, breaks}, {0x40000003, 0x400007fd, breaks}});
  check(plain<stage2_4k>(), {3}, {{0x5003, 0x6003, breaks}});
  check(wide<stage2_4k>(), {3}, {{0x5003, 0x5103, breaks}});
  check(wide<stage2_64k>(), {1, 2}, {{0x50003, 0x51003, breaks}});
}
TEST_CASE("a new memory type or shareability needs break-before-make") {
  check(plain<stage2_4k>(), {0},
        {{0x12347ff, 0x12347d7, breaks},
         {0x12347d7, 0x12347ff, breaks},
         {0x12347c7, 0x12347ff, breaks},
         {0x12347ff, 0x12346ff, breaks},
         {0x12347ff, 0x12344ff, breaks}});
  check(plain<stage2_4k>(), {1, 2}, {{0x400007fd, 0x400007c5, breaks}});
  auto fwb = plain<stage2_4k>();
  fwb.fwb = true;
  check(fwb, {0}, {{0x12347db, 0x12347d7, breaks}, {0x12347c7, 0x12347db, breaks}});
}
TEST_CASE("the contiguous hint needs break-before-make, both ways") {
  check(plain<stage2_4k>(), {0},
        {{0x12347ff, 0x00100000012347ff, breaks}, {0x00100000012347ff, 0x12347ff, breaks}});
  check(plain<stage2_64k>(), {1}, {{0x200007fd, 0x00100000200007fd, breaks}});
}
TEST_CASE("lost read, write or execute access needs a flush, gained access none") {
  const auto f = plain<stage2_4k>();
  check(f, {0},
        {{0x12347ff, 0x123477f, flush},
         {0x12347ff, 0x12347bf, flush},
         {0x12347ff, 0x00400000012347ff, flush},
         {0x123477f, 0x12347ff, store},
         {0x12347bf, 0x12347ff, store},
         {0x00400000012347ff, 0x12347ff, store},
         {0x123477f, 0x12347bf, flush},             // R goes, W comes
         {0x123477f, 0x00400000012347ff, flush}});  // X goes, W comes
  check(f, {1, 2}, {{0x400007fd, 0x4000077d, flush}, {0x4000077d, 0x400007fd, store}});
  check(f, {0}, {{0x12347ff, 0x00200000012347ff, store}});  // XN[0] without FEAT_XNX
}
TEST_CASE("with FEAT_XNX the loss of either execution needs a flush") {
  constexpr std::uint64_t both = 0x00000000012347ff, el0 = 0x00200000012347ff, none = 0x00400000012347ff,
                          el1 = 0x00600000012347ff;
  check(with(false, true), {0},
        {{both, el0, flush},
         {both, el1, flush},
         {both, none, flush},
         {el0, el1, flush},
         {el1, el0, flush},
         {el0, none, flush},
         {el1, none, flush},
         {none, el0, store},
         {none, el1, store},
         {none, both, store},
         {el0, both, store},
         {el1, both, store}});
}
TEST_CASE("with DBM: cleared AF, cleared dirty state and lost DBM need a flush") {
  check(with(true, false), {0},
        {{0x00480000012347ff, 0x00480000012343ff, flush},  // A
         {0x00480000012347ff, 0x004800000123477f, flush},  // D
         {0x00480000012347ff, 0x00c000000123477f, flush},  // write-protected, dirty
         {0x004800000123477f, 0x004000000123477f, flush},  // write-protected, clean: DBM can be cached
         {0x004000000123477f, 0x004800000123477f, store},
         {0x004800000123437f, 0x00480000012347ff, store},  // what hardware does
         {0x00c000000123477f, 0x004000000123477f, store},  // the software bit
         {0x00c000000123477f, 0x00c80000012347ff, store}});
}
TEST_CASE("software bits and other ignored bits need nothing") {
  check(plain<stage2_4k>(), {0},
        {{0x07800000012347ff, 0x12347ff, store}, {0x12347ff, 0x07800000012347ff, store}});
  check(plain<stage2_4k>(), {1, 2, 3}, {{0x0780000000005003, 0x5003, store}, {0x5003, 0x5003, store}});
}
TEST_CASE("these bits need break-before-make when they alone change, and no others") {
  CHECK(bits_that(plain<stage2_4k>(), 0x12347ff, 0, breaks) == 0x0010fffffffff33c);
  CHECK(bits_that(plain<stage2_16k>(), 0x12347ff, 0, breaks) == 0x0010ffffffffc33c);
  CHECK(bits_that(wide<stage2_64k>(), 0x1237ff, 0, breaks) == 0x0010fffffffff33c);
  CHECK(bits_that(wide<stage2_4k>(), 0x12344ff, 0, breaks) == 0x0013fffffffff33c);
  CHECK(bits_that(wide<stage2_16k>(), 0x12344ff, 0, breaks) == 0x0013ffffffffc33c);
  CHECK(bits_that(plain<stage2_4k>(), 0x400007fd, 2, breaks) == 0x0010fffffffff33e);
  CHECK(bits_that(plain<stage2_4k>(), 0x5003, 1, breaks) == 0x0000fffffffff002);
  CHECK(bits_that(wide<stage2_4k>(), 0x5003, 2, breaks) == 0x0003fffffffff302);
}
TEST_CASE("these bits need a flush when they alone change from 1 to 0, and no others") {
  CHECK(bits_that(plain<stage2_4k>(), 0x12347ff, 0, flush) == 0x00400000000000c3);  // XN[1] from 0 to 1
  CHECK(bits_that(with(false, true), 0x12347ff, 0, flush) == 0x00600000000000c3);
  CHECK(bits_that(with(true, false), 0x00480000012347ff, 0, flush) == 0x00080000000004c3);
  CHECK(bits_that(plain<stage2_4k>(), 0x00400000012347ff, 0, flush) == 0xc3);
  CHECK(bits_that(plain<stage2_4k>(), 0x5003, 1, flush) == 0x1);
}
TEST_CASE("a parked word is invalid, is no empty slot, and comes back as it was") {
  CHECK(stage2_4k::park(0x12347ff) == 0x12347fe);
  CHECK(stage2_4k::unpark(0x12347fe) == 0x12347ff);
  CHECK(stage2_4k::parked(0x12347fe));
  CHECK(stage2_4k::parked(0x5002));
  CHECK(!stage2_4k::parked(0));
  CHECK(!stage2_4k::parked(0x12347ff));
  check(plain<stage2_4k>(), {0}, {{0x12347ff, 0x12357fe, flush}, {0x12357fe, 0x12357ff, store}});
}
}

}  // namespace quire::tests
