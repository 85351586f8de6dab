// Defects that other systems had, shown in sections, commits and walks of every format.
#include <doctest/doctest.h>

#include "tests/support/guest.h"

namespace quire::tests {

namespace {

constexpr attributes rw{perm::rw};
constexpr attributes ro{perm::r};

/// What a walk with apply_to_range() saw: frame and access of each piece.
struct seen_pieces {
  struct piece {
    gfn_range range;
    hfn out;
    perm access;
    friend bool operator==(const piece&, const piece&) = default;
  };
  std::vector<piece> all;

  static bool add(void* context, lazy_state* /*l*/, bool present, const mapping& m) {
    if (present) static_cast<seen_pieces*>(context)->all.push_back({m.range, m.out, m.attr.access});
    return true;
  }
};

/// The ways to commit what a section has queued, and to be in it afterwards.
enum class commit { flush, nested_leave, pause };

void do_commit(guest_base& g, lazy_state* l, commit how) {
  machine& m = g.m();
  if (how == commit::nested_leave) REQUIRE(g.enter() == l);
  const status done = how == commit::flush ? m.flush(l) : how == commit::pause ? m.pause(l) : m.leave(l);
  REQUIRE(done == status::ok);
  if (how == commit::pause) REQUIRE(m.resume(l) == status::ok);
}

}  // namespace

TEST_SUITE("defects") {
TEST_CASE_TEMPLATE("table freed before its invalidation: nothing takes a removed table while the flush runs",
                   F, QUIRE_FORMATS) {
  guest<F> g;
  machine& m = g.m();
  const std::uint64_t n = g.s().shape.slot_pages(1);
  REQUIRE(m.map(g.state(), {gfn{n}, n}, hfn{5}, rw, 0) == status::ok);
  const auto before = g.s().backend->walk(g.host(), g.s(), {gfn{n + 2}, perm::r, false, false, {}});
  REQUIRE(before.present);
  const std::uint64_t in_use = m.tables_in_use();
  int flushes = 0;
  g.on_flush = [&](const runtime::flush_plan&) {
    ++flushes;
    CHECK(m.tables_in_use() >= in_use);
    // A CPU that has cached the way to the table still finds what it held, not what a new owner writes.
    for (const std::uint64_t i : {std::uint64_t{0}, n / 2, n - 1}) {
      const auto t =
          g.s().backend->walk(g.host(), g.s(), {gfn{n + i}, perm::r, false, true, before.leaf_table});
      CHECK(t.out == hfn{5 + i});
    }
  };
  lazy_state* l = g.enter();
  REQUIRE(m.unmap(l, {gfn{n}, n}) == status::ok);
  REQUIRE(m.map(l, {gfn{4 * n}, 2}, hfn{0x701}, ro, 0) == status::ok);  // wants a table
  REQUIRE(m.leave(l) == status::ok);
  CHECK(flushes == 1);
  CHECK(g.in_tables(gfn{4 * n})->out == hfn{0x701});
  CHECK(m.tables_in_use() == in_use);  // one came, one went
}

TEST_CASE_TEMPLATE(
    "a pending flag set after it was cleared: a commit leaves nothing pending, and misses nothing after it",
    F, QUIRE_FORMATS) {
  for (const commit how : {commit::flush, commit::nested_leave, commit::pause}) {
    CAPTURE(static_cast<int>(how));
    guest<F> g;
    machine& m = g.m();
    REQUIRE(m.map(g.state(), {gfn{0x10}, 4}, hfn{0x901}, rw, 0) == status::ok);
    lazy_state* l = g.enter();
    REQUIRE(m.unmap(l, {gfn{0x10}, 1}) == status::ok);
    do_commit(g, l, how);
    CHECK(!g.in_tables(gfn{0x10}));
    CHECK(g.flushes.size() == 1);
    do_commit(g, l, how);
    CHECK(g.flushes.size() == 1);  // a flag that was set too late would flush again
    REQUIRE(m.unmap(l, {gfn{0x11}, 1}) == status::ok);
    CHECK(g.in_tables(gfn{0x11}).has_value());
    do_commit(g, l, how);
    CHECK(!g.in_tables(gfn{0x11}));
    CHECK(g.flushes.size() == 2);
    REQUIRE(m.leave(l) == status::ok);
    CHECK(g.flushes.size() == 2);
    REQUIRE(m.unmap(g.state(), {gfn{0x12}, 1}) == status::ok);  // outside: at once, and not left pending
    CHECK(g.flushes.size() == 3);
    l = g.enter();
    REQUIRE(m.leave(l) == status::ok);
    CHECK(g.flushes.size() == 3);
  }
}

TEST_CASE_TEMPLATE(
    "a pending flag set after it was cleared: what an interrupt does leaves the section's updates pending", F,
    QUIRE_FORMATS) {
  guest<F> g;
  machine& m = g.m();
  REQUIRE(m.map(g.state(), {gfn{0x10}, 4}, hfn{0x901}, rw, 0) == status::ok);
  lazy_state* l = g.enter();
  REQUIRE(m.unmap(l, {gfn{0x10}, 1}) == status::ok);
  m.enter_interrupt(0);
  REQUIRE(m.unmap(g.state(), {gfn{0x12}, 1}) == status::ok);
  m.leave_interrupt(0);
  CHECK(!g.in_tables(gfn{0x12}));
  CHECK(g.in_tables(gfn{0x10}).has_value());
  REQUIRE(m.leave(l) == status::ok);
  CHECK(!g.in_tables(gfn{0x10}));
  CHECK(g.flushes.size() == 2);
}

TEST_CASE_TEMPLATE(
    "resume that forgets the section's range: the hint is back, whatever sections came in between", F,
    QUIRE_FORMATS) {
  guest<F> g;
  machine& m = g.m();
  const gfn_range range{gfn{0x20}, 8};
  REQUIRE(m.map(g.state(), range, hfn{0x901}, rw, 0) == status::ok);
  lazy_state* l = g.enter(0, range);
  for (int round = 0; round < 3; ++round) {
    REQUIRE(m.pause(l) == status::ok);
    REQUIRE(m.pause(l) == status::ok);
    REQUIRE(g.enter(0, {gfn{0x40}, 1}) == l);
    REQUIRE(m.leave(l) == status::ok);
    REQUIRE(m.resume(l) == status::ok);
    REQUIRE(m.resume(l) == status::ok);
    CHECK(m.hint(l) == range);
    REQUIRE(m.protect(l, {gfn{0x20u + static_cast<unsigned>(round)}, 1}, perm::r) == status::ok);
    CHECK(g.in_tables(gfn{0x20u + static_cast<unsigned>(round)})->attr == rw);  // queued, as before the pause
  }
  REQUIRE(m.leave(l) == status::ok);
  for (unsigned i = 0; i < 8; ++i) CHECK(g.in_tables(gfn{0x20} + i)->attr == (i < 3 ? ro : rw));
}

TEST_CASE_TEMPLATE(
    "a walk that dereferences an entry directly inside a section misses the queued value; these do not", F,
    QUIRE_FORMATS) {
  guest<F> g;
  machine& m = g.m();
  REQUIRE(m.map(g.state(), {gfn{0x10}, 4}, hfn{0x901}, rw, 0) == status::ok);
  lazy_state* l = g.enter();
  REQUIRE(m.unmap(l, {gfn{0x10}, 1}) == status::ok);
  REQUIRE(m.protect(l, {gfn{0x11}, 1}, perm::r) == status::ok);
  REQUIRE(m.map(l, {gfn{0x12}, 1}, hfn{0xa05}, rw, 0) == status::ok);
  REQUIRE(m.map(l, {gfn{0x14}, 1}, hfn{0xb07}, rw, 0) == status::ok);
  CHECK(g.in_tables(gfn{0x10})->out == hfn{0x901});  // the tables have none of it
  CHECK(!g.in_tables(gfn{0x14}));

  CHECK(!g.look(gfn{0x10}));
  CHECK(g.look(gfn{0x11})->attr == ro);
  CHECK(g.look(gfn{0x12})->out == hfn{0xa05});
  CHECK(g.look(gfn{0x14})->out == hfn{0xb07});

  const std::vector<seen_pieces::piece> expected = {{{gfn{0x11}, 1}, hfn{0x902}, perm::r},
                                                    {{gfn{0x12}, 1}, hfn{0xa05}, perm::rw},
                                                    {{gfn{0x13}, 1}, hfn{0x904}, perm::rw},
                                                    {{gfn{0x14}, 1}, hfn{0xb07}, perm::rw}};
  seen_pieces seen;
  REQUIRE(m.apply_to_range(l, {gfn{0x10}, 5}, runtime::walk_flags::no_lazy, &seen_pieces::add, &seen) ==
          status::ok);
  CHECK(seen.all == expected);
  REQUIRE(m.leave(l) == status::ok);
  seen.all.clear();
  REQUIRE(m.apply_to_range(g.state(), {gfn{0x10}, 5}, runtime::walk_flags::none, &seen_pieces::add, &seen) ==
          status::ok);
  CHECK(seen.all == expected);
}
}

}  // namespace quire::tests
