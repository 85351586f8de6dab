// Flushes that are not needed, and are not asked for.
#include <doctest/doctest.h>

#include "tests/support/guest.h"

namespace quire::tests {

namespace {

constexpr attributes rw{perm::rw};

std::uint64_t flushes(guest_base& g) {
  std::uint64_t plans = 0;
  for (const std::uint64_t n : g.m().counts(0, g.s()).flush_plans) plans += n;
  CHECK(plans == g.flushes.size());
  return plans;
}

}  // namespace

TEST_SUITE("elision") {
TEST_CASE_TEMPLATE("defect: the sink was called without a command if all entries of a commit were changed back", F, QUIRE_FORMATS) {
  guest<F> g;
  machine& m = g.m();
  const std::uint64_t leaf = g.s().shape.slot_pages(0);
  REQUIRE(m.map(g.state(), {gfn{0}, 4 * leaf}, hfn{0}, attributes{perm::rwx}, 0) == status::ok);
  g.flushes.clear();
  g.on_flush = [](const runtime::flush_plan& p) { CHECK(!p.commands.empty()); };
  lazy_state* l = g.enter();
  REQUIRE(m.protect(l, {gfn{leaf}, leaf}, perm::r) == status::ok);
  REQUIRE(m.protect(l, {gfn{leaf}, leaf}, perm::rwx) == status::ok);
  REQUIRE(m.leave(l) == status::ok);
  const auto counted = m.counts(0, g.s());
  CHECK(counted.flush_elided == (arch::instructed_format<F> ? 1 : 0));
  CHECK(g.flushes.size() == (arch::instructed_format<F> ? 0 : 1));
  CHECK(g.in_tables(gfn{leaf})->attr.access == perm::rwx);
}

TEST_CASE_TEMPLATE("rule 15: mapping what was empty flushes nothing", F, QUIRE_FORMATS) {
  for (const bool lazy : {false, true}) {
    CAPTURE(lazy);
    guest<F> g;
    machine& m = g.m();
    const std::uint64_t n = g.s().shape.slot_pages(1);
    lazy_state* l = lazy ? g.enter() : g.state();
    REQUIRE(m.map(l, {gfn{3}, 1}, hfn{0x901}, rw) == status::ok);
    REQUIRE(m.map(l, {gfn{n}, 3 * n + 1}, hfn{0}, rw) == status::ok);
    REQUIRE(m.map_keep_present(l, {gfn{0}, 5 * n}, hfn{1}, rw) == status::ok);
    REQUIRE(m.map_exact(l, {gfn{6 * n}, n}, hfn{0}, rw, 1) == status::ok);
    if (lazy) REQUIRE(m.leave(l) == status::ok);
    CHECK(flushes(g) == 0);
    CHECK(m.counts(0, g.s()).flush_requested == 0);
    CHECK(m.counts(0, g.s()).flush_elided == 0);
  }
}

TEST_CASE_TEMPLATE("rule 15: updates that change nothing flush and report nothing", F, QUIRE_FORMATS) {
  guest<F> g;
  machine& m = g.m();
  const std::uint64_t n = g.s().shape.slot_pages(1);
  REQUIRE(m.map(g.state(), {gfn{n}, n}, hfn{n}, rw) == status::ok);
  lazy_state* l = g.enter();
  REQUIRE(m.map(l, {gfn{n}, n}, hfn{n}, rw) == status::ok);
  REQUIRE(m.map(l, {gfn{n + 2}, 3}, hfn{n + 2}, rw, 0) == status::ok);
  REQUIRE(m.map_keep_present(l, {gfn{n}, n}, hfn{5}, {perm::r}) == status::ok);
  REQUIRE(m.unmap(l, {gfn{3 * n}, 2 * n}) == status::ok);
  REQUIRE(m.protect(l, {gfn{n}, 3 * n}, perm::rw) == status::ok);
  REQUIRE(m.harvest_status(l, {gfn{0}, 4 * n}, runtime::harvest::accessed | runtime::harvest::dirty) ==
          status::ok);
  REQUIRE(m.leave(l) == status::ok);
  CHECK(flushes(g) == 0);
  CHECK(g.reports.empty());
  CHECK(m.counts(0, g.s()).splits == 0);
  CHECK(m.counts(0, g.s()).kept_pages == n);
  lazy_state* empty = g.enter();
  REQUIRE(m.leave(empty) == status::ok);
  CHECK(flushes(g) == 0);
}

TEST_CASE_TEMPLATE("rule 15: a space that no cpu ever ran is not flushed, and is from its first run on", F,
                   QUIRE_FORMATS) {
  guest<F> g({.running = false});
  machine& m = g.m();
  REQUIRE(m.map(g.state(), {gfn{0x10}, 8}, hfn{0x901}, rw, 0) == status::ok);
  REQUIRE(m.protect(g.state(), {gfn{0x10}, 2}, perm::r) == status::ok);
  lazy_state* l = g.enter();
  REQUIRE(m.unmap(l, {gfn{0x11}, 1}) == status::ok);
  REQUIRE(m.map(l, {gfn{0x12}, 1}, hfn{0x905}, rw, 0) == status::ok);
  REQUIRE(m.leave(l) == status::ok);
  CHECK(flushes(g) == 0);
  CHECK(m.counts(0, g.s()).flush_elided == 2);
  CHECK(g.reports.size() == 2);
  g.s().note_run(0);
  REQUIRE(m.unmap(g.state(), {gfn{0x12}, 1}) == status::ok);
  CHECK(flushes(g) == 1);
  CHECK(m.counts(0, g.s()).flush_elided == 2);
}

TEST_CASE_TEMPLATE("rule 15: destroying a space flushes it as a whole, once, before it reports and frees", F,
                   QUIRE_FORMATS) {
  guest<F> g;
  machine& m = g.m();
  const std::uint64_t n = g.s().shape.slot_pages(1);
  for (std::uint64_t i = 0; i < 20; ++i) {
    REQUIRE(m.map(g.state(), {gfn{i * n + i % 7}, n}, hfn{3 * i * n}, rw) == status::ok);
  }
  g.flushes.clear();
  g.reports.clear();
  const std::uint64_t before = m.tables_in_use();
  g.on_flush = [&](const runtime::flush_plan& plan) {
    CHECK(plan.whole);
    CHECK(plan.reason == flush_reason::destroy);
    CHECK(!plan.commands.empty());
    CHECK(m.tables_in_use() == before);
    CHECK(g.reports.empty());
  };
  const auto leaves = g.leaves();
  std::uint64_t pages = 0;
  for (const raw_leaf& leaf : leaves) pages += g.s().shape.slot_pages(leaf.level);
  REQUIRE(m.destroy_space(0, &g.s()) == status::ok);
  CHECK(g.flushes.size() == 1);
  CHECK(m.tables_in_use() == 0);
  for (const auto& r : g.reports) pages -= r.range.pages;
  CHECK(pages == 0);
}

TEST_CASE_TEMPLATE("rule 15: destroying a space that no cpu ever ran flushes nothing", F, QUIRE_FORMATS) {
  guest<F> g({.running = false});
  REQUIRE(g.m().map(g.state(), {gfn{0x10}, 8}, hfn{0x901}, rw, 0) == status::ok);
  REQUIRE(g.m().destroy_space(0, &g.s()) == status::ok);
  CHECK(g.flushes.empty());
  CHECK(g.reports.size() == 1);
}

TEST_CASE_TEMPLATE("rule 15: more access flushes nothing where it may, less access flushes, for every pair", F,
                   QUIRE_FORMATS) {
  guest<F> g;
  machine& m = g.m();
  const std::uint32_t set = g.s().shape.access_set;
  for (unsigned a = 0; a < arch::perm_values; ++a) {
    for (unsigned b = 0; b < arch::perm_values; ++b) {
      if (!(set >> a & 1) || !(set >> b & 1)) continue;
      CAPTURE(a);
      CAPTURE(b);
      const auto from = static_cast<perm>(a);
      const auto to = static_cast<perm>(b);
      // Where valid entries change by instruction only, that instruction flushes.
      const bool free = arch::instructed_format<F> ? to == from : includes(to, from);
      const std::size_t wanted = free ? 0 : 1;
      REQUIRE(m.unmap(g.state(), {gfn{0x20}, 1}) == status::ok);
      REQUIRE(m.map(g.state(), {gfn{0x20}, 1}, hfn{0x901}, {from}, 0) == status::ok);
      g.flushes.clear();
      REQUIRE(m.protect(g.state(), {gfn{0x20}, 1}, to) == status::ok);
      CHECK(g.in_tables(gfn{0x20})->attr.access == to);
      CHECK(g.flushes.size() == wanted);

      REQUIRE(m.protect(g.state(), {gfn{0x20}, 1}, from) == status::ok);
      g.flushes.clear();
      REQUIRE(m.map(g.state(), {gfn{0x20}, 1}, hfn{0x901}, {to}, 0) == status::ok);
      CHECK(g.in_tables(gfn{0x20})->attr.access == to);
      CHECK(g.flushes.size() == wanted);
    }
  }
}

TEST_CASE_TEMPLATE("rule 15: one section asks for one flush, whatever number of pages it narrows", F,
                   QUIRE_FORMATS) {
  guest<F> g;
  machine& m = g.m();
  REQUIRE(m.map(g.state(), {gfn{0}, 512}, hfn{0x1001}, rw, 0) == status::ok);
  lazy_state* l = g.enter();
  for (std::uint64_t i = 0; i < 200; ++i) REQUIRE(m.unmap(l, {gfn{i * 2}, 1}) == status::ok);
  REQUIRE(m.leave(l) == status::ok);
  CHECK(flushes(g) == 1);
  CHECK(m.counts(0, g.s()).flush_requested == 200);
  CHECK(m.counts(0, g.s()).flush_full == 0);
}
}

}  // namespace quire::tests
