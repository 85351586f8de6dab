// Defects that the stress tests found, or reading for them, each in its smallest form and without threads.
#include <doctest/doctest.h>

#include "tests/stress/hardware.h"
#include "tests/support/guest.h"

namespace quire::tests {

namespace {

constexpr attributes rwx{perm::rwx, 0, 0};

/// A backend of which another cpu drains the queues each time after the tables were looked at.
struct drained_meanwhile {
  static inline guest_base* where = nullptr;
  static inline const runtime::backend* plain = nullptr;

  static runtime::piece find_after(const runtime::platform& host, const runtime::space& s, gfn page) {
    REQUIRE(where->m().drain(1, where->s()) == status::ok);
    return plain->find(host, s, page);
  }
  static runtime::piece find(const runtime::platform& host, const runtime::space& s, gfn page) {
    const runtime::piece p = plain->find(host, s, page);
    REQUIRE(where->m().drain(1, where->s()) == status::ok);
    return p;
  }
};

void map_one(guest_base& g, unsigned cpu, gfn page) {
  REQUIRE(g.m().map(g.state(cpu), {page, 1}, hfn{1}, rwx, 0) == status::ok);
}

}  // namespace

TEST_SUITE("found") {
TEST_CASE_TEMPLATE("rule 7: a lookup sees what its cpu queued, though a drain comes between tables and queue",
                   F, QUIRE_FORMATS) {
  guest<F> g({.cpus = 2});
  drained_meanwhile::where = &g;
  drained_meanwhile::plain = g.s().backend;
  runtime::backend drains = *g.s().backend;
  drains.find = &drained_meanwhile::find;
  lazy_state* l = g.enter(0);
  REQUIRE(g.m().map(l, {gfn{5}, 1}, hfn{7}, rwx, 0) == status::ok);
  g.s().backend = &drains;
  const auto seen = g.look(gfn{5}, 0);
  g.s().backend = drained_meanwhile::plain;
  REQUIRE(seen.has_value());
  CHECK(seen->out == hfn{7});
  REQUIRE(g.m().leave(l) == status::ok);
}

TEST_CASE_TEMPLATE("rule 7: a lookup with a drain in its middle lays no update twice over the tables", F,
                   QUIRE_FORMATS) {
  guest<F> g({.cpus = 2});
  drained_meanwhile::where = &g;
  drained_meanwhile::plain = g.s().backend;
  runtime::backend drains = *g.s().backend;
  drains.find = &drained_meanwhile::find_after;
  lazy_state* l = g.enter(0);
  REQUIRE(g.m().protect(l, {gfn{5}, 1}, perm::rx) == status::ok);
  REQUIRE(g.m().map_keep_present(l, {gfn{5}, 1}, hfn{7}, rwx, 0) == status::ok);
  g.s().backend = &drains;
  const auto seen = g.look(gfn{5}, 0);
  g.s().backend = drained_meanwhile::plain;
  REQUIRE(seen.has_value());
  CHECK(seen->attr.access == perm::rwx);
  REQUIRE(g.m().leave(l) == status::ok);
}

// The map replaces a leaf, which is flushed; meanwhile its guard moves. It has linked a table of level 1 by
// then, and found the frame of the next one biased to another cpu.
TEST_CASE("an update that is cancelled between two phases leaves no empty table") {
  for (unsigned owners = 0; owners < 256; ++owners) {  // of the frames that are free
    guest<arch::ept> g({.cpus = 2});
    machine& m = g.m();
    const auto page = [](unsigned i) { return gfn{std::uint64_t{2 + i} << 18}; };
    for (unsigned i = 0; i < 8; ++i) map_one(g, owners >> i & 1, page(i));
    for (unsigned i = 0; i < 8; ++i) REQUIRE(m.unmap(g.state(owners >> i & 1), {page(i), 1}) == status::ok);
    const gfn last{(1u << 18) - 1};
    REQUIRE(m.map(g.state(0), {last, 1}, hfn{1}, rwx, 0) == status::ok);
    REQUIRE(m.map(g.state(0), {gfn{last.value - 512}, 1}, hfn{1}, rwx, 0) == status::ok);
    bool moved = false;
    g.on_flush = [&](const runtime::flush_plan&) {
      if (!moved) g.s().bump_guard(3);
      moved = true;
    };
    REQUIRE(m.map(g.state(0), {last, 2}, hfn{9}, rwx, 0, {3, g.s().guard_sequence(3)}) == status::ok);
    const census c = hardware_of<arch::ept>({}, g.host().table_offset).count(g.s());
    CHECK(c.empty == 0);
    CHECK(c.tables == g.s().tables());
  }
}

TEST_CASE_TEMPLATE("a table that is hidden until the flush is known as such when the commit comes back to it",
                   F, QUIRE_FORMATS) {
  guest<F> g({.cpus = 1});
  machine& m = g.m();
  const std::uint64_t slot = g.s().shape.slot_pages(1);
  const gfn far{g.s().shape.slot_pages(1) << g.s().shape.index_bits[1]};
  if (!g.s().shape.holds({far, 1})) return;
  REQUIRE(m.map_exact(g.state(), {gfn{0}, 2 * slot}, hfn{0}, rwx, 1) == status::ok);
  REQUIRE(m.map(g.state(), {far, 1}, hfn{0}, rwx, 0) == status::ok);
  lazy_state* l = g.enter(0);
  REQUIRE(m.unmap(l, {gfn{5}, 1}) == status::ok);        // splits the first leaf: the table is hidden
  REQUIRE(m.unmap(l, {far, 1}) == status::ok);           // far away
  REQUIRE(m.unmap(l, {gfn{6}, 1}) == status::ok);        // in the hidden table again
  REQUIRE(m.unmap(l, {gfn{slot}, slot}) == status::ok);  // above it
  REQUIRE(m.map(l, {gfn{6}, 1}, hfn{99}, rwx, 0) == status::ok);
  REQUIRE(m.leave(l) == status::ok);
  REQUIRE(g.in_tables(gfn{6}).has_value());
  CHECK(g.in_tables(gfn{6})->out == hfn{99});
}
}

}  // namespace quire::tests
