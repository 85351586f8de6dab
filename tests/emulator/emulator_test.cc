// Stock emulators execute tables of every format: random mappings, and flush sequences with and without their purges.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <cstdlib>

#include "tests/emulator/scenario.h"

namespace quire::tests {

namespace {

std::uint64_t seed() {
  const char* text = std::getenv("QUIRE_SEED");  // NOLINT(concurrency-mt-unsafe): no test changes the environment
  return text ? std::strtoull(text, nullptr, 0) : 1;
}

constexpr std::uint64_t gib = std::uint64_t{1} << 30, mib = std::uint64_t{1} << 20;

const emulated_machine arm64{"qemu arm64", run_qemu_arm64, 0x5000'0000, 0x8000'0000, 64 * mib, 52, gib, false, false};
const emulated_machine s390{"qemu s390x", run_qemu_s390x, 0x3000'0000, 0x1000'0000, 64 * mib, 64, mib, false, true};
const emulated_machine hercules{"hercules", run_hercules, 0x3000'0000, 0x1000'0000, 64 * mib, 64, mib, false, true};
const emulated_machine bochs{"bochs", run_bochs, 0x400'0000, 0x800'0000, 32 * mib, 40, 32 * mib, true, false};

arch::dat dat(arch::dat::top asce, unsigned edat, bool iep) {
  arch::dat f;
  f.asce = asce;
  f.edat = static_cast<std::uint8_t>(edat);
  f.iep = iep;
  return f;
}

template <class F>
any_format stage2(unsigned ipa_bits, unsigned oa_bits = 48, bool lpa2 = false, bool contiguous = false) {
  F f;
  f.ipa_bits = ipa_bits;
  f.oa_bits = oa_bits;
  f.lpa2 = lpa2;
  f.contiguous = contiguous;
  f.dbm = contiguous;
  return f;
}

struct executed_case {
  const emulated_machine& on;
  std::string name;
  any_format format;
};

std::vector<executed_case> cases() {
  arch::ept ad;
  ad.access_dirty = true;
  using top = arch::dat::top;
  return {
      {arm64, "4k 32, 4 root tables", stage2<arch::stage2_4k>(32)},
      {arm64, "4k 40, 2 root tables", stage2<arch::stage2_4k>(40)},
      {arm64, "4k 43, 16 root tables", stage2<arch::stage2_4k>(43)},
      {arm64, "4k 48 contiguous, dbm", stage2<arch::stage2_4k>(48, 48, false, true)},
      {arm64, "4k 52 lpa2", stage2<arch::stage2_4k>(52, 52, true)},
      {arm64, "16k 40", stage2<arch::stage2_16k>(40)},
      {arm64, "16k 47 contiguous, dbm", stage2<arch::stage2_16k>(47, 48, false, true)},
      {arm64, "64k 42", stage2<arch::stage2_64k>(42)},
      {arm64, "64k 48 contiguous, dbm", stage2<arch::stage2_64k>(48, 48, false, true)},
      {arm64, "64k 52", stage2<arch::stage2_64k>(52, 52)},
      {s390, "segment", dat(top::segment, 0, true)},
      {s390, "region3", dat(top::region3, 0, false)},
      {s390, "region2", dat(top::region2, 0, true)},
      {s390, "region1", dat(top::region1, 0, false)},
      {hercules, "segment edat=1", dat(top::segment, 1, false)},
      {hercules, "region3 edat=1", dat(top::region3, 1, false)},
      {hercules, "region2", dat(top::region2, 0, false)},
      {hercules, "region1 edat=1", dat(top::region1, 1, false)},
      {bochs, "4 levels", arch::ept{}},
      {bochs, "4 levels, A and D", ad},
  };
}

}  // namespace

TEST_SUITE("emulator") {
TEST_CASE("random mappings translate, and fault, as the oracle says") {
  for (const executed_case& c : cases()) {
    CAPTURE(c.on.name);
    CAPTURE(c.name);
    scenario s(c.on, c.format, seed());
    s.map_random(250);
    s.probe_random(2500);
    const std::string wrong = s.check();
    CHECK_MESSAGE(wrong.empty(), wrong);
    CHECK(s.hits() > 500);
    CHECK(s.faults() > 200);
    fmt::print("{}: {}: {} hits, {} faults\n", c.on.name, c.name, s.hits(), s.faults());
  }
}

TEST_CASE("arm64: memory types and addresses beyond RAM are seen by the instruction that translates") {
  arch::stage2_4k f;
  f.lpa2 = true;
  f.ipa_bits = f.oa_bits = 52;
  auto g = make_guest(f, {.cpus = 1, .base = arm64.tables});
  REQUIRE(g);
  emulator_run run;
  const hfn far{(std::uint64_t{1} << 40) - (std::uint64_t{1} << 28)};
  constexpr std::uint64_t attr[] = {0xff, 0x44, 0x04};  // write-back, non-cacheable, Device-nGnRE
  for (unsigned level = 0; level < 4; ++level) {
    for (std::uint8_t type = 0; type < 3; ++type) {
      const gfn_range r{gfn{(std::uint64_t{3} * level + type + 1) << 27}, g->s().shape.slot_pages(level)};
      REQUIRE(g->m().map_exact(g->state(), r, far, {perm::rw, type}, level) == status::ok);
      run.requests.push_back({probe::translate_read, {r.first.byte() + 0x678}});
    }
  }
  const auto tables = g->table_memory();
  run.memory = {{arm64.tables, {reinterpret_cast<const char*>(tables.data()), tables.size()}}};
  run.registers = {{"vttbr_el2", f.root_register(g->s().root)}, {"vtcr_el2", f.control_register()}};
  const emulator_result r = run_qemu_arm64(run);
  REQUIRE_MESSAGE(r.error.empty(), r.error);
  for (unsigned i = 0; i < 12; ++i) {
    CAPTURE(i);
    CHECK(r.answers[i].done);
    CHECK(r.answers[i].value == far.byte() + 0x678);
    CHECK((r.answers[i].detail[0] >> 56) == attr[i % 3]);
  }
}

TEST_CASE("with the commands that were planned no stale translation shows; without one that is needed most do") {
  for (const executed_case& c : cases()) {
    CAPTURE(c.on.name);
    CAPTURE(c.name);
    scenario s(c.on, c.format, seed() + 100);
    s.play(40);
    const std::string wrong = s.check();
    CHECK_MESSAGE(wrong.empty(), wrong);
    if (&c.on == &bochs) continue;  // each of its VM exits flushes
    const auto [shown, runs] = s.omissions(6);
    fmt::print("{}: {}: {} of {} omitted purges showed as stale translations\n", c.on.name, c.name, shown, runs);
    CHECK(runs > 0);
    CHECK(2 * shown > runs);
  }
}

TEST_CASE("no stale translation shows where most of two neighbouring tables changes, though DAT cuts them off and stores") {
  for (const executed_case& c : cases()) {
    CAPTURE(c.on.name);
    CAPTURE(c.name);
    scenario s(c.on, c.format, seed() + 200);
    s.play(40, true);
    const std::string wrong = s.check();
    CHECK_MESSAGE(wrong.empty(), wrong);
    if (std::holds_alternative<arch::dat>(c.format)) CHECK(s.cut_off() > 0);
  }
}
}

}  // namespace quire::tests
