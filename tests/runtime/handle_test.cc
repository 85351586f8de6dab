// Telling true states from false ones.
#include <doctest/doctest.h>

#include <algorithm>
#include <random>

#include "tests/support/guest.h"

namespace quire::tests {

namespace {

using runtime::harvest;
using runtime::walk_flags;

constexpr attributes rw{perm::rw};

lazy_state* forge(std::uint64_t value) {
  return reinterpret_cast<lazy_state*>(static_cast<std::uintptr_t>(value));
}
std::uint64_t value_of(lazy_state* l) { return reinterpret_cast<std::uintptr_t>(l); }

/// True if every call that takes a state refuses `l`.
bool refused(machine& m, lazy_state* l) {
  const gfn_range r{gfn{0x40}, 1};
  int visits = 0;
  const auto count = [](void* context, const mapping& /*what*/) { return ++*static_cast<int*>(context) > 0; };
  const auto count_all = [](void* context, lazy_state* /*l*/, bool /*present*/, const mapping& /*what*/) {
    return ++*static_cast<int*>(context) > 0;
  };
  mapping what;
  bool found = true;
  bool all = !m.active(l) && m.hint(l) == gfn_range{};
  for (const status s :
       {m.leave(l), m.flush(l), m.pause(l), m.resume(l), m.map(l, r, hfn{1}, rw),
        m.map_keep_present(l, r, hfn{1}, rw), m.map_exact(l, r, hfn{1}, rw, 0), m.unmap(l, r),
        m.protect(l, r, perm::r), m.harvest_status(l, r, harvest::dirty), m.lookup(l, r.first, what, found),
        m.for_each(l, r, count, &visits), m.apply_to_range(l, r, walk_flags::none, count_all, &visits),
        m.apply_to_range(l, r, walk_flags::no_lazy | walk_flags::holes, count_all, &visits)}) {
    all = all && s == status::bad_state;
  }
  return all && visits == 0;
}

/// A section, two deep, with one update queued, and proof that nothing else ever got into it.
template <class F>
class open_section {
 public:
  explicit open_section(guest<F>& g) : g_(g) {
    machine& m = g_.m();
    REQUIRE(m.map(g.state(), {gfn{0x40}, 2}, hfn{0x901}, rw, 0) == status::ok);
    before_ = m.counts(0, g.s()).updates;
    l_ = g.enter(0, {gfn{0x41}, 3});
    REQUIRE(g.enter() == l_);
    REQUIRE(m.unmap(l_, {gfn{0x41}, 1}) == status::ok);
  }
  void untouched() {
    machine& m = g_.m();
    CHECK(m.active(l_));
    CHECK(m.hint(l_) == gfn_range{gfn{0x41}, 3});
    CHECK(g_.flushes.empty());
    CHECK(g_.in_tables(gfn{0x41}).has_value());
    CHECK(m.counts(0, g_.s()).updates == before_ + 1);
    CHECK(m.leave(l_) == status::ok);
    CHECK(m.leave(l_) == status::ok);
    CHECK(m.leave(l_) == status::bad_state);
    CHECK(g_.in_tables(gfn{0x40})->out == hfn{0x901});
    CHECK(g_.in_tables(gfn{0x40})->attr == rw);
    CHECK(!g_.in_tables(gfn{0x41}));
  }
  lazy_state* l() { return l_; }

