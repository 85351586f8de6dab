// Several updates of one page in one section.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>

#include "tests/support/guest.h"

namespace quire::tests {

namespace {

using runtime::harvest;

constexpr attributes rw{perm::rw};
constexpr attributes ro{perm::r};

/// Updates around a large leaf in [0, n) and small ones in [n, n + 8).
class updates {
 public:
  static constexpr unsigned count = 14;

  explicit updates(guest_base& g) : g_(g), n_(g.s().shape.slot_pages(1)) {}

  void start() {
    machine& m = g_.m();
    lazy_state* l = g_.state();
    REQUIRE(m.unmap(l, {gfn{0}, 4 * n_}) == status::ok);
    REQUIRE(m.map(l, {gfn{0}, n_}, hfn{0}, rw) == status::ok);
    REQUIRE(m.map(l, {gfn{n_}, 8}, hfn{n_}, rw, 0) == status::ok);
    for (const gfn g : {gfn{3}, gfn{n_ + 1}, gfn{n_ + 5}}) REQUIRE(g_.touch(g, perm::w));
  }

  void apply(lazy_state* l, unsigned which) {
    machine& m = g_.m();
    REQUIRE(which < count);
    const std::uint64_t n = n_;
    const auto done = [&]() -> status {
      switch (which) {
        case 0:
          return m.map(l, {gfn{n / 2}, 4}, hfn{7}, rw, 0);
        case 1:
          return m.map(l, {gfn{0}, 2 * n}, hfn{4 * n}, rw);
        case 2:
          return m.map(l, {gfn{0}, 2 * n}, hfn{0}, rw);  // the same, as large leaves
        case 3:
          return m.map(l, {gfn{n}, 8}, hfn{n}, rw, 0);  // the same
        case 4:
          return m.map(l, {gfn{n - 4}, 8}, hfn{n}, ro, 0);
        case 5:
          return m.map_keep_present(l, {gfn{n / 2 - 1}, n + 3}, hfn{9 * n}, ro);
        case 6:
          return m.map_exact(l, {gfn{n}, n}, hfn{2 * n}, ro, 1);
        case 7:
          return m.unmap(l, {gfn{2}, n / 2});
        case 8:
          return m.unmap(l, {gfn{0}, 2 * n});
        case 9:
          return m.unmap(l, {gfn{n}, 8});
        case 10:
          return m.protect(l, {gfn{n / 2}, n}, perm::r);
        case 11:
          return m.protect(l, {gfn{0}, n}, perm::rx);
        case 12:
          return m.harvest_status(l, {gfn{0}, n + 3}, harvest::accessed | harvest::dirty);
        default:
          return m.harvest_status(l, {gfn{3}, n}, harvest::dirty | harvest::write_protect);
      }
    }();
    REQUIRE(done == status::ok);
  }

  /// Pages on both sides of every place where something may change.
  std::vector<gfn> pages() const {
    std::vector<gfn> all;
    for (const std::uint64_t at :
         {std::uint64_t{0}, std::uint64_t{2}, n_ / 2, n_ - 4, n_, n_ + 3, n_ + 4, n_ + 8, 2 * n_}) {
      if (at > 0) all.push_back(gfn{at - 1});
      all.push_back(gfn{at});
      all.push_back(gfn{at + 1});
    }
    return all;
  }

 private:
  guest_base& g_;
  const std::uint64_t n_;
};

/// What a lookup may not know.
struct unknown {
  bool access, status;
};

bool same(const std::optional<mapping>& a, const std::optional<mapping>& b, unknown u) {
  if (!a || !b) return !a && !b;
  return a->out == b->out && a->attr.type == b->attr.type && (u.access || a->attr.access == b->attr.access) &&
         (u.status || (a->accessed == b->accessed && a->dirty == b->dirty));
}

}  // namespace

TEST_SUITE("overlap") {
TEST_CASE_TEMPLATE(
    "rule 11: three updates in one section, in any choice and order, give the tables of eager ones", F,
    QUIRE_FORMATS) {
  guest<F> eager({.cpus = 1});
  guest<F> lazy({.cpus = 1});
  eager.recording = lazy.recording = false;
  updates e(eager);
  updates z(lazy);
  const auto pages = z.pages();
  for (unsigned i = 0; i < updates::count * updates::count * updates::count; ++i) {
    const std::array order = {i / updates::count / updates::count, i / updates::count % updates::count,
                              i % updates::count};
    e.start();
    z.start();
    lazy_state* l = lazy.enter();
    for (const unsigned which : order) {
      e.apply(eager.state(), which);
      z.apply(l, which);
    }
    const auto among = [&](unsigned u) { return std::ranges::find(order, u) != order.end(); };
    // Update 2 replaces small leaves by a large one that maps the same and is clean: lookup cannot tell, and
    // so neither what a harvest after it finds.
    const unknown u{among(2) && among(13), among(2)};
    bool seen = true;
    for (const gfn g : pages) seen = seen && same(lazy.look(g), eager.look(g), u);
    REQUIRE(lazy.m().leave(l) == status::ok);
    const bool equal = eager.leaves() == lazy.leaves() && eager.s().tables() == lazy.s().tables();
    if (equal && seen) continue;
    CAPTURE(order[0]);
    CAPTURE(order[1]);
    CAPTURE(order[2]);
    CHECK_MESSAGE(equal, "the tables differ");
    CHECK_MESSAGE(seen, "rule 7: lookup did not see what the queued updates came to");
  }
}

TEST_CASE_TEMPLATE("rule 11: the last update of a page wins, and what it replaced is reported", F,
                   QUIRE_FORMATS) {
  guest<F> g;
  machine& m = g.m();
  REQUIRE(m.map(g.state(), {gfn{0x20}, 1}, hfn{0x900}, rw, 0) == status::ok);
  lazy_state* l = g.enter();
  REQUIRE(m.unmap(l, {gfn{0x20}, 1}) == status::ok);
  REQUIRE(m.map(l, {gfn{0x20}, 1}, hfn{0x901}, ro, 0) == status::ok);
  REQUIRE(m.map(l, {gfn{0x20}, 1}, hfn{0x902}, rw, 0) == status::ok);
  CHECK(g.look(gfn{0x20})->out == hfn{0x902});
  REQUIRE(m.leave(l) == status::ok);
  CHECK(g.in_tables(gfn{0x20})->out == hfn{0x902});
  REQUIRE(g.reports.size() == 2);
  CHECK(g.reports[0].out == hfn{0x900});
  CHECK(g.reports[1].out == hfn{0x901});
  CHECK(g.flushes.size() == 1);
}
}

}  // namespace quire::tests
