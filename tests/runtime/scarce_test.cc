// Table memory that runs out: claims are made when an update is queued, commits never fail.
#include <doctest/doctest.h>

#include "tests/support/guest.h"

namespace quire::tests {

namespace {

using runtime::harvest;

constexpr attributes rw{perm::rw};
constexpr attributes ro{perm::r};

struct scenario {
  std::string name;
  std::function<void(guest_base&)> prepare;
  std::function<status(guest_base&, lazy_state*)> update;
};

void nothing(guest_base&) {}

/// Large leaves in [0, 2n), written through.
void large_leaves(guest_base& g) {
  const std::uint64_t n = g.s().shape.slot_pages(1);
  REQUIRE(g.m().map(g.state(), {gfn{0}, 2 * n}, hfn{0}, rw, 1) == status::ok);
  REQUIRE(g.touch(gfn{n / 2}, perm::w));
}

/// The largest leaf of the format at 0.
void largest_leaf(guest_base& g) {
  unsigned level = g.s().shape.top();
  while (!g.s().shape.leaf[level]) --level;
  REQUIRE(g.m().map_exact(g.state(), {gfn{0}, g.s().shape.slot_pages(level)}, hfn{0}, rw, level) ==
          status::ok);
}

void one_page(guest_base& g) { REQUIRE(g.m().map(g.state(), {gfn{1}, 1}, hfn{5}, rw, 0) == status::ok); }

std::vector<scenario> scenarios() {
  const auto n = [](guest_base& g) { return g.s().shape.slot_pages(1); };
  const auto far = [](guest_base& g) { return g.s().shape.slot_pages(2); };
  using base = guest_base&;
  return {
      {"one page", nothing,
       [](base g, lazy_state* l) {
         return g.m().map(l, {gfn{3}, 1}, hfn{9}, rw);
       }},
      {"small leaves in two tables of two tables", nothing,
       [=](base g, lazy_state* l) {
         return g.m().map(l, {gfn{far(g) - 1}, 2}, hfn{9}, rw);
       }},
      {"a large leaf and a page", nothing,
       [=](base g, lazy_state* l) {
         return g.m().map(l, {gfn{n(g)}, n(g) + 1}, hfn{0}, rw);
       }},
      {"many small leaves", nothing,
       [=](base g, lazy_state* l) {
         return g.m().map_exact(l, {gfn{n(g) / 2}, 3 * n(g)}, hfn{1}, rw, 0);
       }},
      {"a neighbour", one_page,
       [](base g, lazy_state* l) {
         return g.m().map(l, {gfn{2}, 1}, hfn{9}, rw);
       }},
      {"keeping what is there", one_page,
       [=](base g, lazy_state* l) {
         return g.m().map_keep_present(l, {gfn{0}, 2 * n(g)}, hfn{0}, rw);
       }},
      {"a page in a large leaf", large_leaves,
       [=](base g, lazy_state* l) {
         return g.m().map(l, {gfn{n(g)}, 1}, hfn{3}, rw);
       }},
      {"unmapping across two large leaves", large_leaves,
       [=](base g, lazy_state* l) {
         return g.m().unmap(l, {gfn{n(g) - 1}, 2});
       }},
      {"unmapping one and a half", large_leaves,
       [=](base g, lazy_state* l) {
         return g.m().unmap(l, {gfn{0}, n(g) + n(g) / 2});
       }},
      {"protecting a part", large_leaves,
       [](base g, lazy_state* l) {
         return g.m().protect(l, {gfn{1}, 2}, perm::r);
       }},
      {"harvesting a part", large_leaves,
       [=](base g, lazy_state* l) {
         return g.m().harvest_status(l, {gfn{n(g) / 2}, 1}, harvest::dirty);
       }},
      {"a page in the largest leaf", largest_leaf,
       [](base g, lazy_state* l) {
         return g.m().map(l, {gfn{1}, 1}, hfn{9}, rw);
       }},
      {"unmapping a part of the largest leaf", largest_leaf,
       [=](base g, lazy_state* l) {
         return g.m().unmap(l, {gfn{n(g) / 2 - 1}, 2});
       }},
  };
}

}  // namespace

TEST_SUITE("scarce") {
TEST_CASE_TEMPLATE("rule 9: an update works with exactly the tables it needs, and fails with one less", F,
                   QUIRE_FORMATS) {
  for (const scenario& s : scenarios()) {
    CAPTURE(s.name);
    guest<F> rich;
    s.prepare(rich);
    const auto before = rich.leaves();
    const std::uint64_t taken = rich.m().counts(0, rich.s()).tables_taken;
    REQUIRE(s.update(rich, rich.state()) == status::ok);
    const std::uint64_t needed = rich.m().counts(0, rich.s()).tables_taken - taken;

    for (const bool lazy : {false, true}) {
      for (const std::uint64_t given : {needed, needed - 1}) {
        if (given > needed) continue;
        CAPTURE(lazy);
        CAPTURE(given);
        const bool enough = given == needed;
        guest<F> g;
        s.prepare(g);
        const std::uint64_t tables = g.s().tables();
        g.frames_left = given;
        lazy_state* l = lazy ? g.enter() : g.state();
        CHECK(s.update(g, l) == (enough ? status::ok : status::no_tables));
        CHECK(g.m().active(l) == lazy);
        if (lazy) REQUIRE(g.m().leave(l) == status::ok);
        CHECK(g.leaves() == (enough ? rich.leaves() : before));
        CHECK(g.s().tables() == (enough ? rich.s().tables() : tables));
        CHECK(g.m().tables_in_use() == g.s().tables());
        if (!enough) CHECK(g.flushes.empty());
      }
    }
  }
}

TEST_CASE_TEMPLATE("rule 9: when tables run out, what was queued before is committed and the section goes on",
                   F, QUIRE_FORMATS) {
  guest<F> g;
  machine& m = g.m();
  const std::uint64_t n = g.s().shape.slot_pages(1);
  REQUIRE(m.map(g.state(), {gfn{0}, 2}, hfn{0x901}, rw, 0) == status::ok);
  g.frames_left = g.s().shape.top() + g.s().options.max_leaf_level;  // what the next two claim
  lazy_state* l = g.enter();
  REQUIRE(m.map(l, {gfn{n}, 1}, hfn{0x905}, rw, 0) == status::ok);
  REQUIRE(m.unmap(l, {gfn{0}, 1}) == status::ok);
  CHECK(g.flushes.empty());
  const gfn_range large{gfn{10 * n + 1}, 8 * n};
  CHECK(m.map(l, large, hfn{0}, rw) == status::no_tables);
  CHECK(m.counts(0, g.s()).forced_commits == 1);
  REQUIRE(g.flushes.size() == 1);
  CHECK(g.flushes[0].reason == flush_reason::no_tables);
  CHECK(g.in_tables(gfn{n})->out == hfn{0x905});
  CHECK(!g.in_tables(gfn{0}));
  CHECK(!g.look(large.first));
  CHECK(m.active(l));

  REQUIRE(m.protect(l, {gfn{1}, 1}, perm::r) == status::ok);
  g.frames_left = 16;
  CHECK(m.map(l, large, hfn{0}, rw) == status::ok);
  REQUIRE(m.leave(l) == status::ok);
  CHECK(g.in_tables(gfn{1})->attr == ro);
  CHECK(g.in_tables(large.first)->out == hfn{0});
  CHECK(m.counts(0, g.s()).updates == 5);
  CHECK(m.counts(0, g.s()).forced_commits == 1);
}

TEST_CASE_TEMPLATE("rule 9: tables that queued updates do not take after all serve later ones", F,
                   QUIRE_FORMATS) {
  guest<F> g;
  machine& m = g.m();
  const std::uint64_t n = g.s().shape.slot_pages(1);
  REQUIRE(m.map(g.state(), {gfn{0}, 1}, hfn{1}, rw, 0) == status::ok);
  REQUIRE(m.map(g.state(), {gfn{n}, n}, hfn{n}, rw) == status::ok);
  g.frames_left = 1;
  lazy_state* l = g.enter();
  // Each claims for the worst case, a split, and then the one that needs the frame comes.
  for (unsigned i = 0; i < 40; ++i) REQUIRE(m.unmap(l, {gfn{2 + 2 * (i % 5)}, 1}) == status::ok);
  REQUIRE(m.unmap(l, {gfn{n + 1}, 1}) == status::ok);
  REQUIRE(m.leave(l) == status::ok);
  CHECK(!g.in_tables(gfn{n + 1}));
  CHECK(g.in_tables(gfn{n + 2}).has_value());
  CHECK(m.tables_in_use() == g.s().tables());
}

TEST_CASE_TEMPLATE("rule 9: updates that change nothing need no tables", F, QUIRE_FORMATS) {
  guest<F> g;
  machine& m = g.m();
  large_leaves(g);
  const std::uint64_t n = g.s().shape.slot_pages(1);
  const auto leaves = g.leaves();
  g.frames_left = 0;
  for (const bool lazy : {false, true}) {
    CAPTURE(lazy);
    lazy_state* l = lazy ? g.enter() : g.state();
    CHECK(m.map(l, {gfn{1}, 2}, hfn{1}, rw, 0) == status::ok);
    CHECK(m.map_keep_present(l, {gfn{1}, n}, hfn{7}, ro) == status::ok);
    CHECK(m.unmap(l, {gfn{2 * n + 1}, 1}) == status::ok);
    CHECK(m.protect(l, {gfn{1}, 1}, perm::rw) == status::ok);
    CHECK(m.protect(l, {gfn{0}, 2 * n}, perm::rw) == status::ok);
    if (!g.s().backend->tracks_status(g.s()))
      CHECK(m.harvest_status(l, {gfn{1}, 1}, harvest::dirty) == status::ok);
    if (lazy) CHECK(m.leave(l) == status::ok);
  }
  CHECK(g.leaves() == leaves);
}

TEST_CASE_TEMPLATE("rule 9: leave, flush and pause allocate nothing, whatever is queued", F, QUIRE_FORMATS) {
  for (int how = 0; how < 4; ++how) {
    CAPTURE(how);
    guest<F> g;
    machine& m = g.m();
    const std::uint64_t n = g.s().shape.slot_pages(1);
    large_leaves(g);
    lazy_state* l = g.enter();
    REQUIRE(m.map(l, {gfn{2 * n + 1}, 3 * n}, hfn{0}, rw) == status::ok);
    REQUIRE(m.unmap(l, {gfn{1}, n}) == status::ok);
    REQUIRE(m.protect(l, {gfn{3 * n}, n + 1}, perm::r) == status::ok);
    REQUIRE(m.harvest_status(l, {gfn{n / 2}, n}, harvest::dirty | harvest::accessed) == status::ok);
    REQUIRE(m.map(l, {gfn{0}, 8 * n}, hfn{8 * n}, ro) == status::ok);
    REQUIRE(m.unmap(l, {gfn{5 * n + 3}, 1}) == status::ok);
    for (std::uint64_t i = 0; i < 50; ++i) REQUIRE(m.map(l, {gfn{i * 7}, 1}, hfn{i}, rw, 0) == status::ok);
    g.frames_left = 0;
    g.allocations_left = 0;
    const unsigned records = g.record_allocations;
    const unsigned tables = g.table_allocations;
    switch (how) {
      case 0:
        CHECK(m.leave(l) == status::ok);
        break;
      case 1:
        CHECK(m.flush(l) == status::ok);
        break;
      case 2:
        CHECK(m.pause(l) == status::ok);
        break;
      default:
        CHECK((g.enter() == l && m.leave(l) == status::ok));
    }
    CHECK(g.record_allocations == records);
    CHECK(g.table_allocations == tables);
    CHECK(!g.in_tables(gfn{5 * n + 3}));
    CHECK(g.in_tables(gfn{5 * n + 5})->out == hfn{13 * n + 5});
    CHECK(g.in_tables(gfn{7})->out == hfn{1});
    CHECK(m.tables_in_use() == g.s().tables());
  }
}
}

}  // namespace quire::tests
