// The rules of lazy sections: when updates are queued, when they take effect, what they add up to.
#include <doctest/doctest.h>

#include "tests/support/guest.h"

namespace quire::tests {

namespace {

using runtime::walk_flags;

constexpr attributes rw{perm::rw};
constexpr attributes ro{perm::r};

}  // namespace

TEST_SUITE("lazy_state") {
TEST_CASE_TEMPLATE("a queued unmap takes effect at leave, with one flush", F, QUIRE_FORMATS) {
  guest<F> g;
  REQUIRE(g.m().map(g.state(), {gfn{0x100}, 1}, hfn{0x900}, rw) == status::ok);
  lazy_state* l = g.enter();
  REQUIRE(g.m().unmap(l, {gfn{0x100}, 1}) == status::ok);
  CHECK(g.in_tables(gfn{0x100}).has_value());
  CHECK(g.flushes.empty());
  REQUIRE(g.m().leave(l) == status::ok);
  CHECK(!g.in_tables(gfn{0x100}));
  CHECK(g.flushes.size() == 1);
  CHECK(g.s().tables() == 1);
}

TEST_CASE_TEMPLATE("rule 1: a section is active while entered, not paused and not in an interrupt", F,
                   QUIRE_FORMATS) {
  guest<F> g;
  machine& m = g.m();
  CHECK(!m.active(g.state()));
  lazy_state* l = g.enter();
  CHECK(m.active(l));
  CHECK(m.active(g.state()));
  CHECK(!m.active(g.state(1)));

  REQUIRE(m.pause(l) == status::ok);
  CHECK(!m.active(l));
  REQUIRE(m.resume(l) == status::ok);
  CHECK(m.active(l));

  m.enter_interrupt(0);
  CHECK(!m.active(l));
  m.leave_interrupt(0);
  CHECK(m.active(l));
  m.enter_interrupt(1);
  CHECK(m.active(l));
  m.leave_interrupt(1);

  REQUIRE(g.enter() == l);
  REQUIRE(m.leave(l) == status::ok);
  CHECK(m.active(l));
  REQUIRE(m.leave(l) == status::ok);
  CHECK(!m.active(l));
  CHECK(!m.active(g.state()));
}

TEST_CASE_TEMPLATE("rule 2: a nested enter returns the same state, and each leave undoes one", F,
                   QUIRE_FORMATS) {
  guest<F> g;
  machine& m = g.m();
  lazy_state* l = g.enter(0, {gfn{0x10}, 4});
  REQUIRE(l != nullptr);
  CHECK(l != g.state());
  for (int i = 0; i < 3; ++i) CHECK(g.enter(0, {gfn{0x20}, 1}) == l);
  CHECK(m.hint(l) == gfn_range{gfn{0x10}, 4});
  for (int i = 0; i < 4; ++i) {
    CHECK(m.active(l));
    CHECK(m.leave(l) == status::ok);
  }
  CHECK(m.leave(l) == status::bad_state);
  CHECK(m.leave(g.state()) == status::no_section);
  lazy_state* next = g.enter();
  CHECK(next != l);
  CHECK(m.leave(g.state()) == status::no_section);  // the section has a state of its own
  CHECK(m.leave(next) == status::ok);
}

TEST_CASE_TEMPLATE("rule 2: a nested leave flushes and stays lazy, the outermost one flushes and ends", F,
                   QUIRE_FORMATS) {
  guest<F> g;
  machine& m = g.m();
  REQUIRE(m.map(g.state(), {gfn{0x20}, 3}, hfn{0x900}, rw) == status::ok);
  lazy_state* l = g.enter();
  REQUIRE(m.unmap(l, {gfn{0x20}, 1}) == status::ok);
  REQUIRE(g.enter() == l);  // does not flush
  CHECK(g.flushes.empty());
  REQUIRE(m.unmap(l, {gfn{0x21}, 1}) == status::ok);
  REQUIRE(m.leave(l) == status::ok);
  CHECK(!g.in_tables(gfn{0x20}));
  CHECK(!g.in_tables(gfn{0x21}));
  CHECK(g.flushes.size() == 1);
  REQUIRE(m.unmap(l, {gfn{0x22}, 1}) == status::ok);
  CHECK(g.in_tables(gfn{0x22}).has_value());
  CHECK(g.flushes.size() == 1);
  REQUIRE(m.leave(l) == status::ok);
  CHECK(!g.in_tables(gfn{0x22}));
  REQUIRE(g.flushes.size() == 2);
  CHECK(g.flushes[0].reason == flush_reason::leave);
  CHECK(g.flushes[1].reason == flush_reason::leave);
  CHECK(g.s().tables() == 1);
}

TEST_CASE_TEMPLATE(
    "rule 3: no translation that was removed or narrowed is left when leave, flush or pause returns", F,
    QUIRE_FORMATS) {
  const gfn removed{0x30};
  const gfn narrowed{0x40};
  for (int how = 0; how < 4; ++how) {
    CAPTURE(how);
    guest<F> g;
    machine& m = g.m();
    REQUIRE(m.map(g.state(), {gfn{0x30}, 0x20}, hfn{0x900}, rw, 0) == status::ok);
    std::size_t heard = 0;
    g.on_flush = [&](const runtime::flush_plan& plan) {  // what a CPU walks after this flush, it may cache
      CHECK(!plan.commands.empty());
      CHECK(plan.root_register == g.s().root_register);
      CHECK(!g.in_tables(removed));
      CHECK((!g.in_tables(narrowed) || g.in_tables(narrowed)->attr.access == perm::r));
      CHECK(heard == 0);
    };
    g.on_report = [&](const runtime::report& r) {  // whoever hears of it may reuse the frame
      CHECK(g.flushes.size() == 1);
      CHECK(r.out == hfn{0x900});
      ++heard;
    };
    lazy_state* l = g.enter();
    REQUIRE(m.unmap(l, {removed, 1}) == status::ok);
    REQUIRE(m.protect(l, {narrowed, 1}, perm::r) == status::ok);
    CHECK(g.flushes.empty());
    switch (how) {
      case 0:
        REQUIRE(m.leave(l) == status::ok);
        break;
      case 1:
        REQUIRE(m.flush(l) == status::ok);
        break;
      case 2:
        REQUIRE(m.pause(l) == status::ok);
        break;
      default:
        REQUIRE((g.enter() == l && m.leave(l) == status::ok));
    }
    CHECK(g.flushes.size() == 1);
    CHECK(heard == 1);
    CHECK(g.in_tables(narrowed)->attr.access == perm::r);
  }
}

TEST_CASE_TEMPLATE("rule 6: outside of a section every update has taken effect, flushed, when it returns", F,
                   QUIRE_FORMATS) {
  guest<F> g;
  machine& m = g.m();
  lazy_state* l = g.state();
  REQUIRE(m.map(l, {gfn{0x50}, 2}, hfn{0x900}, rw, 0) == status::ok);
  CHECK(g.in_tables(gfn{0x51})->out == hfn{0x901});
  REQUIRE(m.protect(l, {gfn{0x50}, 1}, perm::r) == status::ok);
  CHECK(g.in_tables(gfn{0x50})->attr == ro);
  CHECK(g.flushes.size() == 1);
  REQUIRE(m.unmap(l, {gfn{0x50}, 2}) == status::ok);
  CHECK(!g.in_tables(gfn{0x50}));
  REQUIRE(g.flushes.size() == 2);
  CHECK(g.flushes[0].reason == flush_reason::immediate);
  CHECK(g.flushes[1].reason == flush_reason::immediate);
  CHECK(m.flush(l) == status::ok);  // legal, and nothing to do
  CHECK(g.flushes.size() == 2);
  CHECK(m.counts(0, g.s()).commits == 3);
}

TEST_CASE_TEMPLATE("rule 6: the same call sites work lazily and eagerly, to the same tables", F,
                   QUIRE_FORMATS) {
  const auto work = [](machine& m, lazy_state* l, std::uint64_t large) {
    REQUIRE(m.map(l, {gfn{0}, 2 * large + 3}, hfn{0}, rw) == status::ok);
    REQUIRE(m.unmap(l, {gfn{large - 2}, 4}) == status::ok);
    REQUIRE(m.map_keep_present(l, {gfn{large - 4}, 6}, hfn{7}, ro) == status::ok);
    REQUIRE(m.protect(l, {gfn{1}, 1}, perm::r) == status::ok);
    REQUIRE(m.flush(l) == status::ok);
  };
  guest<F> eager;
  guest<F> lazy;
  work(eager.m(), eager.state(), eager.s().shape.slot_pages(1));
  lazy_state* l = lazy.enter();
  work(lazy.m(), l, lazy.s().shape.slot_pages(1));
  REQUIRE(lazy.m().leave(l) == status::ok);
  CHECK(eager.leaves() == lazy.leaves());
  CHECK(eager.s().tables() == lazy.s().tables());
  CHECK(eager.flushes.size() > lazy.flushes.size());
}

TEST_CASE_TEMPLATE("rule 6: a range walk opens a section unless no_lazy tells it not to", F, QUIRE_FORMATS) {
  guest<F> g;
  machine& m = g.m();
  const gfn_range r{gfn{0x60}, 4};
  for (const bool lazy : {true, false}) {
    CAPTURE(lazy);
    REQUIRE(m.map(g.state(), r, hfn{0x901}, rw, 0) == status::ok);
    g.flushes.clear();
    const auto visit = [](void* context, lazy_state* l, bool /*present*/, const mapping& what) {
      auto& at = *static_cast<guest<F>*>(context);
      return at.m().unmap(l, {what.range.first, 1}) == status::ok;
    };
    REQUIRE(m.apply_to_range(g.state(), r, lazy ? walk_flags::none : walk_flags::no_lazy, visit, &g) ==
            status::ok);
    CHECK(g.flushes.size() == (lazy ? 1 : 4));
    CHECK(!m.active(g.state()));
    CHECK(g.s().tables() == 1);
  }
}

TEST_CASE_TEMPLATE("rule 7: lookup on the owning cpu sees queued updates, other cpus see them at commit", F,
                   QUIRE_FORMATS) {
  guest<F> g;
  machine& m = g.m();
  REQUIRE(m.map(g.state(), {gfn{0x70}, 3}, hfn{0x901}, rw, 0) == status::ok);
  lazy_state* l = g.enter();
  REQUIRE(m.unmap(l, {gfn{0x70}, 1}) == status::ok);
  REQUIRE(m.protect(l, {gfn{0x71}, 1}, perm::r) == status::ok);
  REQUIRE(m.map(l, {gfn{0x72}, 2}, hfn{0xa00}, ro, 0) == status::ok);
  const auto seen = [&](unsigned cpu) {
    CHECK(!g.look(gfn{0x70}, cpu));
    CHECK(g.look(gfn{0x71}, cpu)->attr == ro);
    CHECK(g.look(gfn{0x71}, cpu)->out == hfn{0x902});
    CHECK(g.look(gfn{0x72}, cpu)->out == hfn{0xa00});
    CHECK(g.look(gfn{0x73}, cpu)->out == hfn{0xa01});
  };
  seen(0);
  CHECK(g.look(gfn{0x70}, 1)->out == hfn{0x901});
  CHECK(g.look(gfn{0x71}, 1)->attr == rw);
  CHECK(g.look(gfn{0x72}, 1)->out == hfn{0x903});
  CHECK(!g.look(gfn{0x73}, 1));
  CHECK(g.flushes.empty());  // a lookup does not commit
  REQUIRE(m.leave(l) == status::ok);
  seen(0);
  seen(1);
}

TEST_CASE_TEMPLATE("rule 8: updates outside of the range hint work", F, QUIRE_FORMATS) {
  guest<F> g;
  machine& m = g.m();
  lazy_state* l = g.enter(0, {gfn{0x80}, 2});
  CHECK(m.hint(l) == gfn_range{gfn{0x80}, 2});
  REQUIRE(m.map(l, {gfn{0x7f}, 4}, hfn{0x900}, rw, 0) == status::ok);
  REQUIRE(m.map(l, {gfn{0x1ff}, 1}, hfn{0x1ff}, rw, 0) == status::ok);
  REQUIRE(m.map(l, {gfn{0}, 1}, hfn{0}, rw, 0) == status::ok);
  REQUIRE(m.leave(l) == status::ok);
  for (const gfn at : {gfn{0}, gfn{0x7f}, gfn{0x80}, gfn{0x82}, gfn{0x1ff}})
    CHECK(g.in_tables(at).has_value());
  CHECK(m.hint(g.state()) == gfn_range{});
}

TEST_CASE_TEMPLATE("rule 12: sections on several spaces are open at once and are flushed apart", F,
                   QUIRE_FORMATS) {
  guest<F> g;
  machine& m = g.m();
  runtime::space* other = nullptr;
  REQUIRE(m.create_space(0, F{}, {}, other) == status::ok);
  other->note_run(0);
  for (lazy_state* l : {g.state(), m.state(0, *other)}) {
    REQUIRE(m.map(l, {gfn{0x90}, 2}, hfn{0x900}, rw, 0) == status::ok);
  }
  lazy_state* one = g.enter();
  lazy_state* two = m.enter(0, *other);
  CHECK(one != two);
  for (lazy_state* l : {one, two}) {
    REQUIRE(m.unmap(l, {gfn{0x90}, 1}) == status::ok);
    CHECK(m.active(l));
  }
  REQUIRE(m.unmap(two, {gfn{0x91}, 1}) == status::ok);
  REQUIRE(m.leave(one) == status::ok);
  REQUIRE(g.flushes.size() == 1);
  CHECK(g.flushes[0].space == g.s().id);
  mapping what;
  bool found = false;
  CHECK(m.active(two));
  REQUIRE(m.lookup(m.state(1, *other), gfn{0x91}, what, found) == status::ok);
  CHECK(found);  // the other section is still queued
  REQUIRE(m.leave(two) == status::ok);
  REQUIRE(g.flushes.size() == 2);
  CHECK(g.flushes[1].space == other->id);
  CHECK(g.look(gfn{0x91}).has_value());
  REQUIRE(m.lookup(m.state(0, *other), gfn{0x91}, what, found) == status::ok);
  CHECK(!found);
}
}

}  // namespace quire::tests
