// Nested paging entries as the manual lays them out, what their changes need, and the one flush there is.
#include "arch/x86/npt.h"

#include <doctest/doctest.h>

#include <initializer_list>
#include <string>
#include <vector>

#include "arch/geometry.h"

namespace quire::tests {

using arch::attributes;
using arch::entry_kind;
using arch::hfn;
using arch::npt;
using arch::perm;
using arch::table_address;
using arch::transition;

namespace {

constexpr npt f;
constexpr auto store = transition::store;
constexpr auto flush = transition::store_then_flush;

struct change {
  std::uint64_t from, to;
  transition needs;
};

void check(std::initializer_list<unsigned> levels, std::initializer_list<change> changes) {
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

TEST_SUITE("npt") {
TEST_CASE("a leaf is frame | US | P, with RW bit 1, PS bit 7 where it is large, and NX bit 63") {
  CHECK(f.make_leaf(hfn{0x1234}, {perm::rwx}, 0) == 0x1234007);
  CHECK(f.make_leaf(hfn{0x1234}, {perm::rx}, 0) == 0x1234005);
  CHECK(f.make_leaf(hfn{0x1234}, {perm::rw}, 0) == 0x8000000001234007);
  CHECK(f.make_leaf(hfn{0x1234}, {perm::r}, 0) == 0x8000000001234005);
  CHECK(f.make_leaf(hfn{0x1200}, {perm::rwx}, 1) == 0x1200087);
  CHECK(f.make_leaf(hfn{0x40000}, {perm::rwx}, 2) == 0x40000087);
  CHECK(f.make_leaf(hfn{0xffffffffff}, {perm::rwx}, 0) == 0x000ffffffffff007);
}
TEST_CASE("memory types are PAT entries 0 to 3 by PWT, bit 3, and PCD, bit 4") {
  CHECK(f.make_leaf(hfn{0x1234}, {perm::rwx, npt::wb}, 0) == 0x1234007);
  CHECK(f.make_leaf(hfn{0x1234}, {perm::rwx, npt::wt}, 0) == 0x123400f);
  CHECK(f.make_leaf(hfn{0x1234}, {perm::rwx, npt::uc_minus}, 0) == 0x1234017);
  CHECK(f.make_leaf(hfn{0x1234}, {perm::rwx, npt::uc}, 0) == 0x123401f);
  CHECK(f.memory_types() == 4);
}
TEST_CASE("a table entry grants all access, to user accesses too") {
  CHECK(f.make_table({0x5000}, 1) == 0x5007);
  CHECK(f.table(0x8000000000005fe7, 3) == table_address{0x5000});
  CHECK(f.root_register({0x7000}) == 0x7000);
}
TEST_CASE("P makes an entry present, PS a leaf at levels 1 and 2") {
  CHECK(f.kind(0xfffffffffffffffe, 0) == entry_kind::empty);
  CHECK(f.kind(0x1234007, 0) == entry_kind::leaf);
  CHECK(f.kind(0x1200087, 1) == entry_kind::leaf);
  CHECK(f.kind(0x5007, 1) == entry_kind::table);
  CHECK(f.kind(0x40000087, 2) == entry_kind::leaf);
  CHECK(f.kind(0x5087, 3) == entry_kind::table);
  CHECK(f.leaf_allowed(2));
  CHECK(!f.leaf_allowed(3));
}
TEST_CASE("malformed names bits that must be zero") {
  CHECK(!f.malformed(0x5007, 3));
  CHECK(std::string(f.malformed(0x5087, 3)) == "bit 7 of a PML4 entry is not 0");
  CHECK(std::string(f.malformed(0x1202087, 1)) == "reserved low address bits of a large page are not 0");
  CHECK(std::string(f.malformed(0x60000087, 2)) == "reserved low address bits of a large page are not 0");
  CHECK(!f.malformed(0x1201087, 1));  // bit 12 of a large page is PAT
  CHECK(f.output(0x1201087, 1) == hfn{0x1200});
}
TEST_CASE("attributes survive a leaf, in every combination") {
  CHECK(f.access_set() == 0xaa);
  for (unsigned level = 0; level <= 2; ++level) {
    for (const perm p : {perm::r, perm::rw, perm::rx, perm::rwx}) {
      for (std::uint8_t type = 0; type < 4; ++type) {
        const attributes a{p, type};
        const std::uint64_t e = f.make_leaf(hfn{0xabcdc0000}, a, level);
        CHECK(f.attributes_of(e, level) == a);
        CHECK(f.output(e, level) == hfn{0xabcdc0000});
        CHECK(!f.malformed(e, level));
      }
    }
  }
  CHECK(f.with_access(0x1200087, perm::r, 1) == 0x8000000001200085);
}
TEST_CASE("the pieces of a large leaf equal it, A and D included") {
  CHECK(f.leaf_piece(0x80000000400000e7, 2, 511) == 0x800000007fe000e7);
  CHECK(f.leaf_piece(0x800000007fe000e7, 1, 511) == 0x800000007ffff067);
}
TEST_CASE("A is bit 5 and D bit 6; tables have A alone") {
  CHECK(f.status_bits() == 0x60);
  CHECK(f.touched(0x1234007, 0, false) == 0x1234027);
  CHECK(f.touched(0x1234007, 0, true) == 0x1234067);
  CHECK(f.touched(0x5007, 1, true) == 0x5027);
  CHECK(f.without_status(0x1234067, true, false) == 0x1234047);
  CHECK(f.without_status(0x1234067, false, true) == 0x1234027);
}
TEST_CASE("what is not present changes by a store; less access, another place and lost A or D need a flush") {
  check(
      {0, 1, 2, 3},
      {{0, 0x5007, store}, {0xfffffffffffffffe, 0x5007, store}, {0x5007, 0, flush}, {0x5007, 0x6007, flush}});
  check({0}, {{0x1234007, 0x1234005, flush},
              {0x1234005, 0x1234007, store},
              {0x1234007, 0x8000000001234007, flush},
              {0x8000000001234007, 0x1234007, store},
              {0x1234067, 0x1234047, flush},
              {0x1234067, 0x1234027, flush},
              {0x1234007, 0x1234067, store},
              {0x1234007, 0x123400f, flush},
              {0x123401f, 0x1234007, flush},
              {0x1234007, 0x0ff0000001234e07, store}});
  check({1, 2}, {{0x40000087, 0x5007, flush},
                 {0x5007, 0x40000087, flush},
                 {0x5027, 0x5007, flush},
                 {0x5047, 0x5007, store}});
}
TEST_CASE("quirk: every flush is the whole ASID, by TLB_CONTROL 3 at the next VMRUN") {
  npt guest;
  guest.asid = 7;
  arch::command_list out;
  const std::vector<arch::gfn_range> one = {{arch::gfn{1}, 1}};
  plan_flush(guest, 0x7000, {one}, out);
  REQUIRE(out.all().size() == 1);
  CHECK(std::string(describe(guest, out.all()[0]).c_str()) == "tlb_control=3 asid=0x7");
}
TEST_CASE("four levels of 512 entries span 48 bits") {
  const auto g = arch::geometry_of(f);
  CHECK(g.levels == 4);
  CHECK(g.input_pages == 0x1000000000);
  CHECK(g.output_pages == 0x10000000000);
  CHECK(g.entries(3) == 512);
}
}

}  // namespace quire::tests
