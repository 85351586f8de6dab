// Break, flush, make, free: what the tables hold, and who has which table, while the flush runs.
#include <doctest/doctest.h>

#include <algorithm>

#include "runtime/backend_of.h"
#include "tests/support/guest.h"

namespace quire::tests {

/// Flushes by ranges as long as no table goes.
struct nested_ept : arch::ept {
  constexpr nested_ept() { hyperv = true; }
};

namespace {

using runtime::report;

constexpr attributes rw{perm::rw};
constexpr attributes ro{perm::r};

/// The example format breaks before it makes.
struct breaking : guest<example> {
  static constexpr std::uint64_t n = 16;  // pages of a large leaf

  bool valid(gfn g) { return raw(g) & arch::example_format::V; }
  bool parked(gfn g) { return arch::example_format::parked(raw(g)); }
  /// Counts flushes during which `broken` holds, and fails on others.
  void expect(const std::function<bool()>& broken) {
    on_flush = [this, broken](const runtime::flush_plan&) {
      CHECK(broken());
      CHECK(reports.empty());
      ++seen;
    };
  }
  status map(gfn_range r, hfn out, attributes a, unsigned cap) { return m().map(state(), r, out, a, cap); }
  int seen = 0;
};

}  // namespace

TEST_SUITE("commit_order") {
TEST_CASE("a page that moves is invalid while the flush runs, and its new word is valid after it") {
  breaking g;
  REQUIRE(g.map({gfn{0x20}, 3}, hfn{0x901}, rw, 0) == status::ok);
  g.expect([&] { return g.parked(gfn{0x21}) && g.valid(gfn{0x20}) && g.valid(gfn{0x22}); });
  g.on_report = [&](const report& r) {
    CHECK(g.seen == 1);
    CHECK(r.out == hfn{0x902});
  };
  REQUIRE(g.map({gfn{0x21}, 1}, hfn{0xa00}, rw, 0) == status::ok);
  CHECK(g.seen == 1);
  CHECK(g.in_tables(gfn{0x21})->out == hfn{0xa00});
  CHECK(g.reports.size() == 1);
}

TEST_CASE("all breaks of a section share one flush") {
  breaking g;
  REQUIRE(g.map({gfn{0}, 64}, hfn{0x901}, rw, 0) == status::ok);
  REQUIRE(g.map({gfn{64}, 64}, hfn{64}, rw, 1) == status::ok);
  g.expect([&] {
    bool all = !g.valid(gfn{70});
    for (unsigned i = 0; i < 64; i += 3) all = all && !g.valid(gfn{i});
    return all;
  });
  lazy_state* l = g.enter();
  for (unsigned i = 0; i < 64; i += 3)
    REQUIRE(g.m().map(l, {gfn{i}, 1}, hfn{0x2000u + 2 * i}, ro, 0) == status::ok);
  REQUIRE(g.m().unmap(l, {gfn{70}, 1}) == status::ok);  // splits
  REQUIRE(g.m().leave(l) == status::ok);
  CHECK(g.seen == 1);
  for (unsigned i = 0; i < 64; i += 3) CHECK(g.in_tables(gfn{i})->out == hfn{0x2000u + 2 * i});
  CHECK(g.in_tables(gfn{71})->out == hfn{71});
}

TEST_CASE("a large leaf that is split is invalid as a whole while the flush runs") {
  for (int how = 0; how < 3; ++how) {
    CAPTURE(how);
    breaking g;
    REQUIRE(g.map({gfn{0x20}, breaking::n}, hfn{0x40}, rw, 1) == status::ok);
    g.expect([&] {
      bool none = true;
      for (unsigned i = 0; i < breaking::n; ++i) none = none && !g.in_tables(gfn{0x20} + i);
      return none;
    });
    const gfn_range part{gfn{0x23}, 2};
    switch (how) {
      case 0:
        REQUIRE(g.m().unmap(g.state(), part) == status::ok);
        break;
      case 1:
        REQUIRE(g.m().protect(g.state(), part, perm::r) == status::ok);
        break;
      default:
        REQUIRE(g.map(part, hfn{7}, rw, 0) == status::ok);
    }
    CHECK(g.seen == 1);
    CHECK(g.in_tables(gfn{0x22})->out == hfn{0x42});
    CHECK(g.in_tables(gfn{0x25})->out == hfn{0x45});
    CHECK(g.in_tables(gfn{0x23}).has_value() == (how > 0));
  }
}

TEST_CASE("small leaves that become a large one are invalid during the flush, and their table is not free") {
  breaking g;
  REQUIRE(g.map({gfn{0x20}, breaking::n}, hfn{0x901}, rw, 0) == status::ok);
  const std::uint64_t before = g.m().tables_in_use();
  g.expect(
      [&] { return !g.in_tables(gfn{0x20}) && !g.in_tables(gfn{0x2f}) && g.m().tables_in_use() == before; });
  REQUIRE(g.map({gfn{0x20}, breaking::n}, hfn{0x40}, rw, 1) == status::ok);
  CHECK(g.seen == 1);
  CHECK(g.in_tables(gfn{0x2f})->out == hfn{0x4f});
  CHECK(g.leaves().size() == 1);
  CHECK(g.m().tables_in_use() == before - 1);
}

TEST_CASE("what is unmapped and mapped again in one section is not valid before the flush") {
  const gfn_range whole{gfn{0x20}, breaking::n};
  const gfn_range page{gfn{0x25}, 1};
  for (const unsigned from : {0u, 1u}) {
    for (const unsigned to : {0u, 1u}) {
      for (const bool all : {false, true}) {
        CAPTURE(from);
        CAPTURE(to);
        CAPTURE(all);
        breaking g;
        REQUIRE(g.map(whole, hfn{0x40}, rw, from) == status::ok);
        REQUIRE(g.map({gfn{0x30}, 1}, hfn{0x900}, rw, 0) == status::ok);
        // Where a leaf or table went from the upper level, nothing valid may be there, not even a new table.
        const unsigned level = from == 1 || to == 1 || all ? 1 : 0;
        g.expect([&] {
          const auto walk = g.s().backend->walk(g.host(), g.s(), {page.first, perm::r, false, false, {}});
          return !walk.present && walk.level == level;
        });
        lazy_state* l = g.enter();
        REQUIRE(g.m().unmap(l, all ? whole : page) == status::ok);
        REQUIRE(g.m().map(l, to ? whole : page, hfn{0x80}, rw, to) == status::ok);
        REQUIRE(g.m().leave(l) == status::ok);
        CHECK(g.seen == 1);
        CHECK(g.in_tables(page.first)->out == hfn{0x80} + (to ? 5 : 0));
        CHECK(g.in_tables(gfn{0x30})->out == hfn{0x900});
        CHECK(g.m().tables_in_use() == g.s().tables());
      }
    }
  }
}

TEST_CASE("of several words for one page in one section the last one is made") {
  breaking g;
  REQUIRE(g.map({gfn{0x20}, 2}, hfn{0x901}, rw, 0) == status::ok);
  g.expect([&] { return !g.in_tables(gfn{0x20}) && !g.in_tables(gfn{0x21}); });
  lazy_state* l = g.enter();
  for (const unsigned out : {0xa00u, 0xb00u, 0xc00u}) {
    REQUIRE(g.m().map(l, {gfn{0x20}, 2}, hfn{out}, rw, 0) == status::ok);
  }
  REQUIRE(g.m().protect(l, {gfn{0x20}, 1}, perm::r) == status::ok);
  REQUIRE(g.m().unmap(l, {gfn{0x21}, 1}) == status::ok);
  REQUIRE(g.m().leave(l) == status::ok);
  CHECK(g.seen == 1);
  CHECK(g.in_tables(gfn{0x20})->out == hfn{0xc00});
  CHECK(g.in_tables(gfn{0x20})->attr == ro);
  CHECK(!g.in_tables(gfn{0x21}));
  CHECK(g.raw(gfn{0x21}) == 0);
}

TEST_CASE_TEMPLATE("removed tables keep their content and are not free until the flush is done", F,
                   QUIRE_FORMATS) {
  for (const bool lazy : {false, true}) {
    CAPTURE(lazy);
    guest<F> g;
    machine& m = g.m();
    const bool tracked = g.s().backend->tracks_status(g.s());
    const std::uint64_t n = g.s().shape.slot_pages(1);
    REQUIRE(m.map(g.state(), {gfn{n}, n}, hfn{5}, rw, 0) == status::ok);
    REQUIRE(m.map(g.state(), {gfn{4 * n}, 1}, hfn{5}, rw, 0) == status::ok);
    const auto look = g.s().backend->walk(g.host(), g.s(), {gfn{n + 2}, perm::r, false, false, {}});
    const std::uint64_t before = m.tables_in_use();
    int flushes = 0;
    g.on_flush = [&](const runtime::flush_plan&) {
      ++flushes;
      CHECK(m.tables_in_use() == before);
      CHECK(g.reports.empty());
      // A CPU that has cached the way to the table still writes through it.
      const auto t = g.s().backend->walk(g.host(), g.s(), {gfn{n + 2}, perm::w, true, true, look.leaf_table});
      CHECK(t.out == hfn{7});
    };
    lazy_state* l = lazy ? g.enter() : g.state();
    REQUIRE(m.unmap(l, {gfn{n}, n}) == status::ok);
    if (lazy) REQUIRE(m.leave(l) == status::ok);
    CHECK(flushes == 1);
    CHECK(m.tables_in_use() == before - 1);
    std::uint64_t dirty = 0;
    for (const report& r : g.reports) {
      if (r.dirty) CHECK(r.range == gfn_range{gfn{n + 2}, 1});
      dirty += r.dirty;
    }
    CHECK(dirty == tracked);  // written after it was unmapped, before the flush: not lost
  }
}

TEST_CASE_TEMPLATE("a table that became empty is not free until the flush is done", F, QUIRE_FORMATS) {
  guest<F> g;
  machine& m = g.m();
  REQUIRE(m.map(g.state(), {gfn{0x20}, 3}, hfn{5}, rw, 0) == status::ok);
  const std::uint64_t before = m.tables_in_use();
  g.on_flush = [&](const runtime::flush_plan&) { CHECK(m.tables_in_use() == before); };
  lazy_state* l = g.enter();
  for (const unsigned i : {2u, 0u, 1u}) REQUIRE(m.unmap(l, {gfn{0x20} + i, 1}) == status::ok);
  REQUIRE(m.leave(l) == status::ok);
  CHECK(g.flushes.size() == 1);
  CHECK(m.tables_in_use() == 1);
}

TEST_CASE_TEMPLATE("a nested break is flushed before the section goes on", F, QUIRE_FORMATS) {
  guest<F> g;
  machine& m = g.m();
  REQUIRE(m.map(g.state(), {gfn{0x20}, 1}, hfn{5}, rw, 0) == status::ok);
  lazy_state* l = g.enter();
  REQUIRE(g.enter() == l);
  REQUIRE(m.map(l, {gfn{0x20}, 1}, hfn{6}, rw, 0) == status::ok);
  REQUIRE(m.leave(l) == status::ok);
  CHECK(g.in_tables(gfn{0x20})->out == hfn{6});
  CHECK(g.reports.size() == 1);
  REQUIRE(m.leave(l) == status::ok);
  CHECK(g.flushes.size() == 1);
}

TEST_CASE("the planner is told when a table goes, and only then") {
  guest<nested_ept> g;
  machine& m = g.m();
  REQUIRE(m.map(g.state(), {gfn{0}, 0x600}, hfn{1}, rw, 0) == status::ok);
  REQUIRE(m.map(g.state(), {gfn{0x800}, 0x200}, hfn{0x800}, rw, 1) == status::ok);
  const auto flushed_by = [&](const std::function<status(lazy_state*)>& update) {
    g.flushes.clear();
    REQUIRE(update(g.state()) == status::ok);
    REQUIRE(g.flushes.size() == 1);
    CHECK(!g.flushes[0].whole);
    REQUIRE(g.flushes[0].commands.size() == 1);
    return g.flushes[0].commands[0].substr(0, 16);
  };
  const std::string range = "hypercall 0x00b0";
  const std::string space = "hypercall 0x00af";
  CHECK(flushed_by([&](lazy_state* l) { return m.unmap(l, {gfn{3}, 2}); }) == range);
  CHECK(flushed_by([&](lazy_state* l) { return m.unmap(l, {gfn{0}, 0x200}); }) == space);
  CHECK(flushed_by([&](lazy_state* l) {
          return m.unmap(l, {gfn{0x203}, 1});
        }) == range);  // the flag does not stick
  CHECK(flushed_by([&](lazy_state* l) { return m.map(l, {gfn{0x200}, 0x200}, hfn{0}, rw); }) == space);
  CHECK(flushed_by([&](lazy_state* l) { return m.protect(l, {gfn{0x800}, 0x200}, perm::r); }) == range);
  CHECK(flushed_by([&](lazy_state* l) { return m.unmap(l, {gfn{0x800}, 1}); }) == range);
  lazy_state* l = g.enter();
  for (unsigned i = 0; i < 0x200; ++i)
    REQUIRE(m.unmap(l, {gfn{0x5ff - i}, 1}) == status::ok);  // until it is empty
  g.flushes.clear();
  REQUIRE(m.leave(l) == status::ok);
  CHECK(g.flushes[0].commands[0].substr(0, 16) == space);
}
}

}  // namespace quire::tests
