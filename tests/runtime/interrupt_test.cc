// Calls of the runtime in interrupt context, while a section of the same cpu is open.
#include <doctest/doctest.h>

#include "tests/support/guest.h"

namespace quire::tests {

namespace {

constexpr attributes rw{perm::rw};

/// Interrupt context of cpu 0 for a scope.
class interrupt {
 public:
  explicit interrupt(machine& m) : m_(m) { m_.enter_interrupt(0); }
  ~interrupt() { m_.leave_interrupt(0); }
  interrupt(const interrupt&) = delete;
  interrupt& operator=(const interrupt&) = delete;

 private:
  machine& m_;
};

}  // namespace

TEST_SUITE("interrupt") {
TEST_CASE_TEMPLATE("rule 5: in an interrupt updates are immediate, and the interrupted batch stays queued", F,
                   QUIRE_FORMATS) {
  guest<F> g;
  machine& m = g.m();
  REQUIRE(m.map(g.state(), {gfn{0x10}, 8}, hfn{0x901}, rw, 0) == status::ok);
  lazy_state* l = g.enter();
  REQUIRE(m.unmap(l, {gfn{0x10}, 1}) == status::ok);
  {
    const interrupt in(m);
    REQUIRE(m.unmap(l, {gfn{0x11}, 1}) == status::ok);  // would continue the queued run
    CHECK(!g.in_tables(gfn{0x11}));
    REQUIRE(g.flushes.size() == 1);
    CHECK(g.flushes[0].reason == flush_reason::immediate);
    REQUIRE(m.protect(g.state(), {gfn{0x12}, 1}, perm::r) == status::ok);
    CHECK(g.in_tables(gfn{0x12})->attr.access == perm::r);
    CHECK(g.flushes.size() == 2);
    CHECK(g.in_tables(gfn{0x10}).has_value());
  }
  CHECK(m.active(l));
  CHECK(!g.look(gfn{0x10}));
  REQUIRE(m.leave(l) == status::ok);
  CHECK(!g.in_tables(gfn{0x10}));
  CHECK(g.flushes.size() == 3);
}

TEST_CASE_TEMPLATE("rule 5: what was queued comes after the interrupt", F, QUIRE_FORMATS) {
  guest<F> g;
  machine& m = g.m();
  lazy_state* l = g.enter();
  REQUIRE(m.map(l, {gfn{0x18}, 2}, hfn{0x901}, rw, 0) == status::ok);
  REQUIRE(m.unmap(l, {gfn{0x1a}, 1}) == status::ok);
  {
    const interrupt in(m);
    REQUIRE(m.map(l, {gfn{0x19}, 2}, hfn{0xa01}, rw, 0) == status::ok);
  }
  CHECK(g.look(gfn{0x19})->out == hfn{0x902});
  CHECK(!g.look(gfn{0x1a}));
  REQUIRE(m.leave(l) == status::ok);
  CHECK(g.in_tables(gfn{0x19})->out == hfn{0x902});
  CHECK(!g.in_tables(gfn{0x1a}));
}

TEST_CASE_TEMPLATE("rule 5: enter, leave, flush, pause and resume are inert in an interrupt", F,
                   QUIRE_FORMATS) {
  guest<F> g;
  machine& m = g.m();
  REQUIRE(m.map(g.state(), {gfn{0x20}, 8}, hfn{0x901}, rw, 0) == status::ok);
  lazy_state* l = g.enter(0, {gfn{0x20}, 2});
  REQUIRE(m.unmap(l, {gfn{0x20}, 1}) == status::ok);
  {
    const interrupt in(m);
    CHECK(g.enter(0, {gfn{0x80}, 1}) == l);
    CHECK(!m.active(l));
    for (int i = 0; i < 3; ++i) CHECK(m.leave(l) == status::ok);
    CHECK(m.flush(l) == status::ok);
    CHECK(m.pause(l) == status::ok);
    CHECK(m.pause(l) == status::ok);
    CHECK(m.resume(l) == status::ok);
    CHECK(m.hint(l) == gfn_range{gfn{0x20}, 2});
    CHECK(g.flushes.empty());
    CHECK(g.in_tables(gfn{0x20}).has_value());
  }
  CHECK(m.active(l));
  CHECK(m.resume(l) == status::not_paused);
  REQUIRE(m.leave(l) == status::ok);
  CHECK(!g.in_tables(gfn{0x20}));
  CHECK(m.leave(l) == status::bad_state);
}

TEST_CASE_TEMPLATE("rule 5: a section that is opened in an interrupt opens nothing", F, QUIRE_FORMATS) {
  guest<F> g;
  machine& m = g.m();
  {
    const interrupt in(m);
    lazy_state* l = g.enter();
    CHECK(l == g.state());
    REQUIRE(m.map(l, {gfn{0x28}, 1}, hfn{0x901}, rw) == status::ok);
    CHECK(g.in_tables(gfn{0x28}).has_value());
    CHECK(m.leave(l) == status::ok);
  }
  CHECK(m.leave(g.state()) == status::no_section);
  CHECK(!m.active(g.state()));
}

TEST_CASE_TEMPLATE("rule 5: interrupts nest, and each cpu has its own", F, QUIRE_FORMATS) {
  guest<F> g;
  machine& m = g.m();
  lazy_state* l = g.enter();
  lazy_state* other = g.enter(1);
  m.enter_interrupt(0);
  m.enter_interrupt(0);
  CHECK(m.in_interrupt(0));
  CHECK(!m.in_interrupt(1));
  CHECK(m.active(other));
  m.leave_interrupt(0);
  CHECK(!m.active(l));
  REQUIRE(m.map(l, {gfn{0x30}, 1}, hfn{0x901}, rw, 0) == status::ok);
  CHECK(g.in_tables(gfn{0x30}).has_value());
  m.leave_interrupt(0);
  CHECK(m.active(l));
  CHECK(m.leave(l) == status::ok);
  CHECK(m.leave(other) == status::ok);
}

TEST_CASE_TEMPLATE("rule 5: an interrupt looks at the tables, not at what is queued", F, QUIRE_FORMATS) {
  guest<F> g;
  machine& m = g.m();
  REQUIRE(m.map(g.state(), {gfn{0x38}, 1}, hfn{0x901}, rw, 0) == status::ok);
  lazy_state* l = g.enter();
  REQUIRE(m.unmap(l, {gfn{0x38}, 1}) == status::ok);
  REQUIRE(m.map(l, {gfn{0x39}, 1}, hfn{0xa02}, rw, 0) == status::ok);
  {
    const interrupt in(m);
    CHECK(g.look(gfn{0x38}).has_value());
    CHECK(!g.look(gfn{0x39}));
    const auto count = [](void* context, const mapping& what) {
      ++*static_cast<int*>(context);
      return what.out == hfn{0x901};
    };
    int seen = 0;
    CHECK(m.for_each(l, {gfn{0x30}, 0x10}, count, &seen) == status::ok);
    CHECK(seen == 1);
  }
  CHECK(!g.look(gfn{0x38}));
  CHECK(g.look(gfn{0x39}).has_value());
  CHECK(m.leave(l) == status::ok);
}

TEST_CASE_TEMPLATE("rule 5: a range walk in an interrupt is immediate and keeps the batch queued", F,
                   QUIRE_FORMATS) {
  guest<F> g;
  machine& m = g.m();
  REQUIRE(m.map(g.state(), {gfn{0x40}, 4}, hfn{0x901}, rw, 0) == status::ok);
  lazy_state* l = g.enter();
  REQUIRE(m.unmap(l, {gfn{0x43}, 1}) == status::ok);
  {
    const interrupt in(m);
    const auto visit = [](void* context, lazy_state* inner, bool /*present*/, const mapping& what) {
      auto& at = *static_cast<guest<F>*>(context);
      return at.m().unmap(inner, {what.range.first, 1}) == status::ok && !at.in_tables(what.range.first);
    };
    CHECK(m.apply_to_range(l, {gfn{0x40}, 3}, runtime::walk_flags::none, visit, &g) == status::ok);
    CHECK(g.flushes.size() == 3);
    CHECK(g.in_tables(gfn{0x43}).has_value());
  }
  CHECK(m.leave(l) == status::ok);
  CHECK(g.s().tables() == 1);
}

TEST_CASE_TEMPLATE("rule 5: an interrupt cannot take the tables that queued updates have claimed", F,
                   QUIRE_FORMATS) {
  guest<F> g;
  machine& m = g.m();
  const std::uint64_t large = g.s().shape.slot_pages(1);
  g.frames_left = g.s().shape.top() + 0u;  // tables of one path below the root
  lazy_state* l = g.enter();
  REQUIRE(m.map(l, {gfn{large}, 1}, hfn{0x901}, rw, 0) == status::ok);
  {
    const interrupt in(m);
    CHECK(m.map(l, {gfn{3 * large}, 1}, hfn{0x903}, rw, 0) == status::no_tables);
    CHECK(!g.in_tables(gfn{3 * large}));
    CHECK(!g.in_tables(gfn{large}));
  }
  REQUIRE(m.leave(l) == status::ok);
  CHECK(g.in_tables(gfn{large})->out == hfn{0x901});
}
}

}  // namespace quire::tests
