// The rules of lazy sections, each a test that says it.
#include <doctest/doctest.h>

#include "tests/support/guest.h"

namespace quire::tests {

TEST_SUITE("lazy_state") {
TEST_CASE_TEMPLATE("a queued unmap takes effect at leave, with one flush", F, QUIRE_FORMATS) {
  guest<F> g;
  REQUIRE(g.m().map(g.state(), {gfn{0x100}, 1}, hfn{0x900}, {perm::rw}) == status::ok);
  lazy_state* l = g.enter();
  REQUIRE(g.m().unmap(l, {gfn{0x100}, 1}) == status::ok);
  CHECK(g.in_tables(gfn{0x100}).has_value());
  CHECK(g.flushes.empty());
  REQUIRE(g.m().leave(l) == status::ok);
  CHECK(!g.in_tables(gfn{0x100}));
  CHECK(g.flushes.size() == 1);
  CHECK(g.s().tables() == 1);
}
}

}  // namespace quire::tests
