// Runs of pages in any order: every variant against a set of pages, and against scalar.
#include <doctest/doctest.h>

#include <algorithm>
#include <numeric>
#include <random>
#include <set>
#include <vector>

#include "runtime/coalesce.h"

namespace quire::tests {

using arch::gfn;
using arch::gfn_range;
using runtime::simd;
using ranges = std::vector<gfn_range>;
using numbers = std::vector<std::uint64_t>;

namespace {

constexpr gfn_range untouched = {gfn{0x5555555555555555}, 0x5555555555555555};

struct alignas(64) line {
  std::byte bytes[64] = {};
};

/// The ranges that a variant gives; it may write to `out` for n ranges and to its scratch memory, and nowhere
/// else.
ranges coalesced(simd v, numbers pages) {
  const std::size_t n = pages.size(), bytes = runtime::coalesce_scratch_bytes(n);
  std::vector<line> scratch(bytes / sizeof(line) + 2);
  auto* const first = scratch.front().bytes;
  std::fill(first + bytes, first + scratch.size() * sizeof(line), std::byte{0x5a});
  ranges out(n + 64, untouched);
  out.resize(runtime::coalesce_pages(v, pages, std::span(out).first(n), {first, bytes}));
  const auto* const behind = out.data() + n;
  REQUIRE(out.size() <= n);
  REQUIRE(std::all_of(behind, behind + 64, [](const gfn_range& r) { return r == untouched; }));
  REQUIRE(std::all_of(first + bytes, first + scratch.size() * sizeof(line),
                      [](std::byte b) { return b == std::byte{0x5a}; }));
  return out;
}

ranges expected(const numbers& pages) {
  ranges runs;
  for (const std::uint64_t p : std::set<std::uint64_t>(pages.begin(), pages.end())) {
    if (!runs.empty() && runs.back().end() == gfn{p}) {
      ++runs.back().pages;
    } else {
      runs.push_back({gfn{p}, 1});
    }
  }
  return runs;
}

void check(const numbers& pages) {
  const ranges wanted = expected(pages);
  for (const simd v : {simd::scalar, simd::avx2, simd::avx512, simd::neon}) {
    if (!runtime::simd_available(v)) continue;
    CAPTURE(simd_text(v));
    REQUIRE(coalesced(v, pages) == wanted);
  }
}

constexpr std::size_t sizes[] = {
    0,  1,  2,  3,  4,   5,   6,   7,   8,   9,   10,  11,  12,  13,   14,   15,   16,   17,   18,   19, 20,
    21, 22, 23, 24, 25,  26,  27,  28,  29,  30,  31,  32,  33,  34,   35,   36,   37,   38,   39,   40, 63,
    64, 65, 79, 80, 127, 128, 129, 255, 256, 257, 511, 512, 513, 1023, 1025, 4095, 4096, 4097, 65536};

template <class Make>
void check_sizes(Make make) {
  for (const std::size_t n : sizes) {
    CAPTURE(n);
    std::mt19937_64 random(n + 1);
    for (unsigned again = 0; again < (n > 600 ? 1 : 4); ++again) {
      numbers pages(n);
      make(pages, random);
      check(pages);
    }
  }
}

using engine = std::mt19937_64;

numbers& iota(numbers& pages, std::uint64_t first) {
  std::iota(pages.begin(), pages.end(), first);
  return pages;
}

void shuffle(numbers& pages, engine& random) { std::shuffle(pages.begin(), pages.end(), random); }

/// Runs of `length` pages, shuffled as wholes.
void make_runs(numbers& pages, engine& random, std::size_t length, std::uint64_t end) {
  for (std::size_t i = 0; i < pages.size(); ++i)
    pages[i] = i % length == 0 ? random() % end : pages[i - 1] + 1;
}

}  // namespace

TEST_SUITE("coalesce_pages") {
TEST_CASE("pages in order, or in reverse, are one run") {
  CHECK(coalesced(simd::scalar, {7, 8, 9}) == ranges{{gfn{7}, 3}});
  CHECK(coalesced(simd::scalar, {9, 8, 7}) == ranges{{gfn{7}, 3}});
  check_sizes([](numbers& p, engine& random) { iota(p, random() >> 12); });
  check_sizes([](numbers& p, engine& random) { std::reverse(iota(p, random() >> 12).begin(), p.end()); });
}
TEST_CASE("a page twice is there once; runs that touch become one") {
  CHECK(coalesced(simd::scalar, {5, 3, 5, 4, 5}) == ranges{{gfn{3}, 3}});
  CHECK(coalesced(simd::scalar, {8, 3, 1, 2}) == ranges{{gfn{1}, 3}, {gfn{8}, 1}});
}
TEST_CASE("one page amiss in a contiguous sequence, anywhere") {
  for (const std::size_t n :
       {2u, 3u, 8u, 15u, 16u, 17u, 31u, 32u, 33u, 63u, 64u, 65u, 80u, 100u, 257u, 530u}) {
    CAPTURE(n);
    for (std::size_t at = 0; at < n; at += n < 70 ? 1 : 13) {
      CAPTURE(at);
      for (const std::uint64_t amiss :
           {std::uint64_t{0}, std::uint64_t{1000}, std::uint64_t{1001}, ~std::uint64_t{0}}) {
        numbers p(n);
        iota(p, 1000)[at] = amiss;
        check(p);
        std::reverse(p.begin(), p.end());
        check(p);
      }
    }
  }
}
TEST_CASE("distinct pages of a window, shuffled") {
  for (const std::size_t window : {1u, 2u, 3u, 8u, 12u, 13u, 40u}) {
    check_sizes([&](numbers& p, engine& random) {
      numbers all(p.size() * window);
      shuffle(iota(all, random() >> 12), random);
      std::copy_n(all.begin(), p.size(), p.begin());
    });
  }
}
TEST_CASE("draws from windows narrower and wider than the count") {
  for (const std::uint64_t end : {1u, 2u, 5u, 64u, 1u << 10, 1u << 16, 1u << 24, 1u << 31}) {
    check_sizes([&](numbers& p, engine& random) {
      const std::uint64_t base = random() >> 12;
      for (auto& x : p) x = base + random() % end;
    });
  }
}
TEST_CASE("runs, short and long, apart, touching and overlapping") {
  for (const std::size_t length : {3u, 4u, 5u, 8u, 16u, 17u, 100u}) {
    for (const std::uint64_t end : {std::uint64_t{1} << 24, std::uint64_t{1} << 40}) {
      check_sizes([&](numbers& p, engine& random) { make_runs(p, random, length, end); });
    }
    check_sizes([&](numbers& p, engine& random) { make_runs(p, random, length, p.size()); });
  }
}
TEST_CASE("sorted pages with gaps and duplicates") {
  check_sizes([](numbers& p, engine& random) {
    std::uint64_t next = random() >> 12;
    for (auto& x : p) x = next += random() % 4;
  });
  check_sizes([](numbers& p, engine& random) {
    std::uint64_t next = random() >> 12;
    for (auto& x : p) x = next += random() % 30 == 0 ? random() % 9 : 1;
  });
}
TEST_CASE("sawtooth, all equal") {
  check_sizes([](numbers& p, engine&) {
    for (std::size_t i = 0; i < p.size(); ++i) p[i] = 77 + i % 9;
  });
  check_sizes([](numbers& p, engine&) { std::fill(p.begin(), p.end(), 0xfffffffffffff); });
}
TEST_CASE("clusters far apart: spans around and above 2^32") {
  for (const std::uint64_t far :
       {std::uint64_t{0x7fffffff}, std::uint64_t{0x80000000}, std::uint64_t{0x80000001},
        std::uint64_t{0xffffffff}, std::uint64_t{0x100000000}, std::uint64_t{1} << 40,
        std::uint64_t{1} << 63}) {
    CAPTURE(far);
    check_sizes([&](numbers& p, engine& random) {
      for (auto& x : p) x = (random() % 2 ? far : 0) + random() % (p.size() * 3);
    });
  }
  check_sizes([](numbers& p, engine& random) {
    // All but one in one bucket.
    for (auto& x : p) x = 0x1000 + random() % (64 * p.size());
    if (!p.empty()) p[p.size() / 2] = 0x7ffffff0;
  });
}
TEST_CASE("defect: a run went on from the greatest key to key 0, where page 2^32 - 1 or 2^31 - 1 stands before page 0") {
  for (const unsigned bits : {31u, 32u}) {
    for (const std::uint64_t origin : {std::uint64_t{0}, std::uint64_t{1} << 40}) {
      const std::uint64_t keys = std::uint64_t{1} << bits;
      CAPTURE(bits);
      check_sizes([&](numbers& p, engine&) {
        // Whoever takes keys from the middle of their range on has key 0 at the origin.
        for (std::size_t i = 0; i < p.size(); ++i) {
          p[i] = origin + (i < p.size() / 2 ? keys / 2 + i : (i - p.size() / 2 + keys - p.size() / 4) % keys);
        }
      });
    }
  }
}
TEST_CASE("any 64-bit numbers, also close to 2^52 and to 2^64") {
  check_sizes([](numbers& p, engine& random) {
    for (auto& x : p) x = random();
  });
  for (const std::uint64_t end : {std::uint64_t{1} << 52, std::uint64_t{0}}) {
    check_sizes([&](numbers& p, engine& random) {
      for (auto& x : p) x = end - 1 - random() % (p.size() * 2);
    });
    check_sizes([&](numbers& p, engine& random) {
      for (auto& x : p) x = end - 1 - random() % (p.size() * 5000);
    });
    check_sizes([&](numbers& p, engine&) { std::reverse(iota(p, end - p.size()).begin(), p.end()); });
  }
  check_sizes([](numbers& p, engine& random) {
    // The last page and the first one do not touch.
    for (auto& x : p) x = random() % 8 - 4;
  });
}
TEST_CASE("without a variant, the chosen one is used") {
  const simd chosen = runtime::chosen_simd();
  for (const simd v : {simd::scalar, simd::avx2, simd::avx512, simd::neon}) {
    if (!runtime::choose_simd(v)) continue;
    CAPTURE(simd_text(v));
    numbers pages = {9, 1, 2, 8, 5};
    ranges out(pages.size());
    std::vector<line> scratch(runtime::coalesce_scratch_bytes(pages.size()) / sizeof(line) + 1);
    out.resize(runtime::coalesce_pages(pages, out, std::as_writable_bytes(std::span(scratch))));
    CHECK(out == ranges{{gfn{1}, 2}, {gfn{5}, 1}, {gfn{8}, 2}});
  }
  REQUIRE(runtime::choose_simd(chosen));
}
}

}  // namespace quire::tests
