// Rule 13 and rule 14: a cpu completes what others have queued, sections move between cpus, cpus come and go.
#include <doctest/doctest.h>

#include <algorithm>

#include "tests/support/guest.h"

namespace quire::tests {

namespace {

using runtime::guard;
constexpr attributes rwx{perm::rwx, 0, 0};

/// A guest of three cpus, of which a fourth may be registered, with `pages` pages queued on cpu 0.
template <class F>
struct queued : guest<F> {
  explicit queued(std::uint64_t pages) : guest<F>({.cpus = 3}) {
    section = this->enter(0);
    for (std::uint64_t i = 0; i < pages; ++i) add(i);
  }
  void add(std::uint64_t i) {
    REQUIRE(this->m().map(section, {gfn{i}, 1}, hfn{0x100 + i}, rwx, 0) == status::ok);
  }
  std::uint64_t mapped(std::uint64_t pages) {
    std::uint64_t n = 0;
    for (std::uint64_t i = 0; i < pages; ++i)
      n += this->in_tables(gfn{i}) && this->in_tables(gfn{i})->out == hfn{0x100 + i};
    return n;
  }
  lazy_state* section = nullptr;
};

}  // namespace

TEST_SUITE("drain") {
TEST_CASE_TEMPLATE("rule 13: a remote cpu commits what is queued, and the section stays open", F,
                   QUIRE_FORMATS) {
  queued<F> g(10);
  CHECK(g.mapped(10) == 0);
  REQUIRE(g.m().drain(1, g.s()) == status::ok);
  CHECK(g.mapped(10) == 10);
  CHECK(g.m().active(g.section));
  CHECK(g.m().counts(1, g.s()).drained_runs == 1);
  REQUIRE(g.m().leave(g.section) == status::ok);
  CHECK(g.m().counts(0, g.s()).commits == 0);  // nothing was left
  CHECK(g.mapped(10) == 10);
}
TEST_CASE_TEMPLATE("rule 13: the newest run grows on after a drain, and no page is lost or committed twice",
                   F, QUIRE_FORMATS) {
  queued<F> g(3);
  for (std::uint64_t i = 3; i < 12; ++i) {
    REQUIRE(g.m().drain(1 + i % 2, g.s()) == status::ok);
    CHECK(g.mapped(12) == i);
    g.add(i);
  }
  REQUIRE(g.m().leave(g.section) == status::ok);
  CHECK(g.mapped(12) == 12);
  CHECK(g.m().counts(0, g.s()).runs == 1);  // the last page
  CHECK(g.m().tables_in_use() == g.s().tables());
}
TEST_CASE_TEMPLATE("rule 13: a drain may come between any two updates, in a ring that has gone round", F,
                   QUIRE_FORMATS) {
  queued<F> g(0);
  std::uint64_t at = 0;
  for (unsigned round = 0; round < 1500; ++round) {
    const gfn page{(at++ * 3) % 300};
    const bool unmaps = round % 5 == 4;
    if (unmaps) {
      REQUIRE(g.m().unmap(g.section, {page, 1}) == status::ok);
    } else {
      REQUIRE(g.m().map(g.section, {page, 1}, hfn{0x1000 + round}, rwx, 0) == status::ok);
    }
    if (round % 7 == 3) REQUIRE(g.m().drain(1, g.s()) == status::ok);
    const auto seen = g.look(page);
    CHECK(seen.has_value() == !unmaps);
    if (seen) CHECK(seen->out == hfn{0x1000 + round});
  }
  REQUIRE(g.m().leave(g.section) == status::ok);
  CHECK(g.m().tables_in_use() == g.s().tables());
}
TEST_CASE_TEMPLATE("a drain of a range leaves queues alone that have nothing in it", F, QUIRE_FORMATS) {
  queued<F> g(4);
  REQUIRE(g.m().drain(1, g.s(), {gfn{4}, 20}) == status::ok);
  CHECK(g.mapped(4) == 0);
  REQUIRE(g.m().drain(1, g.s(), {gfn{3}, 1}) == status::ok);
  CHECK(g.mapped(4) == 4);
  REQUIRE(g.m().leave(g.section) == status::ok);
}
TEST_CASE_TEMPLATE("a drain flushes what it removes, and lets its writes out", F, QUIRE_FORMATS) {
  queued<F> g(4);
  REQUIRE(g.m().leave(g.section) == status::ok);
  g.section = g.enter(0);
  REQUIRE(g.m().unmap(g.section, {gfn{1}, 1}) == status::ok);
  g.flushes.clear();
  g.hooks.clear();
  REQUIRE(g.m().drain(2, g.s()) == status::ok);
  REQUIRE(g.flushes.size() == 1);
  CHECK(g.flushes[0].reason == flush_reason::drain);
  REQUIRE(!g.hooks.empty());
  CHECK(g.hooks.back().find("barrier") != std::string::npos);
  CHECK(!g.in_tables(gfn{1}));
  REQUIRE(g.m().leave(g.section) == status::ok);
  CHECK(g.flushes.size() == 1);
}
TEST_CASE_TEMPLATE("a drain lets out what its owner has committed by itself and not let out yet", F,
                   QUIRE_FORMATS) {
  guest<F> g({.cpus = 2, .table_bytes = std::size_t{16} << 20});
  lazy_state* l = g.enter(0);
  for (std::uint64_t i = 0; i < 513; ++i) {
    const gfn page{i * 2 % g.s().shape.input_pages};
    REQUIRE(g.m().map(l, {page, 1}, hfn{i}, rwx, 0) == status::ok);
  }
  CHECK(g.m().counts(0, g.s()).forced_commits == 1);
  CHECK(std::count(g.hooks.begin(), g.hooks.end(), "barrier") == 0);
  REQUIRE(g.m().drain(1, g.s()) == status::ok);
  CHECK(g.hooks.back() == "barrier");
  REQUIRE(g.m().leave(l) == status::ok);
}
TEST_CASE(
    "groups: a map that goes on after a flush in the middle of a group does not undo what came in between") {
  unsigned in_the_middle = 0;
  // Before the group, so that for some of them there is no room for more in its middle.
  for (std::uint64_t reports = 960; reports < 1010; ++reports) {
    arch::stage2_4k f;
    f.contiguous = true;
    guest<arch::stage2_4k> g(f, {.cpus = 2, .table_bytes = std::size_t{8} << 20, .max_leaf_level = 0});
    machine& m = g.m();
    const gfn group{1u << 16}, far{1u << 20};
    lazy_state* l = g.enter(0);
    for (std::uint64_t i = 0; i < 16; ++i)
      REQUIRE(m.map(l, {group + i, 1}, hfn{0x5000 + i * 3}, rwx) == status::ok);
    for (std::uint64_t i = 1; i < 2048; i += 2)
      REQUIRE(m.map(l, {far + i, 1}, hfn{0x100000 + i * 3}, rwx) == status::ok);
    REQUIRE(m.leave(l) == status::ok);
    bool unmapped = false;
    // An observer may not do so: it stands for another cpu, at a moment that a test cannot meet with threads.
    g.on_report = [&](const runtime::report& r) {
      if (unmapped || r.range.first != group || !g.in_tables(group) || g.in_tables(group)->out != hfn{0x8000})
        return;
      unmapped = m.unmap(g.state(1), {group, 1}) == status::ok;
    };
    l = g.enter(0);
    for (std::uint64_t left = reports, table = 0; left > 0;
         ++table) {  // few records, so that one commit has all
      const std::uint64_t n = left < 256 ? left : 256;
      REQUIRE(m.unmap(l, {far + (512 * table + 1), 2 * n - 1}) == status::ok);
      left -= n;
    }
    REQUIRE(m.map(l, {group, 16}, hfn{0x8000}, rwx) == status::ok);
    REQUIRE(m.leave(l) == status::ok);
    g.on_report = nullptr;
    in_the_middle +=
        unmapped && m.counts(0, g.s()).flush_plans[static_cast<unsigned>(flush_reason::overflow)] > 0;
    CHECK(g.in_tables(group).has_value() == !unmapped);
    CHECK(g.in_tables(group + 1)->out == hfn{0x8001});
  }
  CHECK(in_the_middle > 0);
}
TEST_CASE_TEMPLATE("a cpu may drain its own queue, and a drain with nothing queued does nothing", F,
                   QUIRE_FORMATS) {
  queued<F> g(2);
  REQUIRE(g.m().drain(0, g.s()) == status::ok);
  CHECK(g.mapped(2) == 2);
  const auto commits = g.m().counts(0, g.s()).commits;
  REQUIRE(g.m().drain(0, g.s()) == status::ok);
  CHECK(g.m().counts(0, g.s()).commits == commits);
  CHECK(g.m().drain(9, g.s()) == status::bad_cpu);
  REQUIRE(g.m().leave(g.section) == status::ok);
}
TEST_CASE_TEMPLATE("without memory to claim twice a drain fails, and the owner still commits", F,
                   QUIRE_FORMATS) {
  guest<F> g({.cpus = 2});
  lazy_state* l = g.enter(0);
  g.frames_left = g.s().shape.top();  // one path
  REQUIRE(g.m().map(l, {gfn{5}, 1}, hfn{7}, rwx, 0) == status::ok);
  CHECK(g.m().drain(1, g.s()) == status::no_tables);
  CHECK(!g.in_tables(gfn{5}));
  REQUIRE(g.m().leave(l) == status::ok);
  CHECK(g.in_tables(gfn{5})->out == hfn{7});
}
TEST_CASE_TEMPLATE(
    "tables that another cpu took away again are made anew, although the owner claimed them once", F,
    QUIRE_FORMATS) {
  queued<F> g(1);
  REQUIRE(g.m().drain(1, g.s()) == status::ok);
  REQUIRE(g.m().unmap(g.state(1), {gfn{0}, 1}) == status::ok);
  CHECK(g.s().tables() == 1);
  g.add(1);  // shares the claim of page 0
  REQUIRE(g.m().leave(g.section) == status::ok);
  CHECK(!g.in_tables(gfn{0}));
  CHECK(g.in_tables(gfn{1}));
}
}

TEST_SUITE("guard") {
TEST_CASE_TEMPLATE("an update whose guard has moved on is left out, queued or not", F, QUIRE_FORMATS) {
  guest<F> g({.cpus = 2});
  const guard old{3, g.s().guard_sequence(3)};
  lazy_state* l = g.enter(0);
  REQUIRE(g.m().map(l, {gfn{1}, 1}, hfn{9}, rwx, 0, old) == status::ok);
  REQUIRE(g.m().map(l, {gfn{2}, 1}, hfn{10}, rwx, 0, {4, g.s().guard_sequence(4)}) == status::ok);
  g.s().bump_guard(3);
  REQUIRE(g.m().drain(1, g.s()) == status::ok);
  CHECK(!g.in_tables(gfn{1}));
  CHECK(g.in_tables(gfn{2}));
  CHECK(g.m().counts(1, g.s()).cancelled_updates == 1);
  REQUIRE(g.m().leave(l) == status::ok);
  REQUIRE(g.m().map_keep_present(g.state(0), {gfn{1}, 1}, hfn{9}, rwx, 0, old) == status::ok);
  CHECK(!g.in_tables(gfn{1}));
  REQUIRE(g.m().map_exact(g.state(0), {gfn{1}, 1}, hfn{9}, rwx, 0, {3, g.s().guard_sequence(3)}) ==
          status::ok);
  CHECK(g.in_tables(gfn{1}));
}
TEST_CASE("runs with different guards do not merge") {
  guest<arch::ept> g({.cpus = 1});
  lazy_state* l = g.enter(0);
  for (unsigned i = 0; i < 4; ++i) {
    REQUIRE(g.m().map(l, {gfn{i}, 1}, hfn{i}, rwx, 0, {static_cast<std::uint8_t>(1 + i / 2), 0}) ==
            status::ok);
  }
  REQUIRE(g.m().leave(l) == status::ok);
  CHECK(g.m().counts(0, g.s()).runs == 2);
}
}

TEST_SUITE("hand_over") {
TEST_CASE_TEMPLATE("rule 14: a section moves to another cpu with its depth, hint and pauses", F,
                   QUIRE_FORMATS) {
  queued<F> g(3);
  CHECK(g.enter(0) == g.section);
  g.hooks.clear();
  REQUIRE(g.m().hand_over(g.section) == status::ok);
  CHECK(g.mapped(3) == 3);
  CHECK(g.m().map(g.section, {gfn{9}, 1}, hfn{9}, rwx) == status::bad_state);
  CHECK(g.m().leave(g.section) == status::bad_state);
  CHECK(g.hooks.size() >= 2);      // the key register is back, then the barrier
  lazy_state* other = g.enter(0);  // the old cpu may go on with another one
  lazy_state* moved = nullptr;
  CHECK(g.m().take_over(0, g.section, moved) == status::in_section);
  REQUIRE(g.m().take_over(1, g.section, moved) == status::ok);
  CHECK(g.m().take_over(2, g.section, moved) == status::bad_state);
  CHECK(g.m().active(moved));
  REQUIRE(g.m().map(moved, {gfn{9}, 1}, hfn{9}, rwx, 0) == status::ok);
  CHECK(!g.in_tables(gfn{9}));
  REQUIRE(g.m().leave(moved) == status::ok);  // one of two
  CHECK(g.m().active(moved));
  REQUIRE(g.m().leave(moved) == status::ok);
  CHECK(g.m().leave(moved) == status::bad_state);
  CHECK(g.in_tables(gfn{9}));
  REQUIRE(g.m().leave(other) == status::ok);
}
TEST_CASE_TEMPLATE("rule 14: hint and pauses survive, and one section at a time is in transit", F,
                   QUIRE_FORMATS) {
  guest<F> g({.cpus = 2});
  lazy_state* l = g.enter(0, {gfn{7}, 5});
  REQUIRE(g.m().pause(l) == status::ok);
  REQUIRE(g.m().hand_over(l) == status::ok);
  lazy_state* second = g.enter(0);
  CHECK(g.m().hand_over(second) == status::in_section);
  CHECK(g.m().destroy_space(0, &g.s()) == status::in_section);
  lazy_state* moved = nullptr;
  REQUIRE(g.m().take_over(1, l, moved) == status::ok);
  CHECK(!g.m().active(moved));
  CHECK(g.m().hint(moved) == gfn_range{gfn{7}, 5});
  REQUIRE(g.m().resume(moved) == status::ok);
  CHECK(g.m().active(moved));
  REQUIRE(g.m().leave(moved) == status::ok);
  REQUIRE(g.m().leave(second) == status::ok);
}
TEST_CASE("a section that is taken over while paused puts back the key register of its new cpu") {
  guest<arch::ept> g({.cpus = 2});
  lazy_state* l = g.enter(0);
  REQUIRE(g.m().pause(l) == status::ok);
  REQUIRE(g.m().hand_over(l) == status::ok);
  CHECK(g.key_register == 0x55);
  g.key_register = 0x77;  // of cpu 1
  lazy_state* moved = nullptr;
  REQUIRE(g.m().take_over(1, l, moved) == status::ok);
  CHECK(g.key_register == 0x77);
  REQUIRE(g.m().resume(moved) == status::ok);
  CHECK(g.key_register == 0);
  REQUIRE(g.m().leave(moved) == status::ok);
  CHECK(g.key_register == 0x77);
}
TEST_CASE("only an open section can be handed over, and only one in transit taken") {
  guest<arch::ept> g({.cpus = 2});
  lazy_state* moved = nullptr;
  CHECK(g.m().hand_over(nullptr) == status::bad_state);
  CHECK(g.m().hand_over(g.state(0)) == status::no_section);
  CHECK(g.m().take_over(1, nullptr, moved) == status::bad_state);
  lazy_state* l = g.enter(0);
  CHECK(g.m().take_over(1, l, moved) == status::bad_state);
  REQUIRE(g.m().hand_over(l) == status::ok);
  CHECK(g.m().take_over(5, l, moved) == status::bad_cpu);
  REQUIRE(g.m().take_over(1, l, moved) == status::ok);
  REQUIRE(g.m().leave(moved) == status::ok);
}
}

TEST_SUITE("registration") {
TEST_CASE("cpus come and go while sections are open on others") {
  guest<arch::ept> g({.cpus = 1, .max_cpus = 3});
  lazy_state* l = g.enter(0);
  REQUIRE(g.m().map(l, {gfn{1}, 1}, hfn{1}, rwx, 0) == status::ok);
  CHECK(g.state(1) == nullptr);
  unsigned cpu = 0;
  REQUIRE(g.m().add_cpu(cpu) == status::ok);
  CHECK(cpu == 1);
  lazy_state* theirs = g.enter(1);
  REQUIRE(theirs);
  REQUIRE(g.m().map(theirs, {gfn{2}, 1}, hfn{2}, rwx, 0) == status::ok);
  CHECK(g.m().remove_cpu(1) == status::in_section);
  REQUIRE(g.m().leave(theirs) == status::ok);
  lazy_state* outside = g.state(1);
  REQUIRE(g.m().remove_cpu(1) == status::ok);
  CHECK(g.m().map(outside, {gfn{3}, 1}, hfn{3}, rwx, 0) == status::bad_state);
  CHECK(g.m().remove_cpu(1) == status::bad_cpu);
  CHECK(g.m().drain(1, g.s()) == status::bad_cpu);
  REQUIRE(g.m().add_cpu(cpu) == status::ok);
  CHECK(cpu == 1);
  CHECK(g.state(1) != outside);
  REQUIRE(g.m().unmap(g.state(1), {gfn{2}, 1}) == status::ok);
  REQUIRE(g.m().add_cpu(cpu) == status::ok);
  CHECK(g.m().add_cpu(cpu) == status::too_many);
  REQUIRE(g.m().leave(l) == status::ok);
  CHECK(g.in_tables(gfn{1}));
  CHECK(!g.in_tables(gfn{2}));
}
TEST_CASE("pools link frames, which writes to them, only while the tables are open") {
  guest<arch::ept> g({.cpus = 2, .pool = {4, 4}});
  for (std::uint64_t i = 0; i < 8; ++i) {
    REQUIRE(g.m().map(g.state(1), {gfn{i << 18}, 1u << 12}, hfn{1}, rwx, 0) == status::ok);
  }
  lazy_state* l = g.enter(0);
  REQUIRE(g.m().map(l, {gfn{9u << 18}, 1u << 12}, hfn{1}, rwx, 0) == status::ok);
  REQUIRE(g.m().leave(l) == status::ok);
  CHECK(g.table_allocations > 8);
  CHECK(!g.allocated_closed);
  g.hooks.clear();
  REQUIRE(g.m().remove_cpu(1) == status::ok);
  CHECK(g.hooks == std::vector<std::string>{"open 85", "close 85"});
}
TEST_CASE("what a cpu kept for itself serves others when it is gone") {
  guest<arch::ept> g({.cpus = 2, .pool = {64, 64}});
  REQUIRE(g.m().map(g.state(1), {gfn{1}, 1}, hfn{1}, rwx, 0) == status::ok);
  REQUIRE(g.m().unmap(g.state(1), {gfn{1}, 1}) == status::ok);
  g.frames_left = 0;
  REQUIRE(g.m().remove_cpu(1) == status::ok);
  CHECK(g.m().map(g.state(0), {gfn{1}, 1}, hfn{1}, rwx, 0) == status::ok);
}
}

}  // namespace quire::tests
