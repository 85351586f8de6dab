// Appends by few compares: what they must refuse, and what lookups see of them.
#include <doctest/doctest.h>

#include "runtime/backend_of.h"
#include "tests/support/guest.h"

namespace quire::tests {

using runtime::gfn;
using runtime::hfn;
using runtime::lazy_state;
using runtime::perm;
using runtime::status;

namespace {
constexpr runtime::attributes rwx{perm::rwx, 0, 0};
/// A format with 128 pages: fewer than what runs grow by without asking.
struct small_format : arch::example_format {
  constexpr unsigned input_bits() const { return 19; }
};
}  // namespace

TEST_SUITE("append") {
TEST_CASE_TEMPLATE("defect: a page that is no granule was queued if it was the last page of the map before", F,
                   arch::stage2_16k, arch::stage2_64k) {
  guest<F> g;
  const std::uint64_t unit = g.s().shape.slot_pages(0);
  lazy_state* l = g.enter();
  REQUIRE(g.m().map(l, {gfn{0}, unit}, hfn{0}, rwx, 0) == status::ok);
  CHECK(g.m().map(l, {gfn{unit - 1}, 1}, hfn{101}, rwx, 0) == status::misaligned);
  CHECK(g.m().map(l, {gfn{unit}, 1}, hfn{unit}, rwx, 0) == status::misaligned);
  REQUIRE(g.m().leave(l) == status::ok);
  CHECK(g.in_tables(gfn{unit - 1})->out == hfn{unit - 1});
  CHECK(!g.in_tables(gfn{unit}));
}

TEST_CASE_TEMPLATE("defect: the last pages of 2^64 were queued behind an unmap, which had no table claimed for them", F,
                   arch::ept, arch::stage2_4k, arch::dat, arch::npt) {
  guest<F> g({.pool = {}, .max_leaf_level = 0});
  for (const unsigned before : {0u, 1u, 40u}) {  // maps far apart, for which tables are claimed in advance
    lazy_state* l = g.enter();
    for (unsigned i = 0; i < before; ++i) REQUIRE(g.m().map(l, {gfn{1024 * i}, 1}, hfn{i}, rwx, 0) == status::ok);
    REQUIRE(g.m().unmap(l, {gfn{100}, 1}) == status::ok);
    for (const std::uint64_t back : {1u, 2u, 256u, 1000u, 1u << 18}) {
      CHECK(g.m().map(l, {gfn{~std::uint64_t{0} - (back - 1)}, 1}, hfn{7}, rwx, 0) == status::bad_range);
    }
    REQUIRE(g.m().leave(l) == status::ok);
  }
}

TEST_CASE_TEMPLATE("a run that grows by one page a call ends with the last frame there is, wherever that is in a table", F, arch::ept,
                   arch::stage2_4k, arch::dat, arch::npt) {
  guest<F> g({.pool = {}, .max_leaf_level = 0});
  const std::uint64_t last = g.s().shape.output_pages - 1;
  for (const std::uint64_t left : {1u, 2u, 3u, 255u, 256u, 257u, 600u}) {  // pages that get a frame, from page `first` on
    for (const std::uint64_t first : {0u, 1u, 200u, 255u, 256u, 511u}) {
      CAPTURE(left);
      CAPTURE(first);
      lazy_state* l = g.enter();
      for (std::uint64_t i = 0; i < left; ++i)
        REQUIRE(g.m().map(l, {gfn{first + i}, 1}, hfn{last - (left - 1) + i}, rwx, 0) == status::ok);
      CHECK(g.m().map(l, {gfn{first + left}, 1}, hfn{last + 1}, rwx, 0) == status::bad_range);
      REQUIRE(g.m().leave(l) == status::ok);
      CHECK(g.in_tables(gfn{first + left - 1})->out == hfn{last});
      CHECK(!g.in_tables(gfn{first + left}));
      REQUIRE(g.m().unmap(g.state(), {gfn{0}, 2048}) == status::ok);
    }
  }
}

TEST_CASE_TEMPLATE("unmaps of one page a call end with the last page there is, and count each call", F, arch::ept, arch::stage2_4k,
                   arch::dat, arch::npt) {
  guest<F> g({.pool = {}, .max_leaf_level = 0});
  const std::uint64_t end = g.s().shape.input_pages, before = g.m().counts(0, g.s()).updates;
  lazy_state* l = g.enter();
  for (std::uint64_t page = end - 700; page < end; ++page) REQUIRE(g.m().unmap(l, {gfn{page}, 1}) == status::ok);
  CHECK(g.m().unmap(l, {gfn{end}, 1}) == status::bad_range);
  CHECK(g.m().counts(0, g.s()).updates == before + 700);
  REQUIRE(g.m().leave(l) == status::ok);
  CHECK(g.m().counts(0, g.s()).updates == before + 700);
}

TEST_CASE("defect: unmaps of one page a call grew beyond an input of 128 pages, and took out the first ones") {
  guest<small_format> g(small_format{}, {.pool = {}, .max_leaf_level = 0});
  REQUIRE(g.made == status::ok);
  REQUIRE(g.m().map(g.state(), {gfn{0}, 1}, hfn{7}, {perm::rw, 0, 0}) == status::ok);
  lazy_state* l = g.enter();
  for (std::uint64_t page = 120; page < 128; ++page) REQUIRE(g.m().unmap(l, {gfn{page}, 1}) == status::ok);
  CHECK(g.m().unmap(l, {gfn{128}, 1}) == status::bad_range);
  REQUIRE(g.m().leave(l) == status::ok);
  CHECK(g.in_tables(gfn{0}));
}

TEST_CASE("defect: a lookup missed what the newest record had grown by since the lookup before") {
  guest<arch::ept> g;
  const auto looked = [&](lazy_state* l, std::uint64_t page) {
    runtime::mapping m;
    bool found = false;
    REQUIRE(g.m().lookup(l, gfn{page}, m, found) == status::ok);
    return found;
  };
  lazy_state* l = g.enter();
  REQUIRE(g.m().map(l, {gfn{10}, 1}, hfn{110}, rwx, 0) == status::ok);
  CHECK(looked(l, 10));
  REQUIRE(g.m().map(l, {gfn{11}, 1}, hfn{111}, rwx, 0) == status::ok);
  REQUIRE(g.m().map(l, {gfn{5}, 1}, hfn{205}, rwx, 0) == status::ok);
  CHECK(looked(l, 11));
  REQUIRE(g.m().leave(l) == status::ok);

  l = g.enter();
  REQUIRE(g.m().unmap(l, {gfn{10}, 1}) == status::ok);
  CHECK(!looked(l, 10));
  REQUIRE(g.m().unmap(l, {gfn{11}, 1}) == status::ok);
  REQUIRE(g.m().unmap(l, {gfn{5}, 1}) == status::ok);
  CHECK(!looked(l, 11));
  REQUIRE(g.m().leave(l) == status::ok);
}

TEST_CASE("defect: unmaps by the outside name were queued in a section that was taken over while it was paused") {
  guest<arch::ept> g({.cpus = 2, .max_leaf_level = 0});
  REQUIRE(g.m().map(g.state(1), {gfn{0}, 4}, hfn{100}, rwx) == status::ok);
  lazy_state* l = g.enter();
  REQUIRE(g.m().pause(l) == status::ok);
  REQUIRE(g.m().hand_over(l) == status::ok);
  lazy_state* moved = nullptr;
  REQUIRE(g.m().take_over(1, l, moved) == status::ok);
  REQUIRE(g.m().unmap(g.state(1), {gfn{2}, 1}) == status::ok);
  CHECK(!g.in_tables(gfn{2}));
  REQUIRE(g.m().resume(moved) == status::ok);
  REQUIRE(g.m().leave(moved) == status::ok);
}
}

}  // namespace quire::tests