 private:
  guest<F>& g_;
  lazy_state* l_ = nullptr;
  std::uint64_t before_ = 0;
};

}  // namespace

TEST_SUITE("handle") {
TEST_CASE_TEMPLATE("rule 16: null is refused", F, QUIRE_FORMATS) {
  guest<F> g;
  CHECK(refused(g.m(), nullptr));
  open_section<F> open(g);
  CHECK(refused(g.m(), nullptr));
  open.untouched();
  machine never_started;
  CHECK(refused(never_started, nullptr));
  CHECK(refused(never_started, g.state()));
}

TEST_CASE_TEMPLATE("rule 16: a state is stale once its section has ended, however many follow", F,
                   QUIRE_FORMATS) {
  guest<F> g({.cpus = 2});
  machine& m = g.m();
  std::vector<lazy_state*> old;
  for (int i = 0; i < 12000; ++i) {
    old.push_back(g.enter());
    if (i % 3 == 0) REQUIRE(g.enter() == old.back());
    if (i % 3 == 0) REQUIRE(m.leave(old.back()) == status::ok);
    REQUIRE(m.leave(old.back()) == status::ok);
  }
  CHECK(refused(m, old.back()));
  open_section<F> open(g);
  bool all = true;
  for (lazy_state* l : old) all = all && refused(m, l);
  CHECK(all);
  old.push_back(open.l());
  std::ranges::sort(old);
  CHECK(std::ranges::adjacent_find(old) == old.end());
  open.untouched();
}

TEST_CASE_TEMPLATE("rule 16: states of a destroyed space stay stale when its place is taken again", F,
                   QUIRE_FORMATS) {
  guest<F> g;
  machine& m = g.m();
  open_section<F> open(g);
  std::vector<lazy_state*> old;
  std::uint32_t id = 0;
  for (unsigned i = 0; i < 50; ++i) {
    runtime::space* s = nullptr;
    REQUIRE(m.create_space(0, F{}, {}, s) == status::ok);
    if (i > 0) CHECK(s->id == id);
    id = s->id;
    std::vector<lazy_state*> now;
    for (unsigned cpu = 0; cpu < 2; ++cpu) {
      now.push_back(m.state(cpu, *s));
      for (unsigned n = 0; n <= i % 7; ++n) {
        now.push_back(m.enter(cpu, *s));
        bool all = true;
        for (lazy_state* l : old) all = all && refused(m, l);
        CHECK(all);
        REQUIRE(m.leave(now.back()) == status::ok);
      }
    }
    REQUIRE(m.destroy_space(0, s) == status::ok);
    old.insert(old.end(), now.begin(), now.end());
  }
  for (lazy_state* l : old) CHECK(refused(m, l));
  open.untouched();
}

TEST_CASE_TEMPLATE("rule 16: a space with an open section cannot be destroyed, and its states stay good", F,
                   QUIRE_FORMATS) {
  guest<F> g;
  machine& m = g.m();
  lazy_state* l = g.enter(1);
  CHECK(m.destroy_space(0, &g.s()) == status::in_section);
  CHECK(m.active(l));
  REQUIRE(m.pause(l) == status::ok);
  CHECK(m.destroy_space(0, &g.s()) == status::in_section);
  REQUIRE(m.resume(l) == status::ok);
  REQUIRE(m.leave(l) == status::ok);
  lazy_state* outside = g.state(1);
  REQUIRE(m.destroy_space(0, &g.s()) == status::ok);
  CHECK(refused(m, outside));
  CHECK(m.tables_in_use() == 0);
}

TEST_CASE_TEMPLATE("rule 16: states of a machine that was stopped stay stale when it starts again", F,
                   QUIRE_FORMATS) {
  guest<F> g;
  g.recording = false;
  machine m;
  std::vector<lazy_state*> old;
  for (int i = 0; i < 5; ++i) {
    REQUIRE(m.start(g.host(), {1, {0, 1}}) == status::ok);
    runtime::space* s = nullptr;
    REQUIRE(m.create_space(0, F{}, {}, s) == status::ok);
    lazy_state* l = m.enter(0, *s);
    bool all = true;
    for (lazy_state* stale : old) all = all && refused(m, stale);
    CHECK(all);
    old.push_back(m.state(0, *s));
    old.push_back(l);
    m.stop();
    CHECK(refused(m, l));
  }
}

TEST_CASE_TEMPLATE("rule 16: states of a machine that is gone are refused by the one in its place", F,
                   QUIRE_FORMATS) {
  guest<F> g;
  g.recording = false;
  std::optional<machine> place;
  std::vector<lazy_state*> old;
  for (int i = 0; i < 5; ++i) {
    machine& m = place.emplace();
    REQUIRE(m.start(g.host(), {1, {0, 1}}) == status::ok);
    runtime::space* s = nullptr;
    REQUIRE(m.create_space(0, F{}, {}, s) == status::ok);
    lazy_state* l = m.enter(0, *s);
    for (lazy_state* stale : old) CHECK(refused(m, stale));
    old.push_back(m.state(0, *s));
    old.push_back(l);
  }
}

TEST_CASE_TEMPLATE("rule 16: states of another machine of the same shape are refused", F, QUIRE_FORMATS) {
  guest<F> g;
  guest<F> other;
  open_section<F> open(g);
  open_section<F> foreign(other);
  CHECK(refused(g.m(), other.state()));
  CHECK(refused(g.m(), foreign.l()));
  CHECK(refused(other.m(), g.state()));
  CHECK(refused(other.m(), open.l()));
  open.untouched();
  foreign.untouched();
}

TEST_CASE_TEMPLATE("rule 16: states of another cpu are refused where the platform tells cpus apart", F,
                   QUIRE_FORMATS) {
  guest<F> g({.checks_cpu = true});
  lazy_state* outside = g.state();
  lazy_state* second = g.state(1);
  CHECK(refused(g.m(), second));
  open_section<F> open(g);
  g.on_cpu = 1;
  CHECK(refused(g.m(), open.l()));
  CHECK(refused(g.m(), outside));
  CHECK(!refused(g.m(), second));
  g.on_cpu = 0;
  CHECK(refused(g.m(), second));
  CHECK(g.m().unmap(g.state(), {gfn{0x41}, 1}) == status::ok);
}

TEST_CASE_TEMPLATE("rule 16: random values are refused", F, QUIRE_FORMATS) {
  guest<F> g;
  open_section<F> open(g);
  std::mt19937_64 random(1);
  bool all = true;
  for (int i = 0; i < 20000; ++i) {
    std::uint64_t value = random();
    if (i % 4 == 1) value >>= random() % 64;
    if (i % 4 == 2) value = value << 25 | 1;  // cpu 0 of space 0
    if (i % 4 == 3) value = (value & ~std::uint64_t{0xfff}) | (value_of(open.l()) & 0xfff);  // its cpu
    if (value == value_of(open.l()) || value == value_of(g.state())) continue;
    all = all && refused(g.m(), forge(value));
  }
  for (std::uint64_t value = 0; value < 9000; ++value) all = all && refused(g.m(), forge(value));
  CHECK(all);
  CHECK(refused(g.m(), forge(~std::uint64_t{0})));
  CHECK(refused(g.m(), forge(reinterpret_cast<std::uintptr_t>(&g))));
  CHECK(refused(g.m(), forge(reinterpret_cast<std::uintptr_t>(&g.s()))));
  open.untouched();
}

TEST_CASE_TEMPLATE("rule 16: near misses of a good state are refused", F, QUIRE_FORMATS) {
  guest<F> g({.cpus = 1});
  open_section<F> open(g);
  const std::uint64_t good[] = {value_of(open.l()), value_of(g.state())};
  for (const std::uint64_t from : good) {
    bool all = true;
    const auto miss = [&](std::uint64_t value) {
      all = all && (value == good[0] || value == good[1] || refused(g.m(), forge(value)));
    };
    for (unsigned a = 0; a < 64; ++a) {
      for (unsigned b = 0; b < 64; ++b) {
        const std::uint64_t one = std::uint64_t{1} << a;
        const std::uint64_t two = std::uint64_t{1} << b;
        miss(from ^ one);
        miss(from ^ one ^ two);
        miss(from + one - two);
        miss(from << a | from >> (63 - a) >> 1);
      }
    }
    for (std::uint64_t d = 1; d < 2000; ++d) {
      miss(from + d);
      miss(from - d);
    }
    CHECK(all);
  }
  open.untouched();
}

TEST_CASE_TEMPLATE("rule 16: cpus that do not exist have no state", F, QUIRE_FORMATS) {
  guest<F> g({.cpus = 2});
  for (const unsigned cpu : {2u, 3u, 4096u, ~0u}) {
    CHECK(g.state(cpu) == nullptr);
    CHECK(g.enter(cpu) == nullptr);
  }
}

TEST_CASE("rule 16: the error says what is wrong") {
  CHECK(runtime::status_text(status::bad_state) ==
        doctest::Contains("the lazy_state is null, stale, foreign, freed or forged"));
}
}

}  // namespace quire::tests
