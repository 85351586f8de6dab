// Reporting and clearing A and D.
#include <doctest/doctest.h>

#include "tests/support/guest.h"

namespace quire::tests {

namespace {

using runtime::harvest;
using runtime::report;

constexpr attributes rw{perm::rw};

/// Makes `update` take effect in a section, or at once.
template <class Update>
void at_once_or_lazily(guest_base& g, bool lazy, const Update& update) {
  lazy_state* l = lazy ? g.enter() : g.state();
  REQUIRE(update(l) == status::ok);
  if (lazy) REQUIRE(g.m().leave(l) == status::ok);
}

}  // namespace

TEST_SUITE("harvest") {
TEST_CASE_TEMPLATE("harvest reports and clears what it is asked for, once", F, QUIRE_FORMATS) {
  for (const bool lazy : {false, true}) {
    CAPTURE(lazy);
    guest<F> g;
    machine& m = g.m();
    if (!g.s().backend->tracks_status(g.s())) {
      REQUIRE(m.map(g.state(), {gfn{0x40}, 4}, hfn{0x901}, rw, 0) == status::ok);
      CHECK(g.touch(gfn{0x40}, perm::w));
      CHECK(m.harvest_status(g.state(), {gfn{0x40}, 4}, harvest::accessed | harvest::dirty) == status::ok);
      CHECK(g.reports.empty());
      continue;
    }
    REQUIRE(m.map(g.state(), {gfn{0x40}, 4}, hfn{0x901}, rw, 0) == status::ok);
    REQUIRE(g.touch(gfn{0x41}, perm::r));
    REQUIRE(g.touch(gfn{0x42}, perm::w));
    const auto collect = [&](harvest what) {
      g.reports.clear();
      at_once_or_lazily(g, lazy, [&](lazy_state* l) { return m.harvest_status(l, {gfn{0x3f}, 6}, what); });
      return g.reports;
    };
    const auto dirty = collect(harvest::dirty);
    REQUIRE(dirty.size() == 1);
    CHECK(dirty[0].range == gfn_range{gfn{0x42}, 1});
    CHECK(dirty[0].out == hfn{0x903});
    CHECK(dirty[0].what == report::kind::harvested);
    CHECK(dirty[0].dirty);
    CHECK(!dirty[0].accessed);  // it stays set
    CHECK(g.in_tables(gfn{0x42})->accessed);
    CHECK(!g.in_tables(gfn{0x42})->dirty);
    CHECK(g.in_tables(gfn{0x42})->attr == rw);
    CHECK(collect(harvest::dirty).empty());
    const auto accessed = collect(harvest::accessed | harvest::dirty);
    REQUIRE(accessed.size() == 1);
    CHECK(accessed[0].range == gfn_range{gfn{0x41}, 2});
    CHECK(accessed[0].accessed);
    CHECK(!accessed[0].dirty);
    CHECK(!g.in_tables(gfn{0x41})->accessed);
    CHECK(collect(harvest::accessed | harvest::dirty).empty());
    CHECK(g.flushes.size() == 2);
    CHECK(collect(harvest::none).empty());
  }
}

TEST_CASE_TEMPLATE("what was harvested and what was removed are reported apart, even side by side", F,
                   QUIRE_FORMATS) {
  guest<F> g;
  machine& m = g.m();
  if (!g.s().backend->tracks_status(g.s())) return;
  REQUIRE(m.map(g.state(), {gfn{0x40}, 2}, hfn{0x901}, rw, 0) == status::ok);
  REQUIRE((g.touch(gfn{0x40}, perm::w) && g.touch(gfn{0x41}, perm::w)));
  lazy_state* l = g.enter();
  REQUIRE(m.harvest_status(l, {gfn{0x40}, 1}, harvest::accessed | harvest::dirty) == status::ok);
  REQUIRE(m.map(l, {gfn{0x41}, 1}, hfn{0xa00}, rw, 0) == status::ok);
  REQUIRE(m.leave(l) == status::ok);
  REQUIRE(g.reports.size() == 2);
  CHECK(g.reports[0].what == report::kind::harvested);
  CHECK(g.reports[1].what == report::kind::removed);
}

TEST_CASE_TEMPLATE("a range of large leaves, holes and tables side by side is harvested leaf by leaf", F, QUIRE_FORMATS) {
  guest<F> g({.table_bytes = std::size_t{8} << 20});
  machine& m = g.m();
  const arch::geometry& s = g.s().shape;
  const std::uint64_t large = s.slot_pages(1);
  if (!g.s().backend->tracks_status(g.s()) || !s.leaf[1] || s.top() < 2) return;
  // Slots of level 1: leaf, leaf, table, leaf, hole, hole, leaf of another access, table, leaf.
  const auto map = [&](unsigned slot, unsigned level, perm access) {
    REQUIRE(m.map(g.state(), {gfn{slot * large}, large}, hfn{(16 + slot) * large}, {access}, level) == status::ok);
  };
  for (const unsigned slot : {0u, 1u, 3u, 8u}) map(slot, 1, perm::rw);
  map(6, 1, perm::rwx);
  for (const unsigned slot : {2u, 7u}) map(slot, 0, perm::rw);
  const std::uint64_t small_leaf = s.slot_pages(0);  // what is reported does not touch, so that it is not joined
  const std::uint64_t touched[] = {large + 5,  2 * large + small_leaf, 3 * large - 2 * small_leaf, 3 * large, 6 * large,
                                   7 * large + 2 * small_leaf, 8 * large};
  for (const std::uint64_t page : touched) REQUIRE(g.touch(gfn{page}, perm::w));
  g.flushes.clear();
  REQUIRE(m.harvest_status(g.state(), {gfn{0}, 9 * large}, harvest::accessed | harvest::dirty) == status::ok);
  REQUIRE(g.reports.size() == std::size(touched));
  for (std::size_t i = 0; i < std::size(touched); ++i) {
    CAPTURE(i);
    const report& r = g.reports[i];
    const std::uint64_t slot = touched[i] / large;
    const bool small = slot == 2 || slot == 7;
    CHECK(r.range.first == gfn{small ? touched[i] : slot * large});
    CHECK(r.range.pages == (small ? small_leaf : large));
    CHECK(r.out == hfn{16 * large + r.range.first.value});
    CHECK(r.attr == attributes{slot == 6 ? perm::rwx : perm::rw});
    CHECK((r.accessed && r.dirty));
    CHECK(!g.in_tables(gfn{touched[i]})->accessed);
    CHECK(!g.in_tables(gfn{touched[i]})->dirty);
  }
  CHECK(g.flushes.size() == 1);
  CHECK(m.counts(0, g.s()).flush_requested == std::size(touched));
  REQUIRE(m.harvest_status(g.state(), {gfn{0}, 9 * large}, harvest::accessed | harvest::dirty) == status::ok);
  CHECK(g.reports.size() == std::size(touched));
}

TEST_CASE_TEMPLATE("harvest with write_protect takes write access from dirty leaves alone", F,
                   QUIRE_FORMATS) {
  guest<F> g;
  machine& m = g.m();
  if (!g.s().backend->tracks_status(g.s())) return;
  REQUIRE(m.map(g.state(), {gfn{0x48}, 4}, hfn{0x901}, {perm::rwx, 1}, 0) == status::ok);
  REQUIRE(g.touch(gfn{0x48}, perm::r));
  REQUIRE(g.touch(gfn{0x49}, perm::w));
  REQUIRE(m.harvest_status(g.state(), {gfn{0x48}, 4}, harvest::write_protect) == status::ok);
  CHECK(g.reports.empty());
  CHECK(g.in_tables(gfn{0x49})->attr.access == perm::rwx);
  REQUIRE(m.harvest_status(g.state(), {gfn{0x48}, 4}, harvest::accessed | harvest::write_protect) ==
          status::ok);
  CHECK(g.in_tables(gfn{0x49})->attr.access == perm::rwx);
  REQUIRE(m.harvest_status(g.state(), {gfn{0x48}, 4}, harvest::dirty | harvest::write_protect) == status::ok);
  CHECK(g.in_tables(gfn{0x48})->attr == attributes{perm::rwx, 1});
  CHECK(g.in_tables(gfn{0x49})->attr == attributes{perm::rx, 1});
  CHECK(!g.touch(gfn{0x49}, perm::w));
  CHECK(g.reports.back().attr == attributes{perm::rwx, 1});
}
}

}  // namespace quire::tests
