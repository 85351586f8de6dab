// Single maps in one commit with updates that take tables out: defects of places that were found before.
#include <doctest/doctest.h>

#include "tests/support/guest.h"

namespace quire::tests {

namespace {

constexpr attributes rw{perm::rw};

/// Pages, and sizes, in a format's own units.
template <class F>
struct shaped {
  guest<F> g;
  machine& m = g.m();
  const std::uint64_t unit = g.s().shape.slot_pages(0), table = g.s().shape.table_pages(0);
  lazy_state* l = nullptr;

  explicit shaped(unsigned max_leaf_level = 0)
      : g({.pool = {64, 64}, .max_leaf_level = max_leaf_level}) {}
  void map(std::uint64_t page) {
    REQUIRE(m.map(l ? l : g.state(), {gfn{page}, unit}, hfn{page + 64 * unit}, rw, 0) == status::ok);
  }
  void unmap(std::uint64_t page, std::uint64_t pages) { REQUIRE(m.unmap(l, {gfn{page}, pages}) == status::ok); }
  bool mapped(std::uint64_t page) {
    const auto found = g.in_tables(gfn{page});
    return found && found->out == hfn{page + 64 * unit};
  }
};

}  // namespace

TEST_SUITE("single_leaves") {
TEST_CASE_TEMPLATE("defect: a map behind an unmap of its whole table was written into the table that went", F, QUIRE_FORMATS) {
  shaped<F> f;
  const std::uint64_t first = 3 * f.table;
  f.map(first + 5 * f.unit);
  f.l = f.g.enter();
  f.map(first + f.unit);
  f.unmap(first, f.table);
  f.map(first + 2 * f.unit);
  REQUIRE(f.m.leave(f.l) == status::ok);
  CHECK(f.mapped(first + 2 * f.unit));
  CHECK(!f.g.in_tables(gfn{first + f.unit}));
  CHECK(f.g.leaves().size() == 1);
}
TEST_CASE_TEMPLATE("defect: a map into a table that went as empty came back in the next table made of its frame", F, QUIRE_FORMATS) {
  shaped<F> f;
  const std::uint64_t a = 2 * f.table, c = 3 * f.table, x = 4 * f.table;
  f.map(a);
  f.map(c);
  f.map(x + f.unit);
  f.l = f.g.enter();
  f.map(x + 3 * f.unit);
  f.unmap(a, f.unit);
  f.unmap(c, f.unit);
  f.map(a + 7 * f.unit);
  REQUIRE(f.m.leave(f.l) == status::ok);
  CHECK(f.mapped(a + 7 * f.unit));
  for (std::uint64_t t = 5; t < 8; ++t) {
    f.l = f.g.enter();
    f.map(t * f.table);
    f.map(x + (3 + 2 * t) * f.unit);
    REQUIRE(f.m.leave(f.l) == status::ok);
    CHECK(!f.g.in_tables(gfn{t * f.table + 7 * f.unit}));  // what another table's frame held
  }
}
TEST_CASE_TEMPLATE("defect: a map behind a larger leaf that took its table's place was lost", F, QUIRE_FORMATS) {
  shaped<F> f(1);
  if (!f.g.s().shape.leaf[1] || f.g.s().options.max_leaf_level < 1) return;
  const std::uint64_t first = 8 * f.table, large = f.g.s().shape.slot_pages(1);
  if (first % large != 0) return;
  f.map(first + 3 * f.unit);
  f.l = f.g.enter();
  f.map(first + f.unit);
  REQUIRE(f.m.map(f.l, {gfn{first}, large}, hfn{16 * large}, rw, 1) == status::ok);
  f.map(first + 2 * f.unit);
  REQUIRE(f.m.leave(f.l) == status::ok);
  CHECK(f.mapped(first + 2 * f.unit));
  CHECK(f.g.in_tables(gfn{first + f.unit})->out == hfn{16 * large + f.unit});
}
TEST_CASE_TEMPLATE("a list gives a page that needs several tables its frames before pages behind it", F, QUIRE_FORMATS) {
  guest<F> g;
  const arch::geometry& s = g.s().shape;
  const std::uint64_t unit = s.slot_pages(0);
  if (s.top() < 2 || s.input_pages < 4 * s.table_pages(1)) return;
  const gfn near{0}, far{2 * s.table_pages(1)}, beside{s.table_pages(0)};
  REQUIRE(g.m().map(g.state(), {near, unit}, hfn{0}, rw, 0) == status::ok);  // beside it lacks a level-0 table alone
  if (s.table_bytes[0] != s.table_bytes[1]) return;
  g.frames_left = 2;
  REQUIRE(g.m().map(g.state(), {far, unit}, hfn{0}, rw, 0) == status::ok);
  REQUIRE(g.m().unmap(g.state(), {far, unit}) == status::ok);  // the pool has the two frames
  const std::uint64_t tables = g.s().tables();
  const gfn pages[] = {far, beside};
  const hfn frames[] = {hfn{unit}, hfn{2 * unit}};
  std::size_t mapped = 0;
  CHECK(g.m().map_many(g.state(), pages, frames, rw, mapped) == status::no_tables);
  CHECK(mapped == 1);
  CHECK(g.in_tables(far));
  CHECK(!g.in_tables(beside));
  CHECK(g.s().tables() == tables + 2);
}
}

}  // namespace quire::tests
