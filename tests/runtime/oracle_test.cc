// Random sequences of operations, eagerly and lazily, against a std::map.
// QUIRE_SEED is the seed of the first sequence, the next one has the next seed; QUIRE_SEQUENCES is how many
// to run.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <cstdlib>

#include "tests/support/player.h"

namespace quire::tests {

namespace {

constexpr unsigned steps = 200;

std::uint64_t number(const char* variable, std::uint64_t otherwise) {
  const char* text = std::getenv(variable);  // NOLINT(concurrency-mt-unsafe): no test changes the environment
  return text ? std::strtoull(text, nullptr, 0) : otherwise;
}

void apply(oracle& model, const step& s) {
  switch (s.what) {
    case action::map:
    case action::map_exact:
      return model.map(s.run, false);
    case action::map_keep:
      return model.map(s.run, true);
    case action::unmap:
      return model.unmap(s.run.range);
    case action::protect:
      return model.protect(s.run.range, s.run.attr.access);
    default:
      return;
  }
}

bool agree(const std::optional<page_run>& seen, const std::optional<page_run>& known, gfn g) {
  if (!seen || !known) return !seen && !known;
  return seen->out == known->out + (g - known->range.first) && seen->attr == known->attr;
}

/// Plays one sequence; the first difference ends it.
class sequence {
 public:
  sequence(const any_format& f, const arch::geometry& shape, std::uint64_t seed) : format_(f), dice_(shape, seed) {}

  /// On both, with the same result; `both[0]` is played eagerly.
  std::string compare(guest_base& eager, guest_base& lazy) {
    player one(eager, format_, false, dice_.all());
    player two(lazy, format_, true, dice_.all());
    for (unsigned i = 0; i < steps && problem_.empty(); ++i) compare_step(one, two, dice_.make());
    two.finish();
    check(eager.leaves() == lazy.leaves(), "the tables differ");
    check(eager.s().tables() == lazy.s().tables(), "the numbers of tables differ");
    check(one.removed_sum() == two.removed_sum(), "other pages were reported");
    end(one);
    end(two);
    return problem_;
  }

  /// On one, with accesses of the guest at any time.
  std::string touched(guest_base& g) {
    player p(g, format_, true, dice_.all());
    for (unsigned i = 0; i < steps && problem_.empty(); ++i) {
      const step s = without_protection(dice_.make());
      say(s);
      if (s.what == action::touch) {
        p.touch(s.page, s.need);
      } else {
        play(p, s);
        check(agree(p.look(s.page), model_.find(s.page), s.page), "lookup differs");
      }
      check(p.wrong().empty(), p.wrong());
    }
    p.finish();
    end(p);
    return problem_;
  }

  /// On one whose table memory runs out: then nothing changes.
  std::string scarce(guest_base& g) {
    player p(g, format_, dice_.below(4) > 0, dice_.all());
    p.lists = false;
    for (unsigned i = 0; i < steps && problem_.empty(); ++i) {
      const step s = without_protection(dice_.make());
      say(s);
      if (s.what == action::touch) continue;
      play(p, s, true);
      check(agree(p.look(s.page), model_.find(s.page), s.page), "lookup differs");
    }
    p.finish();
    end(p);
    return problem_;
  }

 private:
  void say(const step& s) { last_ = s; }
  void check(bool holds, const std::string& what) {
    if (!holds && problem_.empty()) problem_ = what + " after: " + describe(last_);
  }
  // Write protection depends on D, which accesses at any time may set before or after the harvest.
  static step without_protection(step s) {
    s.harvest = static_cast<runtime::harvest>(static_cast<unsigned>(s.harvest) & 3);
    return s;
  }

  void play(player& p, const step& s, bool may_run_out = false) {
    if (s.what == action::interrupt) {
      const step apart = dice_.make_apart();
      const status done = p.interrupt(apart);
      check(done == status::ok || (may_run_out && done == status::no_tables),
            "an interrupt's update is refused");
      if (done == status::ok) apply(model_, apart);
      return;
    }
    const status wanted = p.expected(s);
    const status done = p.play(s);
    check(done == wanted || (may_run_out && done == status::no_tables), runtime::status_text(done));
    if (done == status::ok) apply(model_, s);
  }

