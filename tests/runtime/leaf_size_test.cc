// Which leaf sizes maps choose, when large leaves are split, and that batching never makes a difference to
// it.
#include <doctest/doctest.h>

#include "tests/support/guest.h"

namespace quire::tests {

namespace {

using runtime::harvest;

constexpr attributes rw{perm::rw};
constexpr attributes ro{perm::r};

template <class F>
unsigned top_leaf(guest<F>& g) {
  unsigned level = g.s().shape.top();
  while (!g.s().shape.leaf[level]) --level;
  return level;
}

/// Leaves of each level.
template <class F>
std::vector<std::size_t> sizes(guest<F>& g) {
  std::vector<std::size_t> count(3);
  for (const raw_leaf& leaf : g.leaves()) ++count.at(leaf.level);
  return count;
}

using counts = std::vector<std::size_t>;

}  // namespace

TEST_SUITE("leaf_size") {
TEST_CASE_TEMPLATE("map_exact splits a larger leaf that maps the same already", F, QUIRE_FORMATS) {
  guest<F> g;
  const std::uint64_t n = g.s().shape.slot_pages(1);
  REQUIRE(g.m().map(g.state(), {gfn{0}, n}, hfn{0}, {perm::rw}) == status::ok);
  REQUIRE(g.in_tables(gfn{0})->level == 1);
  REQUIRE(g.m().map_exact(g.state(), {gfn{0}, n}, hfn{0}, {perm::rw}, 0) == status::ok);
  CHECK(g.in_tables(gfn{0})->level == 0);
  CHECK(g.look(gfn{n - 1})->out == hfn{n - 1});
}

TEST_CASE_TEMPLATE("map takes the largest leaves that fit range, frames and cap", F, QUIRE_FORMATS) {
  struct expectation {
    std::uint64_t first, pages, out;
    unsigned cap;
    counts leaves;
  };
  guest<F> g;
  const std::uint64_t n = g.s().shape.slot_pages(1);
  for (const expectation& e : {expectation{n - 1, n + 2, n - 1, 5, {2, 1, 0}},
                               {n - 1, n + 2, 3 * n - 1, 1, {2, 1, 0}},
                               {n - 1, n + 2, n - 1, 0, {n + 2, 0, 0}},
                               {n, n, n + 1, 5, {n, 0, 0}},
                               {n, 2 * n, 0, 5, {0, 2, 0}},
                               {n, n - 1, 0, 5, {n - 1, 0, 0}},
                               {1, n, n + 1, 5, {n, 0, 0}},
                               {1, 2 * n, n + 1, 5, {n, 1, 0}},
                               {0, 3 * n, n / 2, 5, {3 * n, 0, 0}}}) {
    CAPTURE(e.first);
    CAPTURE(e.pages);
    CAPTURE(e.out);
    REQUIRE(g.m().map(g.state(), {gfn{e.first}, e.pages}, hfn{e.out}, rw, e.cap) == status::ok);
    CHECK(sizes(g) == e.leaves);
    for (const std::uint64_t i : {std::uint64_t{0}, e.pages / 2, e.pages - 1}) {
      CHECK(g.in_tables(gfn{e.first + i})->out == hfn{e.out + i});
    }
    CHECK(!g.in_tables(gfn{e.first + e.pages}));
    REQUIRE(g.m().unmap(g.state(), {gfn{e.first}, e.pages}) == status::ok);
    CHECK(g.s().tables() == 1);
  }
}

TEST_CASE_TEMPLATE("the space's cap holds where map asks for more", F, QUIRE_FORMATS) {
  guest<F> open;
  CHECK(open.s().options.max_leaf_level == top_leaf(open));  // no more than there is
  guest<F> g({.max_leaf_level = 0});
  const std::uint64_t n = g.s().shape.slot_pages(1);
  REQUIRE(g.m().map(g.state(), {gfn{0}, 2 * n}, hfn{0}, rw) == status::ok);
  CHECK(sizes(g) == counts{2 * n, 0, 0});
}

TEST_CASE_TEMPLATE("map_exact takes leaves of its level and no other", F, QUIRE_FORMATS) {
  guest<F> g;
  for (unsigned level = 0; level <= top_leaf(g); ++level) {
    CAPTURE(level);
    const std::uint64_t leaf = g.s().shape.slot_pages(level);
    REQUIRE(g.m().map_exact(g.state(), {gfn{leaf}, 2 * leaf}, hfn{0}, ro, level) == status::ok);
    counts wanted(3);
    wanted[level] = 2;
    CHECK(sizes(g) == wanted);
    CHECK(g.in_tables(gfn{leaf})->out == hfn{0});
    REQUIRE(g.m().unmap(g.state(), {gfn{0}, 4 * leaf}) == status::ok);
  }
  const std::uint64_t n = g.s().shape.slot_pages(1);
  REQUIRE(g.m().map_exact(g.state(), {gfn{0}, n}, hfn{0}, ro, 0) == status::ok);
  CHECK(sizes(g) == counts{n, 0, 0});
}

TEST_CASE_TEMPLATE("the largest leaf is used where it fits, and splits down to one page", F, QUIRE_FORMATS) {
  guest<F> g;
  machine& m = g.m();
  const unsigned top = top_leaf(g);
  const std::uint64_t leaf = g.s().shape.slot_pages(top);
  REQUIRE(m.map(g.state(), {gfn{leaf}, leaf}, hfn{4 * leaf}, rw) == status::ok);
  REQUIRE(g.leaves().size() == 1);
  CHECK(g.leaves()[0].level == top);
  REQUIRE(m.unmap(g.state(), {gfn{leaf + 3}, 1}) == status::ok);
  CHECK(m.counts(0, g.s()).splits == top);
  CHECK(!g.in_tables(gfn{leaf + 3}));
  for (const std::uint64_t i : {std::uint64_t{0}, std::uint64_t{2}, std::uint64_t{4}, leaf / 2, leaf - 1}) {
    CHECK(g.in_tables(gfn{leaf + i})->out == hfn{4 * leaf + i});
    CHECK(g.in_tables(gfn{leaf + i})->attr == rw);
  }
  REQUIRE(m.map(g.state(), {gfn{leaf}, leaf}, hfn{4 * leaf}, rw) == status::ok);  // and is whole again
  CHECK(g.leaves().size() == 1);
  CHECK(m.tables_in_use() == g.s().tables());
}

TEST_CASE_TEMPLATE("splitting a large leaf keeps what its other pages were, A and D included", F,
                   QUIRE_FORMATS) {
  for (int how = 0; how < 4; ++how) {
    CAPTURE(how);
    guest<F> g;
    const attributes device{perm::rw, g.second_type()};
    machine& m = g.m();
    const bool tracked = g.s().backend->tracks_status(g.s());
    const std::uint64_t n = g.s().shape.slot_pages(1);
    REQUIRE(m.map(g.state(), {gfn{n}, n}, hfn{8 * n}, device) == status::ok);
    REQUIRE(g.leaves().size() == 1);
    REQUIRE(g.touch(gfn{n + 1}, perm::w));
    const gfn_range part{gfn{n + 4}, 2};
    switch (how) {
      case 0:
        REQUIRE(m.unmap(g.state(), part) == status::ok);
        break;
      case 1:
        REQUIRE(m.protect(g.state(), part, perm::r) == status::ok);
        break;
      case 2:
        REQUIRE(m.map(g.state(), part, hfn{3}, ro) == status::ok);
        break;
      default:
        REQUIRE(m.harvest_status(g.state(), part, harvest::dirty) == status::ok);
    }
    const bool split = tracked || how != 3;
    CHECK(m.counts(0, g.s()).splits == (split ? 1 : 0));
    CHECK(sizes(g)[1] == (split ? 0 : 1));
    for (const std::uint64_t i : {std::uint64_t{0}, std::uint64_t{3}, std::uint64_t{6}, n - 1}) {
      const auto now = g.in_tables(gfn{n + i});
      REQUIRE(now.has_value());
      CHECK(now->out == hfn{8 * n + i});
      CHECK(now->attr == device);
      CHECK(now->accessed == tracked);
      CHECK(now->dirty == tracked);
    }
    const auto inside = g.in_tables(part.first);
    CHECK(inside.has_value() == (how != 0));
    if (how == 1) CHECK(inside->attr == attributes{perm::r, device.type});
    if (how == 2) CHECK(inside->out == hfn{3});
    if (how == 3) CHECK(!inside->dirty);
    REQUIRE(g.reports.size() == (how == 1 || !split ? 0 : 1));
    if (!g.reports.empty()) CHECK(g.reports[0].range == part);
    if (!g.reports.empty()) CHECK(g.reports[0].dirty == tracked);
  }
}

TEST_CASE_TEMPLATE("changing a large leaf as a whole does not split it", F, QUIRE_FORMATS) {
  guest<F> g;
  machine& m = g.m();
  const std::uint64_t n = g.s().shape.slot_pages(1);
  REQUIRE(m.map(g.state(), {gfn{0}, 3 * n}, hfn{0}, rw) == status::ok);
  REQUIRE(g.touch(gfn{n}, perm::w));
  REQUIRE(m.protect(g.state(), {gfn{0}, 2 * n}, perm::r) == status::ok);
  REQUIRE(m.harvest_status(g.state(), {gfn{n}, n}, harvest::dirty | harvest::accessed) == status::ok);
  REQUIRE(m.map(g.state(), {gfn{2 * n}, n}, hfn{n}, ro) == status::ok);
  REQUIRE(m.unmap(g.state(), {gfn{0}, n}) == status::ok);
  CHECK(m.counts(0, g.s()).splits == 0);
  CHECK(sizes(g) == counts{0, 2, 0});
}

TEST_CASE_TEMPLATE("merging runs never changes leaf sizes: lazy tables equal eager ones", F, QUIRE_FORMATS) {
  struct loop {
    const char* name;
    std::function<status(machine&, lazy_state*, gfn_range)> update;
  };
  const std::vector<loop> loops = {
      {"map the same frames",
       [](machine& m, lazy_state* l, gfn_range r) { return m.map(l, r, hfn{r.first.value}, rw); }},
      {"map other frames",
       [](machine& m, lazy_state* l, gfn_range r) { return m.map(l, r, hfn{r.first.value + 0x10000}, rw); }},
      {"map around", [](machine& m, lazy_state* l,
                        gfn_range r) { return m.map_keep_present(l, r, hfn{r.first.value}, rw); }},
      {"unmap", [](machine& m, lazy_state* l, gfn_range r) { return m.unmap(l, r); }},
      {"protect", [](machine& m, lazy_state* l, gfn_range r) { return m.protect(l, r, perm::r); }},
      {"harvest",
       [](machine& m, lazy_state* l, gfn_range r) { return m.harvest_status(l, r, harvest::dirty); }},
  };
  guest<F> sample;
  const std::uint64_t n = sample.s().shape.slot_pages(1);
  for (const loop& what : loops) {
    for (const std::uint64_t stride : {std::uint64_t{1}, n / 2, n - 1, n, n + n / 2, 2 * n}) {
      CAPTURE(std::string(what.name));
      CAPTURE(stride);
      guest<F> eager;
      guest<F> lazy({.table_bytes = std::size_t{64} << 20});
      for (guest<F>* g : {&eager, &lazy}) {
        REQUIRE(g->m().map(g->state(), {gfn{0}, 4 * n}, hfn{0}, rw, 1) ==
                status::ok);  // the first and third dirty
        REQUIRE((g->touch(gfn{1}, perm::w) && g->touch(gfn{2 * n}, perm::w)));
        REQUIRE(g->m().map(g->state(), {gfn{4 * n}, n}, hfn{4 * n}, rw, 0) == status::ok);
      }
      lazy_state* l = lazy.enter();
      for (std::uint64_t at = 0; at < 6 * n; at += stride) {
        REQUIRE(what.update(eager.m(), eager.state(), {gfn{at}, stride}) == status::ok);
        REQUIRE(what.update(lazy.m(), l, {gfn{at}, stride}) == status::ok);
      }
      REQUIRE(lazy.m().leave(l) == status::ok);
      CHECK(eager.leaves() == lazy.leaves());
      CHECK(eager.s().tables() == lazy.s().tables());
      // Records of the others join only between the largest leaves that they may meet.
      if (stride == 1 && std::string(what.name).starts_with("map"))
        CHECK(lazy.m().counts(0, lazy.s()).runs == 3);
    }
  }
}
}

}  // namespace quire::tests
