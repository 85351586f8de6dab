// Replays of a real guest, shortened, on one, two and four cpus: timing must not show in what it leaves.
#include "hv/replay.h"

#include <doctest/doctest.h>

#include "arch/arm64/stage2_flush.h"
#include "arch/s390/dat_flush.h"
#include "arch/x86/ept_flush.h"
#include "tests/support/trace_file.h"

namespace quire::tests {

namespace {

// The bundled key-value guest while its workload runs: a first part whose epochs are dense, so that a shortened
// replay still faults, harvests, ages and reclaims.
constexpr std::uint64_t first_epoch = 306;
constexpr std::uint64_t epochs = 18;

trace_file shortened() {
  hv::trace_reader whole;
  REQUIRE_MESSAGE(whole.open(QUIRE_TRACES "/amd64-kv.gpt.zst"), whole.error());
  const hv::trace_header& h = whole.header();
  trace_file part;
  part.header.vcpus = static_cast<std::uint16_t>(h.vcpus);
  part.header.instructions_per_epoch = h.instructions_per_epoch;
  part.header.ram = {{{h.ram[0].first_byte, h.ram[0].bytes}}};
  const std::uint64_t from = first_epoch * h.instructions_per_epoch;
  hv::trace_record r{};
  while (whole.next(r) == hv::trace_reader::step::record) {
    if (r.time < from || h.epoch_of(r) >= first_epoch + epochs || r.kind == hv::access_kind::marker) continue;
    part.records.push_back({r.time - from, r.page, r.vcpu, static_cast<std::uint8_t>(r.kind), 0});
  }
  REQUIRE(part.records.size() > 100000);
  return part;
}

/// False for what the other build of this test has shown already: under the thread sanitizer one thread proves nothing.
bool worth_it(unsigned cpus) {
#if defined(__SANITIZE_THREAD__)
  return cpus > 1;
#else
  return cpus > 0;
#endif
}

arch::ept format() {
  arch::ept f;
  f.access_dirty = true;
  return f;
}

template <class F>
hv::replay_result run(const F& f, const std::string& trace, unsigned cpus, bool lazy, bool background) {
  hv::replay_options o;
  o.trace = trace;
  o.cpus = cpus;
  o.lazy = lazy;
  o.precopy = o.reclaim = background;
  o.precopy_from = 2;
  hv::replay_result result;
  const std::string wrong = hv::replay(f, o, {}, result);
  REQUIRE_MESSAGE(wrong.empty(), wrong);
  return result;
}
hv::replay_result run(const std::string& trace, unsigned cpus, bool lazy, bool background) {
  return run(format(), trace, cpus, lazy, background);
}

}  // namespace

TEST_SUITE("replay") {
TEST_CASE("a real guest ends in the same mapping on 1, 2 and 4 cpus, eagerly and lazily, without a stale use") {
  const scratch_file trace(shortened().file());
  for (const bool background : {false, true}) {
    const std::string expected = run(trace.path(), 1, false, background).digest;
    for (const unsigned cpus : {1u, 2u, 4u}) {
      if (!worth_it(cpus)) continue;
      for (const bool lazy : {false, true}) {
        const hv::replay_result r = run(trace.path(), cpus, lazy, background);
        CAPTURE(cpus);
        CAPTURE(lazy);
        CHECK(r.digest == expected);
        CHECK(r.stale_uses == 0);
        CHECK(r.epochs == epochs);
        if (!background) CHECK(r.flushes.commands == 0);
        const std::uint64_t early = r.updates.forced_commits + r.updates.contentions;
        if (background && lazy) CHECK(r.flushes.commands <= epochs * cpus + early);
        if (background) CHECK(r.guest.harvested_pages > 1000);
        if (background) CHECK(r.guest.reclaimed_pages > 0);
      }
    }
  }
}
TEST_CASE("a real guest ends in the same mapping on every format, in every scenario, on 1 and 2 cpus") {
  const scratch_file trace(shortened().file());
  arch::stage2_4k stage2;
  stage2.dbm = true;
  arch::stage2_4k contiguous = stage2;
  contiguous.contiguous = true;
  arch::dat dat;
  arch::dat large;
  large.edat = 2;
  for (const bool background : {false, true}) {
    const hv::replay_result expected = run(trace.path(), 1, false, background);
    const auto check = [&](const auto& f) {
      for (const unsigned cpus : {1u, 2u}) {
        if (!worth_it(cpus)) continue;
        for (const bool lazy : {false, true}) {
          const hv::replay_result r = run(f, trace.path(), cpus, lazy, background);
          CHECK(r.digest == expected.digest);
          CHECK(r.stale_uses == 0);
          CHECK(r.guest.harvested_pages == expected.guest.harvested_pages);
          CHECK(r.guest.aged_pages == expected.guest.aged_pages);
          CHECK(r.guest.reclaimed_pages == expected.guest.reclaimed_pages);
          CHECK(r.guest.reclaimed_dirty_pages == expected.guest.reclaimed_dirty_pages);
        }
      }
    };
    check(stage2);
    check(contiguous);
    check(dat);
    check(large);
  }
}
TEST_CASE("pages of 16 and 64 KiB are served whole, and a guest that nothing would record is refused") {
  const scratch_file trace(shortened().file());
  arch::stage2_16k medium;
  arch::stage2_64k large;
  medium.dbm = large.dbm = true;
  for (const bool background : {false, true}) {
    const auto check = [&](const auto& f) {
      const std::string eager = run(f, trace.path(), 1, false, background).digest;
      const hv::replay_result lazy = run(f, trace.path(), 2, true, background);
      CHECK(lazy.digest == eager);
      CHECK(lazy.stale_uses == 0);
    };
    check(medium);
    check(large);
  }
  hv::replay_options o;
  o.trace = trace.path();
  o.reclaim = true;
  hv::replay_result none;
  CHECK(hv::replay(arch::stage2_4k{}, o, {}, none).find("need to know what the guest touched") != std::string::npos);
  CHECK(hv::replay(arch::ept{}, o, {}, none).find("need to know what the guest touched") != std::string::npos);
}
TEST_CASE("lazily a guest costs fewer walks, runs and commands, and no more stores, than eagerly") {
  const scratch_file trace(shortened().file());
  const hv::replay_result eager = run(trace.path(), 1, false, true);
  const hv::replay_result lazy = run(trace.path(), 1, true, true);
  CHECK(lazy.updates.updates == eager.updates.updates);
  CHECK(lazy.updates.walks < eager.updates.walks);
  CHECK(lazy.updates.runs < eager.updates.runs);
  CHECK(lazy.updates.entries_written <= eager.updates.entries_written);
  CHECK(lazy.flushes.commands * 100 < eager.flushes.commands);
  CHECK(eager.flushes.commands >= eager.guest.harvested_pages);
}
}

}  // namespace quire::tests
