// The TLB model: what it caches, what it drops, and which uses it calls stale.
#include "hv/tlb.h"

#include <doctest/doctest.h>

#include "tests/support/guest.h"

namespace quire::tests {

namespace {

using hv::access_kind;
using hv::access_result;

constexpr gfn page{0x123};
constexpr std::uint32_t id = 3;
constexpr gfn_range one{page, 1};

/// A guest with A and D, and a TLB that is never flushed behind the test's back.
struct rig {
  guest<ept5_ad> g;
  hv::tlb cache;
  hv::narrowing_watch watch;

  rig() { REQUIRE(g.m().map(g.state(), {gfn{0x120}, 8}, hfn{0x920}, {perm::rwx}) == status::ok); }
  access_result access(access_kind k, gfn at = page) { return cache.access(g.host(), g.s(), id, at, k, watch); }
};

}  // namespace

TEST_SUITE("tlb") {
TEST_CASE("the first access walks and sets A, the next one hits") {
  rig r;
  CHECK(r.access(access_kind::read) == access_result::done);
  CHECK(r.cache.hits() == 0);
  CHECK(r.access(access_kind::fetch) == access_result::done);
  CHECK(r.cache.hits() == 1);
  CHECK(r.g.in_tables(page)->accessed);
  CHECK(!r.g.in_tables(page)->dirty);
}
TEST_CASE("the first write through a clean translation walks again, to set D") {
  rig r;
  CHECK(r.access(access_kind::read) == access_result::done);
  CHECK(r.access(access_kind::write) == access_result::done);
  CHECK(r.cache.walks() == 2);
  CHECK(r.g.in_tables(page)->dirty);
  CHECK(r.access(access_kind::write) == access_result::done);
  CHECK(r.cache.walks() == 2);
}
TEST_CASE("holes and missing rights fault, and set neither A nor D") {
  rig r;
  CHECK(r.access(access_kind::read, gfn{0x200}) == access_result::not_present);
  REQUIRE(r.g.m().protect(r.g.state(), one, perm::rx) == status::ok);
  CHECK(r.access(access_kind::write) == access_result::denied);
  CHECK(!r.g.in_tables(page)->accessed);
  CHECK(r.cache.stale_uses() == 0);
}
TEST_CASE("a use after unmap, move or narrowing without a flush is stale") {
  rig r;
  REQUIRE(r.access(access_kind::write) == access_result::done);
  SUBCASE("unmap") { REQUIRE(r.g.m().unmap(r.g.state(), one) == status::ok); }
  SUBCASE("move") { REQUIRE(r.g.m().map(r.g.state(), one, hfn{0x77}, {perm::rwx}) == status::ok); }
  SUBCASE("narrow") { REQUIRE(r.g.m().protect(r.g.state(), one, perm::rx) == status::ok); }
  SUBCASE("memory type") { REQUIRE(r.g.m().map(r.g.state(), one, hfn{0x923}, {perm::rwx, arch::ept::uc, 0}) == status::ok); }
  SUBCASE("A cleared") {
    REQUIRE(r.g.m().harvest_status(r.g.state(), one, runtime::harvest::accessed) == status::ok);
  }
  SUBCASE("D cleared") { REQUIRE(r.g.m().harvest_status(r.g.state(), one, runtime::harvest::dirty) == status::ok); }
  CHECK(r.access(access_kind::read) == access_result::done);
  CHECK(r.cache.stale_uses() == 1);
  CHECK(r.cache.first_stale() == page);
}
TEST_CASE("the same uses after a flush are not stale") {
  rig r;
  REQUIRE(r.access(access_kind::write) == access_result::done);
  REQUIRE(r.g.m().unmap(r.g.state(), one) == status::ok);
  r.cache.flush(id);
  CHECK(r.access(access_kind::read) == access_result::not_present);
  CHECK(r.cache.stale_uses() == 0);
}
TEST_CASE("a use while something is being narrowed is not called stale, a later one is") {
  rig r;
  REQUIRE(r.access(access_kind::read) == access_result::done);
  {
    const hv::narrowing_watch::scope narrowing(r.watch);
    REQUIRE(r.g.m().unmap(r.g.state(), one) == status::ok);
    CHECK(r.access(access_kind::read) == access_result::done);
    CHECK(r.cache.stale_uses() == 0);
  }
  CHECK(r.access(access_kind::read) == access_result::done);
  CHECK(r.cache.stale_uses() == 1);
}
TEST_CASE("widening leaves cached translations good") {
  rig r;
  REQUIRE(r.g.m().protect(r.g.state(), one, perm::r) == status::ok);
  REQUIRE(r.access(access_kind::read) == access_result::done);
  REQUIRE(r.g.m().protect(r.g.state(), one, perm::rwx) == status::ok);
  CHECK(r.access(access_kind::read) == access_result::done);
  CHECK(r.access(access_kind::write) == access_result::done);
  CHECK(r.cache.stale_uses() == 0);
}
TEST_CASE("a removed table is still walked through until the flush, and that is stale") {
  rig r;
  REQUIRE(r.access(access_kind::read) == access_result::done);  // caches the way to the leaf table
  REQUIRE(r.g.m().unmap(r.g.state(), {gfn{0x120}, 8}) == status::ok);
  REQUIRE(r.g.s().tables() == 1);
  (void)r.access(access_kind::read, gfn{0x124});  // another page of the same table, not cached itself
  CHECK(r.cache.stale_uses() == 1);
}
TEST_CASE("a 2 MiB leaf is cached page by page") {
  rig r;
  REQUIRE(r.g.m().map(r.g.state(), {gfn{0x200}, 512}, hfn{0x400}, {perm::rwx}) == status::ok);
  CHECK(r.access(access_kind::read, gfn{0x200}) == access_result::done);
  CHECK(r.access(access_kind::read, gfn{0x3ff}) == access_result::done);
  CHECK(r.cache.walks() == 2);
}
TEST_CASE("entries belong to their id: others do not hit them, and their flush leaves them alone") {
  rig r;
  REQUIRE(r.access(access_kind::read) == access_result::done);
  runtime::space* other = nullptr;
  REQUIRE(r.g.m().create_space(0, ept5_ad{}, {}, other) == status::ok);
  CHECK(r.cache.access(r.g.host(), *other, id + 1, page, access_kind::read, r.watch) == access_result::not_present);
  REQUIRE(r.access(access_kind::read) == access_result::done);
  r.cache.flush(id + 1);
  const auto walks = r.cache.walks();
  CHECK(r.access(access_kind::read) == access_result::done);
  CHECK(r.cache.walks() == walks);
  CHECK(r.cache.stale_uses() == 0);
}
TEST_CASE("a space that runs under the id of another uses its translations, and that is stale") {
  rig r;
  REQUIRE(r.access(access_kind::read) == access_result::done);
  runtime::space* other = nullptr;
  REQUIRE(r.g.m().create_space(0, ept5_ad{}, {}, other) == status::ok);
  const auto use = [&](gfn g) { return r.cache.access(r.g.host(), *other, id, g, access_kind::read, r.watch); };
  SUBCASE("the translation") { CHECK(use(page) == access_result::done); }
  SUBCASE("the way to the table") { CHECK(use(page + 1) == access_result::done); }
  CHECK(r.cache.stale_uses() == 1);
  CHECK(r.cache.last_frame().value / 16 == 0x92);
}
TEST_CASE("flush_all drops what was cached under every id") {
  rig r;
  for (const std::uint32_t tag : {1u, 2u, 65535u}) {
    REQUIRE(r.cache.access(r.g.host(), r.g.s(), tag, page + tag % 4, access_kind::read, r.watch) == access_result::done);
  }
  REQUIRE(r.g.m().unmap(r.g.state(), {gfn{0x120}, 8}) == status::ok);
  r.cache.flush_all();
  for (const std::uint32_t tag : {1u, 2u, 65535u}) {
    CHECK(r.cache.access(r.g.host(), r.g.s(), tag, page + tag % 4, access_kind::read, r.watch) == access_result::not_present);
  }
  CHECK(r.cache.stale_uses() == 0);
}
}

}  // namespace quire::tests
