// EPT entries as the manual lays them out, and the shape of EPT spaces.
#include "arch/x86/ept.h"

#include <doctest/doctest.h>

#include <initializer_list>

#include "arch/geometry.h"

namespace quire::tests {

using arch::attributes;
using arch::entry_kind;
using arch::ept;
using arch::gfn;
using arch::hfn;
using arch::perm;
using arch::table_address;

namespace {

constexpr ept plain;

ept with_mbec() {
  ept f;
  f.mode_based_execute = true;
  return f;
}
ept with_ad() {
  ept f;
  f.access_dirty = true;
  return f;
}
ept without_execute_only(bool mbec) {
  ept f;
  f.execute_only = false;
  f.mode_based_execute = mbec;
  return f;
}

}  // namespace

TEST_SUITE("ept") {
TEST_CASE("a 4 KiB read-write leaf is frame | WB | W | R") {
  CHECK(plain.make_leaf(hfn{0x1234}, {perm::rw}, 0) == 0x1234033);
}
TEST_CASE("leaves of 2 MiB and 1 GiB have bit 7 set, leaves of 4 KiB do not") {
  CHECK(plain.make_leaf(hfn{0x1200}, {perm::rwx}, 0) == 0x1200037);
  CHECK(plain.make_leaf(hfn{0x1200}, {perm::rwx}, 1) == 0x12000b7);
  CHECK(plain.make_leaf(hfn{0x40000}, {perm::rwx}, 2) == 0x400000b7);
  CHECK(plain.leaf_allowed(0));
  CHECK(plain.leaf_allowed(1));
  CHECK(plain.leaf_allowed(2));
  CHECK(!plain.leaf_allowed(3));
  CHECK(!plain.leaf_allowed(4));
}
TEST_CASE("a frame number fills bits 51 to 12") {
  CHECK(plain.make_leaf(hfn{0xffffffffff}, {perm::r}, 0) == 0x000ffffffffff031);
  CHECK(plain.make_leaf(hfn{0xfffffffe00}, {perm::r}, 1) == 0x000fffffffe000b1);
  CHECK(plain.output(0x800ffffffffffff1, 0) == hfn{0xffffffffff});
  CHECK(plain.output(0x000fffffffe00bb7, 1) == hfn{0xfffffffe00});
  CHECK(plain.output(0x400000b7, 2) == hfn{0x40000});
}
TEST_CASE("reserved low address bits of a large leaf are no part of its output") {
  CHECK(plain.output(0x12010b7, 1) == hfn{0x1200});
  CHECK(plain.output(0x600000b7, 2) == hfn{0x40000});
}
TEST_CASE("R, W and X are bits 0, 1 and 2") {
  CHECK(plain.make_leaf(hfn{0x1234}, {perm::r}, 0) == 0x1234031);
  CHECK(plain.make_leaf(hfn{0x1234}, {perm::rx}, 0) == 0x1234035);
  CHECK(plain.make_leaf(hfn{0x1234}, {perm::rwx}, 0) == 0x1234037);
  CHECK(plain.make_leaf(hfn{0x1234}, {perm::x}, 0) == 0x1234034);
}
TEST_CASE("with mode-based execute control, user execution is bit 10 and X is supervisor execution") {
  const ept f = with_mbec();
  CHECK(f.make_leaf(hfn{0x1234}, {perm::rx}, 0) == 0x1234035);
  CHECK(f.make_leaf(hfn{0x1234}, {perm::r | perm::ux}, 0) == 0x1234431);
  CHECK(f.make_leaf(hfn{0x1234}, {perm::ux}, 0) == 0x1234430);
  CHECK(f.make_leaf(hfn{0x1200}, {perm::rwx | perm::ux}, 1) == 0x12004b7);
  CHECK(f.attributes_of(0x1234431, 0).access == (perm::r | perm::ux));
}
TEST_CASE("without mode-based execute control bit 10 is neither written nor read") {
  CHECK(plain.make_leaf(hfn{0x1234}, {perm::r | perm::ux}, 0) == 0x1234031);
  CHECK(plain.attributes_of(0x1234431, 0).access == perm::r);
  CHECK(plain.kind(0x1234430, 0) == entry_kind::empty);
  CHECK(with_mbec().kind(0x1234430, 0) == entry_kind::leaf);
}
TEST_CASE("memory types are UC 0, WC 1, WT 4, WP 5 and WB 6, in bits 5 to 3") {
  CHECK(plain.make_leaf(hfn{0x1234}, {perm::rw, ept::uc}, 0) == 0x1234003);
  CHECK(plain.make_leaf(hfn{0x1234}, {perm::rw, ept::wc}, 0) == 0x123400b);
  CHECK(plain.make_leaf(hfn{0x1234}, {perm::rw, ept::wt}, 0) == 0x1234023);
  CHECK(plain.make_leaf(hfn{0x1234}, {perm::rw, ept::wp}, 0) == 0x123402b);
  CHECK(plain.make_leaf(hfn{0x1234}, {perm::rw, ept::wb}, 0) == 0x1234033);
  CHECK(plain.make_leaf(hfn{0x1234}, {perm::rw}, 0) == 0x1234033);  // 0, the default, is WB
  CHECK(plain.memory_types() == 5);
}
TEST_CASE("each leaf option is one bit") {
  const auto with = [](std::uint16_t option, unsigned level) {
    return plain.make_leaf(hfn{0x40000}, {perm::r, ept::wb, option}, level);
  };
  CHECK(with(ept::ignore_pat, 0) == 0x40000071);
  CHECK(with(ept::suppress_ve, 0) == 0x8000000040000031);
  CHECK(with(ept::verify_guest_paging, 0) == 0x0200000040000031);
  CHECK(with(ept::paging_write, 0) == 0x0400000040000031);
  CHECK(with(ept::supervisor_shadow_stack, 0) == 0x1000000040000031);
  CHECK(with(ept::sub_page_write, 0) == 0x2000000040000031);
  CHECK(with(0x3f, 0) == 0xb600000040000071);
  CHECK(with(0x3f, 1) == 0x96000000400000f1);
  CHECK(with(0x3f, 2) == 0x96000000400000f1);
  CHECK(plain.option_set() == 0x3f);
}
TEST_CASE("quirk: sub-page write permissions exist for 4 KiB leaves alone; larger ones drop the option") {
  const attributes spp{perm::r, ept::wb, ept::sub_page_write};
  CHECK(plain.attributes_of(plain.make_leaf(hfn{0x40000}, spp, 0), 0) == spp);
  CHECK(plain.make_leaf(hfn{0x40000}, spp, 1) == 0x400000b1);
  CHECK(plain.attributes_of(0x20000000400000b1, 1).options == 0);  // bit 61 is ignored there
}
TEST_CASE("attributes survive an entry, in every combination") {
  for (const ept& f :
       {plain, with_ad(), with_mbec(), without_execute_only(false), without_execute_only(true)}) {
    for (unsigned level = 0; level <= 2; ++level) {
      for (unsigned p = 0; p < 16; ++p) {
        if (!(f.access_set() >> p & 1)) continue;
        for (unsigned options = 0; options <= 0x3f; ++options) {
          if (level > 0 && (options & 0x20)) continue;  // sub-page write
          for (std::uint8_t type = 0; type < 5; ++type) {
            const attributes a{static_cast<perm>(p), type, static_cast<std::uint16_t>(options)};
            const std::uint64_t e = f.make_leaf(hfn{0xabcdc0000}, a, level);
            const bool sound = f.attributes_of(e, level) == a && f.output(e, level) == hfn{0xabcdc0000} &&
                               f.kind(e, level) == entry_kind::leaf && !f.malformed(e, level) && !(e & 0x300);
            CAPTURE(e);
            REQUIRE(sound);
          }
        }
      }
    }
  }
}
TEST_CASE("leaves can express what is not a misconfiguration on the CPU") {
  CHECK(plain.access_set() == 0xba);  // r, rw, x, rx, rwx
  CHECK(without_execute_only(false).access_set() == 0xaa);
  CHECK(with_mbec().access_set() == 0xbbba);  // the same with ux, and ux alone
  CHECK(without_execute_only(true).access_set() == 0xaaaa);
}
TEST_CASE("new access leaves address, type, options, A and D alone") {
  CHECK(plain.with_access(0x8000000001234377, perm::r, 0) == 0x8000000001234371);
  CHECK(plain.with_access(0x12000b1, perm::rwx, 1) == 0x12000b7);
  CHECK(plain.with_access(0x1234037, perm::none, 0) == 0x1234030);
  CHECK(with_mbec().with_access(0x1234437, perm::r | perm::ux, 0) == 0x1234431);
  CHECK(with_mbec().with_access(0x1234437, perm::rwx, 0) == 0x1234037);
}
TEST_CASE("a table entry grants every access and holds an address alone") {
  CHECK(plain.make_table({0x5000}, 1) == 0x5007);
  CHECK(plain.make_table({0xffffffffff000}, 3) == 0x000ffffffffff007);
  CHECK(with_mbec().make_table({0x5000}, 2) == 0x5407);
  CHECK(plain.table(0xfff0000000005f07, 1) == table_address{0x5000});
  for (unsigned level = 1; level <= 4; ++level) {
    CHECK(plain.kind(0x5007, level) == entry_kind::table);
    CHECK(!plain.malformed(0x5007, level));
    CHECK(plain.kind(plain.empty(level), level) == entry_kind::empty);
  }
}
TEST_CASE("an unmapped slot holds 0") {
  CHECK(plain.empty(0) == 0);
  CHECK(with_mbec().empty(4) == 0);
}
TEST_CASE("bit 7 makes a leaf at levels 1 and 2 only") {
  CHECK(plain.kind(0x40000007, 0) == entry_kind::leaf);
  CHECK(plain.kind(0x40000087, 0) == entry_kind::leaf);
  CHECK(plain.kind(0x40000007, 1) == entry_kind::table);
  CHECK(plain.kind(0x40000087, 1) == entry_kind::leaf);
  CHECK(plain.kind(0x40000087, 2) == entry_kind::leaf);
  CHECK(plain.kind(0x40000087, 3) == entry_kind::table);  // a misconfiguration
  CHECK(plain.kind(0xfffffffffffff8f8, 0) == entry_kind::empty);
}
TEST_CASE("the pieces of a large leaf equal it, A and D included") {
  CHECK(plain.leaf_piece(0x80000000c00003b7, 2, 0) == 0x80000000c00003b7);
  CHECK(plain.leaf_piece(0x80000000c00003b7, 2, 1) == 0x80000000c02003b7);
  CHECK(plain.leaf_piece(0x80000000c00003b7, 2, 511) == 0x80000000ffe003b7);
  CHECK(plain.leaf_piece(0x80000000ffe003b7, 1, 0) == 0x80000000ffe00337);
  CHECK(plain.leaf_piece(0x80000000ffe003b7, 1, 1) == 0x80000000ffe01337);
  CHECK(plain.leaf_piece(0x80000000ffe003b7, 1, 511) == 0x80000000fffff337);
  for (const unsigned level : {1u, 2u}) {
    for (unsigned i = 0; i < 512; ++i) {
      const std::uint64_t piece = with_mbec().leaf_piece(0x94000abc800007ed, level, i);
      const std::uint64_t pages = level == 1 ? 1 : 512;
      CAPTURE(piece);
      CHECK(plain.output(piece, level - 1) == hfn{0xabc80000 + i * pages});
      CHECK((piece & 0xfff0000000000fff) == (level == 1 ? 0x940000000000076d : 0x94000000000007ed));
    }
  }
}
TEST_CASE("A is bit 8 and D is bit 9, where the EPTP enables them") {
  const ept f = with_ad();
  CHECK(f.status_bits() == 0x300);
  CHECK(f.accessed(0x1234133));
  CHECK(!f.accessed(0x1234233));
  CHECK(f.dirty(0x1234233));
  CHECK(!f.dirty(0x1234133));
  CHECK(f.touched(0x1234033, 0, false) == 0x1234133);
  CHECK(f.touched(0x1234033, 0, true) == 0x1234333);
  CHECK(f.touched(0x12000b3, 1, true) == 0x12003b3);
  CHECK(f.touched(0x5007, 1, true) == 0x5107);  // a table entry has no D
  CHECK(f.without_status(0x1234333, true, false) == 0x1234233);
  CHECK(f.without_status(0x1234333, false, true) == 0x1234133);
  CHECK(f.without_status(0x1234333, true, true) == 0x1234033);
  CHECK(f.without_status(0x1234333, false, false) == 0x1234333);
}
TEST_CASE("without A and D in the EPTP bits 8 and 9 are ignored") {
  CHECK(plain.status_bits() == 0);
  CHECK(!plain.accessed(0x1234333));
  CHECK(!plain.dirty(0x1234333));
  CHECK(plain.touched(0x1234033, 0, true) == 0x1234033);
  CHECK(plain.without_status(0x1234333, true, true) == 0x1234333);
}
TEST_CASE("an EPTP is root | options | walk length - 1 | WB") {
  ept f;
  CHECK(f.root_register({0x7000}) == 0x701e);
  CHECK(f.root_register({0xffffffffff000}) == 0x000ffffffffff01e);
  f.access_dirty = true;
  CHECK(f.root_register({0x7000}) == 0x705e);
  f.five_levels = true;
  CHECK(f.root_register({0x7000}) == 0x7066);
  f.shadow_stack = true;
  CHECK(f.root_register({0x7000}) == 0x70e6);
  f.access_dirty = false;
  CHECK(f.root_register({0x7000}) == 0x70a6);
  f.mode_based_execute = f.hyperv = true;  // not in the EPTP
  CHECK(f.root_register({0x7000}) == 0x70a6);
}
TEST_CASE("the first use of a root with A and D, after one without, needs INVEPT") {
  CHECK(ept::switch_needs_invept(0x701e, 0x705e));
  CHECK(ept::switch_needs_invept(0x7026, 0x705e));  // whatever the walk length was
  CHECK(!ept::switch_needs_invept(0x705e, 0x701e));
  CHECK(!ept::switch_needs_invept(0x701e, 0x701e));
  CHECK(!ept::switch_needs_invept(0x705e, 0x705e));
  CHECK(!ept::switch_needs_invept(0x701e, 0x805e));  // another root
  CHECK(!ept::switch_needs_invept(0x701e, 0x800000000705e));
}
TEST_CASE("four levels of 512 entries span 48 bits") {
  const auto g = arch::geometry_of(plain);
  CHECK(g.levels == 4);
  CHECK(g.top() == 3);
  CHECK(g.input_pages == 0x1000000000);
  CHECK(g.output_pages == 0x10000000000);
  constexpr std::uint64_t slots[] = {1, 0x200, 0x40000, 0x8000000};
  for (unsigned level = 0; level < 4; ++level) {
    CHECK(g.slot_pages(level) == slots[level]);
    CHECK(g.table_pages(level) == slots[level] * 512);
    CHECK(g.entries(level) == 512);
    CHECK(g.table_bytes[level] == 4096);
    CHECK(g.leaf[level] == (level <= 2));
  }
  CHECK(g.index(gfn{0xfedcba987}, 3) == 0x1fd);
  CHECK(g.index(gfn{0xfedcba987}, 2) == 0x172);
  CHECK(g.index(gfn{0xfedcba987}, 0) == 0x187);
  CHECK(g.slot_first(gfn{0xfedcba987}, 1) == gfn{0xfedcba800});
  CHECK(g.table_first(gfn{0xfedcba987}, 1) == gfn{0xfedc80000});
  CHECK(g.holds({gfn{0xfffffffff}, 1}));
  CHECK(!g.holds({gfn{0xfffffffff}, 2}));
  CHECK(!g.holds({gfn{1}, 0xffffffffffffffff}));
}
TEST_CASE("a fifth level adds four bits, since physical addresses end at 52") {
  ept f;
  f.five_levels = true;
  const auto g = arch::geometry_of(f);
  CHECK(g.levels == 5);
  CHECK(g.input_pages == 0x10000000000);
  CHECK(g.slot_pages(4) == 0x1000000000);
  CHECK(g.entries(4) == 16);
  CHECK(g.table_bytes[4] == 4096);
  CHECK(g.entries(3) == 512);
  CHECK(g.index(gfn{0xffffffffff}, 4) == 15);
}
}

}  // namespace quire::tests
