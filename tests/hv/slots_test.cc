// Memory slots that come, move and go, also while vCPUs use them: none keeps an old frame, none loses a page.
#include "hv/slots.h"

#include <random>
#include <thread>

#include <doctest/doctest.h>

#include "hv/vm.h"
#include "tests/support/formats.h"

namespace quire::tests {

namespace {

using arch::gfn;
using arch::gfn_range;
using arch::hfn;
using hv::access_kind;
using runtime::mapping;
using runtime::status;

constexpr gfn_range low{gfn{0x1000}, 0x100};
constexpr gfn_range high{gfn{0x2000}, 0x100};
constexpr hfn here{0x80000}, there{0x90000};

hv::vm_options with(bool lazy, unsigned cpus) {
  hv::vm_options o;
  o.lazy = lazy;
  o.cpus = cpus;
  return o;
}

template <class F>
struct rig {
  hv::vm vm;
  rig(bool lazy, unsigned cpus) : vm(with(lazy, cpus)) {
    REQUIRE(vm.start(F{}) == status::ok);
    REQUIRE(vm.add_slot({low, here}) == status::ok);
  }
  /// Frame of a page; 0 = nothing is mapped there.
  hfn frame(gfn g) {
    mapping m;
    bool found = false;
    REQUIRE(vm.machine().lookup(vm.machine().state(0, vm.space()), g, m, found) == status::ok);
    return found ? m.out : hfn{0};
  }
  std::uint64_t sum(std::uint64_t hv::vm_counters::*field) const {
    std::uint64_t n = 0;
    for (unsigned i = 0; i < vm.cpus(); ++i) n += vm.counts(i).*field;
    return n;
  }
  std::uint64_t stale() {
    std::uint64_t n = 0;
    for (unsigned i = 0; i < vm.cpus(); ++i) n += vm.flushes().cache(i).stale_uses();
    return n;
  }
};

}  // namespace

TEST_SUITE("slots") {
TEST_CASE("a reader sees changes at its next call, and what it holds stays as it was") {
  hv::slot_set all;
  hv::slot_set::reader a, b;
  CHECK(all.see(a).size() == 0);
  all.add({low, here}, nullptr);
  CHECK(all.seen(a).size() == 0);
  REQUIRE(all.see(a).of(low.first + 0xff));
  CHECK(!all.see(a).of(low.end()));
  CHECK(all.see(a).backed_by(here + 0xff));
  CHECK(!all.see(a).backed_by(here + 0x100));
  CHECK(!all.see(a).backed_by(hfn{here.value - 1}));
  CHECK(all.see(a).overlaps({low.first + 0xff, 2}));
  CHECK(!all.see(a).overlaps({low.end(), 2}));
  const auto held = all.hold(a);
  all.add({high, there}, nullptr);
  hv::placed_slot moved = *all.latest().of(low.first);
  moved.backing = hfn{0x5000};
  all.replace(moved);
  CHECK(held->of(low.first)->backing == here);
  CHECK(!held->of(high.first));
  CHECK(all.see(b).of(low.first)->backing == hfn{0x5000});
  CHECK(all.see(b).of(low.first)->guard != all.see(b).of(high.first)->guard);
  all.remove(low.first);
  CHECK(!all.see(b).of(low.first));
  CHECK(all.version_seen(b) == all.version());
}
TEST_CASE("slots beyond the number of guards share them") {
  hv::slot_set all;
  for (std::uint64_t i = 0; i < 130; ++i) all.add({{gfn{i}, 1}, hfn{i}}, nullptr);
  for (const hv::placed_slot& s : all.latest()) {
    CHECK(s.guard >= 1);
    CHECK(s.guard <= 63);
  }
  CHECK(all.latest().of(gfn{0})->guard == all.latest().of(gfn{63})->guard);
}
TEST_CASE_TEMPLATE("slots that make no sense are refused", F, ept5_ad, stage2_dbm, dat_iep,
                   arch::stage2_16k) {
  hv::vm vm(with(true, 1));
  REQUIRE(vm.start(F{}) == status::ok);
  const auto& shape = vm.space().shape;
  CHECK(vm.add_slot({{gfn{0x1000}, 0}, here}) == status::bad_range);
  CHECK(vm.add_slot({{gfn{shape.input_pages}, 0x100}, here}) == status::bad_range);
  CHECK(vm.add_slot({low, hfn{shape.output_pages}}) == status::bad_range);
  CHECK(vm.add_slot({low, hfn{shape.output_pages - 0x80}}) == status::bad_range);
  REQUIRE(vm.add_slot({low, here}) == status::ok);
  CHECK(vm.add_slot({{low.first + 0x80, 0x100}, there}) == status::bad_range);
  CHECK(vm.move_slot(0, low.first, hfn{shape.output_pages}) == status::bad_range);
  CHECK(vm.move_slot(0, low.first + 4, there) == status::bad_range);
  CHECK(vm.remove_slot(0, high.first) == status::bad_range);
  if (shape.slot_pages(0) > 1) CHECK(vm.add_slot({high, there + 1}) == status::misaligned);
  if (shape.slot_pages(0) > 1) CHECK(vm.move_slot(0, low.first, there + 1) == status::misaligned);
  CHECK(vm.access(0, low.first, access_kind::read));
  CHECK(vm.remove_slot(0, low.first) == status::ok);
  CHECK(vm.remove_slot(0, low.first) == status::bad_range);
}
TEST_CASE_TEMPLATE("a slot that moves takes its pages with it, dirty ones are counted, and their tables go",
                   F, ept5_ad, stage2_dbm, dat_iep) {
  for (const bool lazy : {false, true}) {
    rig<F> r(lazy, 1);
    REQUIRE(r.vm.access(0, low.first + 3, access_kind::write));
    REQUIRE(r.vm.access(0, low.first + 4, access_kind::read));
    REQUIRE(r.vm.populate(0, low.first + 0x40));
    CHECK(r.frame(low.first + 3) == here + 3);
    REQUIRE(r.vm.move_slot(0, low.first, there) == status::ok);
    CHECK(r.frame(low.first + 3) == hfn{0});
    CHECK(r.vm.space().tables() == 1);
    CHECK(r.vm.counts(0).slot_pages == 17);
    CHECK(r.vm.counts(0).slot_dirty_pages == 1);
    CHECK(r.vm.counts(0).reclaimed_pages == 0);
    REQUIRE(r.vm.access(0, low.first + 3, access_kind::read));
    CHECK(r.frame(low.first + 3) == there + 3);
    REQUIRE(r.vm.populate(0, low.first + 0x40));
    CHECK(r.frame(low.first + 0x40) == there + 0x40);
    r.vm.harvest_dirty(0);
    CHECK(r.vm.counts(0).harvested_pages == 0);
    REQUIRE(r.vm.access(0, low.first + 3, access_kind::write));
    r.vm.harvest_dirty(0);
    CHECK(r.vm.counts(0).harvested_pages == 1);
    CHECK(r.stale() == 0);
  }
}
TEST_CASE("a slot that was removed faults for good, and one that is added serves") {
  rig<ept5_ad> r(true, 1);
  CHECK(!r.vm.access(0, high.first, access_kind::read));
  REQUIRE(r.vm.add_slot({high, there}) == status::ok);
  CHECK(r.vm.access(0, high.first, access_kind::read));
  REQUIRE(r.vm.access(0, low.first, access_kind::read));
  REQUIRE(r.vm.remove_slot(0, low.first) == status::ok);
  CHECK(!r.vm.access(0, low.first, access_kind::read));
  CHECK(!r.vm.populate(0, low.first));
  CHECK(r.frame(low.first) == hfn{0});
  CHECK(r.frame(high.first) == there);
  CHECK(r.stale() == 0);
}
TEST_CASE_TEMPLATE("a slot moves under running vCPUs: they end on the newest frames, and use nothing stale",
                   F, ept5_ad, stage2_dbm, dat_iep) {
  for (const bool lazy : {false, true}) {
    rig<F> r(lazy, 4);
    REQUIRE(r.vm.add_slot({high, hfn{0xa0000}}) == status::ok);
    std::atomic<bool> stop{false};
    std::atomic<unsigned> running{0};
    std::atomic<unsigned> refused{0};
    const auto guest = [&](unsigned cpu) {
      std::mt19937_64 random(cpu + 1);
      for (std::uint64_t i = 0; !stop.load(std::memory_order_relaxed); ++i) {  // relaxed: only ends the loop
        const gfn g = (random() % 4 ? low.first : high.first) + random() % 64;
        const bool done = i % 64 == 63 ? r.vm.populate(cpu, g)
                                       : r.vm.access(cpu, g, i % 3 ? access_kind::read : access_kind::write);
        refused.fetch_add(!done, std::memory_order_relaxed);            // relaxed: read when all have ended
        if (i == 100) running.fetch_add(1, std::memory_order_relaxed);  // relaxed: only ends the wait
      }
      r.vm.exit_guest(cpu);
    };
    hfn last = here;
    {
      std::vector<std::jthread> threads;
      for (unsigned i = 0; i < 3; ++i) threads.emplace_back(guest, i);
      while (running.load(std::memory_order_relaxed) < 3) std::this_thread::yield();  // relaxed: likewise
      for (unsigned i = 0; i < (lazy ? 40u : 16u); ++i) {  // eagerly, each page of a harvest waits for the guest
        last = i % 2 ? here : there;
        CHECK(r.vm.move_slot(3, low.first, last) == status::ok);
        if (i % 8 == 0) r.vm.harvest_dirty(3);
        if (i % 16 == 8) r.vm.age(3);
        std::this_thread::yield();
      }
      stop.store(true, std::memory_order_relaxed);  // relaxed: likewise
    }
    CAPTURE(lazy);                                        // seeds 1..3
    CHECK(refused.load(std::memory_order_relaxed) == 0);  // relaxed: likewise
    CHECK(r.stale() == 0);
    for (std::uint64_t i = 0; i < 64; ++i) {
      const hfn f = r.frame(low.first + i);
      CHECK((f == hfn{0} || f == last + i));
    }
    CHECK(r.sum(&hv::vm_counters::slot_pages) > 0);
    REQUIRE(r.vm.remove_slot(3, low.first) == status::ok);
    REQUIRE(r.vm.remove_slot(3, high.first) == status::ok);
    CHECK(r.vm.space().tables() == 1);
    CHECK(r.vm.machine().tables_in_use() == 1);
  }
}
TEST_CASE("slots come and go on several cpus at once, and what is left is what was added last") {
  rig<ept5_ad> r(true, 4);
  const auto change = [&](unsigned cpu) {
    const gfn_range own{gfn{0x10000 + cpu * 0x1000}, 0x20};
    for (unsigned i = 0; i < 100; ++i) {
      CHECK(r.vm.add_slot({own, hfn{0x100000 + (cpu * 100 + i) * 0x20}}) == status::ok);
      for (std::uint64_t n = 0; n < 0x20; n += 3) CHECK(r.vm.access(cpu, own.first + n, access_kind::write));
      CHECK(r.vm.access(cpu, low.first + i, access_kind::read));
      if (i + 1 < 100) CHECK(r.vm.remove_slot(cpu, own.first) == status::ok);
    }
    r.vm.exit_guest(cpu);
  };
  {
    std::vector<std::jthread> threads;
    for (unsigned i = 0; i < 4; ++i) threads.emplace_back(change, i);
  }
  CHECK(r.stale() == 0);
  for (unsigned cpu = 0; cpu < 4; ++cpu)
    CHECK(r.frame(gfn{0x10000 + cpu * 0x1000}) == hfn{0x100000 + (cpu * 100 + 99) * 0x20});
  CHECK(r.sum(&hv::vm_counters::slot_pages) == 4 * 99 * 0x20);
  CHECK(r.sum(&hv::vm_counters::slot_dirty_pages) == 4 * 99 * 11);
}
}

}  // namespace quire::tests
