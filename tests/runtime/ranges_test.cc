// Ranges over many tables: neighbours that are changed without a walk, and tables that come and go by the hundred.
#include <doctest/doctest.h>

#include <algorithm>
#include <type_traits>

#include "tests/support/guest.h"

namespace quire::tests {

namespace {

using runtime::harvest;
using runtime::report;

constexpr attributes rw{perm::rw};

// With formats whose status hardware does not track.
#define QUIRE_RANGE_FORMATS QUIRE_FORMATS, arch::ept, arch::stage2_4k
template <class F>
F format() {
  F f;
  if constexpr (std::is_same_v<F, arch::ept>) f.access_dirty = false;
  return f;
}
guest_base::options roomy() { return {.table_bytes = std::size_t{32} << 20}; }

/// Twice the same: ranges of many tables are changed as such in one, cut into pieces of a few pages in the other, each piece
/// a commit of its own.
template <class F>
struct twins {
  guest<F> whole{format<F>(), roomy()}, cut{format<F>(), roomy()};
  const arch::geometry& shape = whole.s().shape;
  const std::uint64_t page = shape.slot_pages(0), n = shape.slot_pages(1);

  template <class Update>
  void both(gfn_range r, const Update& update, bool lazy = true) {
    lazy_state* l = lazy ? whole.enter() : whole.state();
    REQUIRE(update(whole.m(), l, r) == status::ok);
    if (lazy) REQUIRE(whole.m().leave(l) == status::ok);
    const std::uint64_t most = 37 * page;
    for (gfn g = r.first; g < r.end(); g = g + most) {
      REQUIRE(update(cut.m(), cut.state(), {g, std::min(most, r.end() - g)}) == status::ok);
    }
  }
  void touch(gfn g, perm need) {
    CHECK(whole.touch(g, need));
    CHECK(cut.touch(g, need));
  }
  /// As single pages, in order.
  static std::vector<report> pages_of(const guest_base& g) {
    std::vector<report> all;
    for (report r : g.reports) {
      for (std::uint64_t i = 0; i < r.range.pages; ++i) {
        report one = r;
        one.range = {r.range.first + i, 1};
        one.out = r.out + i;
        all.push_back(one);
      }
    }
    std::stable_sort(all.begin(), all.end(), [](const report& a, const report& b) { return a.range.first < b.range.first; });
    return all;
  }
  void compare() {
    CHECK(whole.leaves() == cut.leaves());
    CHECK(whole.s().tables() == cut.s().tables());
    CHECK(whole.m().tables_in_use() == whole.s().tables());
    const auto a = pages_of(whole), b = pages_of(cut);
    REQUIRE(a.size() == b.size());
    for (std::size_t i = 0; i < a.size(); ++i) {
      REQUIRE(a[i].range == b[i].range);
      REQUIRE(a[i].out == b[i].out);
      REQUIRE(a[i].attr == b[i].attr);
      REQUIRE(a[i].what == b[i].what);
      REQUIRE(a[i].accessed == b[i].accessed);
      REQUIRE(a[i].dirty == b[i].dirty);
    }
    whole.reports.clear();
    cut.reports.clear();
  }
};

auto mapping_to(std::uint64_t distance) {
  return [distance](machine& m, lazy_state* l, gfn_range r) { return m.map(l, r, hfn{r.first.value + distance}, rw, 0); };
}
status unmapping(machine& m, lazy_state* l, gfn_range r) { return m.unmap(l, r); }
status narrowing(machine& m, lazy_state* l, gfn_range r) { return m.protect(l, r, perm::r); }
status harvesting(machine& m, lazy_state* l, gfn_range r) {
  return m.harvest_status(l, r, harvest::accessed | harvest::dirty);
}

}  // namespace

TEST_SUITE("ranges") {
TEST_CASE_TEMPLATE("without an observer, too, tables between large leaves and holes all go back, also to other cpus", F,
                   QUIRE_RANGE_FORMATS) {
  for (const unsigned cached : {0u, 8u}) {
    guest<F> g(format<F>(), {.table_bytes = std::size_t{32} << 20, .pool = {cached, 1}, .observed = false});
    machine& m = g.m();
    const std::uint64_t n = g.s().shape.slot_pages(1), tables = std::min<std::uint64_t>(150, g.s().shape.input_pages / n - 2);
    for (unsigned round = 0; round < 2; ++round) {
      lazy_state* const l = g.state(round);
      for (std::uint64_t i = 0; i < tables; ++i) {
        const std::uint64_t out = i % 7 == 3 ? i * n : i * n + 1;  // every seventh may be one leaf
        if (i % 5 != 2) REQUIRE(m.map(l, {gfn{i * n}, n}, hfn{out}, rw) == status::ok);
      }
      REQUIRE(m.map(l, {gfn{g.s().shape.input_pages - n}, 3}, hfn{5}, rw, 0) == status::ok);
      CHECK(g.s().tables() > tables / 2);
      CHECK(m.tables_in_use() == g.s().tables());
      REQUIRE(m.unmap(l, {gfn{0}, g.s().shape.input_pages}) == status::ok);
      CHECK(g.leaves().empty());
      CHECK(g.s().tables() == 1);
      CHECK(m.tables_in_use() == 1);
    }
  }
}
TEST_CASE_TEMPLATE("ranges over many tables do what their pieces do, whatever lies in between", F, QUIRE_RANGE_FORMATS) {
  for (const bool lazy : {false, true}) {
    CAPTURE(lazy);
    twins<F> t;
    const std::uint64_t n = t.n, p = t.page, distance = 16 * n + p;  // no larger leaf fits, so that pieces make the same tables
    t.both({gfn{3 * p}, 5 * n}, mapping_to(distance), lazy);           // new tables
    t.both({gfn{2 * n + 5 * p}, p}, unmapping, lazy);                  // a hole
    t.both({gfn{3 * n + 7 * p}, 2 * p}, mapping_to(distance + p), lazy);  // frames that do not follow
    t.compare();
    t.both({gfn{0}, 4 * n}, narrowing, lazy);
    t.both({gfn{n}, p}, narrowing, lazy);
    t.compare();
    t.both({gfn{0}, 6 * n}, mapping_to(distance), lazy);  // some are there, some have other access, some frames are others
    t.compare();
    for (std::uint64_t i = 0; i < 6; ++i) t.both({gfn{i * n}, n - p}, unmapping, lazy);  // the last page of each table stays
    t.compare();
    CHECK(t.whole.leaves().size() == 6);
    t.both({gfn{p}, 5 * n}, mapping_to(distance + n), lazy);  // into tables that stay
    t.compare();
    t.both({gfn{0}, 6 * n}, unmapping, lazy);
    t.compare();
    CHECK(t.whole.s().tables() == 1);
  }
}

TEST_CASE_TEMPLATE("a section unmaps all but one page of each table, then that one, and the tables go", F, QUIRE_RANGE_FORMATS) {
  guest<F> g(format<F>(), roomy());
  machine& m = g.m();
  const std::uint64_t n = g.s().shape.slot_pages(1), p = g.s().shape.slot_pages(0);
  REQUIRE(m.map(g.state(), {gfn{0}, 4 * n}, hfn{p}, rw, 0) == status::ok);
  lazy_state* l = g.enter();
  for (std::uint64_t i = 0; i < 4; ++i) REQUIRE(m.unmap(l, {gfn{i * n}, n - p}) == status::ok);
  REQUIRE(m.map(l, {gfn{2 * n + p}, p}, hfn{7 * p}, rw, 0) == status::ok);  // where this commit has unmapped
  for (std::uint64_t i = 4; i-- > 0;) REQUIRE(m.unmap(l, {gfn{(i + 1) * n - p}, p}) == status::ok);
  REQUIRE(m.leave(l) == status::ok);
  REQUIRE(g.leaves().size() == 1);
  CHECK(g.leaves()[0].first == gfn{2 * n + p});
  CHECK(g.s().tables() == g.s().shape.top() + 1);
  REQUIRE(m.unmap(g.state(), {gfn{0}, 4 * n}) == status::ok);
  CHECK(m.tables_in_use() == 1);
}

TEST_CASE_TEMPLATE("a harvest of many tables loses no status when reports run out on the way", F, QUIRE_RANGE_FORMATS) {
  twins<F> t;
  const std::uint64_t n = t.n, p = t.page;
  t.both({gfn{0}, 6 * n}, mapping_to(16 * n + p));
  if (!t.whole.s().backend->tracks_status(t.whole.s())) return;
  std::uint64_t touched = 0;
  for (std::uint64_t g = 0; g < 6 * n; g += (g / n == 4 ? 29 : 3) * p, ++touched) t.touch(gfn{g}, touched % 5 ? perm::w : perm::r);
  t.both({gfn{0}, 6 * n}, harvesting);
  CHECK(twins<F>::pages_of(t.whole).size() == touched * p);
  t.compare();
  t.both({gfn{0}, 6 * n}, harvesting);
  CHECK(t.whole.reports.empty());
  t.compare();
}

TEST_CASE_TEMPLATE("a range of new tables takes as many as memory has, or nothing", F, QUIRE_RANGE_FORMATS) {
  guest<F> g(format<F>(), roomy());
  machine& m = g.m();
  const std::uint64_t n = g.s().shape.slot_pages(1), p = g.s().shape.slot_pages(0);
  REQUIRE(m.map(g.state(), {gfn{5 * n}, p}, hfn{p}, rw, 0) == status::ok);
  const std::uint64_t before = g.s().tables();
  g.frames_left = 4;
  CHECK(m.map(g.state(), {gfn{0}, 5 * n}, hfn{p}, rw, 0) == status::no_tables);
  CHECK(g.s().tables() == before);
  g.frames_left = 5;
  REQUIRE(m.map(g.state(), {gfn{0}, 5 * n}, hfn{p}, rw, 0) == status::ok);
  CHECK(g.s().tables() == before + 5);
  CHECK(m.tables_in_use() == g.s().tables());
  CHECK(g.s().peak_table_bytes() >= 5 * g.s().shape.table_bytes[0]);
  CHECK(g.leaves().size() == 5 * n / p + 1);
}
}

}  // namespace quire::tests
