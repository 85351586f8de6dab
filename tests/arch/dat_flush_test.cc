// The instructions that invalidate DAT entries: IPTE, IDTE, CRDTE, and those that clear a space.
#include "arch/s390/dat_flush.h"

#include <doctest/doctest.h>

#include <string>
#include <vector>

namespace quire::tests {

using arch::command_list;
using arch::dat;
using arch::dat_flush;
using arch::entry_run;
using arch::flush_command;
using arch::flush_request;
using arch::gfn;

namespace {

using lines = std::vector<std::string>;

constexpr std::uint64_t asce = 0xc007;
constexpr dat plain;

dat with_common_segments() {
  dat f;
  f.common_segments = true;
  return f;
}
/// A plan as commands.
std::vector<flush_command> commands(const dat& f, const flush_request& r) {
  command_list out;
  out.add({99, {1, 2}});  // planning starts from an empty list
  plan_flush(f, asce, r, out);
  return {out.all().begin(), out.all().end()};
}
lines plan(const dat& f, const flush_request& r) {
  lines text;
  for (const auto& c : commands(f, r)) text.emplace_back(describe(f, c).c_str());
  return text;
}
lines plan_runs(const std::vector<entry_run>& runs, bool local = false) {
  flush_request r;
  r.entries = runs;
  r.local = local;
  return plan(plain, r);
}
flush_request whole(bool local) {
  flush_request r;
  r.whole = true;
  r.local = local;
  return r;
}

}  // namespace

TEST_SUITE("dat_flush") {
TEST_CASE("a run of page-table entries is one IPTE: origin, address, additional entries") {
  CHECK(plan_runs({{{0x5800}, gfn{0x12345}, 1}}) ==
        lines{"ipte pto=0x5800 address=0x12345000 additional=0x0"});
  CHECK(plan_runs({{{0x5800}, gfn{0x12345}, 2}}) ==
        lines{"ipte pto=0x5800 address=0x12345000 additional=0x1"});
  CHECK(plan_runs({{{0x5800}, gfn{0x12300}, 256}}) ==
        lines{"ipte pto=0x5800 address=0x12300000 additional=0xff"});
}
TEST_CASE("a run of segment- or region-table entries is one IDTE, with the table's type in bits 60 and 61") {
  const auto table = [](std::uint8_t level, std::uint32_t n) {
    const std::vector<entry_run> runs = {{{0x8000}, gfn{0x100}, n, level}};
    flush_request r;
    r.entries = runs;
    const auto all = commands(plain, r);
    REQUIRE(all.size() == 1);
    CHECK(all[0].op == static_cast<std::uint16_t>(dat_flush::idte));
    CHECK(all[0].operand[1] == 0x100000);
    CHECK(all[0].operand[2] == n - 1);
    return all[0].operand[0] & ~std::uint64_t{3};  // IDTE ignores the length in bits 62 and 63
  };
  CHECK(table(1, 1) == 0x8000);
  CHECK(table(2, 2) == 0x8004);
  CHECK(table(3, 5) == 0x8008);
  CHECK(table(4, 2048) == 0x800c);
  CHECK(plan_runs({{{0x8000}, gfn{0x100}, 16, 1}}) ==
        lines{"idte table=0x8003 address=0x100000 additional=0xf"});
}
TEST_CASE("a replaced entry is one CRDTE, with 1 in bit 59 and the table's type in bits 60 and 61") {
  const auto crdte = [](std::uint8_t level) {
    const std::vector<entry_run> runs = {{{0x8000}, gfn{0x100}, 1, level, true, 0x100400, 0x5800}};
    flush_request r;
    r.entries = runs;
    const auto all = commands(plain, r);
    REQUIRE(all.size() == 1);
    CHECK(all[0].op == static_cast<std::uint16_t>(dat_flush::crdte));
    CHECK(all[0].operand[0] == 0x100400);
    CHECK(all[0].operand[1] == 0x5800);
    CHECK(all[0].operand[3] == 0x100000);
    return all[0].operand[2];
  };
  // [pop] "COMPARE AND REPLACE DAT TABLE ENTRY": 0b000 would be a page table.
  CHECK(crdte(1) == 0x8010);
  CHECK(crdte(2) == 0x8014);
  CHECK(crdte(3) == 0x8018);
  CHECK(crdte(4) == 0x801c);
}
TEST_CASE("runs are invalidated in order, each by one instruction") {
  CHECK(plan_runs({{{0x5800}, gfn{0x100}, 3}, {{0x6000}, gfn{0x200}, 1}, {{0x8000}, gfn{0x300}, 1, 1}}) ==
        lines{"ipte pto=0x5800 address=0x100000 additional=0x2",
              "ipte pto=0x6000 address=0x200000 additional=0x0",
              "idte table=0x8003 address=0x300000 additional=0x0"});
}
TEST_CASE("the local forms say so") {
  CHECK(plan_runs({{{0x5800}, gfn{0x100}, 3}, {{0x8000}, gfn{0x300}, 1, 1}}, true) ==
        lines{"ipte pto=0x5800 address=0x100000 additional=0x2 local",
              "idte table=0x8003 address=0x300000 additional=0x0 local"});
  const auto replaced = plan_runs({{{0x8000}, gfn{0x300}, 1, 1, true, 0x5800, 0x6000}}, true);
  REQUIRE(replaced.size() == 1);
  CHECK(replaced[0].starts_with("crdte from=0x5800 to=0x6000 table="));
  CHECK(replaced[0].ends_with(" address=0x300000 local"));
}
TEST_CASE("a space that goes away is cleared by ASCE") {
  CHECK(plan(plain, whole(false)) == lines{"idte asce=0xc007"});
  CHECK(plan(plain, whole(true)) == lines{"idte asce=0xc007 local"});
}
TEST_CASE("with common segments everything is purged: clearing by ASCE leaves shared TLB entries") {
  CHECK(plan(with_common_segments(), whole(false)) == lines{"csp"});
  CHECK(plan(with_common_segments(), whole(true)) == lines{"ptlb"});
}
TEST_CASE("entries of a request are invalidated even where the whole space is cleared") {
  const std::vector<entry_run> runs = {{{0x5800}, gfn{0x100}, 3}};
  flush_request r = whole(false);
  r.entries = runs;
  CHECK(plan(plain, r) == lines{"ipte pto=0x5800 address=0x100000 additional=0x2", "idte asce=0xc007"});
}
TEST_CASE("ranges alone plan nothing: what is valid is flushed by the instruction that changes it") {
  const std::vector<arch::gfn_range> ranges = {{gfn{0x100}, 3}};
  CHECK(plan(plain, {ranges}).empty());
}
TEST_CASE("512 runs fit, each by its own instruction") {
  std::vector<entry_run> runs;
  for (std::uint64_t i = 0; i < 512; ++i) runs.push_back({{0x10000 + 0x800 * i}, gfn{0x100 * i}, 1});
  const lines all = plan_runs(runs);
  CHECK(all.size() == 512);
  CHECK(all.back() == "ipte pto=0x10f800 address=0x1ff00000 additional=0x0");
}
TEST_CASE("an unknown command is described as such") {
  CHECK(std::string(describe(plain, {0x1e, {}}).c_str()) == "unknown command 0x1e");
}
}

}  // namespace quire::tests