  void compare_step(player& one, player& two, const step& s) {
    say(s);
    if (s.what == action::touch) {
      two.settle();
      const bool first = one.touch(s.page, s.need);
      const bool second = two.touch(s.page, s.need);
      const auto known = model_.find(s.page);
      check(first == second && first == (known && includes(known->attr.access, s.need)),
            "the guest sees another access");
    } else if (s.what == action::interrupt) {
      const step apart = dice_.make_apart();
      check(one.interrupt(apart) == status::ok && two.interrupt(apart) == status::ok,
            "an interrupt's update is refused");
      apply(model_, apart);
    } else {
      const bool protects = s.what == action::harvest &&
                            includes(s.harvest, runtime::harvest::dirty | runtime::harvest::write_protect);
      const page_set dirty = protects ? one.dirty(s.run.range) : page_set();
      const status wanted = two.expected(s);
      check(one.play(s) == status::ok, "refused eagerly");
      check(two.play(s) == wanted, "refused in a section");
      apply(model_, s);
      for (const auto& r : dirty.ranges()) model_.narrow(r, perm::w);
    }
    const auto known = model_.find(s.page);
    check(agree(one.in_tables(s.page), known, s.page), "the tables differ from the model");
    check(agree(two.look(s.page), known, s.page), "lookup differs from the model");
    check(one.wrong().empty(), "eagerly: " + one.wrong());
    check(two.wrong().empty(), "in a section: " + two.wrong());
  }

  // Nothing is queued.
  void end(player& p) {
    check(p.runs() == model_.runs(), "for_each differs from the model");
    p.check_dirty();
    guest_base& g = p.where();
    check(g.m().unmap(g.state(), {gfn{0}, g.s().shape.input_pages}) == status::ok,
          "unmapping everything is refused");
    check(g.s().tables() == 1 && g.m().tables_in_use() == 1, "tables remain after everything was unmapped");
    p.check_dirty();
    check(p.wrong().empty(), p.wrong());
  }

  const any_format& format_;
  step_maker dice_;
  oracle model_;
  step last_;
  std::string problem_;
};

constexpr guest_base::options big{.cpus = 1, .table_bytes = std::size_t{32} << 20};

}  // namespace

TEST_SUITE("oracle") {
TEST_CASE("random sequences equal a std::map, eagerly, lazily, touched meanwhile, short of tables") {
  const std::uint64_t first = number("QUIRE_SEED", 1 + number("QUIRE_SHARD", 0) * 1000000);
  const std::uint64_t sequences = number("QUIRE_SEQUENCES", 40);
  for (const format_case& f : format_cases()) {
    const auto eager = make_guest(f.format, big);
    const auto lazy = make_guest(f.format, big);
    REQUIRE(eager);
    REQUIRE(lazy);
    // Large tables take longer.
    const std::uint64_t count = 1 + (sequences - 1) * 512 / std::max(eager->s().shape.entries(0), 512u);
    std::string problem;
    std::uint64_t seed = first;
    for (; seed < first + count && problem.empty(); ++seed) {
      sequence s(f.format, eager->s().shape, seed);
      switch (seed % 4) {
        case 0:
        case 1:
          problem = s.compare(*eager, *lazy);
          break;
        case 2:
          problem = s.touched(*lazy);
          break;
        default: {
          const auto poor = make_guest(f.format, {.cpus = 1, .table_bytes = std::size_t{8} << 20});
          REQUIRE(poor);
          poor->frames_left = seed / 4 % 24;
          problem = s.scarce(*poor);
        }
      }
    }
    if (problem.empty()) continue;
    FAIL_CHECK(fmt::format("{}: {}\nrepeat with QUIRE_SEED={} QUIRE_SEQUENCES=1", f.name, problem, seed - 1));
  }
}
}

}  // namespace quire::tests
