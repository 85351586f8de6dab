// Lists of pages mapped in one call: as map() of each in turn, in all formats, with every vector variant that this CPU has.
#include <doctest/doctest.h>

#include <algorithm>
#include <random>

#include "tests/support/guest.h"
#include "tests/support/variants.h"

namespace quire::tests {

namespace {

/// How a list meets what its cpu is doing.
enum class setting : std::uint8_t { outside, section, behind_others };

struct list {
  std::vector<gfn> pages;
  std::vector<hfn> frames;
};

/// Pages near to each other and far apart, some of them twice.
list make_list(const arch::geometry& s, std::mt19937_64& random, std::size_t n) {
  const std::uint64_t unit = s.slot_pages(0);
  const std::uint64_t bases[] = {0, 3 * s.table_pages(0), random() % s.input_pages / s.table_pages(0) * s.table_pages(0)};
  list l;
  while (l.pages.size() < n) {
    l.pages.push_back({(bases[random() % 3] + random() % (4 * s.table_pages(0))) / unit * unit % s.input_pages});
    l.frames.push_back({random() % 0x1000 * unit});
  }
  return l;
}

template <class Map>
void run(guest_base& g, setting how, Map map) {
  if (how == setting::outside) return map(g.state());
  lazy_state* l = g.enter();
  const std::uint64_t unit = g.s().shape.slot_pages(0);
  if (how == setting::behind_others) REQUIRE(g.m().unmap(l, {gfn{0}, 16 * unit}) == status::ok);
  map(l);
  REQUIRE(g.m().leave(l) == status::ok);
}

std::uint64_t reported_pages(const guest_base& g) {
  std::uint64_t pages = 0;
  for (const runtime::report& r : g.reports) pages += r.range.pages;
  return pages;
}

}  // namespace

TEST_SUITE("map_many") {
TEST_CASE_TEMPLATE("a list leaves what its pages leave one by one", F, QUIRE_FORMATS) {
  const runtime::simd before = runtime::chosen_simd();
  for (const runtime::simd v : variants()) {
    CAPTURE(std::string(runtime::simd_text(v)));
    REQUIRE(runtime::choose_simd(v));
    std::mt19937_64 random(11);
    for (const setting how : {setting::outside, setting::section, setting::behind_others}) {
      CAPTURE(static_cast<unsigned>(how));
      guest<F> one({.table_bytes = std::size_t{16} << 20}), many({.table_bytes = std::size_t{16} << 20, .pool = {64, 64}});
      for (const std::size_t n : {0u, 1u, 7u, 64u, 65u, 300u, 1200u}) {
        const list l = make_list(one.s().shape, random, n);
        run(one, how, [&](lazy_state* state) {
          for (std::size_t i = 0; i < n; ++i) {
            REQUIRE(one.m().map(state, {l.pages[i], one.s().shape.slot_pages(0)}, l.frames[i], {perm::rw}, 0) == status::ok);
          }
        });
        run(many, how, [&](lazy_state* state) {
          std::size_t mapped = n + 1;
          REQUIRE(many.m().map_many(state, l.pages, l.frames, {perm::rw}, mapped) == status::ok);
          REQUIRE(mapped == n);
        });
        REQUIRE(one.leaves() == many.leaves());
        REQUIRE(one.s().tables() == many.s().tables());
        REQUIRE(reported_pages(one) == reported_pages(many));
      }
      CHECK(one.m().counts(0, one.s()).updates == many.m().counts(0, many.s()).updates);
    }
  }
  runtime::choose_simd(before);
}
TEST_CASE_TEMPLATE("pages that were not mapped are at once, and need no flush", F, QUIRE_FORMATS) {
  guest<F> g;
  const std::uint64_t unit = g.s().shape.slot_pages(0);
  std::vector<gfn> pages;
  std::vector<hfn> frames;
  for (std::uint64_t g_in_table = 0; g_in_table + 3 * unit < g.s().shape.table_pages(0); g_in_table += 3 * unit) {
    pages.push_back({g_in_table});
    frames.push_back({g.s().shape.table_pages(0) - g_in_table});
  }
  REQUIRE(g.m().map(g.state(), {gfn{unit}, unit}, hfn{0}, {perm::rw}, 0) == status::ok);  // the tables are there
  g.flushes.clear();
  lazy_state* l = g.enter();
  std::size_t mapped = 0;
  REQUIRE(g.m().map_many(l, pages, frames, {perm::rw}, mapped) == status::ok);
  if (g.s().shape.group_bits[0] == 0) {
    for (std::size_t i = 0; i < pages.size(); ++i) REQUIRE(g.in_tables(pages[i])->out == frames[i]);
  }
  REQUIRE(g.m().leave(l) == status::ok);
  for (std::size_t i = 0; i < pages.size(); ++i) REQUIRE(g.in_tables(pages[i])->out == frames[i]);
  CHECK(g.flushes.empty());
}
TEST_CASE_TEMPLATE("pages of a table that another cpu has changed too are mapped at once", F, QUIRE_FORMATS) {
  guest<F> g;
  const std::uint64_t unit = g.s().shape.slot_pages(0);
  if (g.s().shape.group_bits[0] != 0) return;
  REQUIRE(g.m().map(g.state(0), {gfn{0}, unit}, hfn{0}, {perm::rw}, 0) == status::ok);
  REQUIRE(g.m().map(g.state(1), {gfn{unit}, unit}, hfn{unit}, {perm::rw}, 0) == status::ok);  // biased to none now
  const gfn pages[] = {gfn{4 * unit}, gfn{2 * unit}};
  const hfn frames[] = {hfn{unit}, hfn{3 * unit}};
  lazy_state* l = g.enter();
  std::size_t mapped = 0;
  REQUIRE(g.m().map_many(l, pages, frames, {perm::rw}, mapped) == status::ok);
  for (unsigned i = 0; i < 2; ++i) {
    REQUIRE(g.in_tables(pages[i]));
    CHECK(g.in_tables(pages[i])->out == frames[i]);
  }
  REQUIRE(g.m().leave(l) == status::ok);
}
TEST_CASE_TEMPLATE("a list that cannot be mapped changes nothing", F, QUIRE_FORMATS) {
  guest<F> g;
  const arch::geometry& s = g.s().shape;
  const std::uint64_t unit = s.slot_pages(0);
  const std::vector<gfn> good = {gfn{0}, gfn{unit}, gfn{2 * unit}};
  const std::vector<hfn> frames = {hfn{0}, hfn{unit}, hfn{2 * unit}};
  std::size_t mapped = 9;
  const auto refused = [&](status why, lazy_state* l, std::vector<gfn> pages, std::vector<hfn> to, attributes a) {
    CHECK(g.m().map_many(l, pages, to, a, mapped) == why);
    CHECK(mapped == 0);
    CHECK(g.leaves().empty());
  };
  for (lazy_state* l : {g.state(), g.enter()}) {
    refused(status::bad_state, nullptr, good, frames, {perm::rw});
    refused(status::bad_range, l, good, {hfn{0}}, {perm::rw});
    refused(status::bad_range, l, {gfn{0}, gfn{s.input_pages}, gfn{unit}}, frames, {perm::rw});
    refused(status::bad_range, l, {gfn{0}, gfn{unit}, gfn{~std::uint64_t{0} - unit + 1}}, frames, {perm::rw});
    refused(status::bad_range, l, good, {hfn{0}, hfn{0}, hfn{s.output_pages}}, {perm::rw});
    refused(status::bad_attributes, l, good, frames, {perm::rw, 0xff});
    if (unit == 1) continue;
    refused(status::misaligned, l, {gfn{0}, gfn{1}, gfn{unit}}, frames, {perm::rw});
    refused(status::misaligned, l, good, {hfn{0}, hfn{unit - 1}, hfn{unit}}, {perm::rw});
  }
}
TEST_CASE_TEMPLATE("without table memory, it says which pages are mapped", F, QUIRE_FORMATS) {
  for (const bool in_section : {false, true}) {
    guest<F> g;
    const std::uint64_t unit = g.s().shape.slot_pages(0), table = g.s().shape.table_pages(0);
    std::vector<gfn> pages;
    std::vector<hfn> frames;
    const std::uint64_t tables = std::min<std::uint64_t>(41, g.s().shape.input_pages / table);
    for (std::uint64_t i = 0; i < tables; ++i) {
      pages.push_back({(i * 7 % tables) * table});
      frames.push_back({i * unit});
    }
    REQUIRE(g.m().map(g.state(), {pages[0], unit}, frames[0], {perm::rw}, 0) == status::ok);
    REQUIRE(g.m().unmap(g.state(), {pages[0], unit}) == status::ok);
    g.frames_left = tables / 3;
    lazy_state* l = in_section ? g.enter() : g.state();
    std::size_t mapped = 0;
    REQUIRE(g.m().map_many(l, pages, frames, {perm::rw}, mapped) == status::no_tables);
    if (in_section) REQUIRE(g.m().leave(l) == status::ok);
    REQUIRE(mapped > 0);
    REQUIRE(mapped < tables);
    for (std::size_t i = 0; i < pages.size(); ++i) REQUIRE(g.in_tables(pages[i]).has_value() == (i < mapped));
    g.frames_left.reset();
    REQUIRE(g.m().map_many(g.state(), std::span(pages).subspan(mapped), std::span(frames).subspan(mapped), {perm::rw}, mapped) == status::ok);
    CHECK(g.leaves().size() == pages.size());
  }
}
}

}  // namespace quire::tests
