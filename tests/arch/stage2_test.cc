// Stage-2 descriptors as the manual lays them out.
#include "arch/arm64/stage2.h"

#include <doctest/doctest.h>

#include <string>

namespace quire::tests {

using arch::attributes;
using arch::entry_kind;
using arch::hfn;
using arch::perm;
using arch::stage2;
using arch::stage2_16k;
using arch::stage2_4k;
using arch::stage2_64k;
using arch::table_address;

namespace {

template <class F>
F wide() {
  F f;
  f.ipa_bits = f.oa_bits = 52;
  f.lpa2 = F::base_shift != 16;
  return f;
}
template <class F>
F plain() {
  F f;
  f.ipa_bits = 48;
  return f;
}
stage2_4k with(bool fwb, bool dbm, bool xnx) {
  auto f = plain<stage2_4k>();
  f.fwb = fwb;
  f.dbm = dbm;
  f.xnx = xnx;
  return f;
}

constexpr attributes rwx{perm::rwx};
constexpr hfn page{0x1234};

/// Why `e` is malformed, or an empty string.
template <class F>
std::string fault(const F& f, std::uint64_t e, unsigned level) {
  const char* why = f.malformed(e, level);
  return why ? why : "";
}

}  // namespace

TEST_SUITE("stage2") {
TEST_CASE("a page is address | AF | inner-shareable | S2AP | MemAttr | 0b11") {
  CHECK(plain<stage2_4k>().make_leaf(page, rwx, 0) == 0x12347ff);
  CHECK(plain<stage2_16k>().make_leaf(page, rwx, 0) == 0x12347ff);
  CHECK(plain<stage2_64k>().make_leaf(hfn{0x1230}, rwx, 0) == 0x12307ff);
}
TEST_CASE("a block has 0b01 in bits 1 and 0") {
  CHECK(plain<stage2_4k>().make_leaf(hfn{0x1200}, rwx, 1) == 0x12007fd);          // 2 MiB
  CHECK(plain<stage2_4k>().make_leaf(hfn{0x40000}, rwx, 2) == 0x400007fd);        // 1 GiB
  CHECK(plain<stage2_16k>().make_leaf(hfn{0x2000}, rwx, 1) == 0x20007fd);         // 32 MiB
  CHECK(plain<stage2_64k>().make_leaf(hfn{0x20000}, rwx, 1) == 0x200007fd);       // 512 MiB
  CHECK(wide<stage2_4k>().make_leaf(hfn{0x8000000}, rwx, 3) == 0x80000004fd);     // 512 GiB
  CHECK(wide<stage2_16k>().make_leaf(hfn{0x1000000}, rwx, 2) == 0x10000004fd);    // 64 GiB
  CHECK(wide<stage2_64k>().make_leaf(hfn{0x40000000}, rwx, 2) == 0x400000007fd);  // 4 TiB
}
TEST_CASE("blocks exist at these levels and no others") {
  const auto up_to = [](const auto& f) {
    unsigned n = 0;
    while (f.leaf_allowed(n)) ++n;
    for (unsigned level = n; level < 6; ++level) CHECK(!f.leaf_allowed(level));
    return n - 1;
  };
  CHECK(up_to(plain<stage2_4k>()) == 2);
  CHECK(up_to(plain<stage2_16k>()) == 1);
  CHECK(up_to(plain<stage2_64k>()) == 1);
  CHECK(up_to(wide<stage2_4k>()) == 3);
  CHECK(up_to(wide<stage2_16k>()) == 2);
  CHECK(up_to(wide<stage2_64k>()) == 2);
  stage2_4k low;
  low.ipa_bits = 32;  // two levels: no place for blocks of 1 GiB
  CHECK(up_to(low) == 1);
  stage2_64k one;
  one.ipa_bits = 33;  // one level
  CHECK(up_to(one) == 0);
}
TEST_CASE("with LPA2 output address bits 51 and 50 are bits 9 and 8, and nothing says shareability") {
  const auto small = wide<stage2_4k>();
  CHECK(small.make_leaf(page, rwx, 0) == 0x12344ff);
  CHECK(small.make_leaf(hfn{0x5edcba9876}, rwx, 0) == 0x1edcba98765ff);
  CHECK(small.make_leaf(hfn{0x9edcba9876}, rwx, 0) == 0x1edcba98766ff);
  CHECK(small.make_leaf(hfn{0xfedcba9876}, rwx, 0) == 0x3edcba98767ff);
  CHECK(small.output(0x1edcba98765ff, 0) == hfn{0x5edcba9876});
  CHECK(small.output(0x1edcba98766ff, 0) == hfn{0x9edcba9876});
  CHECK(wide<stage2_16k>().make_leaf(hfn{0x5edcba9874}, rwx, 0) == 0x1edcba98745ff);
  CHECK(wide<stage2_16k>().output(0x1edcba98745ff, 0) == hfn{0x5edcba9874});
}
TEST_CASE("with the granule of 64 KiB output address bits 51 to 48 are bits 15 to 12") {
  const auto f = wide<stage2_64k>();
  CHECK(f.make_leaf(hfn{0xfedcba9870}, rwx, 0) == 0xedcba987f7ff);
  CHECK(f.make_leaf(hfn{0x5edcba9870}, rwx, 0) == 0xedcba98757ff);
  CHECK(f.make_leaf(hfn{0x5edcba0000}, rwx, 1) == 0xedcba00057fd);
  CHECK(f.output(0xedcba98757ff, 0) == hfn{0x5edcba9870});
  CHECK(f.output(0xedcba00057fd, 1) == hfn{0x5edcba0000});
}
TEST_CASE("without LPA2 bits above 47 and below the granule are no address") {
  CHECK(plain<stage2_4k>().output(0x05bffffffffff7ff, 0) == hfn{0xfffffffff});
  CHECK(plain<stage2_16k>().output(0x12377ff, 0) == hfn{0x1234});
  CHECK(plain<stage2_4k>().output(0x12017fd, 1) == hfn{0x1200});  // low bits of a block
}
TEST_CASE("S2AP is bit 6 for reads and bit 7 for writes; XN[1] is bit 54") {
  const auto f = plain<stage2_4k>();
  CHECK(f.make_leaf(page, {perm::r}, 0) == 0x004000000123477f);
  CHECK(f.make_leaf(page, {perm::w}, 0) == 0x00400000012347bf);
  CHECK(f.make_leaf(page, {perm::rw}, 0) == 0x00400000012347ff);
  CHECK(f.make_leaf(page, {perm::x}, 0) == 0x123473f);
  CHECK(f.make_leaf(page, {perm::rx}, 0) == 0x123477f);
  CHECK(f.make_leaf(page, {perm::w | perm::x}, 0) == 0x12347bf);
  CHECK(f.access_set() == 0xfe);
}
TEST_CASE("with FEAT_XNX XN is 0 for all execution, 1 for EL0 alone, 2 for none and 3 for EL1 alone") {
  const auto f = with(false, false, true);
  CHECK(f.make_leaf(page, {perm::r | perm::x | perm::ux}, 0) == 0x000000000123477f);
  CHECK(f.make_leaf(page, {perm::r | perm::ux}, 0) == 0x002000000123477f);
  CHECK(f.make_leaf(page, {perm::r}, 0) == 0x004000000123477f);
  CHECK(f.make_leaf(page, {perm::rx}, 0) == 0x006000000123477f);
  CHECK(f.attributes_of(0x002000000123477f, 0).access == (perm::r | perm::ux));
  CHECK(f.attributes_of(0x006000000123477f, 0).access == perm::rx);
  CHECK(f.access_set() == 0xfffe);
  // Without it bit 53 means nothing.
  CHECK(plain<stage2_4k>().attributes_of(0x002000000123477f, 0).access == perm::rx);
  CHECK(plain<stage2_4k>().attributes_of(0x006000000123477f, 0).access == perm::r);
}
TEST_CASE("MemAttr is 15 for write-back, 5 for non-cacheable and 1 for Device-nGnRE") {
  const auto f = plain<stage2_4k>();
  CHECK(f.make_leaf(page, {perm::rwx, stage2_4k::normal}, 0) == 0x12347ff);
  CHECK(f.make_leaf(page, {perm::rwx, stage2_4k::nc}, 0) == 0x12347d7);
  CHECK(f.make_leaf(page, {perm::rwx, stage2_4k::device}, 0) == 0x12347c7);
  CHECK(f.memory_types() == 3);
}
TEST_CASE("with FEAT_S2FWB MemAttr is 6 for write-back, 5 for non-cacheable and 1 for Device-nGnRE") {
  const auto f = with(true, false, false);
  CHECK(f.make_leaf(page, {perm::rwx, stage2_4k::normal}, 0) == 0x12347db);
  CHECK(f.make_leaf(page, {perm::rwx, stage2_4k::nc}, 0) == 0x12347d7);
  CHECK(f.make_leaf(page, {perm::rwx, stage2_4k::device}, 0) == 0x12347c7);
}
TEST_CASE("a table descriptor holds an address and 0b11 alone") {
  CHECK(plain<stage2_4k>().make_table({0x5000}, 1) == 0x5003);
  CHECK(wide<stage2_4k>().make_table({0x5000000005000}, 2) == 0x1000000005103);
  CHECK(wide<stage2_16k>().make_table({0xa000000008000}, 1) == 0x2000000008203);
  CHECK(wide<stage2_64k>().make_table({0xa000000050000}, 1) == 0x5a003);
  CHECK(wide<stage2_4k>().table(0x1000000005103, 2) == table_address{0x5000000005000});
  CHECK(wide<stage2_64k>().table(0x5a003, 1) == table_address{0xa000000050000});
  CHECK(plain<stage2_4k>().attributes_of(0x5003, 1).access == perm::rwx);
}
TEST_CASE("bit 0 makes a descriptor valid, bit 1 tells tables from blocks and is a must at level 0") {
  const auto f = plain<stage2_4k>();
  CHECK(f.kind(0x12347ff, 0) == entry_kind::leaf);
  CHECK(f.kind(0x12347fd, 0) == entry_kind::empty);
  CHECK(f.kind(0x5003, 1) == entry_kind::table);
  CHECK(f.kind(0x12007fd, 1) == entry_kind::leaf);
  CHECK(f.kind(0x80000007fd, 3) == entry_kind::empty);  // no blocks there without LPA2
  CHECK(wide<stage2_4k>().kind(0x80000004fd, 3) == entry_kind::leaf);
  for (unsigned level = 0; level < 4; ++level) {
    CHECK(f.empty(level) == 0);
    CHECK(f.kind(0, level) == entry_kind::empty);
    CHECK(f.kind(0xfffffffffffffffe, level) == entry_kind::empty);
  }
}
TEST_CASE("malformed says why hardware would fault") {
  const auto f = plain<stage2_4k>();
  CHECK(fault(f, 0, 0).empty());
  CHECK(fault(f, 0xfffffffffffffffe, 3).empty());
  CHECK(fault(f, 0x12347ff, 0).empty());
  CHECK(fault(f, 0x5003, 1).empty());
  CHECK(fault(f, 0x12347fd, 0) == "descriptor type 0b01 at the last level");
  CHECK(fault(f, 0x80000007fd, 3) == "a block at a level that has none");
  CHECK(fault(plain<stage2_16k>(), 0x10000007fd, 2) == "a block at a level that has none");
  CHECK(fault(f, 0x12017fd, 1) == "low address bits of a block are not 0");
  CHECK(fault(with(true, false, false), 0x12347ff, 0) == "MemAttr[3] is reserved with FWB");
  auto small = f;
  small.oa_bits = 32;
  CHECK(fault(small, 0xfffff7ff, 0).empty());
  CHECK(fault(small, 0x1000007ff, 0) == "address beyond the output size");
  CHECK(fault(small, 0x100000003, 1) == "address beyond the output size");
  CHECK(fault(plain<stage2_64k>(), 0x117ff, 0) == "address beyond the output size");  // bit 48
}
TEST_CASE("the pieces of a block equal it, but for the contiguous hint") {
  const auto f = plain<stage2_4k>();
  CHECK(f.leaf_piece(0x00400000400007fd, 2, 0) == 0x00400000400007fd);
  CHECK(f.leaf_piece(0x00400000400007fd, 2, 1) == 0x00400000402007fd);
  CHECK(f.leaf_piece(0x00400000400007fd, 2, 511) == 0x004000007fe007fd);
  CHECK(f.leaf_piece(0x05d00000402007fd, 1, 3) == 0x05c00000402037ff);  // software bits stay
  CHECK(wide<stage2_4k>().leaf_piece(0x80000005fd, 3, 1) == 0x80400005fd);
  CHECK(plain<stage2_16k>().leaf_piece(0x20007fd, 1, 2047) == 0x3ffc7ff);
  CHECK(wide<stage2_64k>().leaf_piece(0x200057fd, 1, 8191) == 0x3fff57ff);
  CHECK(wide<stage2_64k>().leaf_piece(0x400000057fd, 2, 8191) == 0x7ffe00057fd);
  CHECK(with(false, true, false).leaf_piece(0x00480000402007fd, 1, 511) == 0x00480000403ff7ff);
}
}

}  // namespace quire::tests
