// DAT entries as the manual lays them out, and the bytes they are in memory.
#include "arch/s390/dat.h"

#include <doctest/doctest.h>

#include <array>
#include <bit>
#include <cstring>
#include <string>

#include "arch/arm64/stage2.h"
#include "arch/geometry.h"
#include "arch/slot.h"

namespace quire::tests {

using arch::attributes;
using arch::dat;
using arch::entry_kind;
using arch::hfn;
using arch::perm;
using arch::table_address;

namespace {

dat with(dat::top top, std::uint8_t edat, bool iep = false, bool common = false) {
  dat f;
  f.asce = top;
  f.edat = edat;
  f.iep = iep;
  f.common_segments = common;
  return f;
}
constexpr dat plain;
const dat edat1 = with(dat::top::region3, 1);
const dat edat2 = with(dat::top::region1, 2);
const dat iep = with(dat::top::region1, 2, true);
const dat common = with(dat::top::region1, 2, false, true);

/// Why `e` is malformed, or an empty string.
std::string fault(const dat& f, std::uint64_t e, unsigned level) {
  const char* why = f.malformed(e, level);
  return why ? why : "";
}

template <class F>
std::array<unsigned, 8> bytes_of(std::uint64_t e) {
  alignas(8) std::uint64_t word = 0;
  arch::slot<F>(&word).store(e);
  std::array<unsigned char, 8> raw{};
  std::memcpy(raw.data(), &word, 8);
  std::array<unsigned, 8> bytes{};
  for (unsigned i = 0; i < 8; ++i) bytes[i] = raw[i];
  return bytes;
}

}  // namespace

TEST_SUITE("dat") {
TEST_CASE("a page-table entry is frame | P, bit 54 from the left, 0x200") {
  CHECK(plain.make_leaf(hfn{0x1234}, {perm::rwx}, 0) == 0x1234000);
  CHECK(plain.make_leaf(hfn{0x1234}, {perm::rx}, 0) == 0x1234200);
  CHECK(plain.make_leaf(hfn{0xfffffffffffff}, {perm::rwx}, 0) == 0xfffffffffffff000);
  CHECK(plain.output(0xfffffffffffff2ff, 0) == hfn{0xfffffffffffff});
}
TEST_CASE("with IEP bit 55, 0x100, forbids execution in pages, segments and regions") {
  CHECK(iep.make_leaf(hfn{0x1234}, {perm::rwx}, 0) == 0x1234000);
  CHECK(iep.make_leaf(hfn{0x1234}, {perm::rw}, 0) == 0x1234100);
  CHECK(iep.make_leaf(hfn{0x1234}, {perm::r}, 0) == 0x1234300);
  CHECK(iep.make_leaf(hfn{0x100}, {perm::rw}, 1) == 0x100500);
  CHECK(iep.make_leaf(hfn{0x80000}, {perm::r}, 2) == 0x80000704);
  CHECK(iep.attributes_of(0x1234100, 0).access == perm::rw);
  CHECK(iep.access_set() == 0xaa);    // r, rw, rx, rwx
  CHECK(plain.access_set() == 0xa0);  // rx, rwx
  CHECK(plain.attributes_of(0x1234200, 0).access == perm::rx);
}
TEST_CASE("FC, bit 53 and 0x400, makes a segment-table entry a frame of 1 MiB, with EDAT-1") {
  CHECK(edat1.make_leaf(hfn{0x100}, {perm::rwx}, 1) == 0x100400);
  CHECK(edat1.make_leaf(hfn{0x100}, {perm::rx}, 1) == 0x100600);
  CHECK(edat1.kind(0x100400, 1) == entry_kind::leaf);
  CHECK(edat1.kind(0x100000, 1) == entry_kind::table);
  CHECK(plain.kind(0x100400, 1) == entry_kind::table);
  CHECK(edat1.output(0x12345f0400, 1) == hfn{0x1234500});  // bits 44 to 51 are no address
}
TEST_CASE("FC makes a region-third-table entry a frame of 2 GiB, with EDAT-2") {
  CHECK(edat2.make_leaf(hfn{0x80000}, {perm::rwx}, 2) == 0x80000404);
  CHECK(edat2.make_leaf(hfn{0x80000}, {perm::rx}, 2) == 0x80000604);
  CHECK(edat2.kind(0x80000404, 2) == entry_kind::leaf);
  CHECK(edat1.kind(0x80000404, 2) == entry_kind::table);
  CHECK(edat2.kind(0x400b, 3) == entry_kind::table);
  CHECK(edat2.kind(0x440b, 3) == entry_kind::table);  // region-second entries have no FC
  CHECK(edat2.output(0xfffff404, 2) == hfn{0x80000});
}
TEST_CASE("frames are allowed up to the level that the EDAT facility and the table designation give") {
  for (unsigned level = 0; level < 5; ++level) {
    CHECK(plain.leaf_allowed(level) == (level == 0));
    CHECK(edat1.leaf_allowed(level) == (level <= 1));
    CHECK(edat2.leaf_allowed(level) == (level <= 2));
    CHECK(with(dat::top::segment, 2).leaf_allowed(level) == (level <= 1));
  }
}
TEST_CASE("a table entry is origin | TT | TL, and a segment-table entry has neither TT nor TL") {
  CHECK(plain.make_table({0x5800}, 1) == 0x5800);
  CHECK(plain.make_table({0x8000}, 2) == 0x8007);
  CHECK(plain.make_table({0x8000}, 3) == 0x800b);
  CHECK(plain.make_table({0x8000}, 4) == 0x800f);
  CHECK(plain.table(0x5e10, 1) == table_address{0x5800});  // page tables are 2 KiB
  CHECK(plain.table(0x8e07, 2) == table_address{0x8000});
  CHECK(plain.table(0xfffffffffffff80b & ~0x800ull, 3) == table_address{0xfffffffffffff000});
}
TEST_CASE("common segments have bit 59, 0x10, in segment-table entries and in frames of 2 GiB") {
  CHECK(common.make_leaf(hfn{0x100}, {perm::rwx}, 1) == 0x100410);
  CHECK(common.make_leaf(hfn{0x80000}, {perm::rwx}, 2) == 0x80000414);
  CHECK(common.make_table({0x5800}, 1) == 0x5810);
  CHECK(common.make_table({0x8000}, 2) == 0x8007);
  CHECK(common.make_leaf(hfn{0x1234}, {perm::rwx}, 0) == 0x1234000);
}
TEST_CASE("an empty slot is invalid and has its table's type") {
  constexpr std::uint64_t empty[] = {0x400, 0x20, 0x24, 0x28, 0x2c};
  for (unsigned level = 0; level < 5; ++level) {
    CHECK(edat2.empty(level) == empty[level]);
    CHECK(edat2.kind(empty[level], level) == entry_kind::empty);
    CHECK(!edat2.malformed(empty[level], level));
  }
}
TEST_CASE("I is bit 53 of a page-table entry, 0x400, and bit 58 of the others, 0x20") {
  CHECK(plain.kind(0x1234400, 0) == entry_kind::empty);
  CHECK(plain.kind(0x1234020, 0) == entry_kind::leaf);  // free for software there
  for (unsigned level = 1; level < 5; ++level) CHECK(edat2.kind(0x8020, level) == entry_kind::empty);
  CHECK(edat2.invalidated(0x1234200, 0) == 0x1234600);
  CHECK(edat2.invalidated(0x100600, 1) == 0x100620);
  CHECK(edat2.invalidated(0x8007, 2) == 0x8027);
  CHECK(edat2.invalidated(0x800f, 4) == 0x802f);
}
TEST_CASE("P of a table entry protects all under it; region-table entries have it with EDAT-1") {
  CHECK(plain.attributes_of(0x5a00, 1).access == perm::rx);
  CHECK(plain.attributes_of(0x5800, 1).access == perm::rwx);
  CHECK(plain.attributes_of(0x8207, 2).access == perm::rwx);
  CHECK(edat1.attributes_of(0x8207, 2).access == perm::rx);
  CHECK(iep.attributes_of(0x8107, 2).access == perm::rwx);  // tables have no IEP
}
TEST_CASE("new access changes P and IEP alone") {
  CHECK(plain.with_access(0x12340ff, perm::rx, 0) == 0x12342ff);
  CHECK(plain.with_access(0x12342ff, perm::rwx, 0) == 0x12340ff);
  CHECK(iep.with_access(0x1234300, perm::rwx, 0) == 0x1234000);
  CHECK(iep.with_access(0x80000404, perm::r, 2) == 0x80000704);
}
TEST_CASE("an ASCE is origin | DT | TL, of four kinds") {
  CHECK(with(dat::top::segment, 0).root_register({0x8000}) == 0x8003);
  CHECK(with(dat::top::region3, 0).root_register({0x8000}) == 0x8007);
  CHECK(with(dat::top::region2, 0).root_register({0x8000}) == 0x800b);
  CHECK(with(dat::top::region1, 0).root_register({0x8000}) == 0x800f);
}
TEST_CASE("four kinds of ASCE span 31, 42, 53 and 64 bits, with tables of 2 KiB and 16 KiB") {
  constexpr unsigned bits[] = {31, 42, 53, 64};
  for (unsigned top = 0; top < 4; ++top) {
    const auto g = arch::geometry_of(with(static_cast<dat::top>(top), 0));
    CHECK(g.levels == top + 2);
    CHECK(g.input_pages == std::uint64_t{1} << (bits[top] - 12));
    CHECK(g.output_pages == std::uint64_t{1} << 52);
    CHECK(g.entries(0) == 256);
    CHECK(g.table_bytes[0] == 0x800);
    for (unsigned level = 1; level < g.levels; ++level) {
      CHECK(g.entries(level) == 2048);
      CHECK(g.table_bytes[level] == 0x4000);
      CHECK(g.slot_pages(level) == std::uint64_t{0x100} << (11 * (level - 1)));
    }
  }
}
TEST_CASE("malformed says what a translation-specification exception would") {
  CHECK(fault(plain, 0x1234800, 0) == "bit 52 of a page-table entry is not 0");
  CHECK(fault(plain, 0x1234100, 0) == "bit 55 of a page-table entry is not 0, without IEP");
  CHECK(fault(iep, 0x1234100, 0).empty());
  CHECK(fault(plain, 0x1234c00, 0).empty());  // invalid: nothing else is looked at
  CHECK(fault(plain, 0x5804, 1) == "table type differs from the table's");
  CHECK(fault(plain, 0x8003, 2) == "table type differs from the table's");
  CHECK(fault(plain, 0x8084, 2).empty());  // TF above TL: no entry of the table lies inside, so all of it is a hole
  CHECK(fault(plain, 0x8086, 2).empty());
  CHECK(fault(edat1, 0x100500, 1) == "bit 55 of a frame is not 0, without IEP");
  CHECK(fault(iep, 0x100500, 1).empty());
  for (unsigned level = 1; level < 5; ++level)
    CHECK(fault(edat2, edat2.make_table({0x8000}, level), level).empty());
}
TEST_CASE("the pieces of a frame equal it") {
  CHECK(edat1.leaf_piece(0x100600, 1, 0) == 0x100200);
  CHECK(edat1.leaf_piece(0x100600, 1, 5) == 0x105200);
  CHECK(edat1.leaf_piece(0x100400, 1, 255) == 0x1ff000);
  CHECK(iep.leaf_piece(0x80000704, 2, 3) == 0x80300700);
  CHECK(common.leaf_piece(0x80000414, 2, 2047) == 0xfff00410);
  CHECK(common.leaf_piece(0xfff00410, 1, 255) == 0xfffff000);
}
TEST_CASE("reference and change are not in entries") {
  CHECK(plain.status_bits() == 0);
  CHECK(!plain.accessed(~std::uint64_t{0}));
  CHECK(!plain.dirty(~std::uint64_t{0}));
  CHECK(plain.touched(0x1234000, 0, true) == 0x1234000);
  CHECK(plain.without_status(0x12340ff, true, true) == 0x12340ff);
}
TEST_CASE("entries are big-endian in memory, whatever the host is") {
  using bytes = std::array<unsigned, 8>;
  CHECK(bytes_of<dat>(0x0123456789abc200) == bytes{0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xc2, 0x00});
  CHECK(bytes_of<dat>(0x400) == bytes{0, 0, 0, 0, 0, 0, 0x04, 0x00});
  CHECK(bytes_of<dat>(0x2c) == bytes{0, 0, 0, 0, 0, 0, 0, 0x2c});
  CHECK(bytes_of<arch::stage2_4k>(0x00400000012347ff) == bytes{0xff, 0x47, 0x23, 0x01, 0, 0, 0x40, 0x00});
  const std::uint64_t stored =
      std::endian::native == std::endian::little ? 0x00c2ab8967452301 : 0x0123456789abc200;
  std::uint64_t word = stored;
  CHECK(arch::slot<dat>(&word).load() == 0x0123456789abc200);
  CHECK(arch::slot<dat>(&word).exchange(0x400) == 0x0123456789abc200);
  std::uint64_t expected = 0x400;
  CHECK(arch::slot<dat>(&word).replace(expected, 0x0123456789abc200));
  CHECK(word == stored);
}
}

}  // namespace quire::tests
