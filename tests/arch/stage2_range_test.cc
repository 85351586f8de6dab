// The encoder of TLBI ranges, against a decoder written from the manual.
#include <doctest/doctest.h>

#include <algorithm>
#include <random>
#include <vector>

#include "arch/arm64/stage2_flush.h"

namespace quire::tests {

using arch::command_list;
using arch::gfn;
using arch::gfn_range;

namespace {

/// Bytes from `first` up to `end`.
struct extent {
  std::uint64_t first, end;
};

/// What one command drops. [armarm] "TLBI IPAS2E1IS", "TLBI RIPAS2E1IS".
extent decode(const arch::flush_command& c, unsigned granule, bool lpa2, unsigned level) {
  const std::uint64_t w = c.operand[0];
  const std::uint64_t TG = granule == 12 ? 1 : granule == 14 ? 2 : 3;
  const std::uint64_t one = std::uint64_t{1} << granule;
  if (c.op == static_cast<std::uint16_t>(arch::stage2_flush::ipas2e1is)) {
    CHECK((w >> 48) == 0);
    CHECK((w >> 44 & 15) == TG * 4 + (3 - level));
    const std::uint64_t at = (w & 0xfffffffffff) << 12;
    CHECK(at % one == 0);
    return {at, at + one};
  }
  REQUIRE(c.op == static_cast<std::uint16_t>(arch::stage2_flush::ripas2e1is));
  CHECK((w >> 48) == 0);
  CHECK((w >> 46) == TG);
  CHECK((w >> 37 & 3) == 3 - level);
  const std::uint64_t count = ((w >> 39 & 31) + 1) << (5 * (w >> 44 & 3) + 1);
  const std::uint64_t at = (w & 0x1fffffffff) << (lpa2 ? 16 : granule);
  return {at, at + count * one};
}

/// Commands that an exact cover takes: singles up to a base that a range can have, then one for each digit.
std::uint64_t exact_commands(std::uint64_t first, std::uint64_t n, unsigned granule, bool lpa2) {
  std::uint64_t commands = 0;
  while (n && lpa2 && (first << granule) % 0x10000) ++first, --n, ++commands;
  commands += n >> 21;
  for (const unsigned shift : {16u, 11u, 6u, 1u}) commands += (n & 0x1fffff) >> shift & 31 ? 1 : 0;
  return commands + (n & 1);
}

struct encoder {
  unsigned granule;
  bool lpa2;
};

/// Checks the cover of `n` granules from granule number `first`.
void check_cover(const encoder& e, std::uint64_t first, std::uint64_t n) {
  CAPTURE(e.granule);
  CAPTURE(e.lpa2);
  CAPTURE(first);
  CAPTURE(n);
  const unsigned level = 1;
  const unsigned pages = e.granule - 12;
  command_list out;
  REQUIRE(
      arch::ipa_commands(e.granule, e.lpa2, true, level, out).add({gfn{first << pages}, n << pages}, 512));
  std::vector<extent> covered;
  for (const auto& c : out.all()) covered.push_back(decode(c, e.granule, e.lpa2, level));
  REQUIRE(!covered.empty());
  for (std::size_t i = 1; i < covered.size(); ++i)
    REQUIRE(covered[i].first == covered[i - 1].end);  // no gap, no overlap
  const std::uint64_t asked = first << e.granule;
  REQUIRE(covered.back().end == ((first + n) << e.granule));
  if (n <= std::uint64_t{1} << 21) REQUIRE(covered.size() <= 5);
  if (covered.front().first != asked) {
    REQUIRE(e.lpa2);
    REQUIRE(covered.front().first == asked / 0x10000 * 0x10000);
    REQUIRE(n > 5);
    REQUIRE(exact_commands(first, n, e.granule, e.lpa2) > 5);
  }
}

constexpr encoder encoders[] = {{12, false}, {14, false}, {16, false}, {12, true}, {14, true}};

}  // namespace

TEST_SUITE("stage2_range") {
TEST_CASE("sizes around every power of two, from bases around 64 KiB and 1 GiB") {
  for (const encoder& e : encoders) {
    for (unsigned bits = 0; bits <= 22; ++bits) {
      for (const std::int64_t off : {-3, -2, -1, 0, 1, 2, 3, 17}) {
        const std::int64_t n = (std::int64_t{1} << bits) + off;
        if (n <= 0) continue;
        for (std::uint64_t base = 0; base < 34; ++base) {
          check_cover(e, base, static_cast<std::uint64_t>(n));
          check_cover(e, (0x40000000u >> e.granule) - 16 + base, static_cast<std::uint64_t>(n));
        }
      }
    }
  }
}
TEST_CASE("all small sizes from all bases modulo 64 KiB") {
  for (const encoder& e : encoders) {
    for (std::uint64_t base = 0x1000; base < 0x1010; ++base) {
      for (std::uint64_t n = 1; n <= 200; ++n) check_cover(e, base, n);
    }
  }
}
TEST_CASE("random ranges") {
  constexpr std::uint64_t seed = 5;
  CAPTURE(seed);
  std::mt19937_64 random(seed);
  for (int i = 0; i < 20000; ++i) {
    const encoder& e = encoders[random() % std::size(encoders)];
    const std::uint64_t n = 1 + random() % (std::uint64_t{1} << (1 + random() % 21));
    const unsigned ipa_bits = e.lpa2 || e.granule == 16 ? 52 : 48;
    const std::uint64_t limit = std::uint64_t{1} << (ipa_bits - e.granule);
    check_cover(e, random() % (limit - n + 1), n);
  }
}
TEST_CASE("more than 2^21 granules take one command for each 2^21, and those of the rest") {
  check_cover({12, false}, 0x1000, (std::uint64_t{5} << 21) + 12345);
  check_cover({14, true}, 0x1001, (std::uint64_t{5} << 21) + 12345);
  command_list out;
  REQUIRE(arch::ipa_commands(12, false, true, 0, out).add({gfn{0}, std::uint64_t{5} << 21}, 512));
  CHECK(out.all().size() == 5);
}
TEST_CASE(
    "quirk: with LPA2 a range grows down to 64 KiB only if exact cover would take more than 5 commands") {
  const auto cover = [](std::uint64_t first, std::uint64_t pages) {
    command_list out;
    REQUIRE(arch::ipa_commands(12, true, true, 1, out).add({gfn{first}, pages}, 512));
    return gfn_range{gfn{decode(out.all().front(), 12, true, 1).first >> 12}, out.all().size()};
  };
  CHECK(cover(0x1001, 5) == gfn_range{gfn{0x1001}, 5});  // five singles
  CHECK(cover(0x1001, 6) ==
        gfn_range{gfn{0x1000}, 2});  // six singles would be needed: one page too many instead
  CHECK(cover(0x100d, 7) == gfn_range{gfn{0x100d}, 4});  // three singles, one range of 4
  CHECK(cover(0x100f, 3) == gfn_range{gfn{0x100f}, 3});  // exact as singles
}
TEST_CASE("without FEAT_TLBIRANGE there is one command a granule") {
  for (const encoder& e : encoders) {
    const unsigned pages = e.granule - 12;
    for (std::uint64_t n = 1; n <= 64; ++n) {
      command_list out;
      REQUIRE(
          arch::ipa_commands(e.granule, e.lpa2, false, 1, out).add({gfn{0x101u << pages}, n << pages}, 512));
      REQUIRE(out.all().size() == n);
      for (std::uint64_t i = 0; i < n; ++i) {
        const extent x = decode(out.all()[i], e.granule, e.lpa2, 1);
        REQUIRE(x.first == ((0x101 + i) << e.granule));
        REQUIRE(x.end == ((0x102 + i) << e.granule));
      }
    }
  }
}
TEST_CASE("an encoder stops at the limit") {
  command_list out;
  CHECK(!arch::ipa_commands(12, false, false, 0, out).add({gfn{0}, 0x1000000000}, 10));
  CHECK(out.all().size() == 10);
}
}

}  // namespace quire::tests
