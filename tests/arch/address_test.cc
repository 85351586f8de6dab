// Frame numbers, ranges of them, and bits of words.
#include "arch/address.h"

#include <doctest/doctest.h>

#include <concepts>
#include <initializer_list>

#include "arch/attributes.h"
#include "arch/bits.h"

namespace quire::tests {

using arch::bit;
using arch::field;
using arch::gfn;
using arch::gfn_range;
using arch::hfn;
using arch::perm;
using arch::zbit;

TEST_SUITE("address") {
TEST_CASE("a frame number counts 4 KiB units") {
  CHECK(arch::page_bytes == 4096);
  CHECK(gfn{}.byte() == 0);
  CHECK(gfn{1}.byte() == 0x1000);
  CHECK(hfn{0x12345}.byte() == 0x12345000);
}
TEST_CASE("quirk: the byte address of a frame wraps at 2^52 frames") {
  CHECK(gfn{0xfffffffffffff}.byte() == 0xfffffffffffff000);
  CHECK(gfn{0x10000000000000}.byte() == 0);
  CHECK(gfn{0x10000000000001}.byte() == 0x1000);
}
TEST_CASE("guest frames, host frames and integers do not convert into each other") {
  CHECK(!std::convertible_to<gfn, hfn>);
  CHECK(!std::convertible_to<hfn, gfn>);
  CHECK(!std::convertible_to<std::uint64_t, gfn>);
  CHECK(!std::convertible_to<gfn, std::uint64_t>);
  CHECK(!std::equality_comparable_with<gfn, hfn>);
}
TEST_CASE("frames are ordered, and pages are added and counted") {
  CHECK(gfn{5} < gfn{6});
  CHECK(gfn{0xffffffffffffffff} > gfn{0});
  CHECK(gfn{5} + 3 == gfn{8});
  CHECK(gfn{8} - gfn{5} == 3);
  CHECK(gfn{5} - gfn{5} == 0);
  CHECK(gfn{0xffffffffffffffff} - gfn{0} == 0xffffffffffffffff);
}
TEST_CASE("a range holds its first page and not its end") {
  constexpr gfn_range r{gfn{0x100}, 0x10};
  CHECK(r.end() == gfn{0x110});
  CHECK(!r.contains(gfn{0xff}));
  CHECK(r.contains(gfn{0x100}));
  CHECK(r.contains(gfn{0x10f}));
  CHECK(!r.contains(gfn{0x110}));
  CHECK(!r.contains(gfn{0xffffffffffffffff}));
}
TEST_CASE("an empty range holds nothing") {
  CHECK(!gfn_range{}.contains(gfn{0}));
  CHECK(!gfn_range{gfn{7}, 0}.contains(gfn{7}));
  CHECK(gfn_range{gfn{7}, 0} != gfn_range{gfn{8}, 0});
}
TEST_CASE("a range may end at 2^52 frames and at 2^64") {
  constexpr gfn_range low{gfn{0xffffffffffff0}, 0x10};
  CHECK(low.end() == gfn{0x10000000000000});
  CHECK(low.contains(gfn{0xfffffffffffff}));
  CHECK(!low.contains(gfn{0x10000000000000}));
  constexpr gfn_range high{gfn{0xfffffffffffffff0}, 0x10};
  CHECK(high.end() == gfn{0});
  CHECK(high.contains(gfn{0xffffffffffffffff}));
  CHECK(!high.contains(gfn{0}));
  CHECK(!high.contains(gfn{0xffffffffffffffef}));
}
TEST_CASE("ranges overlap if a page lies in both") {
  constexpr gfn_range r{gfn{0x100}, 0x10};
  CHECK(r.overlaps(r));
  CHECK(r.overlaps({gfn{0x10f}, 1}));
  CHECK(!r.overlaps({gfn{0x110}, 1}));
  CHECK(r.overlaps({gfn{0xff}, 2}));
  CHECK(!r.overlaps({gfn{0xff}, 1}));
  CHECK(r.overlaps({gfn{0x104}, 1}));
  CHECK(r.overlaps({gfn{0}, 0x1000}));
  CHECK(gfn_range{gfn{0}, 0x1000}.overlaps(r));
}
TEST_CASE("an empty range overlaps nothing, wherever it lies") {
  constexpr gfn_range r{gfn{0x100}, 0x10};
  for (const std::uint64_t at : {0x100u, 0x108u, 0x110u}) {
    CAPTURE(at);
    CHECK(!r.overlaps({gfn{at}, 0}));
    CHECK(!gfn_range{gfn{at}, 0}.overlaps(r));
    CHECK(!gfn_range{gfn{at}, 0}.overlaps({gfn{at}, 0}));
  }
}
TEST_CASE("ranges that end at 2^64 overlap like others") {
  constexpr gfn_range last{gfn{0xffffffffffffffff}, 1};
  constexpr gfn_range high{gfn{0xfffffffffffffff0}, 0x10};
  CHECK(last.overlaps(last));
  CHECK(high.overlaps(last));
  CHECK(last.overlaps(high));
  CHECK(!high.overlaps({gfn{0}, 1}));
  CHECK(!gfn_range{gfn{0}, 1}.overlaps(high));
  CHECK(gfn_range{gfn{0}, 0xffffffffffffffff}.overlaps(high));
  CHECK(!gfn_range{gfn{0}, 0xffffffffffffffff}.overlaps(last));
}
TEST_CASE("overlap agrees with a page-by-page comparison") {
  for (std::uint64_t a = 0; a < 6; ++a) {
    for (std::uint64_t b = 0; b < 6; ++b) {
      for (std::uint64_t n = 0; n < 4; ++n) {
        for (std::uint64_t m = 0; m < 4; ++m) {
          bool shared = false;
          for (std::uint64_t page = 0; page < 10; ++page) {
            shared |= page >= a && page < a + n && page >= b && page < b + m;
          }
          CAPTURE(a);
          CAPTURE(b);
          CAPTURE(n);
          CAPTURE(m);
          CHECK(gfn_range{gfn{a}, n}.overlaps({gfn{b}, m}) == shared);
        }
      }
    }
  }
}
}

TEST_SUITE("bits") {
TEST_CASE("bits count from the least significant one") {
  CHECK(bit(0) == 1);
  CHECK(bit(7) == 0x80);
  CHECK(bit(63) == 0x8000000000000000);
}
TEST_CASE("z/Architecture bits count from the left") {
  CHECK(zbit(0) == 0x8000000000000000);
  CHECK(zbit(63) == 1);
  CHECK(zbit(53) == 0x400);  // page-table entry, invalid
  CHECK(zbit(54) == 0x200);  // page-table entry, protection
  CHECK(zbit(58) == 0x20);   // segment-table entry, invalid
}
TEST_CASE("a field's mask covers its bits, both ends included") {
  CHECK(field<51, 12>::mask == 0x000ffffffffff000);
  CHECK(field<5, 3>::mask == 0x38);
  CHECK(field<0, 0>::mask == 1);
  CHECK(field<63, 63>::mask == 0x8000000000000000);
  CHECK(field<63, 0>::mask == 0xffffffffffffffff);
}
TEST_CASE("a field is read from anywhere in a word") {
  CHECK(field<51, 12>::get(0xfff1234567890fff) == 0x1234567890);
  CHECK(field<5, 3>::get(0xffffffffffffffff) == 7);
  CHECK(field<5, 3>::get(0xffffffffffffffc7) == 0);
  CHECK(field<63, 0>::get(0x8000000000000001) == 0x8000000000000001);
}
TEST_CASE("a field drops what does not fit") {
  CHECK(field<5, 3>::make(6) == 0x30);
  CHECK(field<5, 3>::make(0xfe) == 0x30);
  CHECK(field<51, 12>::make(0x123456789abcdef) == 0x0006789abcdef000);
  CHECK(field<63, 63>::make(3) == 0x8000000000000000);
}
}

TEST_SUITE("attributes") {
TEST_CASE("accesses combine, intersect and include each other") {
  CHECK((perm::r | perm::w) == perm::rw);
  CHECK((perm::rx | perm::w) == perm::rwx);
  CHECK((perm::rwx & perm::rw) == perm::rw);
  CHECK((perm::rwx & perm::ux) == perm::none);
  CHECK(arch::includes(perm::rw, perm::w));
  CHECK(!arch::includes(perm::rx, perm::rw));
  CHECK(arch::includes(perm::none, perm::none));
  CHECK(static_cast<unsigned>(perm::rwx | perm::ux) + 1 == arch::perm_values);
}
}

}  // namespace quire::tests
