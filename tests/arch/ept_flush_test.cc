// The commands that flush EPT translations: INVEPT, and the hypercalls of Hyper-V.
#include "arch/x86/ept_flush.h"

#include <doctest/doctest.h>

#include <random>
#include <set>
#include <string>
#include <vector>

namespace quire::tests {

using arch::command_list;
using arch::ept;
using arch::ept_flush;
using arch::flush_command;
using arch::flush_request;
using arch::gfn;
using arch::gfn_range;
using arch::hyperv_range;

namespace {

constexpr std::uint64_t eptp = 0x705e;

ept nested() {
  ept f;
  f.hyperv = true;
  return f;
}

/// A plan as text.
std::vector<std::string> plan(const ept& f, const flush_request& r) {
  command_list out;
  out.add({99, {1, 2}});  // planning starts from an empty list
  plan_flush(f, eptp, r, out);
  std::vector<std::string> lines;
  for (const auto& c : out.all()) lines.emplace_back(describe(f, c).c_str());
  return lines;
}
std::vector<std::string> plan_ranges(const ept& f, const std::vector<gfn_range>& ranges) {
  return plan(f, {ranges});
}

using lines = std::vector<std::string>;

/// The pages that a range word of 0x00B0 names: bit 11 means large pages, bit 12 then 1 GiB ones.
void pages_of(std::uint64_t word, std::set<std::uint64_t>& pages) {
  const std::uint64_t unit = !(word & 0x800) ? 1 : word & 0x1000 ? 0x40000 : 0x200;
  const std::uint64_t first = (word >> 12) / unit * unit;
  for (std::uint64_t i = 0; i < ((word & 0x7ff) + 1) * unit; ++i) pages.insert(first + i);
}

}  // namespace

TEST_SUITE("ept_flush") {
TEST_CASE("a Hyper-V range word is page number | additional pages") {
  CHECK(hyperv_range::word(gfn{0x12345}, 1) == 0x12345000);
  CHECK(hyperv_range::word(gfn{0x12345}, 2) == 0x12345001);
  CHECK(hyperv_range::word(gfn{0x12345}, 512) == 0x123451ff);
  CHECK(hyperv_range::word(gfn{0x12345}, 2048) == 0x123457ff);
  CHECK(hyperv_range::word(gfn{0xfffffffff}, 1) == 0xfffffffff000);
  CHECK(hyperv_range::max_pages == 2048);
}
TEST_CASE("a Hyper-V range word for large pages has bit 11 set, and bit 12 for 1 GiB pages") {
  CHECK(hyperv_range::large_word(gfn{0x200}, 1, false) == 0x200800);
  CHECK(hyperv_range::large_word(gfn{0x200}, 3, false) == 0x200802);
  CHECK(hyperv_range::large_word(gfn{0x40000}, 2048, false) == 0x40000fff);
  CHECK(hyperv_range::large_word(gfn{0x40000}, 1, true) == 0x40001800);
  CHECK(hyperv_range::large_word(gfn{0x80000}, 2048, true) == 0x80001fff);
}
TEST_CASE("no range of small pages has the word of a range of large ones") {
  std::set<std::uint64_t> pages;
  pages_of(hyperv_range::word(gfn{0x200}, hyperv_range::max_pages), pages);
  CHECK(pages.size() == 2048);
  pages.clear();
  pages_of(hyperv_range::large_word(gfn{0x200}, 2, false), pages);
  CHECK(pages.size() == 1024);
  CHECK(*pages.begin() == 0x200);
}
TEST_CASE("INVEPT knows no ranges: whatever is stale, one single-context INVEPT of the EPTP drops it") {
  const ept f;
  const std::vector<gfn_range> some = {{gfn{1}, 1}, {gfn{0x1000}, 4096}};
  CHECK(plan_ranges(f, some) == lines{"invept single-context eptp=0x705e"});
  CHECK(plan(f, {some, false, true}) == lines{"invept single-context eptp=0x705e"});
  CHECK(plan(f, {{}, true}) == lines{"invept single-context eptp=0x705e"});
  CHECK(plan_ranges(f, std::vector<gfn_range>(1000, gfn_range{gfn{1}, 1})) ==
        lines{"invept single-context eptp=0x705e"});
}
TEST_CASE("under Hyper-V a page is one range word for the address of the root table") {
  command_list out;
  const std::vector<gfn_range> page = {{gfn{0x12345}, 1}};
  plan_flush(nested(), eptp, {page}, out);
  REQUIRE(out.all().size() == 1);
  CHECK(out.all()[0] ==
        flush_command{static_cast<std::uint16_t>(ept_flush::hyperv_list_word), {0x7000, 0x12345000}});
  CHECK(plan_ranges(nested(), page) == lines{"hypercall 0x00b0 root=0x7000 range=0x12345000"});
}
TEST_CASE("under Hyper-V 2048 pages are one word and one more page is a second") {
  CHECK(plan_ranges(nested(), {{gfn{0x1000}, 2048}}) ==
        lines{"hypercall 0x00b0 root=0x7000 range=0x10007ff"});
  CHECK(
      plan_ranges(nested(), {{gfn{0x1000}, 2049}}) ==
      lines{"hypercall 0x00b0 root=0x7000 range=0x10007ff", "hypercall 0x00b0 root=0x7000 range=0x1800000"});
}
TEST_CASE("under Hyper-V 4096 pages are two words and 4097 are three") {
  const std::vector<std::string> two = {"hypercall 0x00b0 root=0x7000 range=0x10007ff",
                                        "hypercall 0x00b0 root=0x7000 range=0x18007ff"};
  CHECK(plan_ranges(nested(), {{gfn{0x1000}, 4096}}) == two);
  CHECK(plan_ranges(nested(), {{gfn{0x1000}, 4097}}) ==
        lines{two[0], two[1], "hypercall 0x00b0 root=0x7000 range=0x2000000"});
}
TEST_CASE("under Hyper-V each range has words of its own, in order; empty ranges have none") {
  CHECK(plan_ranges(nested(), {{gfn{3}, 2}, {gfn{7}, 0}, {gfn{9}, 1}}) ==
        lines{"hypercall 0x00b0 root=0x7000 range=0x3001", "hypercall 0x00b0 root=0x7000 range=0x9000"});
  CHECK(plan_ranges(nested(), {}).empty());
}
TEST_CASE("under Hyper-V the whole space, and removed tables, are flushed by 0x00AF") {
  const std::vector<gfn_range> page = {{gfn{1}, 1}};
  CHECK(plan(nested(), {page, true}) == lines{"hypercall 0x00af root=0x7000"});
  CHECK(plan(nested(), {{}, true}) == lines{"hypercall 0x00af root=0x7000"});
  CHECK(plan(nested(), {page, false, true}) == lines{"hypercall 0x00af root=0x7000"});
}
TEST_CASE("under Hyper-V 512 words fit, and one more makes it the whole space") {
  std::vector<gfn_range> ranges;
  for (std::uint64_t i = 0; i < 512; ++i) ranges.push_back({gfn{2 * i}, 1});
  CHECK(plan_ranges(nested(), ranges).size() == 512);
  ranges.push_back({gfn{2000}, 1});
  CHECK(plan_ranges(nested(), ranges) == lines{"hypercall 0x00af root=0x7000"});
  CHECK(plan_ranges(nested(), {{gfn{0}, 0x100000}}).size() == 512);
  CHECK(plan_ranges(nested(), {{gfn{0}, 0x100001}}) == lines{"hypercall 0x00af root=0x7000"});
  CHECK(plan_ranges(nested(), {{gfn{0}, 0x1000000000}}) == lines{"hypercall 0x00af root=0x7000"});
}
TEST_CASE("under Hyper-V the words cover the stale pages and no others") {
  for (std::uint64_t seed = 1; seed <= 50; ++seed) {
    CAPTURE(seed);
    std::mt19937_64 random(seed);
    std::vector<gfn_range> ranges;
    std::set<std::uint64_t> stale;
    std::uint64_t at = random() % 5000;
    for (std::uint64_t n = random() % 6; n > 0; --n) {
      const std::uint64_t pages = random() % 7000;
      ranges.push_back({gfn{at}, pages});
      for (std::uint64_t i = 0; i < pages; ++i) stale.insert(at + i);
      at += pages + 1 + random() % 3;
    }
    command_list out;
    plan_flush(nested(), eptp, {ranges}, out);
    std::set<std::uint64_t> covered;
    for (const auto& c : out.all()) pages_of(c.operand[1], covered);
    REQUIRE(covered == stale);
  }
}
TEST_CASE("an unknown command is described as such") {
  CHECK(std::string(describe(ept{}, {0x1f, {}}).c_str()) == "unknown command 0x1f");
}
}

TEST_SUITE("command_list") {
TEST_CASE("a command list holds 512 commands in order, and refuses the next") {
  command_list list;
  CHECK(list.all().empty());
  for (std::uint64_t i = 0; i < 512; ++i) REQUIRE(list.add({7, {i, i + 1}}));
  CHECK(!list.add({8, {}}));
  CHECK(list.all().size() == 512);
  CHECK(list.all().front() == flush_command{7, {0, 1}});
  CHECK(list.all().back() == flush_command{7, {511, 512}});
  list.clear();
  CHECK(list.all().empty());
  CHECK(list.add({8, {}}));
}
}

}  // namespace quire::tests
