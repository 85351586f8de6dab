// How many commands one section asks for, format by format.
#include <doctest/doctest.h>

#include <algorithm>

#include "tests/support/guest.h"

namespace quire::tests {

namespace {

constexpr std::uint64_t gib = std::uint64_t{1} << (30 - arch::page_shift);  // in pages

/// Maps 1 GiB with the smallest leaves at 1 GiB.
std::unique_ptr<guest_base> full(const any_format& f) {
  auto g = make_guest(f, {.cpus = 1, .table_bytes = std::size_t{16} << 20});
  REQUIRE(g);
  REQUIRE(g->m().map(g->state(), {gfn{gib}, gib}, hfn{gib}, {perm::rwx}, 0) == status::ok);
  g->flushes.clear();
  return g;
}

std::vector<std::string> commands(const guest_base& g) {
  std::vector<std::string> all;
  for (const recorded_flush& f : g.flushes) all.insert(all.end(), f.commands.begin(), f.commands.end());
  return all;
}

std::size_t count(const std::vector<std::string>& all, const std::string& start) {
  return static_cast<std::size_t>(std::count_if(all.begin(), all.end(), [&](const auto& c) { return c.starts_with(start); }));
}

template <class Update>
std::vector<std::string> section(guest_base& g, Update update) {
  lazy_state* l = g.enter();
  REQUIRE(update(l) == status::ok);
  REQUIRE(g.m().leave(l) == status::ok);
  return commands(g);
}

std::vector<std::string> unmapped(const any_format& f) {
  const auto g = full(f);
  return section(*g, [&](lazy_state* l) { return g->m().unmap(l, {gfn{gib}, gib}); });
}

std::vector<std::string> narrowed(const any_format& f) {
  const auto g = full(f);
  return section(*g, [&](lazy_state* l) { return g->m().protect(l, {gfn{gib}, gib}, perm::rx); });
}

}  // namespace

TEST_SUITE("commands") {
TEST_CASE("EPT: a section that unmaps or protects 1 GiB of 4 KiB pages asks for one INVEPT") {
  CHECK(unmapped(arch::ept{}) == std::vector<std::string>{"invept single-context eptp=0x4000001e"});
  CHECK(narrowed(arch::ept{}).size() == 1);
}

TEST_CASE("a section that unmaps 1 GiB page by page asks for no more commands than one that unmaps it by one call") {
  const auto by_page = [](const any_format& f) {
    const auto g = full(f);
    const auto all = section(*g, [&](lazy_state* l) {
      status done = status::ok;
      for (std::uint64_t i = 0; i < gib && done == status::ok; ++i) done = g->m().unmap(l, {gfn{gib + i}, 1});
      return done;
    });
    CHECK(g->m().counts(0, g->s()).forced_commits == 0);
    return all;
  };
  arch::dat edat2;
  edat2.edat = 2;
  for (const any_format& f : {any_format{arch::ept{}}, any_format{arch::stage2_4k{}}, any_format{arch::dat{}}, any_format{edat2}}) {
    CHECK(by_page(f).size() <= unmapped(f).size());
  }
}

TEST_CASE("stage 2: a section that unmaps or protects 1 GiB asks for two TLBI by IPA at most, and one VMALLE1IS") {
  for (const format_case& f : format_cases()) {
    if (!f.name.starts_with("stage 2")) continue;
    CAPTURE(f.name);
    for (const auto& all : {unmapped(f.format), narrowed(f.format)}) {
      CHECK(all.front() == "dsb ishst");
      CHECK(all.back() == "isb");
      CHECK(count(all, "dsb ish") == 3);  // "dsb ishst" too
      CHECK(count(all, "tlbi vmalle1is") == 1);
      const std::size_t by_ipa = count(all, "tlbi ripas2e1is") + count(all, "tlbi ipas2e1is");
      CHECK(by_ipa >= 1);
      CHECK(by_ipa <= 2);
      CHECK(all.size() == 5 + by_ipa);
    }
  }
  CHECK(unmapped(arch::stage2_4k{}) == std::vector<std::string>{"dsb ishst", "tlbi ripas2e1is 0x718000040000", "dsb ish",
                                                               "tlbi vmalle1is", "dsb ish", "isb"});
}

TEST_CASE("DAT: tables that go cost one IDTE, tables that stay one for each 256, with or without IPTE of ranges") {
  arch::dat f;
  const auto gone = unmapped(f);
  CHECK(gone == std::vector<std::string>{"idte table=0x40204003 address=0x40000000 additional=0x3ff local",
                                         "idte table=0x40000007 address=0x0 additional=0x0 local"});
  for (const bool ranges : {true, false}) {
    f.ipte_ranges = ranges;
    const auto stay = narrowed(f);
    CHECK(stay.size() == 4);
    CHECK(stay.front() == "idte table=0x40204003 address=0x40000000 additional=0xff local");
  }
}

TEST_CASE("DAT: pages of one table that go one by one share an IPTE, also across holes") {
  const auto g = make_guest(arch::dat{}, {.cpus = 1});
  REQUIRE(g);
  machine& m = g->m();
  REQUIRE(m.map(g->state(), {gfn{0}, 256}, hfn{0x1000}, {perm::rwx}) == status::ok);
  for (std::uint64_t i = 1; i < 256; i += 2) REQUIRE(m.unmap(g->state(), {gfn{i}, 1}) == status::ok);
  g->flushes.clear();
  const auto all = section(*g, [&](lazy_state* l) {
    for (std::uint64_t i = 2; i < 100; i += 2) REQUIRE(m.unmap(l, {gfn{i}, 1}) == status::ok);
    return m.unmap(l, {gfn{200}, 1});
  });
  REQUIRE(all.size() == 2);
  CHECK(all[0].find("address=0x2000 additional=0x60 ") != std::string::npos);
  CHECK(all[1].find("address=0xc8000 additional=0x0 ") != std::string::npos);
}

TEST_CASE("DAT: commands are local while the space has run on the committing cpu alone, then global") {
  const auto g = make_guest(arch::dat{}, {.cpus = 2});
  REQUIRE(g);
  machine& m = g->m();
  for (const bool elsewhere : {false, true}) {
    if (elsewhere) g->s().note_run(1);
    REQUIRE(m.map(g->state(), {gfn{7}, 1}, hfn{0x1000}, {perm::rwx}) == status::ok);
    g->flushes.clear();
    REQUIRE(m.protect(g->state(), {gfn{7}, 1}, perm::rx) == status::ok);
    REQUIRE(commands(*g).size() == 1);
    CHECK(commands(*g)[0].ends_with(" local") == !elsewhere);
    REQUIRE(m.unmap(g->state(), {gfn{7}, 1}) == status::ok);
  }
}

TEST_CASE("DAT with EDAT-2: a frame that is split, joined or protected is replaced by one CRDTE, without an invalid moment") {
  arch::dat f;
  f.edat = 2;
  const auto g = make_guest(f, {.cpus = 1});
  REQUIRE(g);
  REQUIRE(g->m().map(g->state(), {gfn{0x100}, 0x100}, hfn{0x100}, {perm::rwx}) == status::ok);
  bool present = true;
  g->on_flush = [&](const runtime::flush_plan&) { present = present && g->in_tables(gfn{0x180}); };
  REQUIRE(g->m().protect(g->state(), {gfn{0x100}, 0x100}, perm::rx) == status::ok);
  REQUIRE(g->m().protect(g->state(), {gfn{0x100}, 1}, perm::rwx) == status::ok);
  REQUIRE(g->m().map_exact(g->state(), {gfn{0x100}, 0x100}, hfn{0x100}, {perm::rwx}, 1) == status::ok);
  CHECK(present);
  CHECK(count(commands(*g), "crdte") == 3);
  CHECK(commands(*g).size() == 3);
}

TEST_CASE("DAT: an entry that a section changes and changes back is left alone, and stays valid") {
  for (const unsigned edat : {0, 1, 2}) {
    CAPTURE(edat);
    const gfn_range frame{gfn{0x100}, edat ? 0x100u : 0x90u};  // 1 MiB, or pages of a table that stays
    arch::dat f;
    f.edat = static_cast<std::uint8_t>(edat);
    for (const bool by_sink : {false, true}) {
      const auto g = make_guest(f, {.cpus = 1, .sink_writes_entries = by_sink});
      REQUIRE(g);
      machine& m = g->m();
      REQUIRE(m.map(g->state(), frame, hfn{0x100}, {perm::rwx}) == status::ok);
      const auto before = g->leaves();
      const auto tables = g->s().tables();
      g->flushes.clear();
      g->on_flush = [&](const runtime::flush_plan&) { CHECK(g->leaves() == before); };
      lazy_state* l = g->enter();
      REQUIRE(m.unmap(l, frame) == status::ok);
      REQUIRE(m.map(l, frame, hfn{0x100}, {perm::rwx}) == status::ok);
      REQUIRE(m.flush(l) == status::ok);
      REQUIRE(m.protect(l, frame, perm::rx) == status::ok);
      REQUIRE(m.unmap(l, frame) == status::ok);
      REQUIRE(m.map(l, frame, hfn{0x100}, {perm::rwx}) == status::ok);
      REQUIRE(m.flush(l) == status::ok);
      REQUIRE(m.protect(l, {gfn{0x180}, 1}, perm::rx) == status::ok);  // splits a frame
      REQUIRE(m.map(l, frame, hfn{0x100}, {perm::rwx}) == status::ok);
      REQUIRE(m.leave(l) == status::ok);
      CHECK(commands(*g).empty());
      CHECK(g->leaves() == before);
      CHECK(g->s().tables() == tables);
    }
  }
}

TEST_CASE("DAT with EDAT-2: what was changed back and is changed again goes by CRDTE, never by IDTE") {
  arch::dat f;
  f.edat = 2;
  const gfn_range frame{gfn{0x100}, 0x100};
  const auto g = make_guest(f, {.cpus = 1});
  REQUIRE(g);
  machine& m = g->m();
  REQUIRE(m.map(g->state(), frame, hfn{0x100}, {perm::rwx}) == status::ok);
  bool present = true;
  g->on_flush = [&](const runtime::flush_plan&) { present = present && g->in_tables(gfn{0x180}); };
  const auto all = section(*g, [&](lazy_state* l) {
    REQUIRE(m.protect(l, frame, perm::rx) == status::ok);
    REQUIRE(m.protect(l, frame, perm::rwx) == status::ok);
    REQUIRE(m.unmap(l, frame) == status::ok);
    REQUIRE(m.map(l, frame, hfn{0x100}, {perm::rwx}) == status::ok);
    return m.map(l, frame, hfn{0x200}, {perm::rx});
  });
  CHECK(present);
  REQUIRE(all.size() == 1);
  CHECK(all[0].starts_with("crdte from=0x100400 to=0x200600 "));
  CHECK(g->in_tables(gfn{0x180})->out == hfn{0x280});
}

TEST_CASE("DAT with EDAT-2: frames are replaced in a space that no cpu ran, where no instruction is executed") {
  arch::dat f;
  f.edat = 2;
  const auto g = make_guest(f, {.cpus = 1, .running = false});
  REQUIRE(g);
  machine& m = g->m();
  REQUIRE(m.map(g->state(), {gfn{0}, 0x200}, hfn{0x10000}, {perm::rwx}) == status::ok);
  REQUIRE(m.protect(g->state(), {gfn{0}, 0x100}, perm::rx) == status::ok);
  CHECK(g->in_tables(gfn{7})->attr.access == perm::rx);
  REQUIRE(m.unmap(g->state(), {gfn{3}, 1}) == status::ok);  // splits
  CHECK(!g->in_tables(gfn{3}));
  CHECK(g->in_tables(gfn{4})->out == hfn{0x10004});
  REQUIRE(m.map(g->state(), {gfn{0x100}, 0x100}, hfn{0x20000}, {perm::rwx}) == status::ok);
  CHECK(g->in_tables(gfn{0x101})->out == hfn{0x20001});
  CHECK(m.tables_in_use() == g->s().tables());
  CHECK(g->flushes.empty());
}

TEST_CASE("DAT: a cpu that runs the space first while another flushes for itself alone is flushed too") {
  const auto g = make_guest(arch::dat{}, {.cpus = 2});
  REQUIRE(g);
  REQUIRE(g->m().map(g->state(), {gfn{5}, 1}, hfn{9}, {perm::rwx}) == status::ok);
  bool came = false;
  g->on_flush = [&](const runtime::flush_plan&) {
    if (!came) g->s().note_run(1);
    came = true;
  };
  REQUIRE(g->m().unmap(g->state(), {gfn{5}, 1}) == status::ok);
  REQUIRE(g->flushes.size() == 2);
  CHECK(g->flushes[0].commands[0].ends_with(" local"));
  CHECK(g->flushes[1].whole);
  REQUIRE(g->flushes[1].commands.size() == 1);
  CHECK(g->flushes[1].commands[0].starts_with("idte asce="));
  CHECK(!g->flushes[1].commands[0].ends_with(" local"));
}
}

}  // namespace quire::tests
