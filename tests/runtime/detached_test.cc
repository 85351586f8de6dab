// DAT: tables whose links are made invalid while most of their leaves change, and runs of tables that go together.
#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <utility>

#include "tests/support/guest.h"
#include "tests/support/oracle.h"

namespace quire::tests {

namespace {

constexpr std::uint64_t table = 256;  // pages

struct dat_guest : guest<arch::dat> {
  explicit dat_guest(options o = {}) : guest<arch::dat>(arch::dat{}, with_small_leaves(o)) {
    REQUIRE(m().map(state(), {gfn{0}, 8 * table}, hfn{0x1000}, {perm::rwx}) == status::ok);
    flushes.clear();
  }
  static options with_small_leaves(options o) {
    o.max_leaf_level = 0;
    return o;
  }
  std::vector<std::string> commands() const {
    std::vector<std::string> all;
    for (const recorded_flush& f : flushes) all.insert(all.end(), f.commands.begin(), f.commands.end());
    return all;
  }
  bool access_is(gfn_range r, perm p) {
    for (gfn g = r.first; g < r.end(); g = g + 1) {
      const auto found = in_tables(g);
      if (!found || found->attr.access != p || found->out != hfn{0x1000 + g.value}) return false;
    }
    return true;
  }
  /// IPTE and IDTE as a sink that has sink_writes_entries executes them.
  void invalidate(const runtime::flush_plan& plan) {
    const arch::dat& f = s().format<arch::dat>();
    for (const arch::flush_command& c : plan.commands) {
      const auto op = static_cast<arch::dat_flush>(c.op & ~1u);
      if (op != arch::dat_flush::ipte && op != arch::dat_flush::idte) continue;
      const unsigned level = op == arch::dat_flush::ipte ? 0 : static_cast<unsigned>(arch::dat::TT::get(c.operand[0])) + 1;
      const std::uint64_t origin = c.operand[0] & (level ? ~std::uint64_t{0xfff} : ~std::uint64_t{0x7ff});
      const arch::slot<arch::dat> at(reinterpret_cast<std::uint64_t*>(static_cast<std::uintptr_t>(origin + host().table_offset)));
      const std::uint32_t first = s().shape.index({c.operand[1] >> arch::page_shift}, level);
      for (std::uint64_t i = 0; i <= c.operand[2]; ++i) {
        const auto here = at[first + static_cast<std::uint32_t>(i)];
        here.store(f.invalidated(here.load(), level));
      }
    }
  }
};

}  // namespace

TEST_SUITE("detached") {
TEST_CASE("a range over several tables goes by one IDTE, and others find its pages all the time") {
  dat_guest g;
  unsigned flushes = 0;
  g.on_flush = [&](const runtime::flush_plan&) {
    ++flushes;
    for (std::uint64_t i = 0; i < 8 * table; ++i) {
      const auto seen = g.look(gfn{i}, 1);
      REQUIRE(seen);
      CHECK(seen->out == hfn{0x1000 + i});
      CHECK(g.in_tables(gfn{i}).has_value() == (i < table || i >= 5 * table));
    }
  };
  REQUIRE(g.m().protect(g.state(), {gfn{table + 7}, 4 * table - 9}, perm::rx) == status::ok);
  CHECK(flushes == 1);
  REQUIRE(g.commands().size() == 1);
  CHECK(g.commands()[0].find("address=0x100000 additional=0x3 ") != std::string::npos);
  CHECK(g.commands()[0].starts_with("idte table="));
  CHECK(g.access_is({gfn{0}, table + 7}, perm::rwx));
  CHECK(g.access_is({gfn{table + 7}, 4 * table - 9}, perm::rx));
  CHECK(g.access_is({gfn{5 * table - 2}, 3 * table + 2}, perm::rwx));
}

TEST_CASE("updates of a section that each change most of a table share the IDTE") {
  dat_guest g;
  lazy_state* l = g.enter();
  for (std::uint64_t t = 0; t < 8; ++t) REQUIRE(g.m().unmap(l, {gfn{t * table}, table - 1}) == status::ok);
  REQUIRE(g.m().leave(l) == status::ok);
  REQUIRE(g.commands().size() == 1);
  CHECK(g.commands()[0].find("address=0x0 additional=0x7 ") != std::string::npos);
  CHECK(g.leaves().size() == 8);
  CHECK(g.reports.size() == 8);
  CHECK(g.s().tables() == 10);
}

TEST_CASE("small parts of tables, one table alone and what stays as it is go without") {
  dat_guest g;
  const auto after = [&](gfn_range r, perm p) {
    g.flushes.clear();
    REQUIRE(g.m().protect(g.state(), r, p) == status::ok);
    return g.commands();
  };
  CHECK(after({gfn{table - 20}, 40}, perm::rx).size() == 2);
  CHECK(after({gfn{3 * table}, table}, perm::rx).at(0).starts_with("ipte "));
  CHECK(after({gfn{4 * table}, 3 * table}, perm::rwx).empty());
  REQUIRE(g.m().unmap(g.state(), {gfn{0}, table}) == status::ok);
  CHECK(g.commands().at(0).starts_with("idte "));
}

TEST_CASE("nothing is executed in a space that no cpu ran; a cpu that comes meanwhile is flushed before leaves change") {
  dat_guest idle({.running = false});
  REQUIRE(idle.m().protect(idle.state(), {gfn{0}, 4 * table}, perm::rx) == status::ok);
  CHECK(idle.flushes.empty());
  CHECK(idle.access_is({gfn{0}, 4 * table}, perm::rx));

  dat_guest g;
  unsigned flushes = 0;
  g.on_flush = [&](const runtime::flush_plan& p) {
    if (++flushes == 1) return g.s().note_run(1);
    CHECK(p.whole);
    for (std::uint64_t i = 0; i < 4 * table; ++i) CHECK(g.look(gfn{i}, 1)->attr.access == perm::rwx);
  };
  REQUIRE(g.m().protect(g.state(), {gfn{0}, 4 * table}, perm::rx) == status::ok);
  CHECK(flushes == 2);
  CHECK(g.access_is({gfn{0}, 4 * table}, perm::rx));
}

TEST_CASE("what is held back goes with it, and leaves of such a table change further in the same section") {
  dat_guest g;
  lazy_state* l = g.enter();
  REQUIRE(g.m().unmap(l, {gfn{table}, 1}) == status::ok);
  REQUIRE(g.m().protect(l, {gfn{3}, 1}, perm::rx) == status::ok);
  REQUIRE(g.m().protect(l, {gfn{0}, 3 * table}, perm::rx) == status::ok);
  REQUIRE(g.m().protect(l, {gfn{5}, 1}, perm::rwx) == status::ok);
  REQUIRE(g.m().map(l, {gfn{table}, 2}, hfn{0x1000 + table}, {perm::rwx}) == status::ok);
  REQUIRE(g.m().unmap(l, {gfn{2 * table}, table}) == status::ok);
  REQUIRE(g.m().map(l, {gfn{2 * table}, 1}, hfn{0x1000 + 2 * table}, {perm::rwx}) == status::ok);
  REQUIRE(g.m().leave(l) == status::ok);
  REQUIRE(g.flushes.size() == 1);
  CHECK(g.commands().size() == 3);
  CHECK(g.access_is({gfn{0}, 5}, perm::rx));
  CHECK(g.access_is({gfn{5}, 1}, perm::rwx));
  CHECK(g.access_is({gfn{6}, table - 6}, perm::rx));
  CHECK(g.access_is({gfn{table}, 2}, perm::rwx));
  CHECK(g.access_is({gfn{table + 2}, table - 2}, perm::rx));
  CHECK(g.access_is({gfn{2 * table}, 1}, perm::rwx));
  CHECK(!g.in_tables(gfn{2 * table + 1}));
  CHECK(g.m().tables_in_use() == g.s().tables());
}

TEST_CASE("a cpu that cannot have the segment table at once changes other tables under it by IPTE") {
  dat_guest g;
  REQUIRE(g.m().map(g.state(1), {gfn{8 * table}, 2 * table}, hfn{0x1000 + 8 * table}, {perm::rwx}) == status::ok);
  bool inside = false;
  g.on_flush = [&](const runtime::flush_plan&) {
    if (std::exchange(inside, true)) return;
    REQUIRE(g.m().protect(g.state(1), {gfn{8 * table}, 2 * table}, perm::rx) == status::ok);
  };
  REQUIRE(g.m().protect(g.state(), {gfn{0}, 2 * table}, perm::rx) == status::ok);
  REQUIRE(g.commands().size() == 3);
  CHECK(g.commands()[0].starts_with("idte "));
  CHECK(g.commands()[1].starts_with("ipte "));
  CHECK(g.access_is({gfn{0}, 2 * table}, perm::rx));
  CHECK(g.access_is({gfn{8 * table}, 2 * table}, perm::rx));
  CHECK(g.access_is({gfn{2 * table}, 6 * table}, perm::rwx));
}

TEST_CASE("tables that go together are free after the flush, heard of or not, and may come back in the same section") {
  for (const format_case& f : format_cases()) {
    for (const bool observed : {false, true}) {
      CAPTURE(f.name);
      CAPTURE(observed);
      const auto g = make_guest(f.format, {.table_bytes = std::size_t{32} << 20, .max_leaf_level = 0, .observed = observed});
      if (!g || g->s().shape.levels < 2 || g->s().shape.input_pages < 8 * g->s().shape.table_pages(0)) continue;
      machine& m = g->m();
      const std::uint64_t pages = g->s().shape.table_pages(0), before = g->s().tables();
      REQUIRE(m.map(g->state(), {gfn{0}, 6 * pages}, hfn{6 * pages}, {perm::rwx}, 0) == status::ok);
      const auto all = g->leaves();
      const std::uint64_t full = g->s().tables();
      g->flushes.clear();
      g->on_flush = [&](const runtime::flush_plan&) { CHECK(m.tables_in_use() >= full); };
      lazy_state* l = g->enter();
      REQUIRE(m.unmap(l, {gfn{pages}, 4 * pages}) == status::ok);
      REQUIRE(m.map(l, {gfn{2 * pages}, pages}, hfn{8 * pages}, {perm::rwx}, 0) == status::ok);
      REQUIRE(m.leave(l) == status::ok);
      CHECK(g->s().tables() == full - 3);
      CHECK(m.tables_in_use() == g->s().tables());
      CHECK(!g->in_tables(gfn{pages}));
      CHECK(g->in_tables(gfn{2 * pages})->out == hfn{8 * pages});
      std::uint64_t heard = 0;
      for (const auto& r : g->reports) heard += r.range.pages;
      CHECK(heard == (observed ? 4 * pages : 0));
      g->on_flush = nullptr;
      REQUIRE(m.unmap(g->state(), {gfn{0}, 6 * pages}) == status::ok);
      CHECK(g->leaves().empty());
      CHECK(g->s().tables() == before);
    }
  }
}

namespace {

/// Random sections on tables around the border of two segment tables, beside a CPU that caches what it finds whenever it can.
class cached_run {
 public:
  cached_run(std::uint64_t seed, bool by_sink) : g_({.table_bytes = std::size_t{8} << 20, .sink_writes_entries = by_sink}), by_sink_(by_sink), random_(seed) {
    REQUIRE(g_.m().unmap(g_.state(), {gfn{0}, 8 * table}) == status::ok);
    g_.on_flush = [this](const runtime::flush_plan& p) { flushed(p); };
  }

  void section() {
    cache_some();
    steady_.clear();
    for (std::uint64_t i = 0; i < pages; ++i) {
      if (const auto known = model_.find(at(i))) steady_[i] = known->out + (at(i) - known->range.first);
    }
    lazy_state* l = g_.enter();
    for (std::uint64_t n = 1 + below(6); n > 0; --n) update(l);
    REQUIRE(g_.m().leave(l) == status::ok);
    for (std::uint64_t i = 0; i < pages; ++i) compare(i);
    CHECK(g_.m().tables_in_use() == g_.s().tables());
  }

 private:
  static constexpr std::uint64_t pages = 6 * table;
  static gfn at(std::uint64_t i) { return gfn{(2048 - 3) * table + i}; }

  std::uint64_t below(std::uint64_t n) {
    random_ = random_ * 6364136223846793005u + 1442695040888963407u;
    return (random_ >> 33) % n;
  }
  gfn_range range() {
    constexpr std::uint64_t offsets[] = {0, 0, 0, 1, 60, 100, 200};
    constexpr std::uint64_t lengths[] = {1, 9, 190, 192, 255, 256, 256, 500, 512, 700, 768, 1024, 1500};
    const std::uint64_t first = below(6) * table + offsets[below(std::size(offsets))];
    return {at(first), std::min(lengths[below(std::size(lengths))], pages - first)};
  }
  void update(lazy_state* l) {
    const gfn_range r = range();
    const perm access = below(3) ? perm::rx : perm::rwx;
    const std::uint64_t what = below(8);
    if (what > 3) {
      REQUIRE(g_.m().protect(l, r, access) == status::ok);
      return model_.protect(r, access);
    }
    for (gfn g = r.first; g < r.end(); g = g + 1) steady_.erase(g - at(0));
    if (what > 1) {
      REQUIRE(g_.m().unmap(l, r) == status::ok);
      return model_.unmap(r);
    }
    const hfn out{r.first.value + 0x1000000 * (1 + below(2))};
    REQUIRE(g_.m().map(l, r, out, {access}) == status::ok);
    model_.map({r, out, {access}}, false);
  }
  void cache_some() {
    for (unsigned i = 0; i < 200; ++i) {
      const std::uint64_t p = below(pages);
      if (const auto found = g_.in_tables(at(p))) cached_[p] = *found;
    }
  }
  void flushed(const runtime::flush_plan& plan) {
    if (by_sink_) g_.invalidate(plan);
    std::erase_if(cached_, [&](const auto& c) { return covers(arch::dat{}, plan, at(c.first)); });
    cache_some();
    for (unsigned i = 0; i < 50; ++i) {
      const auto known = steady_.find(below(pages));
      if (known == steady_.end()) continue;
      const auto seen = g_.look(at(known->first), 1);
      REQUIRE(seen);
      CHECK(seen->out == known->second);
    }
  }
  void compare(std::uint64_t i) {
    const auto known = model_.find(at(i));
    const auto now = g_.in_tables(at(i));
    REQUIRE(now.has_value() == known.has_value());
    if (known) {
      REQUIRE(now->out == known->out + (at(i) - known->range.first));
      REQUIRE(now->attr == known->attr);
    }
    const auto cached = cached_.find(i);
    if (cached == cached_.end()) return;
    REQUIRE(known);
    REQUIRE(cached->second.out == now->out);
    REQUIRE(includes(now->attr.access, cached->second.attr.access));
  }

  dat_guest g_;
  const bool by_sink_;
  std::uint64_t random_;
  oracle model_;
  std::map<std::uint64_t, mapping> cached_;
  std::map<std::uint64_t, hfn> steady_;  // pages that the section does not map or unmap
};

}  // namespace

TEST_CASE("random sections leave what was asked for, and no CPU caches anything else") {
  for (std::uint64_t seed = 1; seed <= 40; ++seed) {
    CAPTURE(seed);
    cached_run run(seed, seed % 2 == 0);
    for (unsigned i = 0; i < 30; ++i) run.section();
  }
}
}

}  // namespace quire::tests
