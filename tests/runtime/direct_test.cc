// Immediate updates of one page: they take a shortcut to its table, and nobody notices.
#include <doctest/doctest.h>

#include "tests/support/guest.h"

namespace quire::tests {

namespace {

constexpr attributes rw{perm::rw};
constexpr attributes ro{perm::r};

guest_base::options options(bool slow = false) {
  guest_base::options o;
  o.hooks = false;
  o.checks_cpu = slow;
  return o;
}

void map_now(guest_base& g, unsigned cpu, std::uint64_t page, std::uint64_t out, attributes a = rw) {
  g.on_cpu = cpu;
  REQUIRE(g.m().map(g.state(cpu), {gfn{page}, 1}, hfn{out}, a) == status::ok);
  const auto hardware = g.in_tables(gfn{page});
  REQUIRE(hardware.has_value());
  CHECK(hardware->out == hfn{out});
  CHECK(hardware->attr == a);
  for (const unsigned looking : {0u, 1u}) {
    g.on_cpu = looking;
    const auto seen = g.look(gfn{page}, looking);
    REQUIRE(seen.has_value());
    CHECK(seen->out == hfn{out});
    CHECK(seen->attr == a);
  }
  g.on_cpu = cpu;
}
void unmap_now(guest_base& g, unsigned cpu, std::uint64_t page, std::uint64_t pages = 1) {
  g.on_cpu = cpu;
  REQUIRE(g.m().unmap(g.state(cpu), {gfn{page}, pages}) == status::ok);
  CHECK(!g.in_tables(gfn{page}));
}
std::uint64_t walks(guest_base& g) { return g.m().counts(0, g.s()).walks; }

void check_same(guest_base& a, guest_base& b) {
  CHECK(a.leaves() == b.leaves());
  CHECK(a.s().tables() == b.s().tables());
  CHECK(a.m().tables_in_use() == b.m().tables_in_use());
  CHECK(a.flushes.size() == b.flushes.size());
  REQUIRE(a.reports.size() == b.reports.size());
  for (std::size_t i = 0; i < a.reports.size(); ++i) {
    CHECK(a.reports[i].range == b.reports[i].range);
    CHECK(a.reports[i].out == b.reports[i].out);
    CHECK(a.reports[i].attr == b.reports[i].attr);
  }
  const runtime::counters x = a.m().counts(0, a.s()), y = b.m().counts(0, b.s());
  CHECK(x.updates == y.updates);
  CHECK(x.runs == y.runs);
  CHECK(x.commits == y.commits);
  CHECK(x.entries_written == y.entries_written);
  CHECK(x.tables_taken == y.tables_taken);
  CHECK(x.tables_freed == y.tables_freed);
  CHECK(x.flush_requested == y.flush_requested);
  CHECK(x.cancelled_updates == y.cancelled_updates);
}

}  // namespace

TEST_SUITE("direct") {
TEST_CASE_TEMPLATE("neighbours of a page that was mapped at once need no walk, and lie in the tables", F, QUIRE_FORMATS) {
  guest<F> g(options());
  map_now(g, 0, 2, 0x100);
  const std::uint64_t before = walks(g);
  for (const std::uint64_t page : {3, 9, 0, 15, 4}) map_now(g, 0, page, 0x200 + page);
  CHECK(walks(g) == before);  // else this file tests nothing
  CHECK(g.leaves().size() == 6);
  CHECK(!g.look(gfn{1}));
  map_now(g, 0, 16 * g.s().shape.slot_pages(1) % 512, 0x300);
  CHECK(walks(g) > before);
}
TEST_CASE_TEMPLATE("pages in other tables that this cpu has changed before need no walk, nor does an unmap that leaves a neighbour", F,
                   QUIRE_FORMATS) {
  guest<F> g(options());
  const bool direct = g.s().shape.slot_pages(0) == 1 && g.s().shape.group_bits[0] == 0;
  const std::uint64_t n = g.s().shape.slot_pages(1), unit = g.s().shape.slot_pages(0);
  for (const std::uint64_t table : {0, 1, 2}) map_now(g, 0, table * n, 0x100 * unit);
  const std::uint64_t before = walks(g);
  for (const std::uint64_t i : {1, 2, 3}) {
    for (const std::uint64_t table : {2, 0, 1}) REQUIRE(g.m().map(g.state(), {gfn{table * n + i * unit}, unit}, hfn{i * unit}, rw) == status::ok);
  }
  CHECK(g.leaves().size() == 12);
  for (const std::uint64_t i : {3, 0}) {
    for (const std::uint64_t table : {1, 2, 0}) {
      REQUIRE(g.m().unmap(g.state(), {gfn{table * n + i * unit}, unit}) == status::ok);
      CHECK(!g.in_tables(gfn{table * n + i * unit}));
      REQUIRE(!g.reports.empty());
      CHECK(g.reports.back().range == gfn_range{gfn{table * n + i * unit}, unit});
    }
  }
  CHECK(g.reports.size() == 6);
  CHECK(g.flushes.size() == 6);
  CHECK(g.leaves().size() == 6);
  CHECK((walks(g) == before) == direct);
  // The last leaf of a table goes the long way, and the table with it.
  for (const std::uint64_t i : {1, 2}) REQUIRE(g.m().unmap(g.state(), {gfn{n + i * unit}, unit}) == status::ok);
  CHECK(g.leaves().size() == 4);
  CHECK(g.m().tables_in_use() == g.s().tables());
  CHECK(walks(g) > before);
  map_now(g, 0, n, 0x100 * unit);
}
TEST_CASE_TEMPLATE("a page is mapped though another cpu has unmapped its table as a whole", F, QUIRE_FORMATS) {
  guest<F> g(options());
  const std::uint64_t n = g.s().shape.slot_pages(1);
  for (const gfn_range gone : {gfn_range{gfn{0}, n}, gfn_range{gfn{0}, g.s().shape.input_pages}}) {
    for (unsigned round = 0; round < 3; ++round) {
      map_now(g, 0, 1, 0x100);
      map_now(g, 0, 2, 0x200);
      unmap_now(g, 1, 1, gone.pages - 1);
      CHECK(!g.in_tables(gfn{2}));
      if (round == 1) map_now(g, 1, 5 * n, 0x999);  // takes the frame
      map_now(g, 0, 3, 0x300);
      map_now(g, 0, 4, 0x400);
      CHECK(g.in_tables(gfn{3})->out == hfn{0x300});
      CHECK(!g.look(gfn{1}));
      CHECK(!g.in_tables(gfn{5 * n + 3}));
      unmap_now(g, 0, 0, g.s().shape.input_pages);
      CHECK(g.m().tables_in_use() == 1);
    }
  }
}
TEST_CASE_TEMPLATE("a page is mapped though another cpu, or this one, has emptied its table so that it went", F, QUIRE_FORMATS) {
  for (const unsigned other : {1u, 0u}) {
    for (const bool in_section : {false, true}) {
      for (const bool taken : {false, true}) {
        CAPTURE(other);
        CAPTURE(in_section);
        CAPTURE(taken);
        guest<F> g(options());
        machine& m = g.m();
        const std::uint64_t n = g.s().shape.slot_pages(1);
        map_now(g, 0, 1, 0x100);
        map_now(g, 0, 2, 0x200);
        lazy_state* l = in_section ? g.enter(other) : g.state(other);
        for (const std::uint64_t page : {2, 1}) REQUIRE(m.unmap(l, {gfn{page}, 1}) == status::ok);
        if (in_section) REQUIRE(m.leave(l) == status::ok);
        CHECK(g.s().tables() == 1);
        if (taken) map_now(g, other, 3 * n, 0x999);
        map_now(g, 0, 3, 0x300);
        map_now(g, 0, 4, 0x400);
        CHECK(g.leaves().size() == 2 + taken);
        CHECK(!g.in_tables(gfn{3 * n + 3}));
        CHECK(m.tables_in_use() == g.s().tables());
      }
    }
  }
}
TEST_CASE_TEMPLATE("pages that another cpu has changed meanwhile, in a table that stays, are respected", F, QUIRE_FORMATS) {
  guest<F> g(options());
  map_now(g, 0, 1, 0x100);
  map_now(g, 0, 2, 0x200);
  map_now(g, 1, 3, 0x300);
  map_now(g, 0, 4, 0x400);
  unmap_now(g, 1, 2);
  map_now(g, 0, 2, 0x222, ro);
  map_now(g, 0, 3, 0x333);
  CHECK(g.reports.size() == 2);
  CHECK(g.leaves().size() == 4);
}
TEST_CASE_TEMPLATE("with other attributes a page gets these, and the way is found anew", F, QUIRE_FORMATS) {
  guest<F> fast(options()), slow(options(true));
  for (guest_base* g : {static_cast<guest_base*>(&fast), static_cast<guest_base*>(&slow)}) {
    const attributes typed{perm::r, g->second_type()};
    map_now(*g, 0, 1, 0x100);
    map_now(*g, 0, 2, 0x200, ro);
    map_now(*g, 0, 3, 0x300, ro);
    map_now(*g, 0, 4, 0x400);
    map_now(*g, 0, 5, 0x500, typed);
    map_now(*g, 0, 6, 0x600, typed);
    for (const attributes bad : {attributes{static_cast<perm>(0xff)}, attributes{perm::rw, 0xff}, attributes{perm::rw, 0, 0x8000}}) {
      if (bad.options && (g->s().shape.option_set & bad.options)) continue;
      CHECK(g->m().map(g->state(), {gfn{7}, 1}, hfn{1}, bad) == status::bad_attributes);
    }
    CHECK(!g->in_tables(gfn{7}));
  }
  check_same(fast, slow);
}
TEST_CASE_TEMPLATE("a page that is mapped already is replaced, and reported once", F, QUIRE_FORMATS) {
  guest<F> fast(options()), slow(options(true));
  for (guest_base* g : {static_cast<guest_base*>(&fast), static_cast<guest_base*>(&slow)}) {
    map_now(*g, 0, 1, 0x100);
    map_now(*g, 0, 2, 0x200);
    CHECK(g->reports.empty());
    map_now(*g, 0, 2, 0x201);
    REQUIRE(g->reports.size() == 1);
    CHECK(g->reports[0].range == gfn_range{gfn{2}, 1});
    CHECK(g->reports[0].out == hfn{0x200});
    CHECK(g->flushes.size() == 1);
    map_now(*g, 0, 2, 0x201);  // as it is
    CHECK(g->reports.size() == 1);
    CHECK(g->flushes.size() == 1);
    map_now(*g, 0, 3, 0x300);
  }
  check_same(fast, slow);
}
TEST_CASE_TEMPLATE("counters, tables and reports are those of the slow way, whatever comes in between", F, QUIRE_FORMATS) {
  guest<F> fast(options()), slow(options(true));
  for (guest_base* g : {static_cast<guest_base*>(&fast), static_cast<guest_base*>(&slow)}) {
    machine& m = g->m();
    const std::uint64_t n = g->s().shape.slot_pages(1);
    std::uint64_t x = 1;
    for (unsigned i = 0; i < 2000; ++i) {
      x = x * 6364136223846793005u + 1442695040888963407u;
      const std::uint64_t r = x >> 33;
      const gfn page{r % 3 * n + r / 3 % n % 24};
      switch (r >> 20 & 15) {
        case 0: REQUIRE(m.unmap(g->state(), {page, 1}) == status::ok); break;
        case 1: REQUIRE(m.unmap(g->state(), {gfn{r % 3 * n}, n}) == status::ok); break;
        case 2: REQUIRE(m.protect(g->state(), {page, 1}, perm::r) == status::ok); break;
        case 3: {
          lazy_state* l = g->enter();
          REQUIRE(m.map(l, {page, 1}, hfn{i}, ro) == status::ok);
          REQUIRE(m.map(l, {gfn{page.value ^ 1}, 1}, hfn{i}, ro) == status::ok);
          REQUIRE(m.leave(l) == status::ok);
          break;
        }
        case 4: REQUIRE(m.map(g->state(), {gfn{r % 3 * n}, n}, hfn{(r & 3) * n}, rw) == status::ok); break;
        case 5: m.enter_interrupt(0); break;
        case 6:
        case 7:
        case 8: REQUIRE(m.unmap(g->state(), {gfn{page.value ^ 1}, 1}) == status::ok); break;
        default: REQUIRE(m.map(g->state(), {page, 1}, hfn{r & 0xfff}, r & 0x10000 ? rw : ro) == status::ok);
      }
      if (m.in_interrupt(0)) {
        REQUIRE(m.map(g->state(), {page, 1}, hfn{i}, rw) == status::ok);
        CHECK(g->in_tables(page)->out == hfn{i});
        m.leave_interrupt(0);
      }
    }
  }
  check_same(fast, slow);
}
TEST_CASE_TEMPLATE("the end of the output size and of the input size is the same", F, QUIRE_FORMATS) {
  guest<F> g(options());
  const std::uint64_t end = g.s().shape.output_pages, last = g.s().shape.input_pages;
  map_now(g, 0, last - 3, end - 2);
  map_now(g, 0, last - 2, end - 1);
  CHECK(g.m().map(g.state(), {gfn{last - 1}, 1}, hfn{end}, rw) == status::bad_range);
  CHECK(g.m().map(g.state(), {gfn{last}, 1}, hfn{1}, rw) == status::bad_range);
  CHECK(g.m().map(g.state(), {gfn{last - 1}, 2}, hfn{1}, rw) == status::bad_range);
  CHECK(!g.in_tables(gfn{last - 1}));
  map_now(g, 0, last - 1, 0);
}
TEST_CASE_TEMPLATE("a map with a guard that has moved on is left out, behind a shortcut too", F, QUIRE_FORMATS) {
  guest<F> g(options());
  map_now(g, 0, 1, 0x100);
  map_now(g, 0, 2, 0x200);
  const runtime::guard old{3, g.s().guard_sequence(3)};
  g.s().bump_guard(3);
  REQUIRE(g.m().map(g.state(), {gfn{3}, 1}, hfn{7}, rw, 0, old) == status::ok);
  CHECK(!g.in_tables(gfn{3}));
  CHECK(g.m().counts(0, g.s()).cancelled_updates == 1);
}
}

}  // namespace quire::tests
