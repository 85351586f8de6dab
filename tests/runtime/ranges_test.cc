// Ranges over many tables: neighbours that are changed without a walk, and tables that come and go by the hundred.
#include <doctest/doctest.h>

#include <algorithm>

#include "tests/support/guest.h"

namespace quire::tests {

namespace {

constexpr attributes rw{perm::rw};

}  // namespace

TEST_SUITE("ranges") {
TEST_CASE_TEMPLATE("without an observer, too, tables between large leaves and holes all go back, also to other cpus", F,
                   QUIRE_FORMATS) {
  for (const unsigned cached : {0u, 8u}) {
    guest<F> g({.table_bytes = std::size_t{32} << 20, .pool = {cached, 1}, .observed = false});
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
}

}  // namespace quire::tests
