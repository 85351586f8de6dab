// Bochs on what random mappings do not show: EPT violations and misconfigurations by their codes, A and D as
// the processor leaves them, and what it caches within one VM entry.
#include <algorithm>
#include <map>

#include "tests/emulator/x86_session.h"

namespace quire::tests {

namespace {

using arch::ept;
using x86::run_command;

constexpr std::uint64_t land = x86_landings;
constexpr probe accesses[] = {probe::read, probe::write, probe::fetch};

// Indexes 0, 5, 7 and 11: the stub page has the upper half of the addresses.
constexpr std::uint64_t page = 5ull << 30 | 7ull << 21 | 11ull << 12;
// Leaves of 2 MiB and of 1 GiB; `land` lies in the frame of the latter at its own offset.
constexpr std::uint64_t page_2m = 6ull << 30 | 7ull << 21, page_1g = 9ull << 30;

void map_each_size(ept_space& s, perm access) {
  s.map(page, land, access);
  s.map(page_2m, land, access, 1);
  s.map(page_1g, 0, access, 2);
}
constexpr std::uint64_t in_leaf[] = {page, page_2m, page_1g + land};

}  // namespace

TEST_SUITE("emulator") {
TEST_CASE("ept: a hole of each level is a violation that tells access and address, and no right") {
  ept_space s;
  s.map(page, land, perm::rwx);
  ept_session run;
  for (unsigned level = 0; level < 4; ++level) {
    const std::uint64_t at = s.entry(page, level);
    for (const probe p : accesses) run.reaches(p, page, land);
    run.poke(at, 0);
    for (const probe p : accesses) run.violates(p, page, 0);
    run.poke(at, s.word(at));
  }
  for (const std::uint64_t neighbour : {page + (1u << 12), page + (1u << 21), page + (1u << 30)}) {
    for (const probe p : accesses) run.violates(p, neighbour, 0);
  }
  run.check({&s});
}

TEST_CASE("ept: a denied access of each leaf size is a violation that tells the rights, as of execute-only") {
  constexpr perm legal[] = {perm::r, perm::rw, perm::x, perm::rx, perm::rwx};
  constexpr std::uint64_t rights[] = {1, 3, 4, 5, 7};
  ept_session run;
  ept_space spaces[] = {ept_space(0), ept_space(1), ept_space(2), ept_space(3), ept_space(4)};
  for (unsigned i = 0; i < 5; ++i) {
    map_each_size(spaces[i], legal[i]);
    run.use(spaces[i]);
    for (const std::uint64_t address : in_leaf) {
      for (unsigned kind = 0; kind < 3; ++kind) {
        if (rights[i] >> kind & 1) {
          run.reaches(accesses[kind], address, land);
        } else {
          run.violates(accesses[kind], address, rights[i]);
        }
      }
    }
  }
  run.check({&spaces[0], &spaces[1], &spaces[2], &spaces[3], &spaces[4]});
}

TEST_CASE("ept: rights are the conjunction over the path: a table entry takes away what the leaf grants") {
  ept_space s;
  s.map(page, land, perm::rwx);
  ept_session run;
  for (unsigned level = 1; level < 4; ++level) {
    const std::uint64_t at = s.entry(page, level);
    for (const std::uint64_t rights : {1, 3, 4, 5}) {
      run.poke(at, (s.word(at) & ~7ull) | rights);
      for (unsigned kind = 0; kind < 3; ++kind) {
        if (rights >> kind & 1) {
          run.reaches(accesses[kind], page, land);
        } else {
          run.violates(accesses[kind], page, rights);
        }
      }
    }
    run.poke(at, s.word(at));
  }
  run.check({&s});
}

namespace {

/// Entries of the path of `address` that are misconfigured, [sdm3] "EPT Misconfigurations".
void misconfigure(ept_space& s, ept_session& run, std::uint64_t address, unsigned level, std::uint64_t word,
                  bool of_the_cpu = false) {
  CAPTURE(level);
  CAPTURE(word);
  CHECK((ept{}.malformed(word, level) != nullptr) != of_the_cpu);
  const std::uint64_t at = s.entry(address, level);
  run.poke(at, word);
  for (const probe p : accesses) run.misconfigured(p, address);
  run.poke(at, s.word(at));
  run.reaches(probe::read, address, land);
}

}  // namespace

TEST_CASE("ept: write without read, reserved types and bits are misconfigurations, as ept::malformed says") {
  ept_space s;
  map_each_size(s, perm::rwx);
  ept_session run;
  for (unsigned leaf = 0; leaf < 3; ++leaf) {
    const std::uint64_t address = in_leaf[leaf];
    for (unsigned level = leaf; level < 4; ++level) {
      const std::uint64_t word = s.word(s.entry(address, level));
      for (const std::uint64_t rights : {2, 6}) misconfigure(s, run, address, level, (word & ~7ull) | rights);
      misconfigure(s, run, address, level, word | 1ull << 40, true);  // MAXPHYADDR is 40 here
    }
    const std::uint64_t word = s.word(s.entry(address, leaf));
    for (const std::uint64_t type : {2, 3, 7})
      misconfigure(s, run, address, leaf, (word & ~0x38ull) | type << 3);
    for (unsigned bit = 13; bit < 12 + 9 * leaf; ++bit)
      misconfigure(s, run, address, leaf, word | 1ull << bit);
  }
  for (unsigned level = 1; level < 4; ++level) {
    for (unsigned bit = 3; bit < (level == 3 ? 8 : 7); ++bit) {
      misconfigure(s, run, page, level, s.word(s.entry(page, level)) | 1ull << bit);
    }
  }
  run.check({&s});
}

TEST_CASE("ept: an access sets A on its path, a write D on the leaf alone; without EPTP bit 6, neither") {
  constexpr std::uint64_t accessed = 0x100, dirty = 0x200;
  ept_space with(0, true), without(1, false);
  ept_session run;
  for (ept_space* s : {&with, &without}) {
    const bool on = s == &with;
    map_each_size(*s, perm::rwx);
    s->map(page + 0x1000, land + 0x1000, perm::rwx);
    run.use(*s);
    for (unsigned leaf = 0; leaf < 3; ++leaf) {
      const std::uint64_t address = in_leaf[leaf];
      for (const probe p : {probe::read, probe::fetch, probe::write}) {
        for (unsigned level = leaf; level < 4; ++level) {  // as if nothing had happened
          run.poke(s->entry(address, level), s->word(s->entry(address, level)));
        }
        run.reaches(p, address, land);
        for (unsigned level = leaf; level < 4; ++level) {
          const std::uint64_t set = accessed | (p == probe::write && level == leaf ? dirty : 0);
          run.peek(s->entry(address, level), s->word(s->entry(address, level)) | (on ? set : 0));
        }
      }
    }
    run.peek(s->entry(page + 0x1000, 0), s->word(s->entry(page + 0x1000, 0)));  // nobody used it
  }
  run.check({&with, &without});
}

TEST_CASE("ept: the runtime's harvest reports the pages that the processor read or wrote, and no other") {
  ept_space s(0, true);
  constexpr std::uint64_t pages = 600;  // of two tables
  for (std::uint64_t i = 0; i < pages; ++i) s.map(page + (i << 12), land + (i << 12), perm::rwx);
  ept_session run;
  std::map<std::uint64_t, bool> used;  // page number; written
  for (std::uint64_t i = 0, step = 1; i < pages; i += step, step = step * 5 % 23 + 1) {
    const probe p = accesses[i % 3];
    run.reaches(p, page + (i << 12), land + (i << 12));
    used[(page >> 12) + i] = p == probe::write;
  }
  guest_base& g = s.guest();
  std::vector<std::size_t> words;
  for (std::size_t at = 0; at < g.table_memory().size(); at += 8)
    words.push_back(run.peek_any(s.base() + at));
  const std::vector<answer> answers = run.check({&s});
  for (std::size_t i = 0; i < words.size(); ++i)
    std::memcpy(g.table_memory().data() + 8 * i, &answers[words[i]].value, 8);
  for (const bool again : {false, true}) {
    g.reports.clear();
    lazy_state* l = g.enter();
    const auto what = runtime::harvest::accessed | runtime::harvest::dirty;
    REQUIRE(g.m().harvest_status(l, {gfn{page >> 12}, pages}, what) == status::ok);
    REQUIRE(g.m().leave(l) == status::ok);
    std::map<std::uint64_t, bool> reported;
    for (const runtime::report& r : g.reports) {
      for (std::uint64_t i = 0; i < r.range.pages; ++i) {
        CHECK(r.accessed);
        CHECK(reported.emplace(r.range.first.value + i, r.dirty).second);
      }
    }
    CHECK(reported == (again ? std::map<std::uint64_t, bool>{} : used));
  }
  CHECK(used.size() > 40);
}

TEST_CASE("ept: within one VM entry a changed entry is stale without INVEPT; after an exit it is not") {
  ept_space s;
  s.map(page, land, perm::rwx);
  const std::uint64_t entry = s.entry(page, 0);
  constexpr std::uint64_t window = 8ull << 30;
  s.map(window, entry & ~0xfffull, perm::rw);  // the page table itself
  const std::uint64_t in_window = window + (entry & 0xfff), word = s.word(entry);
  const std::uint64_t moved = word + 0x1000;
  ept_session run;
  run.reads_around_store(page, in_window, moved, land);
  run.peek(entry, moved);
  run.reaches(probe::read, page, land + 0x1000);
  run.reads_around_store(page, in_window, 0, land + 0x1000);
  run.violates(probe::read, page, 0);
  run.check({&s});
}

TEST_CASE("ept: INVEPT of one context and of all are executed, other types and a malformed EPTP refused") {
  ept_space s;
  s.map(page, land, perm::rwx);
  constexpr std::uint64_t invalid_operand = 28;  // [sdm3] "VM-Instruction Error Numbers"
  ept_session run;
  run.reaches(probe::read, page, land);
  run.command(run_command::invept_single, {s.eptp()});
  run.command(run_command::invept_global, {});
  run.command(run_command::invept, {1, s.eptp()});
  run.command(run_command::invept, {2, 0});
  for (const std::uint64_t type : {0, 3, 4})
    run.fails(run_command::invept, {type, s.eptp()}, invalid_operand);
  for (const std::uint64_t bad : {1ull, 7ull << 3, 1ull << 40})
    run.fails(run_command::invept, {1, s.eptp() ^ bad}, invalid_operand);
  run.reaches(probe::read, page, land);
  run.check({&s});
}
}

}  // namespace quire::tests
