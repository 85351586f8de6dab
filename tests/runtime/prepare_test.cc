// Counting tables from ranges, against tables counted one by one.
#include "runtime/prepare.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <initializer_list>
#include <random>

#include "tests/support/formats.h"

namespace quire::tests {

using arch::geometry;
using arch::gfn;
using arch::gfn_range;
using arch::hfn;
using runtime::table_need;

namespace {

/// A format-less shape with few entries a table, so that every case of alignment turns up often.
geometry small_shape() {
  geometry s;
  s.levels = 5;
  s.index_bits = {2, 1, 3, 2, 1};
  s.shift = {0, 2, 3, 6, 8};
  s.leaf = {true, true, true, false, false};
  s.input_pages = s.output_pages = 512;
  return s;
}

gfn_range part_of(const geometry& s, gfn_range r, unsigned level, std::uint64_t slot) {
  const std::uint64_t first = std::max(r.first.value, slot << s.shift[level]);
  const std::uint64_t end = std::min(r.end().value, (slot + 1) << s.shift[level]);
  return {gfn{first}, end - first};
}

/// Calls `visit` with what of `r` lies in each slot of the level.
template <class Visit>
void each_part(const geometry& s, gfn_range r, unsigned level, Visit visit) {
  for (std::uint64_t slot = r.first.value >> s.shift[level]; slot <= (r.end().value - 1) >> s.shift[level];
       ++slot) {
    visit(part_of(s, r, level, slot));
  }
}

bool leaf_fits(const geometry& s, gfn_range part, hfn out, unsigned level) {
  return s.leaf[level] && part.pages == s.slot_pages(level) && out.value % s.slot_pages(level) == 0;
}

/// Adds the tables below the slots of `level` that `r` needs if all of them are empty.
void count_map(const geometry& s, gfn_range r, hfn out, unsigned leaf_level, unsigned level,
               table_need& need) {
  each_part(s, r, level, [&](gfn_range part) {
    const hfn to = out + (part.first - r.first);
    if (level == 0 || (level <= leaf_level && leaf_fits(s, part, to, level))) return;
    ++need[level - 1];
    if (level > 1) count_map(s, part, to, leaf_level, level - 1, need);
  });
}

/// Adds the tables that changing `r` costs if each slot of `level` is a leaf.
void count_split(const geometry& s, gfn_range r, unsigned level, table_need& need) {
  each_part(s, r, level, [&](gfn_range part) {
    if (part.pages == s.slot_pages(level)) return;
    ++need[level - 1];
    if (level > 1) count_split(s, part, level - 1, need);
  });
}

/// As count_split(), in a tree where slots up to `below` are leaves or tables by chance.
void count_mixed(const geometry& s, gfn_range r, unsigned level, unsigned below, std::mt19937_64& random,
                 table_need& need) {
  each_part(s, r, level, [&](gfn_range part) {
    const bool leaf = level <= below && s.leaf[level] && random() % 2;
    if (leaf) count_split(s, part, level, need);
    if (!leaf && level > 1) count_mixed(s, part, level - 1, below, random, need);
  });
}

unsigned largest(const geometry& s, gfn_range r, hfn out, unsigned cap) {
  for (unsigned level = std::min(cap, s.top()); level > 0; --level) {
    bool fits = false;
    each_part(s, r, level,
              [&](gfn_range part) { fits |= leaf_fits(s, part, out + (part.first - r.first), level); });
    if (fits) return level;
  }
  return 0;
}

struct request {
  gfn_range r;
  hfn out;
  unsigned cap;
};

/// A range of up to `most` pages, its ends and its distance to the output often aligned to a leaf.
request random_request(std::mt19937_64& random, const geometry& s, std::uint64_t most) {
  const auto aligned = [&](std::uint64_t v) {
    const unsigned shift = s.shift[random() % 3];
    return v >> shift << shift;
  };
  request q{};
  const std::uint64_t first = aligned(random() % s.input_pages);
  q.r.first = gfn{first};
  const std::uint64_t room = std::min(most, s.input_pages - first);
  q.r.pages =
      std::max<std::uint64_t>(1, random() % 3 ? aligned(random() % (room + 1)) : random() % (room + 1));
  if (random() % 2) ++q.r.pages;
  q.r.pages = std::min(q.r.pages, room);
  q.out = hfn{(first + aligned(random() % s.input_pages)) % (s.output_pages - q.r.pages + 1)};
  q.cap = static_cast<unsigned>(random() % (s.top() + 2));
  return q;
}

/// Runs `check(shape, request, random)` for random requests on four shapes.
template <class Check>
void each_request(unsigned seeds, Check check) {
  const geometry small = small_shape();
  const geometry format = arch::geometry_of(example{});
  const geometry four_levels = arch::geometry_of(ept4{});
  const geometry five_levels = arch::geometry_of(ept5_ad{});
  for (std::uint64_t seed = 1; seed <= seeds; ++seed) {
    std::mt19937_64 random(seed);
    for (const geometry* s : {&small, &format, &four_levels, &five_levels}) {
      const request q = random_request(random, *s, random() % 20 ? 0x1000 : 0x90000);
      CAPTURE(seed);
      CAPTURE(s->levels);
      CAPTURE(s->input_pages);
      CAPTURE(q.r.first.value);
      CAPTURE(q.r.pages);
      CAPTURE(q.out.value);
      CAPTURE(q.cap);
      check(*s, q, random);
    }
  }
}

}  // namespace

TEST_SUITE("prepare") {
TEST_CASE("EPT: a page needs a table at each level below the root") {
  const geometry s = arch::geometry_of(ept4{});
  CHECK(runtime::tables_to_map(s, {gfn{0x12345}, 1}, 0, 3) == table_need{1, 1, 1});
  CHECK(runtime::tables_to_map(s, {gfn{0x12345}, 1}, 0, 1) == table_need{1});
  CHECK(runtime::tables_to_map(s, {gfn{0x12345}, 1}, 0, 0) == table_need{});
  CHECK(runtime::tables_to_map(s, {gfn{0x3ffff}, 2}, 0, 3) == table_need{2, 2, 1});
}
TEST_CASE("EPT: 2 MiB leaves save the tables between the ends of a range") {
  const geometry s = arch::geometry_of(ept4{});
  CHECK(runtime::tables_to_map(s, {gfn{0x200}, 0x400}, 1, 3) == table_need{0, 1, 1});
  CHECK(runtime::tables_to_map(s, {gfn{0x1ff}, 0x401}, 1, 3) == table_need{1, 1, 1});
  CHECK(runtime::tables_to_map(s, {gfn{0x1ff}, 0x402}, 1, 3) == table_need{2, 1, 1});
  CHECK(runtime::tables_to_map(s, {gfn{0x1ff}, 0x402}, 0, 3) == table_need{4, 1, 1});
}
TEST_CASE("EPT: a 1 GiB leaf needs the tables above it, and those of the ends") {
  const geometry s = arch::geometry_of(ept4{});
  CHECK(runtime::tables_to_map(s, {gfn{0x40000}, 0x40000}, 2, 3) == table_need{0, 0, 1});
  CHECK(runtime::tables_to_map(s, {gfn{0x3fe00}, 0x40201}, 2, 3) == table_need{1, 2, 1});
}
TEST_CASE("EPT: splitting costs a table a level at each end inside a leaf") {
  const geometry s = arch::geometry_of(ept4{});
  CHECK(runtime::tables_to_split(s, {gfn{0x40001}, 1}, 2) == table_need{1, 1});
  CHECK(runtime::tables_to_split(s, {gfn{0x401ff}, 2}, 2) == table_need{2, 1});
  CHECK(runtime::tables_to_split(s, {gfn{0x40000}, 0x200}, 2) == table_need{0, 1});
  CHECK(runtime::tables_to_split(s, {gfn{0x40000}, 0x40000}, 2) == table_need{});
  CHECK(runtime::tables_to_split(s, {gfn{0x40001}, 1}, 1) == table_need{1});
  CHECK(runtime::tables_to_split(s, {gfn{0x40001}, 1}, 0) == table_need{});
  CHECK(runtime::tables_to_split(s, {gfn{0x40001}, 1}, 3) ==
        table_need{1, 1});  // no leaf is larger than 1 GiB
}
TEST_CASE("EPT: the largest leaf is the largest that both addresses and the length allow") {
  const geometry s = arch::geometry_of(ept4{});
  CHECK(runtime::largest_leaf(s, {gfn{0x40000}, 0x40000}, hfn{0x80000}, 5) == 2);
  CHECK(runtime::largest_leaf(s, {gfn{0x40000}, 0x40000}, hfn{0x80000}, 1) == 1);
  CHECK(runtime::largest_leaf(s, {gfn{0x40000}, 0x40000}, hfn{0x80000}, 0) == 0);
  CHECK(runtime::largest_leaf(s, {gfn{0x40000}, 0x3ffff}, hfn{0x80000}, 5) == 1);
  CHECK(runtime::largest_leaf(s, {gfn{0x40000}, 0x40000}, hfn{0x80200}, 5) == 1);
  CHECK(runtime::largest_leaf(s, {gfn{0x40000}, 0x40000}, hfn{0x80001}, 5) == 0);
  CHECK(runtime::largest_leaf(s, {gfn{0x1ff}, 0x201}, hfn{0x3ff}, 5) == 1);
  CHECK(runtime::largest_leaf(s, {gfn{0x1ff}, 0x200}, hfn{0x3ff}, 5) == 0);
  CHECK(runtime::largest_leaf(s, {gfn{0}, 0x1000000000}, hfn{0}, 5) == 2);
}
TEST_CASE("the largest leaf is the one that a search slot by slot finds") {
  each_request(3000, [](const geometry& s, const request& q, std::mt19937_64&) {
    REQUIRE(runtime::largest_leaf(s, q.r, q.out, q.cap) == largest(s, q.r, q.out, q.cap));
  });
}
TEST_CASE("mapping a range takes exactly the tables that were counted, below any level") {
  each_request(3000, [](const geometry& s, const request& q, std::mt19937_64& random) {
    const unsigned leaf = runtime::largest_leaf(s, q.r, q.out, q.cap);
    const auto below = static_cast<unsigned>(1 + random() % s.top());
    table_need need{};
    count_map(s, q.r, q.out, leaf, below, need);
    REQUIRE(runtime::tables_to_map(s, q.r, leaf, below) == need);
  });
}
TEST_CASE("mapping what of a range lies in one slot takes exactly the tables that were counted") {
  each_request(3000, [](const geometry& s, const request& q, std::mt19937_64& random) {
    const unsigned leaf = runtime::largest_leaf(s, q.r, q.out, q.cap);
    const auto level = static_cast<unsigned>(1 + random() % s.top());
    const gfn at{q.r.first.value + random() % q.r.pages};
    const gfn_range part = part_of(s, q.r, level, at.value >> s.shift[level]);
    const hfn out = q.out + (part.first - q.r.first);
    if (level <= leaf && leaf_fits(s, part, out, level)) return;
    table_need need{};
    count_map(s, part, out, leaf, level, need);
    REQUIRE(runtime::tables_to_map(s, part, leaf, level) == need);
  });
}
TEST_CASE("changing a range inside one large leaf splits exactly the leaves that were counted") {
  each_request(3000, [](const geometry& s, const request& q, std::mt19937_64& random) {
    const auto level = static_cast<unsigned>(random() % 3);
    if (!s.leaf[level]) return;
    const gfn at{q.r.first.value + random() % q.r.pages};
    const gfn_range part = part_of(s, q.r, level, at.value >> s.shift[level]);
    table_need need{};
    if (level > 0) count_split(s, part, level, need);
    REQUIRE(runtime::tables_to_split(s, part, level) == need);
  });
}
TEST_CASE("changing a range splits no more than was counted, whatever leaves it meets") {
  each_request(3000, [](const geometry& s, const request& q, std::mt19937_64& random) {
    const auto below = static_cast<unsigned>(1 + random() % s.top());
    table_need need{};
    count_mixed(s, q.r, s.top(), below, random, need);
    const table_need most = runtime::tables_to_split(s, q.r, below);
    for (unsigned level = 0; level < arch::level_limit; ++level) REQUIRE(need[level] <= most[level]);
  });
}
}

}  // namespace quire::tests
