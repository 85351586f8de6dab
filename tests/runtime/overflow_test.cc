// Commits that make more stale, report more or remove more than they can remember.
#include <doctest/doctest.h>

#include <algorithm>

#include "tests/support/guest.h"

namespace quire::tests {

namespace {

using runtime::gather;
using runtime::harvest;
using runtime::removed_tables;
using runtime::report;
using runtime::report_queue;

constexpr attributes rw{perm::rw};

/// Reported removals that one commit can remember. Changes that an instruction has to make are held back too.
template <class F>
constexpr std::uint64_t removals =
    arch::instructed_format<F> ? runtime::entry_changes::capacity : report_queue::capacity;

std::uint64_t planned(guest_base& g, flush_reason r) {
  return g.m().counts(0, g.s()).flush_plans[static_cast<unsigned>(r)];
}

/// Pages [0, pages) to frames that do not follow each other.
void scatter(guest_base& g, std::uint64_t pages, std::uint64_t out) {
  lazy_state* l = g.enter();
  for (std::uint64_t i = 0; i < pages; ++i) {
    REQUIRE(g.m().map(l, {gfn{i}, 1}, hfn{out + 2 * i}, rw, 0) == status::ok);
  }
  REQUIRE(g.m().leave(l) == status::ok);
}

/// Phase, from 1 on, that each page is reported in, if all pages are harvested in all passes but the last, and removed in that.
/// A phase ends before what there is no room for, but a harvest that has room for one report takes many entries of a table.
template <class F>
std::vector<std::size_t> phases_of_reports(const arch::geometry& shape, std::uint64_t pages, std::uint64_t passes) {
  std::vector<std::size_t> phases;
  std::size_t phase = 1, here = 0;
  for (std::uint64_t pass = 1; pass <= passes; ++pass) {
    const std::uint64_t at_once = pass < passes ? std::min<std::uint64_t>(shape.entries(0), report_queue::spare) : 1;
    for (std::uint64_t done = 0; done < pages; done += at_once) {
      if (here >= removals<F>) {
        here = 0;
        ++phase;
      }
      const std::uint64_t n = std::min(at_once, pages - done);
      phases.insert(phases.end(), n, phase);
      here += n;
    }
  }
  return phases;
}

}  // namespace

TEST_SUITE("overflow") {
TEST_CASE_TEMPLATE(
    "as many ranges as a flush can hold are flushed one by one, one more becomes the whole space", F,
    QUIRE_FORMATS) {
  for (const std::uint64_t ranges : {gather::capacity, gather::capacity + 1, gather::capacity + 100}) {
    CAPTURE(ranges);
    guest<F> g({.table_bytes = std::size_t{8} << 20});
    machine& m = g.m();
    REQUIRE(m.map(g.state(), {gfn{0}, 512}, hfn{1}, rw, 0) == status::ok);
    lazy_state* l = g.enter();
    for (std::uint64_t i = 0; i < ranges; ++i) {
      REQUIRE(m.unmap(l, {gfn{i < 256 ? 2 * i : 2 * (i - 256) + 1}, 1}) == status::ok);
    }
    REQUIRE(m.leave(l) == status::ok);
    // Where valid entries change by instruction, each is named, so a full flush would not do.
    const bool over = ranges > gather::capacity && !arch::instructed_format<F>;
    REQUIRE(g.flushes.size() == 1);
    CHECK(g.flushes[0].whole == over);
    CHECK(g.flushes[0].reason == flush_reason::leave);
    CHECK(m.counts(0, g.s()).flush_full == (over ? 1 : 0));
    CHECK(m.counts(0, g.s()).flush_requested >= ranges);  // and tables that became empty
    CHECK(m.counts(0, g.s()).forced_commits == 0);
    if constexpr (std::is_base_of_v<arch::example_format, F>) {
      CHECK(g.flushes[0].commands.size() == (over ? 1 : gather::capacity));
      if (!over) CHECK(g.flushes[0].commands[3] == "flush first=0x6 pages=0x1");
    }
    for (std::uint64_t i = 0; i < 512; ++i) {
      CHECK(g.in_tables(gfn{i}).has_value() == (i % 2 == 1 && i / 2 >= ranges - 256));
    }
    REQUIRE(m.unmap(g.state(), {gfn{511}, 1}) == status::ok);  // the flag does not stick
    CHECK(!g.flushes[1].whole);
  }
}

TEST_CASE("example: the ranges of a flush are sorted and joined, in whatever order pages went stale") {
  guest<example> g;
  REQUIRE(g.m().map(g.state(), {gfn{0}, 64}, hfn{1}, rw, 0) == status::ok);
  lazy_state* l = g.enter();
  for (const unsigned i : {40u, 9u, 8u, 7u, 30u, 31u, 6u, 41u})
    REQUIRE(g.m().unmap(l, {gfn{i}, 1}) == status::ok);
  REQUIRE(g.m().protect(l, {gfn{10}, 1}, perm::r) == status::ok);
  REQUIRE(g.m().map(l, {gfn{30}, 1}, hfn{7}, rw, 0) == status::ok);
  REQUIRE(g.m().leave(l) == status::ok);
  REQUIRE(g.flushes.size() == 1);
  CHECK(g.flushes[0].commands == std::vector<std::string>{"flush first=0x6 pages=0x5",
                                                          "flush first=0x1e pages=0x2",
                                                          "flush first=0x28 pages=0x2"});
}

TEST_CASE_TEMPLATE("more reports than fit the queue make a flush in between and none gets lost", F,
                   QUIRE_FORMATS) {
  guest<F> g({.table_bytes = std::size_t{8} << 20});
  machine& m = g.m();
  const bool tracked = g.s().backend->tracks_status(g.s());
  const std::uint64_t pages = std::min<std::uint64_t>(g.s().shape.input_pages, 1500);
  const std::uint64_t passes = tracked ? 3 : 1;
  scatter(g, pages, 0x10000);
  for (std::uint64_t i = 0; i < pages; ++i) REQUIRE(g.touch(gfn{i}, perm::w));
  g.flushes.clear();
  g.reports.clear();
  std::vector<std::size_t> flushes_before;
  g.on_report = [&](const report&) { flushes_before.push_back(g.flushes.size()); };
  lazy_state* l = g.enter();
  REQUIRE(m.harvest_status(l, {gfn{0}, pages}, harvest::accessed) == status::ok);
  REQUIRE(m.harvest_status(l, {gfn{0}, pages}, harvest::dirty) == status::ok);
  REQUIRE(m.map(l, {gfn{0}, pages}, hfn{3}, rw, 0) == status::ok);
  REQUIRE(m.leave(l) == status::ok);

  const std::vector<std::size_t> phases = phases_of_reports<F>(g.s().shape, pages, passes);
  const std::uint64_t overflows = phases.back() - 1;
  REQUIRE(overflows > 0);
  CHECK(planned(g, flush_reason::overflow) == overflows);
  CHECK(g.flushes.size() == overflows + 1);
  CHECK(g.flushes.front().reason == flush_reason::overflow);
  CHECK(g.flushes.back().reason == flush_reason::leave);
  REQUIRE(g.reports.size() == passes * pages);
  for (std::size_t i = 0; i < g.reports.size(); ++i) {
    const report& r = g.reports[i];
    const bool last = i / pages == passes - 1;
    CHECK(r.range == gfn_range{gfn{i % pages}, 1});
    CHECK(r.out == hfn{0x10000 + 2 * (i % pages)});
    CHECK(r.what == (last ? report::kind::removed : report::kind::harvested));
    CHECK(r.accessed == (tracked && i / pages == 0));
    CHECK(r.dirty == (tracked && i / pages == 1));
    CHECK(flushes_before[i] == phases[i]);
  }
  for (std::uint64_t i = 0; i < pages; ++i) CHECK(g.in_tables(gfn{i})->out == hfn{3 + i});
}

TEST_CASE_TEMPLATE("the observer hears the reports of a phase in one call", F, QUIRE_FORMATS) {
  guest<F> g({.table_bytes = std::size_t{8} << 20});
  const std::uint64_t pages = removals<F>;
  if (g.s().shape.input_pages < 2 * pages) return;
  scatter(g, pages, 0x10000);
  g.calls_with_reports = 0;
  REQUIRE(g.m().map(g.state(), {gfn{0}, pages}, hfn{3}, rw, 0) == status::ok);
  CHECK(g.reports.size() == pages);
  CHECK(g.calls_with_reports == 1);
  REQUIRE(g.m().map(g.state(), {gfn{0}, pages}, hfn{3}, rw, 0) == status::ok);  // nothing to report
  CHECK(g.calls_with_reports == 1);
}

TEST_CASE_TEMPLATE("leaves in removed tables are reported whole and in order, however many", F, QUIRE_FORMATS) {
  guest<F> g({.table_bytes = std::size_t{16} << 20});
  const std::uint64_t table = g.s().shape.table_pages(0), pages = (report_queue::capacity / table + 3) * table;
  if (g.s().shape.top() == 0 || g.s().shape.input_pages < 2 * pages) return;
  scatter(g, pages, 0x10000);
  // The last frame of a table and the first of the next one follow each other: one report, also across two calls.
  for (std::uint64_t t = table; t < pages; t += table) {
    REQUIRE(g.m().map(g.state(), {gfn{t}, 1}, hfn{0x10000 + 2 * (t - 1) + 1}, rw, 0) == status::ok);
  }
  g.reports.clear();
  g.calls_with_reports = 0;
  REQUIRE(g.m().unmap(g.state(), {gfn{0}, pages}) == status::ok);
  CHECK(g.reports.size() == pages - (pages / table - 1));
  CHECK(g.calls_with_reports > 1);
  gfn next{0};
  for (const report& r : g.reports) {
    REQUIRE(r.range.first == next);
    CHECK(r.out == hfn{0x10000 + 2 * next.value});
    next = r.range.end();
  }
  CHECK(next == gfn{pages});
}

TEST_CASE("DAT: a phase that has no room for another range ends, rather than hold back entry by entry") {
  guest<arch::dat> g({.table_bytes = std::size_t{8} << 20, .max_leaf_level = 0});
  machine& m = g.m();
  constexpr std::uint64_t ranges = runtime::entry_changes::span_capacity, tables = 2 * ranges + 2, table = 256;
  REQUIRE(m.map(g.state(), {gfn{0}, tables * table}, hfn{0}, {perm::rwx}, 0) == status::ok);
  lazy_state* l = g.enter();
  for (std::uint64_t t = 0; t < tables; ++t) REQUIRE(m.unmap(l, {gfn{t * table}, table / 2}) == status::ok);
  REQUIRE(m.leave(l) == status::ok);
  std::size_t commands = 0;
  for (const recorded_flush& f : g.flushes) commands += f.commands.size();
  CHECK(commands == tables);
  CHECK(g.flushes.size() == 3);
  CHECK(g.leaves().size() == tables * table / 2);
}

TEST_CASE_TEMPLATE("exactly as many reports as fit the queue need no flush in between", F, QUIRE_FORMATS) {
  for (const std::uint64_t extra : {0u, 1u}) {
    CAPTURE(extra);
    guest<F> g({.table_bytes = std::size_t{8} << 20});
    const bool small = g.s().shape.input_pages < 2048;
    if (small && !g.s().backend->tracks_status(g.s())) continue;
    const std::uint64_t pages = small ? 512 : removals<F> + extra;
    scatter(g, pages, 0x10000);
    if (small) {
      for (std::uint64_t i = 0; i < pages; ++i) REQUIRE(g.touch(gfn{i}, perm::r));
    }
    lazy_state* l = g.enter();
    if (small) REQUIRE(g.m().harvest_status(l, {gfn{0}, pages}, harvest::accessed) == status::ok);
    REQUIRE(g.m().map(l, {gfn{0}, pages}, hfn{3}, rw, 0) == status::ok);
    if (small && extra) REQUIRE(g.m().map(l, {gfn{0}, 1}, hfn{9}, rw, 0) == status::ok);
    REQUIRE(g.m().leave(l) == status::ok);
    CHECK(planned(g, flush_reason::overflow) == extra);
  }
}

TEST_CASE("a table that went is covered by another's stale range only if that lies in it") {
  runtime::gather stale;
  const gfn_range table{gfn{0x200}, 0x200};
  CHECK(!stale.reaches(table));
  stale.add({gfn{0x210}, 1}, 0, false);
  CHECK(stale.reaches(table));
  stale.add({gfn{0x10}, 1}, 0, false);  // the newest lies elsewhere
  CHECK(!stale.reaches(table));
  stale.add_whole();
  CHECK(stale.reaches(table));
}

TEST_CASE_TEMPLATE("a space without an observer keeps no reports", F, QUIRE_FORMATS) {
  guest<F> g({.table_bytes = std::size_t{8} << 20, .observed = false});
  const std::uint64_t pages = std::min<std::uint64_t>(g.s().shape.input_pages, 1500);
  scatter(g, pages, 0x10000);
  lazy_state* l = g.enter();
  for (unsigned i = 0; i < 4; ++i) REQUIRE(g.m().map(l, {gfn{0}, pages}, hfn{3 + i}, rw, 0) == status::ok);
  REQUIRE(g.m().leave(l) == status::ok);
  CHECK(planned(g, flush_reason::overflow) == (arch::instructed_format<F> ? 4 * pages / removals<F> : 0));
  CHECK(g.in_tables(gfn{5})->out == hfn{11});
}

TEST_CASE_TEMPLATE("more removed tables than can be remembered make a flush in between, and all are freed", F,
                   QUIRE_FORMATS) {
  constexpr std::uint64_t tables = 16;  // in each round
  for (const std::uint64_t rounds :
       {removed_tables::capacity / tables, removed_tables::capacity / tables + 3}) {
    CAPTURE(rounds);
    guest<F> g({.table_bytes = std::size_t{16} << 20, .observed = false});
    machine& m = g.m();
    const std::uint64_t n = g.s().shape.slot_pages(1);
    const gfn_range all{gfn{0}, tables * n};
    REQUIRE(m.map(g.state(), all, hfn{1}, rw, 0) == status::ok);
    g.flushes.clear();
    std::vector<std::uint64_t> in_use;
    g.on_flush = [&](const runtime::flush_plan&) { in_use.push_back(m.tables_in_use()); };
    const std::uint64_t before = m.tables_in_use();
    lazy_state* l = g.enter();
    for (std::uint64_t i = 0; i < rounds; ++i) {
      REQUIRE(m.map(l, all, hfn{2 * i * n}, rw, 1) == status::ok);  // takes the tables out
      if (i + 1 < rounds)
        REQUIRE(m.map(l, all, hfn{2 * i * n + 1}, rw, 0) == status::ok);  // splits, so they are back
    }
    REQUIRE(m.leave(l) == status::ok);
    const bool over = rounds * tables > removed_tables::capacity;
    CHECK(planned(g, flush_reason::overflow) == (over ? 1 : 0));
    REQUIRE(in_use.size() == (over ? 2 : 1));
    CHECK(in_use[0] >= before + removed_tables::capacity - tables);  // none is free before the flush
    if (over) CHECK(in_use[1] < in_use[0]);
    CHECK(g.flushes.back().reason == flush_reason::leave);
    CHECK(m.tables_in_use() == before - tables);
    CHECK(m.tables_in_use() == g.s().tables());
    CHECK(g.leaves().size() == tables);
    for (std::uint64_t i = 0; i < tables; ++i) {
      CHECK(g.in_tables(gfn{i * n + 3})->out == hfn{2 * (rounds - 1) * n + i * n + 3});
    }
  }
}
}

}  // namespace quire::tests
