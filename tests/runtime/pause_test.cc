// Pausing sections, and what the platform saves and puts back around table writes.
#include <doctest/doctest.h>

#include "tests/support/guest.h"

namespace quire::tests {

namespace {

constexpr attributes rw{perm::rw};
using names = std::vector<std::string>;

}  // namespace

TEST_SUITE("pause") {
TEST_CASE_TEMPLATE("rule 4: pause flushes and leaves lazy mode whatever the depth", F, QUIRE_FORMATS) {
  for (unsigned depth = 1; depth <= 3; ++depth) {
    CAPTURE(depth);
    guest<F> g;
    machine& m = g.m();
    REQUIRE(m.map(g.state(), {gfn{0x10}, 4}, hfn{0x901}, rw, 0) == status::ok);
    lazy_state* l = nullptr;
    for (unsigned i = 0; i < depth; ++i) l = g.enter();
    REQUIRE(m.unmap(l, {gfn{0x10}, 1}) == status::ok);
    REQUIRE(m.pause(l) == status::ok);
    CHECK(!g.in_tables(gfn{0x10}));
    REQUIRE(g.flushes.size() == 1);
    CHECK(g.flushes[0].reason == flush_reason::pause);
    CHECK(!m.active(l));

    REQUIRE(m.unmap(l, {gfn{0x11}, 1}) == status::ok);
    CHECK(!g.in_tables(gfn{0x11}));
    REQUIRE(g.flushes.size() == 2);
    CHECK(g.flushes[1].reason == flush_reason::immediate);

    REQUIRE(m.resume(l) == status::ok);
    REQUIRE(m.unmap(l, {gfn{0x12}, 1}) == status::ok);
    CHECK(g.in_tables(gfn{0x12}).has_value());
    CHECK(g.flushes.size() == 2);
    for (unsigned i = 0; i < depth; ++i) CHECK(m.leave(l) == status::ok);
    CHECK(!g.in_tables(gfn{0x12}));
    CHECK(m.leave(l) == status::bad_state);
  }
}

TEST_CASE_TEMPLATE("rule 4: resume restores the depth, the range hint and the state", F, QUIRE_FORMATS) {
  guest<F> g;
  machine& m = g.m();
  lazy_state* l = g.enter(0, {gfn{0x20}, 8});
  REQUIRE(g.enter() == l);
  REQUIRE(m.pause(l) == status::ok);
  CHECK(m.hint(l) == gfn_range{gfn{0x20}, 8});
  REQUIRE(g.enter(0, {gfn{0x40}, 1}) == l);
  REQUIRE(m.resume(l) == status::ok);
  CHECK(m.hint(l) == gfn_range{gfn{0x20}, 8});
  CHECK(m.active(l));
  CHECK(g.enter() == l);
  for (int i = 0; i < 3; ++i) CHECK(m.leave(l) == status::ok);
  CHECK(!m.active(g.state()));
}

TEST_CASE_TEMPLATE("rule 4: pauses nest", F, QUIRE_FORMATS) {
  guest<F> g;
  machine& m = g.m();
  REQUIRE(m.map(g.state(), {gfn{0x30}, 4}, hfn{0x901}, rw, 0) == status::ok);
  lazy_state* l = g.enter();
  for (int i = 0; i < 3; ++i) REQUIRE(m.pause(l) == status::ok);
  for (int i = 0; i < 2; ++i) {
    REQUIRE(m.resume(l) == status::ok);
    CHECK(!m.active(l));
    REQUIRE(m.unmap(l, {gfn{0x30} + static_cast<unsigned>(i), 1}) == status::ok);
    CHECK(g.flushes.size() == static_cast<unsigned>(i) + 1);
  }
  REQUIRE(m.resume(l) == status::ok);
  CHECK(m.active(l));
  CHECK(m.resume(l) == status::not_paused);
  CHECK(m.active(l));
  CHECK(m.leave(l) == status::ok);
}

TEST_CASE_TEMPLATE("rule 4: every call is legal and inert between pause and resume", F, QUIRE_FORMATS) {
  guest<F> g;
  machine& m = g.m();
  REQUIRE(m.map(g.state(), {gfn{0x40}, 4}, hfn{0x901}, rw, 0) == status::ok);
  lazy_state* l = g.enter(0, {gfn{0x40}, 1});
  REQUIRE(m.pause(l) == status::ok);
  for (int i = 0; i < 5; ++i) CHECK(m.leave(l) == status::ok);
  for (int i = 0; i < 2; ++i) CHECK(g.enter() == l);
  CHECK(m.flush(l) == status::ok);
  CHECK(m.pause(l) == status::ok);
  CHECK(m.resume(l) == status::ok);
  CHECK(g.flushes.empty());
  CHECK(!m.active(l));
  CHECK(g.look(gfn{0x41})->out == hfn{0x902});
  const auto visit = [](void* context, lazy_state* inner, bool /*present*/, const mapping& what) {
    auto& at = *static_cast<guest<F>*>(context);
    return at.m().unmap(inner, what.range) == status::ok && !at.in_tables(what.range.first);
  };
  CHECK(m.apply_to_range(l, {gfn{0x40}, 2}, runtime::walk_flags::none, visit, &g) == status::ok);
  CHECK(g.flushes.size() == 2);

  REQUIRE(m.resume(l) == status::ok);
  CHECK(m.active(l));
  CHECK(m.leave(l) == status::ok);  // depth 1, whatever was called meanwhile
  CHECK(m.leave(l) == status::bad_state);
}

TEST_CASE_TEMPLATE("rule 4: a pause outside of sections makes sections inert until resume", F,
                   QUIRE_FORMATS) {
  guest<F> g;
  machine& m = g.m();
  lazy_state* l = g.state();
  CHECK(m.resume(l) == status::not_paused);
  REQUIRE(m.pause(l) == status::ok);
  CHECK(g.enter() == l);
  REQUIRE(m.map(l, {gfn{0x50}, 1}, hfn{0x901}, rw) == status::ok);
  CHECK(g.in_tables(gfn{0x50}).has_value());
  CHECK(m.leave(l) == status::ok);
  CHECK(m.destroy_space(0, &g.s()) == status::in_section);
  REQUIRE(m.resume(l) == status::ok);
  CHECK(m.leave(l) == status::no_section);
  lazy_state* in = g.enter();
  CHECK(in != l);
  CHECK(m.active(in));
  CHECK(m.leave(in) == status::ok);
}

TEST_CASE_TEMPLATE("rule 4: a pause of one space or cpu does not pause another", F, QUIRE_FORMATS) {
  guest<F> g;
  machine& m = g.m();
  runtime::space* other = nullptr;
  REQUIRE(m.create_space(0, F{}, {}, other) == status::ok);
  lazy_state* one = g.enter();
  lazy_state* two = m.enter(0, *other);
  lazy_state* three = g.enter(1);
  REQUIRE(m.pause(one) == status::ok);
  CHECK(!m.active(one));
  CHECK(m.active(two));
  CHECK(m.active(three));
  CHECK(m.resume(two) == status::not_paused);
  REQUIRE(m.resume(one) == status::ok);
  for (lazy_state* l : {one, two, three}) CHECK(m.leave(l) == status::ok);
}

TEST_CASE_TEMPLATE(
    "rule 17: enter opens the tables, leave puts back what was saved and only then lets barriers out", F,
    QUIRE_FORMATS) {
  guest<F> g;
  machine& m = g.m();
  g.on_flush = [&g](const runtime::flush_plan&) { g.hooks.emplace_back("flush"); };
  REQUIRE(m.map(g.state(), {gfn{0x60}, 2}, hfn{0x901}, rw, 0) == status::ok);
  CHECK(g.hooks == names{"open 85", "close 85", "barrier"});
  g.hooks.clear();

  lazy_state* l = g.enter();
  CHECK(g.hooks == names{"open 85"});
  CHECK(g.key_register == 0);
  REQUIRE(g.enter() == l);
  REQUIRE(m.unmap(l, {gfn{0x60}, 1}) == status::ok);
  REQUIRE(m.leave(l) == status::ok);  // nested: the tables stay open
  CHECK(g.hooks == names{"open 85", "flush", "barrier"});
  CHECK(g.key_register == 0);
  REQUIRE(m.unmap(l, {gfn{0x61}, 1}) == status::ok);
  REQUIRE(m.leave(l) == status::ok);
  CHECK(g.hooks == names{"open 85", "flush", "barrier", "flush", "close 85", "barrier"});
  CHECK(g.key_register == 0x55);
}

// An entry that becomes valid needs no flush, yet on arm64 other CPUs' walks need not see it before a DSB.
TEST_CASE_TEMPLATE(
    "rule 17: flush and a nested leave let barriers out, also where nothing is to be flushed", F,
    QUIRE_FORMATS) {
  guest<F> g;
  machine& m = g.m();
  lazy_state* l = g.enter();
  REQUIRE(g.enter() == l);
  g.hooks.clear();
  REQUIRE(m.flush(l) == status::ok);
  CHECK(g.hooks.empty());
  REQUIRE(m.map(l, {gfn{0x60}, 1}, hfn{0x901}, rw, 0) == status::ok);
  CHECK(g.hooks.empty());
  REQUIRE(m.flush(l) == status::ok);
  CHECK(g.hooks == names{"barrier"});
  REQUIRE(m.flush(l) == status::ok);
  CHECK(g.hooks == names{"barrier"});
  REQUIRE(m.map(l, {gfn{0x61}, 1}, hfn{0x902}, rw, 0) == status::ok);
  REQUIRE(m.leave(l) == status::ok);
  CHECK(g.hooks == names{"barrier", "barrier"});
  CHECK(g.flushes.empty());
  REQUIRE(m.leave(l) == status::ok);
  CHECK(g.hooks == names{"barrier", "barrier", "close 85"});
}

TEST_CASE_TEMPLATE("rule 17: what a full queue has written is let out at the end of the section", F,
                   QUIRE_FORMATS) {
  guest<F> g;
  machine& m = g.m();
  lazy_state* l = g.enter();
  g.hooks.clear();
  for (unsigned i = 0; m.counts(0, g.s()).forced_commits == 0; ++i) {
    REQUIRE(i < 2 * runtime::batch::capacity);
    REQUIRE(m.map(l, {gfn{i % 400}, 1}, hfn{0x900 + 2 * i % 64}, rw, 0) == status::ok);
  }
  REQUIRE(m.leave(l) == status::ok);
  CHECK(g.hooks == names{"close 85", "barrier"});
}

TEST_CASE_TEMPLATE("a new space is behind a barrier before anybody gets it", F, QUIRE_FORMATS) {
  guest<F> g;
  runtime::space* other = nullptr;
  REQUIRE(g.m().create_space(0, F{}, {}, other) == status::ok);
  CHECK(g.hooks == names{"barrier"});
}

TEST_CASE_TEMPLATE("rule 17: a section that writes nothing needs no barrier", F, QUIRE_FORMATS) {
  guest<F> g;
  machine& m = g.m();
  lazy_state* l = g.enter();
  REQUIRE(m.unmap(l, {gfn{0x60}, 4}) == status::ok);
  REQUIRE(m.leave(l) == status::ok);
  CHECK(g.hooks == names{"open 85", "close 85"});
}

TEST_CASE_TEMPLATE("rule 17: what enter saved survives pause and resume, whatever happens to the register", F,
                   QUIRE_FORMATS) {
  guest<F> g;
  machine& m = g.m();
  lazy_state* l = g.enter();
  REQUIRE(m.map(l, {gfn{0x70}, 1}, hfn{0x901}, rw, 0) == status::ok);
  g.hooks.clear();
  REQUIRE(m.pause(l) == status::ok);
  CHECK(g.hooks == names{"close 85", "barrier"});
  CHECK(g.key_register == 0x55);

  g.key_register = 0x77;
  g.hooks.clear();
  REQUIRE(m.map(l, {gfn{0x72}, 1}, hfn{0x901}, rw, 0) == status::ok);
  CHECK(g.hooks == names{"open 119", "close 119", "barrier"});
  CHECK(g.key_register == 0x77);

  g.hooks.clear();
  REQUIRE(m.pause(l) == status::ok);  // nested: nothing more to close or open
  REQUIRE(m.resume(l) == status::ok);
  CHECK(g.hooks.empty());
  REQUIRE(m.resume(l) == status::ok);
  CHECK(g.hooks == names{"open 119"});
  CHECK(g.key_register == 0);
  g.hooks.clear();
  REQUIRE(m.leave(l) == status::ok);
  CHECK(g.hooks == names{"close 85"});
  CHECK(g.key_register == 0x55);
}

TEST_CASE_TEMPLATE(
    "rule 17: an update in an interrupt of a section leaves the tables as open as it found them", F,
    QUIRE_FORMATS) {
  guest<F> g;
  machine& m = g.m();
  lazy_state* l = g.enter();
  REQUIRE(m.map(l, {gfn{0x78}, 1}, hfn{0x901}, rw, 0) == status::ok);
  g.hooks.clear();
  m.enter_interrupt(0);
  REQUIRE(m.map(l, {gfn{0x79}, 1}, hfn{0x903}, rw, 0) == status::ok);
  CHECK(g.hooks == names{"open 0", "close 0", "barrier"});
  CHECK(g.enter() == l);
  CHECK(m.leave(l) == status::ok);
  CHECK(g.hooks.size() == 3);
  m.leave_interrupt(0);
  CHECK(g.key_register == 0);
  g.hooks.clear();
  REQUIRE(m.leave(l) == status::ok);
  CHECK(g.hooks == names{"close 85", "barrier"});
  CHECK(g.key_register == 0x55);
}

TEST_CASE_TEMPLATE("rule 17: an update that is refused closes what it opened", F, QUIRE_FORMATS) {
  guest<F> g;
  g.frames_left = 0;
  REQUIRE(g.m().map(g.state(), {gfn{0x78}, 1}, hfn{0x901}, rw, 0) == status::no_tables);
  CHECK(g.hooks == names{"open 85", "close 85"});
  CHECK(g.key_register == 0x55);
}
}

}  // namespace quire::tests
