// What map, unmap and protect do to tables, and what they report.
#include <doctest/doctest.h>

#include <algorithm>
#include <random>

#include "tests/support/guest.h"

namespace quire::tests {

namespace {

using runtime::report;

constexpr attributes rw{perm::rw};
constexpr attributes ro{perm::r};

/// Makes `update` take effect in a section, or at once.
template <class Update>
void at_once_or_lazily(guest_base& g, bool lazy, const Update& update) {
  lazy_state* l = lazy ? g.enter() : g.state();
  REQUIRE(update(l) == status::ok);
  if (lazy) REQUIRE(g.m().leave(l) == status::ok);
}

std::uint64_t pages_of(const std::vector<report>& reports) {
  std::uint64_t pages = 0;
  for (const report& r : reports) pages += r.range.pages;
  return pages;
}

/// What create_space() says of format `F` after `change`.
template <class F, class Change>
status created(const Change& change) {
  guest_base::options o;
  o.table_bytes = std::size_t{16} << 20;
  F f;
  change(f);
  return guest<F>(f, o).made;
}

/// Options of stage 2 that a granule without or with wide addresses takes.
template <class F>
status stage2_made(unsigned ipa_bits, unsigned oa_bits, bool lpa2) {
  return created<F>([=](F& f) {
    f.ipa_bits = ipa_bits;
    f.oa_bits = oa_bits;
    f.lpa2 = lpa2;
  });
}

}  // namespace

TEST_SUITE("operations") {
TEST_CASE_TEMPLATE("create_space refuses sizes of stage 2 that make no sense", F, arch::stage2_4k,
                   arch::stage2_16k, arch::stage2_64k) {
  constexpr bool large = std::is_same_v<F, arch::stage2_64k>;
  for (const unsigned ipa_bits : {0u, 12u, 31u, 53u, 64u}) {
    CHECK(stage2_made<F>(ipa_bits, 48, false) == status::bad_format);
  }
  for (const unsigned oa_bits : {0u, 31u, 33u, 41u, 50u, 53u, 64u}) {
    CHECK(stage2_made<F>(40, oa_bits, false) == status::bad_format);
  }
  CHECK(stage2_made<F>(49, 48, false) == (large ? status::ok : status::bad_format));
  CHECK(stage2_made<F>(48, 52, false) == (large ? status::ok : status::bad_format));
  CHECK(stage2_made<F>(52, 52, true) == (large ? status::bad_format : status::ok));
  CHECK(stage2_made<F>(32, 32, true) == (large ? status::bad_format : status::ok));
  CHECK(stage2_made<F>(32, 32, false) == status::ok);
  CHECK(stage2_made<F>(48, 48, false) == status::ok);
}

TEST_CASE("create_space refuses kinds of ASCE and of EDAT that do not exist, and the ASID of the host") {
  using arch::dat;
  CHECK(created<dat>([](dat& f) { f.edat = 3; }) == status::bad_format);
  CHECK(created<dat>([](dat& f) { f.asce = static_cast<dat::top>(4); }) == status::bad_format);
  CHECK(created<dat>([](dat& f) { f.asce = dat::top::region1; }) == status::ok);
  CHECK(created<arch::npt>([](arch::npt& f) { f.asid = 0; }) == status::bad_format);
  CHECK(created<arch::npt>([](arch::npt&) {}) == status::ok);
  CHECK(created<arch::ept>([](arch::ept& f) { f.five_levels = f.hyperv = true; }) == status::ok);
}

TEST_CASE("create_space that refuses a format gives no space, takes no memory and names the reason") {
  guest<arch::stage2_64k> g;
  const unsigned records = g.record_allocations;
  const unsigned tables = g.table_allocations;
  arch::stage2_64k f;
  f.lpa2 = true;
  runtime::space* made = &g.s();
  CHECK(g.m().create_space(0, f, {}, made) == status::bad_format);
  CHECK(made == nullptr);
  CHECK(g.record_allocations == records);
  CHECK(g.table_allocations == tables);
  CHECK(std::string(f.bad_options()).find("LPA2 is of granules 4k and 16k") == 0);
  CHECK(std::string(status_text(status::bad_format)) == "the options of the format make no sense");
}

TEST_CASE_TEMPLATE("map replaces what is there and reports it", F, QUIRE_FORMATS) {
  for (const bool lazy : {false, true}) {
    CAPTURE(lazy);
    guest<F> g;
    const attributes device{perm::r, g.second_type()};
    REQUIRE(g.m().map(g.state(), {gfn{0x10}, 4}, hfn{0x901}, device, 0) == status::ok);
    at_once_or_lazily(g, lazy, [&](lazy_state* l) { return g.m().map(l, {gfn{0x11}, 2}, hfn{0xa00}, rw); });
    CHECK(g.in_tables(gfn{0x10})->out == hfn{0x901});
    CHECK(g.in_tables(gfn{0x11})->out == hfn{0xa00});
    CHECK(g.in_tables(gfn{0x12})->out == hfn{0xa01});
    CHECK(g.in_tables(gfn{0x12})->attr == rw);
    CHECK(g.in_tables(gfn{0x13})->out == hfn{0x904});
    REQUIRE(g.reports.size() == 1);
    CHECK(g.reports[0].range == gfn_range{gfn{0x11}, 2});
    CHECK(g.reports[0].out == hfn{0x902});
    CHECK(g.reports[0].attr == device);
    CHECK(g.reports[0].what == report::kind::removed);
  }
}

TEST_CASE_TEMPLATE("map_keep_present fills the holes alone and counts the pages that it kept", F,
                   QUIRE_FORMATS) {
  for (const bool lazy : {false, true}) {
    CAPTURE(lazy);
    guest<F> g;
    machine& m = g.m();
    const std::uint64_t n = g.s().shape.slot_pages(1);
    REQUIRE(m.map(g.state(), {gfn{n}, n}, hfn{n}, rw) == status::ok);
    REQUIRE(m.map(g.state(), {gfn{3}, 2}, hfn{0x901}, rw, 0) == status::ok);
    at_once_or_lazily(g, lazy, [&](lazy_state* l) {
      return m.map_keep_present(l, {gfn{2}, n}, hfn{0x801}, ro);
    });
    CHECK(m.counts(0, g.s()).kept_pages == 2 + 2);
    CHECK(g.in_tables(gfn{2})->out == hfn{0x801});
    CHECK(g.in_tables(gfn{3})->out == hfn{0x901});
    CHECK(g.in_tables(gfn{4})->attr == rw);
    CHECK(g.in_tables(gfn{5})->out == hfn{0x804});
    CHECK(g.in_tables(gfn{5})->attr == ro);
    CHECK(g.in_tables(gfn{n + 1})->out == hfn{n + 1});
    CHECK(m.counts(0, g.s()).splits == 0);
    CHECK(g.flushes.empty());
    CHECK(g.reports.empty());
  }
}

TEST_CASE_TEMPLATE("map_keep_present fills around small leaves where a large one would fit", F,
                   QUIRE_FORMATS) {
  guest<F> g;
  const std::uint64_t n = g.s().shape.slot_pages(1);
  REQUIRE(g.m().map(g.state(), {gfn{n + 1}, 1}, hfn{0x901}, rw) == status::ok);
  REQUIRE(g.m().map_keep_present(g.state(), {gfn{0}, 3 * n}, hfn{0}, rw) == status::ok);
  const auto leaves = g.leaves();
  REQUIRE(leaves.size() == n + 2);
  CHECK(leaves.front().level == 1);
  CHECK(leaves.back().level == 1);
  CHECK(g.in_tables(gfn{n + 1})->out == hfn{0x901});
  CHECK(g.in_tables(gfn{n + 2})->out == hfn{n + 2});
  CHECK(g.m().counts(0, g.s()).kept_pages == 1);
}

TEST_CASE_TEMPLATE("protect changes the access of mapped pages alone; frame, type and options stay", F,
                   QUIRE_FORMATS) {
  for (const bool lazy : {false, true}) {
    CAPTURE(lazy);
    guest<F> g;
    const std::uint16_t option = g.s().shape.option_set & 1;
    REQUIRE(g.m().map(g.state(), {gfn{0x20}, 2}, hfn{0x901}, {perm::rw, g.second_type(), option}, 0) == status::ok);
    REQUIRE(g.m().map(g.state(), {gfn{0x24}, 1}, hfn{0xa00}, rw, 0) == status::ok);
    at_once_or_lazily(g, lazy, [&](lazy_state* l) { return g.m().protect(l, {gfn{0x1e}, 6}, perm::rx); });
    CHECK(g.in_tables(gfn{0x20})->attr == attributes{perm::rx, g.second_type(), option});
    CHECK(g.in_tables(gfn{0x21})->out == hfn{0x902});
    CHECK(!g.in_tables(gfn{0x1f}));
    CHECK(!g.in_tables(gfn{0x22}));
    CHECK(g.in_tables(gfn{0x24})->attr == rw);
    CHECK(g.reports.empty());
    CHECK(g.flushes.size() == 1);
  }
}

TEST_CASE_TEMPLATE("unmap reports what was mapped, with A and D as hardware left them", F, QUIRE_FORMATS) {
  guest<F> g;
  machine& m = g.m();
  const bool tracked = g.s().backend->tracks_status(g.s());
  REQUIRE(m.map(g.state(), {gfn{0x30}, 4}, hfn{0x901}, rw, 0) == status::ok);
  REQUIRE(m.map(g.state(), {gfn{0x34}, 1}, hfn{0x777}, ro, 0) == status::ok);
  lazy_state* l = g.enter();
  REQUIRE(m.unmap(l, {gfn{0x2e}, 6}) == status::ok);  // holes, then four pages
  CHECK(g.touch(gfn{0x31}, perm::r));                 // the queue does not stop the guest
  CHECK(g.touch(gfn{0x32}, perm::w));
  REQUIRE(m.leave(l) == status::ok);
  REQUIRE(g.reports.size() == (tracked ? 4 : 1));
  CHECK(pages_of(g.reports) == 4);
  for (const report& r : g.reports) {
    CHECK(r.what == report::kind::removed);
    CHECK(r.out == hfn{0x901} + (r.range.first - gfn{0x30}));
    CHECK(r.attr == rw);
    CHECK(r.accessed == (tracked && (r.range.first == gfn{0x31} || r.range.first == gfn{0x32})));
    CHECK(r.dirty == (tracked && r.range.first == gfn{0x32}));
  }
  CHECK(!g.touch(gfn{0x32}, perm::r));
  CHECK(g.in_tables(gfn{0x34}).has_value());
}

TEST_CASE_TEMPLATE("unmap of whole tables reports every page in them, after the flush", F, QUIRE_FORMATS) {
  guest<F> g;
  machine& m = g.m();
  const bool tracked = g.s().backend->tracks_status(g.s());
  const std::uint64_t n = g.s().shape.slot_pages(1);
  const std::uint64_t far = g.s().shape.slot_pages(2);
  REQUIRE(m.map(g.state(), {gfn{0}, 2 * n}, hfn{1}, rw) == status::ok);          // two tables of small leaves
  REQUIRE(m.map(g.state(), {gfn{2 * n}, n}, hfn{4 * n}, rw) == status::ok);      // a large leaf
  REQUIRE(m.map(g.state(), {gfn{far + 5}, 2}, hfn{0x55}, ro, 0) == status::ok);  // another table above
  CHECK(g.touch(gfn{n + 3}, perm::w));
  CHECK(g.touch(gfn{2 * n + 3}, perm::w));
  g.on_report = [&](const report&) { CHECK(g.flushes.size() == 1); };
  REQUIRE(m.unmap(g.state(), {gfn{0}, g.s().shape.input_pages}) == status::ok);
  CHECK(pages_of(g.reports) == 3 * n + 2);
  std::uint64_t dirty = 0;
  for (const report& r : g.reports) dirty += r.dirty ? r.range.pages : 0;
  CHECK(dirty == (tracked ? 1 + n : 0));
  CHECK(g.reports.back().range == gfn_range{gfn{far + 5}, 2});
  CHECK(g.reports.back().attr == ro);
  CHECK(g.flushes.size() == 1);
  CHECK(g.s().tables() == 1);
  CHECK(m.tables_in_use() == 1);
}

TEST_CASE_TEMPLATE("a section walks down once for each table, however many updates it holds", F,
                   QUIRE_FORMATS) {
  guest<F> g;
  machine& m = g.m();
  const std::uint64_t n = g.s().shape.slot_pages(1);
  REQUIRE(m.map(g.state(), {gfn{0}, 4 * n}, hfn{1}, rw) == status::ok);
  const std::uint64_t before = m.counts(0, g.s()).walks;
  lazy_state* l = g.enter();
  for (std::uint64_t i = 0; i < 4 * n; i += n / 8) {
    REQUIRE(m.unmap(l, {gfn{i}, 1}) == status::ok);
    REQUIRE(m.protect(l, {gfn{i + 1}, 1}, perm::r) == status::ok);
  }
  REQUIRE(m.leave(l) == status::ok);
  CHECK(m.counts(0, g.s()).walks == before + 4);
  CHECK(m.counts(0, g.s()).flush_plans[static_cast<unsigned>(flush_reason::leave)] == 1);
}

TEST_CASE_TEMPLATE("a table goes when its last page goes, page by page, in any order", F, QUIRE_FORMATS) {
  std::mt19937_64 random(7);
  for (const unsigned batch : {1u, 7u, 100000u}) {
    CAPTURE(batch);
    guest<F> g;
    machine& m = g.m();
    const std::uint64_t n = g.s().shape.slot_pages(1);
    const std::uint64_t far = g.s().shape.slot_pages(2);
    std::vector<gfn> pages;
    for (const std::uint64_t table : {std::uint64_t{0}, n, far - n, far, 2 * far}) {
      REQUIRE(m.map(g.state(), {gfn{table}, n}, hfn{7}, rw, 0) == status::ok);
      for (std::uint64_t i = 0; i < n; ++i) pages.push_back(gfn{table + i});
    }
    std::ranges::shuffle(pages, random);
    lazy_state* l = nullptr;
    for (std::size_t i = 0; i < pages.size(); ++i) {
      if (batch > 1 && i % batch == 0) l = g.enter();
      REQUIRE(m.unmap(batch > 1 ? l : g.state(), {pages[i], 1}) == status::ok);
      if (batch > 1 && (i + 1) % batch == 0) REQUIRE(m.leave(l) == status::ok);
      if (batch == 1) CHECK(m.tables_in_use() == g.s().tables());
    }
    if (batch > 1 && pages.size() % batch != 0) REQUIRE(m.leave(l) == status::ok);
    CHECK(g.leaves().empty());
    CHECK(g.s().tables() == 1);
    CHECK(m.tables_in_use() == 1);
    CHECK(pages_of(g.reports) == pages.size());
  }
}

TEST_CASE_TEMPLATE("a table with pages left stays, and one that was filled again stays too", F,
                   QUIRE_FORMATS) {
  guest<F> g;
  machine& m = g.m();
  REQUIRE(m.map(g.state(), {gfn{0x50}, 2}, hfn{0x901}, rw, 0) == status::ok);
  const std::uint64_t path = g.s().tables();
  REQUIRE(m.unmap(g.state(), {gfn{0x50}, 1}) == status::ok);
  CHECK(g.s().tables() == path);
  lazy_state* l = g.enter();
  REQUIRE(m.unmap(l, {gfn{0x51}, 1}) == status::ok);
  REQUIRE(m.map(l, {gfn{0x52}, 1}, hfn{0xa01}, rw, 0) == status::ok);
  REQUIRE(m.leave(l) == status::ok);
  CHECK(g.s().tables() == path);
  CHECK(g.in_tables(gfn{0x52})->out == hfn{0xa01});
  REQUIRE(m.unmap(g.state(), {gfn{0x40}, 0x20}) == status::ok);
  CHECK(g.s().tables() == 1);
  CHECK(m.tables_in_use() == 1);
}

TEST_CASE_TEMPLATE("sparse maps over fresh and over used tables find empty neighbours, on memory that is zeroed", F, QUIRE_FORMATS) {
  for (const bool zeroed : {false, true}) {
    CAPTURE(zeroed);
    guest<F> g({.tables_zeroed = zeroed});
    machine& m = g.m();
    const std::uint64_t n = g.s().shape.slot_pages(1), far = g.s().shape.slot_pages(2);
    for (unsigned round = 0; round < 3; ++round) {
      CAPTURE(round);
      std::vector<gfn> pages;
      for (std::uint64_t i = 0; i < 8; ++i) pages.push_back(gfn{i % 4 * far + i * n + (i * 7 + round) % n});
      lazy_state* l = round % 2 ? g.state() : g.enter();
      for (const gfn page : pages) REQUIRE(m.map(l, {page, 1}, hfn{page.value + 1}, rw, 0) == status::ok);
      if (round % 2 == 0) REQUIRE(m.leave(l) == status::ok);
      REQUIRE(g.leaves().size() == pages.size());
      for (const gfn page : pages) {
        CHECK(g.in_tables(page)->out == hfn{page.value + 1});
        CHECK(!g.in_tables(gfn{page.value ^ 1}));
        CHECK(!g.look(gfn{page.value ^ 1}));
      }
      // Their frames are the next round's.
      REQUIRE(m.unmap(g.state(), {gfn{0}, g.s().shape.input_pages}) == status::ok);
      CHECK(g.leaves().empty());
      CHECK(m.tables_in_use() == 1);
      if (round == 1) CHECK(m.clear_frames(0, 100) > 0);
    }
    CHECK(m.clear_frames(7, 100) == 0);
    m.clear_frames(0, 100);
    CHECK(m.clear_frames(0, 100) == 0);
  }
}
}

}  // namespace quire::tests
