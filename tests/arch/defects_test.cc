// Defects that other systems had, shown where a format or its flush could have them.
#include <doctest/doctest.h>

#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include "arch/arm64/stage2_flush.h"
#include "arch/example_format.h"
#include "arch/s390/dat_flush.h"

namespace quire::tests {

using arch::command_list;
using arch::entry_kind;
using arch::flush_command;
using arch::flush_request;
using arch::gfn;
using arch::gfn_range;
using arch::hfn;
using arch::ipa_operand;
using arch::ipa_range_operand;
using arch::stage2_16k;
using arch::stage2_4k;
using arch::stage2_64k;

namespace {

using lines = std::vector<std::string>;

template <class F>
lines plan(const F& f, const flush_request& r) {
  command_list out;
  plan_flush(f, 0x0001000000041000, r, out);
  lines text;
  for (const auto& c : out.all()) text.emplace_back(describe(f, c).c_str());
  return text;
}

/// Requests of every shape: a page, a range, too many ranges, the whole space; with and without `local`.
template <class F>
std::vector<lines> plans(const F& f) {
  const std::vector<gfn_range> page = {{gfn{0x10}, 16}};
  const std::vector<gfn_range> range = {{gfn{0x1000}, 0x30}, {gfn{0x2000}, 0x1230}};
  std::vector<gfn_range> many;
  for (std::uint64_t i = 0; i < 500; ++i) many.push_back({gfn{0x20 * i}, 16});
  std::vector<lines> all;
  for (const bool local : {false, true}) {
    for (const auto& ranges : {page, range, many}) {
      for (const bool tables : {false, true}) all.push_back(plan(f, {ranges, false, tables, 1, local}));
    }
    all.push_back(plan(f, {{}, true, false, 0, local}));
  }
  return all;
}

bool is_tlbi(const std::string& command) { return command.starts_with("tlbi "); }

/// Options that change which words a stage-2 space has.
template <class F>
F with_options(unsigned options) {
  F f;
  f.ipa_bits = f.oa_bits = options & 1 ? 52 : 48;
  f.lpa2 = (options & 1) && F::base_shift != 16;
  f.fwb = options & 2;
  f.dbm = options & 4;
  f.xnx = options & 8;
  return f;
}

/// `word` parked is invalid at every level, differs from an empty slot, and keeps what it was.
template <class F>
void check_parked(const F& f, std::uint64_t word) {
  const std::uint64_t parked = F::park(word);
  CAPTURE(word);
  for (unsigned level = 0; level < f.levels(); ++level) {
    REQUIRE(f.kind(parked, level) == entry_kind::empty);
    REQUIRE(parked != f.empty(level));
  }
  REQUIRE(F::parked(parked));
  REQUIRE(!F::parked(word));
  REQUIRE(F::unpark(parked) == word);
}

template <class F>
void check_all_parked(const F& f, std::mt19937_64& random) {
  const std::uint64_t frames = std::uint64_t{1} << (f.output_bits() - 12);
  for (unsigned level = 0; f.leaf_allowed(level); ++level) {
    for (unsigned p = 0; p < 16; ++p) {
      if (!(f.access_set() >> p & 1)) continue;
      for (std::uint8_t type = 0; type < f.memory_types(); ++type) {
        const arch::attributes a{static_cast<arch::perm>(p), type};
        check_parked(f, f.make_leaf(hfn{0}, a, level));
        check_parked(f, f.make_leaf(hfn{random() % frames}, a, level));
      }
    }
  }
  for (unsigned level = 1; level < f.levels(); ++level) {
    check_parked(f, f.make_table({0x10000}, level));
    check_parked(f, f.make_table({random() % frames << 12}, level));
  }
}

}  // namespace

TEST_SUITE("defects") {
TEST_CASE_TEMPLATE("missing DSB before TLBI: stores and each stage of invalidation complete before the next",
                   F, stage2_4k, stage2_16k, stage2_64k) {
  F without_ranges;
  without_ranges.tlbi_ranges = false;
  for (const F& f : {F{}, without_ranges}) {
    for (const lines& all : plans(f)) {
      REQUIRE(all.size() >= 4);
      CHECK(all.front() == "dsb ishst");
      CHECK(all.back() == "isb");
      CHECK(all[all.size() - 2] == "dsb ish");
      const auto stage1 = std::find(all.begin(), all.end(), "tlbi vmalle1is");
      if (stage1 == all.end()) continue;
      CHECK(*(stage1 - 1) == "dsb ish");
      CHECK(std::none_of(stage1 + 1, all.end(), is_tlbi));
    }
  }
}
TEST_CASE_TEMPLATE("local instead of broadcast TLBI: every TLBI is inner-shareable, even for one CPU", F,
                   stage2_4k, stage2_16k, stage2_64k) {
  for (const lines& all : plans(F{})) {
    unsigned invalidations = 0;
    for (const std::string& c : all) {
      if (!is_tlbi(c)) continue;
      ++invalidations;
      const std::string op = c.substr(5, c.find(' ', 5) - 5);
      CHECK(op.ends_with("is"));
    }
    CHECK(invalidations >= 1);
  }
}
TEST_CASE("local instead of broadcast IPTE, IDTE and CRDTE: local clearing only where the request says so") {
  const std::vector<arch::entry_run> runs = {{{0x5800}, gfn{0x100}, 3},
                                             {{0x8000}, gfn{0x300}, 1, 1},
                                             {{0x8000}, gfn{0x400}, 1, 1, true, 0x100400, 0x5800}};
  for (const bool local : {false, true}) {
    flush_request r;
    r.entries = runs;
    r.whole = true;
    r.local = local;
    for (const std::string& c : plan(arch::dat{}, r)) CHECK(c.ends_with(" local") == local);
  }
}
TEST_CASE("operand shift by the page size instead of 12: the single form counts 4 KiB for every granule") {
  const std::vector<gfn_range> small = {{gfn{0x12340}, 1}}, middle = {{gfn{0x12340}, 4}},
                               large = {{gfn{0x12340}, 16}};
  CHECK(plan(stage2_4k{}, {small, false, false, 1})[1] == "tlbi ipas2e1is 0x700000012340");
  CHECK(plan(stage2_16k{}, {middle, false, false, 1})[1] == "tlbi ipas2e1is 0xb00000012340");
  CHECK(plan(stage2_64k{}, {large, false, false, 1})[1] == "tlbi ipas2e1is 0xf00000012340");
}
TEST_CASE("operand shift of ranges: the base counts granules, and 64 KiB with LPA2") {
  CHECK(ipa_range_operand::make(0x12340000, 12, false, 0, 0, 4) == 0x0000400000012340);
  CHECK(ipa_range_operand::make(0x12340000, 14, false, 0, 0, 4) == 0x00008000000048d0);
  CHECK(ipa_range_operand::make(0x12340000, 16, false, 0, 0, 4) == 0x0000c00000001234);
  CHECK(ipa_range_operand::make(0x12340000, 12, true, 0, 0, 4) == 0x0000400000001234);
  CHECK(ipa_range_operand::make(0x12340000, 14, true, 0, 0, 4) == 0x0000800000001234);
}
TEST_CASE("address bits leaking into TTL: no address changes bits 63 to 40, or those above a range's base") {
  for (const unsigned granule : {12u, 14u, 16u}) {
    for (unsigned level = 0; level <= 4; ++level) {
      const std::uint64_t high = ipa_operand::make(gfn{0}, granule, level);
      for (const std::uint64_t g : {0xffffffffffull, 0xfffffffffffffull, 0xffffffffffffffffull}) {
        CHECK(ipa_operand::make(gfn{g}, granule, level) == (high | 0xffffffffff));
      }
      for (const bool lpa2 : {false, true}) {
        const std::uint64_t top = ipa_range_operand::make(0, granule, lpa2, 2, 9, level);
        CHECK(ipa_range_operand::make(~std::uint64_t{0}, granule, lpa2, 2, 9, level) == (top | 0x1fffffffff));
      }
    }
  }
}
TEST_CASE("TTL 0 and \"level 0\" confused: 0 is no hint, and leaves of the manual's level 0 get no hint") {
  for (const unsigned granule : {12u, 14u, 16u}) {
    CHECK(ipa_operand::make(gfn{5}, granule, ipa_operand::any_level) == 5);
    CHECK(ipa_operand::make(gfn{5}, granule, 3) == 5);
    for (unsigned level = 0; level < 3; ++level) {
      const std::uint64_t TTL = ipa_operand::make(gfn{5}, granule, level) >> 44;
      CHECK((TTL >> 2) != 0);         // a hint names its granule
      CHECK((TTL & 3) == 3 - level);  // pages are the manual's level 3
      CHECK((ipa_range_operand::make(0, granule, false, 0, 0, level) >> 37 & 3) == 3 - level);
    }
    CHECK((ipa_range_operand::make(0, granule, true, 0, 0, 3) >> 37 & 3) == 0);
    CHECK((ipa_range_operand::make(0, granule, true, 0, 0, ipa_operand::any_level) >> 37 & 3) == 0);
  }
}
TEST_CASE("LPA2 alignment tested on the wrong variable: the base decides, not the count") {
  stage2_4k f;
  f.lpa2 = true;
  const auto by_ipa = [&f](std::uint64_t first, std::uint64_t pages) {
    const std::vector<gfn_range> one = {{gfn{first}, pages}};
    const lines all = plan(f, {one, false, false, 1});
    return lines{all.begin() + 1, all.end() - 4};
  };
  // Base aligned, count not.
  CHECK(by_ipa(0x1000, 67) == lines{"tlbi ripas2e1is 0x506000000100", "tlbi ripas2e1is 0x406000000104",
                                    "tlbi ipas2e1is 0x700000001042"});
  // Count aligned, base not: it grows down, and the page at the end is still there.
  CHECK(by_ipa(0x1001, 64) == lines{"tlbi ripas2e1is 0x506000000100", "tlbi ipas2e1is 0x700000001040"});
  // Aligned to the granule of 64 pages, or just to 64 KiB.
  CHECK(by_ipa(0x1010, 64) == lines{"tlbi ripas2e1is 0x506000000101"});
}
TEST_CASE("an offset that turns negative: no operand has bits above its fields") {
  // A historic bug gave 0xffff708000040000 for 8 GiB at 1 GiB.
  const std::vector<gfn_range> one = {{gfn{0x40000}, 0x200000}};
  CHECK(plan(stage2_4k{}, {one, false, true})[1] == "tlbi ripas2e1is 0x7f8000040000");
}
TEST_CASE_TEMPLATE("poison value that is a legal entry: a parked word is neither valid nor empty", F,
                   stage2_4k, stage2_16k, stage2_64k) {
  constexpr std::uint64_t seed = 3;
  CAPTURE(seed);
  std::mt19937_64 random(seed);
  for (unsigned options = 0; options < 16; ++options) check_all_parked(with_options<F>(options), random);
}
TEST_CASE("poison value that is a legal entry: nor is one of the example format") {
  std::mt19937_64 random(4);
  check_all_parked(arch::example_format{}, random);
}
}

}  // namespace quire::tests
