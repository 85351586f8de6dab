// The example format, exhausted: every word that it can make, and walks over tables made by hand.
#include "arch/example_format.h"

#include <doctest/doctest.h>

#include <array>
#include <bit>
#include <initializer_list>
#include <map>
#include <string>
#include <vector>

#include "arch/geometry.h"
#include "arch/walk.h"
#include "arch/x86/ept.h"

namespace quire::tests {

using arch::attributes;
using arch::entry_kind;
using arch::example_format;
using arch::gfn;
using arch::gfn_range;
using arch::hfn;
using arch::perm;
using arch::table_address;
using arch::transition;
using slot = arch::slot<example_format>;

namespace {

constexpr example_format f;
constexpr std::array<perm, 4> accesses = {perm::r, perm::rw, perm::rx, perm::rwx};

/// Every well-formed word of a level over two addresses, the empty one included; A and D in leaves.
std::vector<std::uint64_t> words(unsigned level) {
  std::vector<std::uint64_t> all = {0};
  for (const std::uint64_t address : {0x100000u, 0x200000u}) {
    for (std::uint64_t low = 0; level <= 1 && low < 0x20; ++low) all.push_back(address | low << 2 | 3);
    if (level > 0) all.push_back(address | 1);
  }
  return all;
}

/// What a change between two such words needs, by the rules that the format's tables obey.
transition needed(std::uint64_t from, std::uint64_t to) {
  if (from == 0) return transition::store;
  if (to == 0) return transition::store_then_flush;
  if ((from ^ to) & 0x300042) return transition::break_before_make;             // address, device, leaf
  return from & ~to & 0x3c ? transition::store_then_flush : transition::store;  // W, X, A or D lost
}

}  // namespace

TEST_SUITE("example_format") {
TEST_CASE("a leaf is frame | device | X | W | leaf | valid") {
  constexpr std::uint64_t normal[] = {0x1230003, 0x1230007, 0x123000b, 0x123000f};
  for (unsigned level = 0; level <= 1; ++level) {
    for (unsigned i = 0; i < 4; ++i) {
      CHECK(f.make_leaf(hfn{0x1230}, {accesses[i], 0}, level) == normal[i]);
      CHECK(f.make_leaf(hfn{0x1230}, {accesses[i], 1}, level) == (normal[i] | 0x40));
    }
  }
  CHECK(f.make_leaf(hfn{0xfffffffff}, {perm::r}, 0) == 0xfffffffff003);
  CHECK(f.make_leaf(hfn{0x1fffffffff}, {perm::r}, 0) == 0xfffffffff003);  // 48 bits
}
TEST_CASE("a table entry is address | valid, with tables as small as 64 bytes") {
  CHECK(f.make_table({0x4080}, 1) == 0x4081);
  CHECK(f.make_table({0x40c0}, 2) == 0x40c1);
  CHECK(f.make_table({0xffffffffffc0}, 2) == 0xffffffffffc1);
  CHECK(f.table(0x4081, 1) == table_address{0x4080});
  CHECK(f.table(0x40c1, 2) == table_address{0x40c0});
  CHECK(f.root_register({0x4080}) == 0x4080);
}
TEST_CASE("attributes survive an entry, in every combination") {
  for (unsigned level = 0; level <= 1; ++level) {
    for (const perm p : accesses) {
      for (std::uint8_t type = 0; type < 2; ++type) {
        const attributes a{p, type};
        const std::uint64_t e = f.make_leaf(hfn{0xabcdef120}, a, level);
        CHECK(f.attributes_of(e, level) == a);
        CHECK(f.output(e, level) == hfn{0xabcdef120});
        CHECK(f.kind(e, level) == entry_kind::leaf);
        CHECK(!f.malformed(e, level));
        CHECK(!f.accessed(e));
        CHECK(!f.dirty(e));
        for (const perm q : accesses)
          CHECK(f.with_access(e, q, level) == f.make_leaf(hfn{0xabcdef120}, {q, type}, level));
      }
    }
  }
  CHECK(f.access_set() == 0xaa);  // r, rw, rx, rwx
  CHECK(f.memory_types() == 2);
  CHECK(f.option_set() == 0);
}
TEST_CASE("a word is empty unless valid; a leaf at level 0 or with the leaf bit; else a table") {
  for (std::uint64_t low = 0; low < 0x80; ++low) {
    const std::uint64_t e = 0x100000 | low;
    for (unsigned level = 0; level <= 2; ++level) {
      CAPTURE(low);
      CAPTURE(level);
      const entry_kind expected = !(low & 1)                ? entry_kind::empty
                                  : level == 0 || (low & 2) ? entry_kind::leaf
                                                            : entry_kind::table;
      CHECK(f.kind(e, level) == expected);
      CHECK((f.malformed(e, level) != nullptr) == (level == 2 && (low & 3) == 3));
    }
  }
  CHECK(std::string(f.malformed(0x100003, 2)) == "a leaf at level 2");
  CHECK(f.leaf_allowed(0));
  CHECK(f.leaf_allowed(1));
  CHECK(!f.leaf_allowed(2));
  for (unsigned level = 0; level <= 2; ++level) CHECK(f.empty(level) == 0);
}
TEST_CASE("A is bit 4, D is bit 5; hardware sets them in leaves alone") {
  CHECK(f.status_bits() == 0x30);
  for (const std::uint64_t status : {0x00u, 0x10u, 0x20u, 0x30u}) {
    const std::uint64_t e = 0x100043 | status;
    CHECK(f.accessed(e) == ((status & 0x10) != 0));
    CHECK(f.dirty(e) == ((status & 0x20) != 0));
    CHECK(f.touched(e, 0, false) == (e | 0x10));
    CHECK(f.touched(e, 1, true) == (e | 0x30));
    CHECK(f.without_status(e, true, true) == 0x100043);
    CHECK(f.without_status(e, true, false) == (0x100043 | (status & 0x20)));
    CHECK(f.without_status(e, false, true) == (0x100043 | (status & 0x10)));
    CHECK(f.without_status(e, false, false) == e);
  }
  CHECK(f.touched(0x4081, 1, true) == 0x4081);
  CHECK(f.touched(0, 0, true) == 0);
}
TEST_CASE("a 64 KiB leaf has 16 pieces, A and D included") {
  CHECK(f.leaf_piece(0x1230077, 1, 0) == 0x1230077);
  CHECK(f.leaf_piece(0x1230077, 1, 1) == 0x1231077);
  CHECK(f.leaf_piece(0x1230077, 1, 15) == 0x123f077);
}
TEST_CASE("classify, for every pair of words: breaks for what moves, flushes for what is lost") {
  for (unsigned level = 0; level <= 2; ++level) {
    for (const std::uint64_t from : words(level)) {
      for (const std::uint64_t to : words(level)) {
        CAPTURE(level);
        CAPTURE(from);
        CAPTURE(to);
        REQUIRE(f.classify(from, to, level) == needed(from, to));
      }
    }
  }
}
TEST_CASE("a small table that moves within a frame is broken first") {
  CHECK(f.classify(0x100001, 0x100081, 1) == transition::break_before_make);
  CHECK(f.classify(0x100081, 0x1000c1, 2) == transition::break_before_make);
}
TEST_CASE("a parked word is empty to hardware, known as parked, and comes back whole") {
  for (unsigned level = 0; level <= 2; ++level) {
    for (const std::uint64_t e : words(level)) {
      if (e == 0) continue;
      CAPTURE(e);
      CHECK(!example_format::parked(e));
      const std::uint64_t p = example_format::park(e);
      CHECK(p == (e & ~std::uint64_t{1}));
      CHECK(f.kind(p, level) == entry_kind::empty);
      CHECK(example_format::parked(p));
      CHECK(example_format::unpark(p) == e);
      CHECK(f.classify(p, e, level) == transition::store);
    }
  }
  CHECK(!example_format::parked(0));
}
TEST_CASE("quirk: no table may lie at address 0, since its entry would park to an empty word") {
  CHECK(f.make_table({0}, 1) == 1);
  CHECK(example_format::park(1) == 0);
  CHECK(!example_format::parked(example_format::park(1)));
}
TEST_CASE("three levels of 16, 8 and 4 entries span 512 pages") {
  const auto g = arch::geometry_of(f);
  CHECK(g.levels == 3);
  CHECK(g.input_pages == 512);
  CHECK(g.output_pages == 0x1000000000);
  constexpr unsigned entries[] = {16, 8, 4}, slots[] = {1, 16, 128}, bytes[] = {128, 64, 32};
  for (unsigned level = 0; level < 3; ++level) {
    CHECK(g.entries(level) == entries[level]);
    CHECK(g.slot_pages(level) == slots[level]);
    CHECK(g.table_pages(level) == slots[level] * entries[level]);
    CHECK(g.table_bytes[level] == bytes[level]);
    CHECK(g.leaf[level] == (level <= 1));
  }
  for (std::uint64_t page = 0; page < 512; ++page) {
    CHECK(g.index(gfn{page}, 0) == page % 16);
    CHECK(g.index(gfn{page}, 1) == page / 16 % 8);
    CHECK(g.index(gfn{page}, 2) == page / 128);
    CHECK(g.slot_first(gfn{page}, 1) == gfn{page / 16 * 16});
    CHECK(g.table_first(gfn{page}, 1) == gfn{page / 128 * 128});
    CHECK(g.table_first(gfn{page}, 2) == gfn{0});
  }
  CHECK(g.holds({gfn{0}, 512}));
  CHECK(g.holds({gfn{512}, 0}));
  CHECK(!g.holds({gfn{513}, 0}));
  CHECK(!g.holds({gfn{1}, 512}));
  CHECK(!g.holds({gfn{511}, 0xffffffffffffffff}));
}
}

TEST_SUITE("slot") {
using bytes = std::array<unsigned char, 8>;
TEST_CASE("words lie in memory with their most significant byte first") {
  std::uint64_t memory = 0;
  const slot at(&memory);
  at.store(0x0123456789abcdef);
  CHECK(std::bit_cast<bytes>(memory) == bytes{0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef});
  CHECK(at.load() == 0x0123456789abcdef);
  CHECK(at.exchange(0x1001) == 0x0123456789abcdef);
  CHECK(std::bit_cast<bytes>(memory) == bytes{0, 0, 0, 0, 0, 0, 0x10, 0x01});
}
TEST_CASE("EPT words lie in memory with their least significant byte first") {
  std::uint64_t memory = 0;
  const arch::slot<arch::ept> at(&memory);
  at.store(0x0123456789abcdef);
  CHECK(std::bit_cast<bytes>(memory) == bytes{0xef, 0xcd, 0xab, 0x89, 0x67, 0x45, 0x23, 0x01});
  CHECK(at.load() == 0x0123456789abcdef);
}
TEST_CASE("replace puts the new word in place of the expected one, and reads any other") {
  auto memory = std::bit_cast<std::uint64_t>(bytes{0, 0, 0, 0, 0, 0, 0x10, 0x01});
  const slot at(&memory);
  std::uint64_t expected = 0x2001;
  CHECK(!at.replace(expected, 0x3001));
  CHECK(expected == 0x1001);
  CHECK(std::bit_cast<bytes>(memory) == bytes{0, 0, 0, 0, 0, 0, 0x10, 0x01});
  CHECK(at.replace(expected, 0x3001));
  CHECK(expected == 0x1001);
  CHECK(std::bit_cast<bytes>(memory) == bytes{0, 0, 0, 0, 0, 0, 0x30, 0x01});
}
TEST_CASE("a slot names the entries after it, and may name none") {
  std::uint64_t memory[3] = {};
  CHECK(slot(memory)[2].address() == &memory[2]);
  CHECK(slot(memory));
  CHECK(!slot());
}
}

TEST_SUITE("walk") {
/// Tables by address, filled by hand with the bytes that hardware reads.
struct hand_built {
  std::map<std::uint64_t, std::array<std::uint64_t, 16>> tables;

  void put(std::uint64_t table, unsigned i, std::initializer_list<unsigned char> bytes) {
    auto* at = reinterpret_cast<unsigned char*>(&tables[table][i]);
    for (const unsigned char b : bytes) *at++ = b;
  }
  /// The walk as text: level:entry of each step, then where it ended.
  std::string walk(std::uint64_t page) {
    arch::text_line line;
    const auto end = arch::walk(
        f, arch::geometry_of(f), [this](table_address t) { return tables.at(t.byte).data(); }, {0x1000},
        gfn{page}, [&](unsigned level, slot, std::uint64_t e) { line << level << ":" << e << " "; });
    CHECK(end.at.load() == end.entry);
    return (line << "at " << end.level << " " << end.entry).c_str();
  }
};

TEST_CASE("a walk takes one index a level and ends at the first entry that is no table") {
  hand_built t;
  t.put(0x1000, 3, {0, 0, 0, 0, 0, 0, 0x20, 0x01});        // pages 0x180..0x1ff: the table at 0x2000
  t.put(0x1000, 1, {0, 0, 0, 0, 0, 0, 0x28, 0x01});        // pages 0x80..0xff: the table at 0x2800
  t.put(0x2000, 2, {0, 0, 0, 0, 0, 0, 0x30, 0x81});        // pages 0x1a0..0x1af: the table at 0x3080
  t.put(0x2000, 4, {0, 0, 0, 0x45, 0x67, 0x80, 0, 0x07});  // pages 0x1c0..0x1cf: 64 KiB at 0x4567800000
  t.put(0x3080, 5, {0, 0, 0x89, 0xab, 0xcd, 0xef, 0x10, 0x3f});
  t.put(0x2800, 7, {0, 0, 0, 0, 0, 0x10, 0, 0x02});  // parked
  CHECK(t.walk(0x1a5) == "0x2:0x2001 0x1:0x3081 0x0:0x89abcdef103f at 0x0 0x89abcdef103f");
  CHECK(t.walk(0x1a6) == "0x2:0x2001 0x1:0x3081 0x0:0x0 at 0x0 0x0");
  CHECK(t.walk(0x1c0) == "0x2:0x2001 0x1:0x4567800007 at 0x1 0x4567800007");
  CHECK(t.walk(0x1cf) == "0x2:0x2001 0x1:0x4567800007 at 0x1 0x4567800007");
  CHECK(t.walk(0x1d0) == "0x2:0x2001 0x1:0x0 at 0x1 0x0");
  CHECK(t.walk(0xf3) == "0x2:0x2801 0x1:0x100002 at 0x1 0x100002");
  CHECK(t.walk(0) == "0x2:0x0 at 0x2 0x0");
}
}

TEST_SUITE("example_flush") {
std::vector<std::string> plan(const std::vector<gfn_range>& ranges, bool whole = false) {
  arch::command_list out;
  out.add({99, {1, 2}});  // planning starts from an empty list
  plan_flush(f, 0x4080, {ranges, whole}, out);
  std::vector<std::string> lines;
  for (const auto& c : out.all()) lines.emplace_back(describe(f, c).c_str());
  return lines;
}

TEST_CASE("a plan has a command for each range, or one for the whole space") {
  using lines = std::vector<std::string>;
  CHECK(plan({}).empty());
  CHECK(plan({{gfn{0x10}, 2}, {gfn{0x1ff}, 1}}) ==
        lines{"flush first=0x10 pages=0x2", "flush first=0x1ff pages=0x1"});
  CHECK(plan({{gfn{0x10}, 2}}, true) == lines{"flush root=0x4080"});
  CHECK(plan(std::vector<gfn_range>(512, {gfn{1}, 1})).size() == 512);
  CHECK(plan(std::vector<gfn_range>(513, {gfn{1}, 1})) == lines{"flush root=0x4080"});
}
}

}  // namespace quire::tests
