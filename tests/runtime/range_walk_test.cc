// Walking over a range with a callback that updates it.
#include <doctest/doctest.h>

#include "tests/support/guest.h"

namespace quire::tests {

namespace {

using runtime::walk_flags;

constexpr attributes rw{perm::rw};
constexpr attributes ro{perm::r};

struct seen_piece {
  bool present;
  gfn_range range;
  hfn out;  // 0 in holes
  attributes attr;
  friend bool operator==(const seen_piece&, const seen_piece&) = default;
};
using pieces = std::vector<seen_piece>;

/// What apply_to_range() visits, with something to do at each.
class walker {
 public:
  using action = std::function<bool(lazy_state*, const seen_piece&)>;
  walker(guest_base& g, action a) : g_(g), action_(std::move(a)) {}
  status walk(gfn_range r, walk_flags flags) {
    seen.clear();
    const auto visit = [](void* context, lazy_state* l, bool present, const mapping& m) {
      auto& self = *static_cast<walker*>(context);
      self.seen.push_back({present, m.range, present ? m.out : hfn{0}, present ? m.attr : attributes{}});
      return self.action_(l, self.seen.back());
    };
    return g_.m().apply_to_range(g_.state(), r, flags, visit, this);
  }
  pieces seen;

 private:
  guest_base& g_;
  action action_;
};

}  // namespace

TEST_SUITE("range_walk") {
TEST_CASE_TEMPLATE("apply_to_range with holes visits every page of the range once, in order", F,
                   QUIRE_FORMATS) {
  guest<F> g;
  machine& m = g.m();
  const std::uint64_t n = g.s().shape.slot_pages(1);
  REQUIRE(m.map(g.state(), {gfn{n}, n}, hfn{0}, rw) == status::ok);
  REQUIRE(m.map(g.state(), {gfn{3 * n + 2}, 2}, hfn{3}, rw, 0) == status::ok);
  lazy_state* l = g.enter();
  REQUIRE(m.unmap(l, {gfn{n + 2}, 2}) == status::ok);
  for (const gfn_range r :
       {gfn_range{gfn{0}, 5 * n}, {gfn{n + 1}, 2}, {gfn{2 * n + 1}, n}, {gfn{n + 3}, 3 * n}}) {
    walker w(g, [](lazy_state*, const seen_piece&) { return true; });
    CHECK(w.walk(r, walk_flags::holes) == status::ok);
    gfn at = r.first;
    for (const seen_piece& p : w.seen) {
      CHECK(p.range.first == at);
      CHECK(p.range.pages > 0);
      CHECK(p.present == g.look(at).has_value());
      at = p.range.end();
    }
    CHECK(at == r.end());
    CHECK(w.walk(r, walk_flags::none) == status::ok);
    for (const seen_piece& p : w.seen) CHECK(p.present);
    CHECK(w.walk({r.first, 0}, walk_flags::holes) == status::ok);
    CHECK(w.seen.empty());
  }
  REQUIRE(m.leave(l) == status::ok);
}

TEST_CASE_TEMPLATE("apply_to_range opens a section with the range as its hint, and ends it", F,
                   QUIRE_FORMATS) {
  guest<F> g;
  machine& m = g.m();
  REQUIRE(m.map(g.state(), {gfn{0x10}, 4}, hfn{0x901}, rw, 0) == status::ok);
  const gfn_range r{gfn{0x11}, 2};
  walker w(g, [&](lazy_state* l, const seen_piece& p) {
    CHECK(m.active(l));
    CHECK(m.hint(l) == r);
    CHECK(m.protect(l, p.range, perm::r) == status::ok);
    CHECK(g.look(p.range.first)->attr == ro);
    CHECK(g.in_tables(p.range.first)->attr == rw);
    return true;
  });
  CHECK(w.walk(r, walk_flags::none) == status::ok);
  CHECK(w.seen.size() == 2);
  CHECK(g.flushes.size() == 1);
  CHECK(!m.active(g.state()));
  CHECK(g.in_tables(gfn{0x12})->attr == ro);
  CHECK(g.in_tables(gfn{0x13})->attr == rw);
}

TEST_CASE_TEMPLATE("apply_to_range inside a section nests: it flushes at its end and stays lazy", F,
                   QUIRE_FORMATS) {
  guest<F> g;
  machine& m = g.m();
  REQUIRE(m.map(g.state(), {gfn{0x10}, 4}, hfn{0x901}, rw, 0) == status::ok);
  lazy_state* outer = g.enter(0, {gfn{1}, 1});
  REQUIRE(m.unmap(outer, {gfn{0x13}, 1}) == status::ok);
  walker w(g, [&](lazy_state* l, const seen_piece& p) {
    CHECK(l == outer);
    return m.unmap(l, p.range) == status::ok;
  });
  CHECK(w.walk({gfn{0x10}, 4}, walk_flags::none) == status::ok);
  CHECK(w.seen.size() == 3);
  CHECK(g.flushes.size() == 1);
  CHECK(m.active(outer));
  CHECK(m.hint(outer) == gfn_range{gfn{1}, 1});
  REQUIRE(m.map(outer, {gfn{0x20}, 2}, hfn{0x901}, rw, 0) == status::ok);
  walker queued(
      g, [&](lazy_state* l, const seen_piece& p) { return m.protect(l, p.range, perm::r) == status::ok; });
  CHECK(queued.walk({gfn{0x20}, 2}, walk_flags::no_lazy) == status::ok);  // the section is lazy already
  CHECK(!g.in_tables(gfn{0x20}));
  REQUIRE(m.leave(outer) == status::ok);
  CHECK(g.in_tables(gfn{0x20})->attr == ro);
}

TEST_CASE_TEMPLATE("apply_to_range that is stopped keeps what was done and ends its section", F,
                   QUIRE_FORMATS) {
  for (const bool lazy : {true, false}) {
    CAPTURE(lazy);
    guest<F> g;
    machine& m = g.m();
    REQUIRE(m.map(g.state(), {gfn{0x10}, 4}, hfn{0x901}, rw, 0) == status::ok);
    walker w(g, [&](lazy_state* l, const seen_piece& p) {
      CHECK(m.unmap(l, p.range) == status::ok);
      return p.range.first < gfn{0x11};
    });
    CHECK(w.walk({gfn{0x10}, 4}, lazy ? walk_flags::none : walk_flags::no_lazy) == status::stopped);
    CHECK(w.seen.size() == 2);
    CHECK(!m.active(g.state()));
    CHECK(!g.in_tables(gfn{0x11}));
    CHECK(g.in_tables(gfn{0x12}).has_value());
    CHECK(m.apply_to_range(g.state(), {gfn{g.s().shape.input_pages}, 1}, walk_flags::none, nullptr,
                           nullptr) == status::bad_range);
    CHECK(!m.active(g.state()));
  }
}

TEST_CASE_TEMPLATE("a callback sees what it updated ahead, and nothing twice", F, QUIRE_FORMATS) {
  for (const bool lazy : {true, false}) {
    CAPTURE(lazy);
    guest<F> g;
    machine& m = g.m();
    const std::uint64_t n = g.s().shape.slot_pages(1);
    REQUIRE(m.map(g.state(), {gfn{n}, 2}, hfn{1}, rw, 0) == status::ok);
    REQUIRE(m.map(g.state(), {gfn{2 * n}, n}, hfn{2 * n}, rw) == status::ok);
    walker w(g, [&](lazy_state* l, const seen_piece& p) {
      if (p.range.first == gfn{n}) {
        CHECK(m.unmap(l, {gfn{n + 1}, 1}) == status::ok);                 // the next
        CHECK(m.map(l, {gfn{n + 4}, 1}, hfn{5}, ro, 0) == status::ok);    // a hole ahead
        CHECK(m.map(l, {gfn{n - 1}, 1}, hfn{6}, ro, 0) == status::ok);    // behind
        CHECK(m.protect(l, {gfn{2 * n + 1}, 2}, perm::r) == status::ok);  // parts of a large leaf ahead
      } else {
        CHECK(m.unmap(l, {gfn{n}, 1}) == status::ok);  // behind, again and again
      }
      return true;
    });
    CHECK(w.walk({gfn{0}, 4 * n}, lazy ? walk_flags::none : walk_flags::no_lazy) == status::ok);
    pieces joined;
    for (const seen_piece& p : w.seen) {
      const bool follows = !joined.empty() && joined.back().range.end() == p.range.first &&
                           joined.back().attr == p.attr &&
                           joined.back().out + joined.back().range.pages == p.out;
      if (follows) joined.back().range.pages += p.range.pages;
      if (!follows) joined.push_back(p);
    }
    CHECK(joined == pieces{{true, {gfn{n}, 1}, hfn{1}, rw},
                           {true, {gfn{n + 4}, 1}, hfn{5}, ro},
                           {true, {gfn{2 * n}, 1}, hfn{2 * n}, rw},
                           {true, {gfn{2 * n + 1}, 2}, hfn{2 * n + 1}, ro},
                           {true, {gfn{2 * n + 3}, n - 3}, hfn{2 * n + 3}, rw}});
    CHECK(g.in_tables(gfn{n - 1})->out == hfn{6});
    CHECK(!g.in_tables(gfn{n}));
  }
}
}

}  // namespace quire::tests
