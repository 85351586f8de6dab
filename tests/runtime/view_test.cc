// Looking at mappings with lookup and for_each: queued updates on top of the tables.
#include <doctest/doctest.h>

#include "tests/support/guest.h"

namespace quire::tests {

namespace {

using runtime::harvest;

constexpr attributes rw{perm::rw};
constexpr attributes ro{perm::r};

struct seen_piece {
  gfn_range range;
  hfn out;
  attributes attr;
  friend bool operator==(const seen_piece&, const seen_piece&) = default;
};
using pieces = std::vector<seen_piece>;

pieces each(guest_base& g, gfn_range r) {
  pieces all;
  const auto add = [](void* context, const mapping& m) {
    static_cast<pieces*>(context)->push_back({m.range, m.out, m.attr});
    return true;
  };
  CHECK(g.m().for_each(g.state(), r, add, &all) == status::ok);
  return all;
}

}  // namespace

TEST_SUITE("view") {
TEST_CASE_TEMPLATE("lookup tells frame, attributes, A, D and leaf of one page", F, QUIRE_FORMATS) {
  guest<F> g;
  const bool tracked = g.s().backend->tracks_status(g.s());
  const std::uint64_t n = g.s().shape.slot_pages(1);
  REQUIRE(g.m().map(g.state(), {gfn{n}, n}, hfn{4 * n}, {perm::rw, g.second_type()}) == status::ok);
  REQUIRE(g.touch(gfn{n + 1}, perm::w));
  const auto at = g.look(gfn{n + 3});
  REQUIRE(at.has_value());
  CHECK(at->range == gfn_range{gfn{n + 3}, 1});
  CHECK(at->out == hfn{4 * n + 3});
  CHECK(at->attr == attributes{perm::rw, g.second_type()});
  CHECK(at->level == 1);
  CHECK(at->accessed == tracked);
  CHECK(at->dirty == tracked);
  CHECK(!g.look(gfn{2 * n}));
  mapping m;
  bool found = false;
  const std::uint64_t end = g.s().shape.input_pages;
  CHECK(g.m().lookup(g.state(), gfn{end - 1}, m, found) == status::ok);
  CHECK(!found);
  CHECK(g.m().lookup(g.state(), gfn{end}, m, found) == status::bad_range);
  CHECK(g.m().lookup(g.state(), gfn{~std::uint64_t{0}}, m, found) == status::bad_range);
}

TEST_CASE_TEMPLATE("lookup sees queued updates of parts of a large leaf, and the rest of it as it is", F,
                   QUIRE_FORMATS) {
  guest<F> g;
  machine& m = g.m();
  const std::uint64_t n = g.s().shape.slot_pages(1);
  REQUIRE(m.map(g.state(), {gfn{0}, 2 * n}, hfn{0}, rw, 1) == status::ok);
  REQUIRE(g.touch(gfn{0}, perm::w));
  lazy_state* l = g.enter();
  REQUIRE(m.unmap(l, {gfn{2}, 1}) == status::ok);
  REQUIRE(m.protect(l, {gfn{n - 2}, 4}, perm::r) == status::ok);
  REQUIRE(m.map(l, {gfn{5}, 2}, hfn{0x777}, ro, 0) == status::ok);
  REQUIRE(m.map_keep_present(l, {gfn{1}, 3}, hfn{0x888}, ro) == status::ok);  // only page 2 is a hole now
  REQUIRE(m.unmap(l, {gfn{6}, 1}) == status::ok);
  const auto looks = [&] {
    CHECK(g.look(gfn{0})->out == hfn{0});
    CHECK(g.look(gfn{0})->attr == rw);
    CHECK(g.look(gfn{1})->out == hfn{1});
    CHECK(g.look(gfn{2})->out == hfn{0x889});
    CHECK(g.look(gfn{3})->out == hfn{3});
    CHECK(g.look(gfn{4})->out == hfn{4});
    CHECK(g.look(gfn{5})->out == hfn{0x777});
    CHECK(g.look(gfn{5})->attr == ro);
    CHECK(!g.look(gfn{5})->dirty);
    CHECK(!g.look(gfn{6}));
    CHECK(g.look(gfn{7})->out == hfn{7});
    CHECK(g.look(gfn{7})->dirty == g.s().backend->tracks_status(g.s()));
    CHECK(g.look(gfn{n - 3})->attr == rw);
    CHECK(g.look(gfn{n - 2})->attr == ro);
    CHECK(g.look(gfn{n + 1})->attr == ro);
    CHECK(g.look(gfn{n + 1})->out == hfn{n + 1});
    CHECK(g.look(gfn{n + 2})->attr == rw);
  };
  looks();
  CHECK(m.counts(0, g.s()).splits == 0);  // nothing is committed
  REQUIRE(m.leave(l) == status::ok);
  looks();
}

TEST_CASE_TEMPLATE("lookup sees a queued harvest", F, QUIRE_FORMATS) {
  guest<F> g;
  machine& m = g.m();
  if (!g.s().backend->tracks_status(g.s())) return;
  REQUIRE(m.map(g.state(), {gfn{0x10}, 3}, hfn{0x901}, rw, 0) == status::ok);
  REQUIRE((g.touch(gfn{0x10}, perm::w) && g.touch(gfn{0x11}, perm::r)));
  lazy_state* l = g.enter();
  REQUIRE(m.harvest_status(l, {gfn{0x10}, 3}, harvest::dirty | harvest::write_protect) == status::ok);
  for (int i = 0; i < 2; ++i) {
    CHECK(!g.look(gfn{0x10})->dirty);
    CHECK(g.look(gfn{0x10})->accessed);
    CHECK(g.look(gfn{0x10})->attr == ro);
    CHECK(g.look(gfn{0x11})->accessed);
    CHECK(g.look(gfn{0x11})->attr == rw);
    if (i == 0) REQUIRE(m.flush(l) == status::ok);
  }
  REQUIRE(m.harvest_status(l, {gfn{0x11}, 1}, harvest::accessed) == status::ok);
  CHECK(!g.look(gfn{0x11})->accessed);
  CHECK(g.look(gfn{0x10})->accessed);
  REQUIRE(m.leave(l) == status::ok);
}

TEST_CASE_TEMPLATE("for_each visits what is mapped, in order, cut to the range, each leaf once", F,
                   QUIRE_FORMATS) {
  guest<F> g;
  machine& m = g.m();
  const std::uint64_t n = g.s().shape.slot_pages(1);
  REQUIRE(m.map(g.state(), {gfn{n}, n}, hfn{4 * n}, rw) == status::ok);
  REQUIRE(m.map(g.state(), {gfn{2 * n}, 1}, hfn{7}, ro, 0) == status::ok);
  REQUIRE(m.map(g.state(), {gfn{5 * n}, n}, hfn{0}, ro) == status::ok);
  CHECK(each(g, {gfn{n + 3}, 4 * n}) == pieces{{{gfn{n + 3}, n - 3}, hfn{4 * n + 3}, rw},
                                               {{gfn{2 * n}, 1}, hfn{7}, ro},
                                               {{gfn{5 * n}, 3}, hfn{0}, ro}});
  CHECK(each(g, {gfn{0}, g.s().shape.input_pages}).size() == 3);
  CHECK(each(g, {gfn{3 * n}, n}).empty());
  CHECK(each(g, {gfn{n}, 0}).empty());
  CHECK(each(g, {gfn{n + 1}, 1}) == pieces{{{gfn{n + 1}, 1}, hfn{4 * n + 1}, rw}});
}

TEST_CASE_TEMPLATE("for_each shows parts of a leaf that queued updates make different as pieces of their own",
                   F, QUIRE_FORMATS) {
  guest<F> g;
  machine& m = g.m();
  const std::uint64_t n = g.s().shape.slot_pages(1);
  REQUIRE(m.map(g.state(), {gfn{n}, n}, hfn{4 * n}, rw) == status::ok);
  lazy_state* l = g.enter();
  REQUIRE(m.protect(l, {gfn{n + 2}, 2}, perm::r) == status::ok);
  REQUIRE(m.unmap(l, {gfn{n + 6}, 1}) == status::ok);
  REQUIRE(m.map(l, {gfn{2 * n - 1}, 2}, hfn{9}, ro, 0) == status::ok);
  CHECK(each(g, {gfn{0}, 4 * n}) == pieces{{{gfn{n}, 2}, hfn{4 * n}, rw},
                                           {{gfn{n + 2}, 2}, hfn{4 * n + 2}, ro},
                                           {{gfn{n + 4}, 2}, hfn{4 * n + 4}, rw},
                                           {{gfn{n + 7}, n - 8}, hfn{4 * n + 7}, rw},
                                           {{gfn{2 * n - 1}, 1}, hfn{9}, ro},
                                           {{gfn{2 * n}, 1}, hfn{10}, ro}});
  CHECK(m.counts(0, g.s()).commits == 1);
  REQUIRE(m.leave(l) == status::ok);
}

TEST_CASE_TEMPLATE("for_each stops where the callback says so, and refuses ranges beyond the input size", F,
                   QUIRE_FORMATS) {
  guest<F> g;
  REQUIRE(g.m().map(g.state(), {gfn{0x10}, 4}, hfn{0x901}, rw, 0) == status::ok);
  struct stopping {
    int left;
    int calls;
  };
  const auto visit = [](void* context, const mapping& /*m*/) {
    auto& s = *static_cast<stopping*>(context);
    ++s.calls;
    return --s.left > 0;
  };
  for (int after = 1; after <= 4; ++after) {
    stopping s{after, 0};
    CHECK(g.m().for_each(g.state(), {gfn{0}, 0x40}, visit, &s) == status::stopped);
    CHECK(s.calls == after);
  }
  stopping s{100, 0};
  const std::uint64_t end = g.s().shape.input_pages;
  CHECK(g.m().for_each(g.state(), {gfn{0}, end + 1}, visit, &s) == status::bad_range);
  CHECK(g.m().for_each(g.state(), {gfn{end - 1}, 2}, visit, &s) == status::bad_range);
  CHECK(g.m().for_each(g.state(), {gfn{1}, ~std::uint64_t{0}}, visit, &s) == status::bad_range);
  CHECK(s.calls == 0);
  CHECK(g.m().for_each(g.state(), {gfn{end}, 0}, visit, &s) == status::ok);
}
}

}  // namespace quire::tests
