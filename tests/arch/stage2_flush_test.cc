// The commands that flush stage-2 translations: operands of TLBI, and the barriers around them.
#include "arch/arm64/stage2_flush.h"

#include <doctest/doctest.h>

#include <string>
#include <vector>

namespace quire::tests {

using arch::command_list;
using arch::flush_request;
using arch::gfn;
using arch::gfn_range;
using arch::ipa_operand;
using arch::ipa_range_operand;
using arch::stage2_16k;
using arch::stage2_4k;
using arch::stage2_64k;

namespace {

using lines = std::vector<std::string>;

constexpr std::uint8_t pages = 1, blocks = 2, large_blocks = 4, huge_blocks = 8;  // flush_request::levels

/// A plan as text.
template <class F>
lines plan(const F& f, const flush_request& r) {
  command_list out;
  out.add({99, {1, 2}});  // planning starts from an empty list
  plan_flush(f, 0x0001000000041000, r, out);
  lines text;
  for (const auto& c : out.all()) text.emplace_back(describe(f, c).c_str());
  return text;
}
/// The TLBI by IPA of a plan, whose frame of barriers is checked.
template <class F>
lines by_ipa(const F& f, const std::vector<gfn_range>& ranges, std::uint8_t levels = pages,
             bool tables = false) {
  lines all = plan(f, {ranges, false, tables, levels});
  REQUIRE(all.size() >= 5);
  CHECK(all[0] == "dsb ishst");
  CHECK(lines(all.end() - 4, all.end()) == lines{"dsb ish", "tlbi vmalle1is", "dsb ish", "isb"});
  return {all.begin() + 1, all.end() - 4};
}
template <class F>
F with(bool lpa2, bool ranges) {
  F f;
  f.lpa2 = lpa2;
  f.tlbi_ranges = ranges;
  return f;
}

const lines everything = {"dsb ishst", "tlbi vmalls12e1is", "dsb ish", "isb"};

}  // namespace

TEST_SUITE("stage2_flush") {
TEST_CASE("8 GiB at 1 GiB with the 4K granule is the range operand 0x00007f8000040000") {
  CHECK(ipa_range_operand::make(0x40000000, 12, false, 3, 31, ipa_operand::any_level) == 0x00007f8000040000);
  CHECK(by_ipa(stage2_4k{}, {{gfn{0x40000}, 0x200000}}, pages, true) ==
        lines{"tlbi ripas2e1is 0x7f8000040000"});
}
TEST_CASE("the single form is IPA[51:12] | TTL[47:44]: granule and the manual's level") {
  const auto make = [](unsigned granule, unsigned level) {
    return ipa_operand::make(gfn{0x12340}, granule, level);
  };
  CHECK(make(12, 0) == 0x0000700000012340);
  CHECK(make(12, 1) == 0x0000600000012340);
  CHECK(make(12, 2) == 0x0000500000012340);
  CHECK(make(14, 0) == 0x0000b00000012340);
  CHECK(make(14, 1) == 0x0000a00000012340);
  CHECK(make(14, 2) == 0x0000900000012340);
  CHECK(make(16, 0) == 0x0000f00000012340);
  CHECK(make(16, 1) == 0x0000e00000012340);
  CHECK(make(16, 2) == 0x0000d00000012340);
}
TEST_CASE("the range form is TG[47:46] | SCALE[45:44] | NUM[43:39] | TTL[38:37] | BaseADDR[36:0]") {
  CHECK(by_ipa(stage2_4k{}, {{gfn{0x1000}, 2}}) == lines{"tlbi ripas2e1is 0x406000001000"});
  CHECK(by_ipa(stage2_4k{}, {{gfn{0x1000}, 62}}) == lines{"tlbi ripas2e1is 0x4f6000001000"});
  CHECK(by_ipa(stage2_4k{}, {{gfn{0x1000}, 64}}) == lines{"tlbi ripas2e1is 0x506000001000"});
  CHECK(by_ipa(stage2_4k{}, {{gfn{0x1000}, 0x800}}, blocks) == lines{"tlbi ripas2e1is 0x604000001000"});
  CHECK(by_ipa(stage2_4k{}, {{gfn{0x40000}, 0x40000}}, large_blocks) ==
        lines{"tlbi ripas2e1is 0x71a000040000"});
  CHECK(by_ipa(stage2_16k{}, {{gfn{0x1000}, 8}}) == lines{"tlbi ripas2e1is 0x806000000400"});
  CHECK(by_ipa(stage2_16k{}, {{gfn{0x2000}, 0x2000}}, blocks) == lines{"tlbi ripas2e1is 0xa04000000800"});
  CHECK(by_ipa(stage2_64k{}, {{gfn{0x1000}, 32}}) == lines{"tlbi ripas2e1is 0xc06000000100"});
  CHECK(by_ipa(stage2_64k{}, {{gfn{0x20000}, 0x20000}}, blocks) == lines{"tlbi ripas2e1is 0xe1c000002000"});
}
TEST_CASE("with LPA2 the base of a range counts 64 KiB, and its TTL and TG stay as they are") {
  CHECK(by_ipa(with<stage2_4k>(true, true), {{gfn{0x1000}, 64}}) == lines{"tlbi ripas2e1is 0x506000000100"});
  CHECK(by_ipa(with<stage2_16k>(true, true), {{gfn{0x1000}, 128}}) ==
        lines{"tlbi ripas2e1is 0x87e000000100"});
  CHECK(by_ipa(with<stage2_64k>(false, true), {{gfn{0x1000}, 32}}) ==
        lines{"tlbi ripas2e1is 0xc06000000100"});
}
TEST_CASE(
    "barriers: stores, then by IPA, then completion, then stage 1 and combined entries, then completion and "
    "ISB") {
  const std::vector<gfn_range> three = {{gfn{0x1000}, 3}};
  CHECK(plan(stage2_4k{}, {three, false, false, pages}) ==
        lines{"dsb ishst", "tlbi ripas2e1is 0x406000001000", "tlbi ipas2e1is 0x700000001002", "dsb ish",
              "tlbi vmalle1is", "dsb ish", "isb"});
}
TEST_CASE("one page gets the single form") {
  CHECK(by_ipa(stage2_4k{}, {{gfn{0x12345}, 1}}) == lines{"tlbi ipas2e1is 0x700000012345"});
  CHECK(by_ipa(stage2_16k{}, {{gfn{0x12344}, 4}}) == lines{"tlbi ipas2e1is 0xb00000012344"});
  CHECK(by_ipa(stage2_64k{}, {{gfn{0x12340}, 16}}) == lines{"tlbi ipas2e1is 0xf00000012340"});
}
TEST_CASE("an odd count is ranges and one single at the end") {
  CHECK(by_ipa(stage2_4k{}, {{gfn{0x1000}, 67}}) == lines{"tlbi ripas2e1is 0x506000001000",
                                                          "tlbi ripas2e1is 0x406000001040",
                                                          "tlbi ipas2e1is 0x700000001042"});
}
TEST_CASE("several ranges share the barriers and one VMALLE1IS") {
  CHECK(by_ipa(stage2_4k{}, {{gfn{1}, 1}, {gfn{4}, 2}, {gfn{9}, 1}}) ==
        lines{"tlbi ipas2e1is 0x700000000001", "tlbi ripas2e1is 0x406000000004",
              "tlbi ipas2e1is 0x700000000009"});
}
TEST_CASE("without FEAT_TLBIRANGE every granule is one command, in units of 4 KiB") {
  CHECK(by_ipa(with<stage2_4k>(false, false), {{gfn{0x10}, 3}}) == lines{"tlbi ipas2e1is 0x700000000010",
                                                                         "tlbi ipas2e1is 0x700000000011",
                                                                         "tlbi ipas2e1is 0x700000000012"});
  CHECK(by_ipa(with<stage2_16k>(false, false), {{gfn{0x10}, 8}}) ==
        lines{"tlbi ipas2e1is 0xb00000000010", "tlbi ipas2e1is 0xb00000000014"});
  CHECK(by_ipa(with<stage2_64k>(false, false), {{gfn{0x10}, 32}}) ==
        lines{"tlbi ipas2e1is 0xf00000000010", "tlbi ipas2e1is 0xf00000000020"});
}
TEST_CASE("mixed levels, removed tables and blocks of level 0 have no hint of a level") {
  const std::vector<gfn_range> one = {{gfn{0x10}, 1}};
  const std::vector<gfn_range> two = {{gfn{0x10}, 2}};
  const lines single = {"tlbi ipas2e1is 0x10"};
  const lines range = {"tlbi ripas2e1is 0x400000000010"};
  CHECK(by_ipa(stage2_4k{}, one, pages | blocks) == single);
  CHECK(by_ipa(stage2_4k{}, one, huge_blocks) == single);
  CHECK(by_ipa(stage2_4k{}, one, 0) == single);
  CHECK(by_ipa(stage2_4k{}, one, pages, true) == single);
  CHECK(by_ipa(stage2_4k{}, two, pages | large_blocks) == range);
  CHECK(by_ipa(stage2_4k{}, two, huge_blocks) == range);
  CHECK(by_ipa(stage2_4k{}, two, blocks, true) == range);
}
TEST_CASE("the whole space is VMALLS12E1IS, whatever else is asked") {
  const std::vector<gfn_range> some = {{gfn{0x10}, 2}};
  CHECK(plan(stage2_4k{}, {{}, true}) == everything);
  CHECK(plan(stage2_16k{}, {some, true, true, pages}) == everything);
  CHECK(plan(with<stage2_64k>(false, false), {some, true, false, pages}) == everything);
}
TEST_CASE("64 commands by IPA are planned, and one more makes it VMALLS12E1IS") {
  std::vector<gfn_range> ranges;
  for (std::uint64_t i = 0; i < 64; ++i) ranges.push_back({gfn{2 * i}, 1});
  CHECK(by_ipa(stage2_4k{}, ranges).size() == 64);
  ranges.push_back({gfn{0x1000}, 1});
  CHECK(plan(stage2_4k{}, {ranges, false, false, pages}) == everything);
  const auto singles = with<stage2_4k>(false, false);
  CHECK(by_ipa(singles, {{gfn{0}, 64}}).size() == 64);
  const std::vector<gfn_range> more = {{gfn{0}, 65}};
  CHECK(plan(singles, {more, false, false, pages}) == everything);
  const std::vector<gfn_range> all = {{gfn{0}, 0x1000000000}};  // 2^36 pages
  CHECK(plan(singles, {all, false, false, pages}) == everything);
  CHECK(plan(stage2_4k{}, {all, false, false, pages}) == everything);
}
TEST_CASE("an unknown command is described as such") {
  CHECK(std::string(describe(stage2_4k{}, {0x1f, {}}).c_str()) == "unknown command 0x1f");
}
}

}  // namespace quire::tests
