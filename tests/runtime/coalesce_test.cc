// Merging stale ranges: by hand, then against a set of pages.
#include "runtime/coalesce.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <random>
#include <set>
#include <vector>

namespace quire::tests {

using arch::gfn;
using arch::gfn_range;
using ranges = std::vector<gfn_range>;

namespace {

ranges coalesced(ranges r, std::uint64_t max_gap = 0) {
  r.resize(runtime::coalesce(r, max_gap));
  return r;
}

ranges sorted(ranges r) {
  runtime::sort_ranges(r);
  return r;
}

/// What coalesce() has to give, page by page. Pages count from `base`.
ranges expected(const ranges& r, std::uint64_t base, std::uint64_t max_gap) {
  std::set<std::uint64_t> pages;
  for (const auto& one : r) {
    for (std::uint64_t i = 0; i < one.pages; ++i) pages.insert(one.first.value - base + i);
  }
  ranges merged;
  for (const std::uint64_t page : pages) {
    if (!merged.empty()) {
      gfn_range& last = merged.back();
      const std::uint64_t end = last.first.value - base + last.pages;
      if (page - end <= max_gap) {
        last.pages += page - end + 1;
        continue;
      }
    }
    merged.push_back({gfn{base + page}, 1});
  }
  return merged;
}

}  // namespace

TEST_SUITE("coalesce") {
TEST_CASE("nothing stays nothing") {
  CHECK(coalesced({}).empty());
  CHECK(coalesced({}, 100).empty());
}
TEST_CASE("ranges that touch or overlap become one") {
  CHECK(coalesced({{gfn{1}, 2}, {gfn{3}, 4}}) == ranges{{gfn{1}, 6}});
  CHECK(coalesced({{gfn{1}, 5}, {gfn{3}, 4}}) == ranges{{gfn{1}, 6}});
  CHECK(coalesced({{gfn{1}, 2}, {gfn{3}, 1}, {gfn{4}, 1}}) == ranges{{gfn{1}, 4}});
}
TEST_CASE("a range inside another disappears, and shortens nothing") {
  CHECK(coalesced({{gfn{1}, 9}, {gfn{3}, 2}}) == ranges{{gfn{1}, 9}});
  CHECK(coalesced({{gfn{1}, 9}, {gfn{1}, 2}, {gfn{3}, 1}, {gfn{10}, 1}}) == ranges{{gfn{1}, 10}});
}
TEST_CASE("duplicates become one") {
  CHECK(coalesced({{gfn{7}, 1}, {gfn{7}, 1}, {gfn{7}, 1}}) == ranges{{gfn{7}, 1}});
  CHECK(coalesced({{gfn{7}, 1}, {gfn{7}, 3}, {gfn{7}, 2}}) == ranges{{gfn{7}, 3}});
}
TEST_CASE("ranges apart stay apart") {
  CHECK(coalesced({{gfn{1}, 2}, {gfn{4}, 1}}) == ranges{{gfn{1}, 2}, {gfn{4}, 1}});
  CHECK(coalesced({{gfn{0}, 1}, {gfn{0xffffffffffffffff}, 1}}) ==
        ranges{{gfn{0}, 1}, {gfn{0xffffffffffffffff}, 1}});
}
TEST_CASE("a gap of max_gap pages is closed, one of a page more is not") {
  const ranges r = {{gfn{0}, 1}, {gfn{3}, 1}, {gfn{7}, 1}};  // gaps of 2 and 3
  CHECK(coalesced(r, 0) == r);
  CHECK(coalesced(r, 1) == r);
  CHECK(coalesced(r, 2) == ranges{{gfn{0}, 4}, {gfn{7}, 1}});
  CHECK(coalesced(r, 3) == ranges{{gfn{0}, 8}});
  CHECK(coalesced(r, 0xffffffffffffffff) == ranges{{gfn{0}, 8}});
}
TEST_CASE("the gap counts from the farthest end so far") {
  CHECK(coalesced({{gfn{0}, 10}, {gfn{2}, 1}, {gfn{11}, 1}}, 1) == ranges{{gfn{0}, 12}});
  CHECK(coalesced({{gfn{0}, 10}, {gfn{2}, 1}, {gfn{12}, 1}}, 1) == ranges{{gfn{0}, 10}, {gfn{12}, 1}});
}
TEST_CASE("empty ranges disappear and join nothing") {
  CHECK(coalesced({{gfn{5}, 0}}).empty());
  CHECK(coalesced({{gfn{0}, 1}, {gfn{1}, 0}, {gfn{2}, 1}}) == ranges{{gfn{0}, 1}, {gfn{2}, 1}});
  CHECK(coalesced({{gfn{0}, 0}, {gfn{2}, 1}, {gfn{9}, 0}}, 5) == ranges{{gfn{2}, 1}});
}
TEST_CASE("a range may end at 2^64") {
  CHECK(coalesced({{gfn{0xfffffffffffffff0}, 0x10}}) == ranges{{gfn{0xfffffffffffffff0}, 0x10}});
  CHECK(coalesced({{gfn{0xfffffffffffffff0}, 8}, {gfn{0xfffffffffffffff8}, 8}}) ==
        ranges{{gfn{0xfffffffffffffff0}, 0x10}});
  CHECK(coalesced({{gfn{0xfffffffffffffff0}, 0x10}, {gfn{0xffffffffffffffff}, 1}}) ==
        ranges{{gfn{0xfffffffffffffff0}, 0x10}});
  CHECK(coalesced({{gfn{1}, 0xffffffffffffffff}, {gfn{2}, 1}}) == ranges{{gfn{1}, 0xffffffffffffffff}});
}
TEST_CASE("the result has exactly the pages of the ranges, and of the gaps that may be closed") {
  for (std::uint64_t seed = 1; seed <= 2000; ++seed) {
    CAPTURE(seed);
    std::mt19937_64 random(seed);
    constexpr std::uint64_t bases[] = {0, 0xfffffffffff00,
                                       0xffffffffffffff00};  // the last two end at 2^52, 2^64
    const std::uint64_t base = bases[random() % 3];
    const std::uint64_t longest = random() % 2 ? 4 : 40;
    ranges r(random() % 70);
    for (gfn_range& one : r) {
      one.first = gfn{base + random() % 0x100};
      const std::uint64_t room = base + 0x100 - one.first.value;
      one.pages = std::min(random() % longest, room);
    }
    const std::uint64_t max_gap = random() % 6;
    CAPTURE(max_gap);
    REQUIRE(coalesced(sorted(r), max_gap) == expected(r, base, max_gap));
  }
}
}

TEST_SUITE("sort_ranges") {
TEST_CASE("ranges are sorted by their first page") {
  CHECK(sorted({{gfn{9}, 1}, {gfn{1}, 5}, {gfn{4}, 2}}) == ranges{{gfn{1}, 5}, {gfn{4}, 2}, {gfn{9}, 1}});
  CHECK(sorted({{gfn{0xffffffffffffffff}, 1}, {gfn{0}, 1}}) ==
        ranges{{gfn{0}, 1}, {gfn{0xffffffffffffffff}, 1}});
  CHECK(sorted({}).empty());
}
TEST_CASE("ranges that are in order stay as they are") {
  const ranges r = {{gfn{1}, 5}, {gfn{1}, 2}, {gfn{1}, 9}, {gfn{4}, 2}};
  CHECK(sorted(r) == r);
}
TEST_CASE("sorting loses no range and makes up none") {
  for (std::uint64_t seed = 1; seed <= 200; ++seed) {
    CAPTURE(seed);
    std::mt19937_64 random(seed);
    ranges r(random() % 600);
    for (gfn_range& one : r) one = {gfn{random() % 1000 << (random() % 2 * 54)}, random() % 10};
    const ranges s = sorted(r);
    REQUIRE(
        std::is_sorted(s.begin(), s.end(), [](const auto& a, const auto& b) { return a.first < b.first; }));
    REQUIRE(std::is_permutation(s.begin(), s.end(), r.begin(), r.end()));
  }
}
}

TEST_SUITE("coalesce_ranges") {
TEST_CASE("ranges in any order become sorted and disjoint") {
  ranges r = {{gfn{9}, 1}, {gfn{1}, 5}, {gfn{0}, 0}, {gfn{4}, 2}, {gfn{20}, 2}};
  r.resize(runtime::coalesce_ranges(r));
  CHECK(r == ranges{{gfn{1}, 5}, {gfn{9}, 1}, {gfn{20}, 2}});
  CHECK(runtime::coalesce_ranges({}) == 0);
}
TEST_CASE("every variant gives what sorting and merging gives") {
  for (std::uint64_t seed = 1; seed <= 3000; ++seed) {
    CAPTURE(seed);
    std::mt19937_64 random(seed);
    constexpr std::uint64_t bases[] = {0, 0xfffffffffff00, 0xffffffffffff0000, 0xffffffff80000000,
                                       0x7fffffff};
    const std::uint64_t base = bases[random() % 5], longest = 1 + random() % 40;
    constexpr std::uint64_t windows[] = {0x100, 0x4000, 0x80000000, 0x200000000};
    const std::uint64_t window = windows[random() % 4];
    ranges r(random() % 300);
    for (gfn_range& one : r) {
      one.first = gfn{base + std::min(random() % window, ~base)};
      one.pages = std::min(random() % longest + (seed % 8 != 0), ~one.first.value);
    }
    if (seed % 16 == 0 && !r.empty()) r[r.size() / 2].pages = ~r[r.size() / 2].first.value;
    const ranges wanted = coalesced(sorted(r));
    for (const auto v :
         {runtime::simd::scalar, runtime::simd::avx2, runtime::simd::avx512, runtime::simd::neon}) {
      if (!runtime::simd_available(v)) continue;
      CAPTURE(static_cast<unsigned>(v));
      ranges got = r;
      got.resize(runtime::coalesce_ranges(v, got));
      REQUIRE(got == wanted);
    }
  }
}
}

}  // namespace quire::tests
