// The fault handler, harvest and ageing of a VM, lazily and eagerly, and its cpus while the guest runs.
#include "hv/vm.h"

#include <atomic>
#include <optional>
#include <thread>

#include <doctest/doctest.h>

#include "arch/x86/ept_flush.h"

namespace quire::tests {

namespace {

using arch::gfn;
using arch::gfn_range;
using arch::hfn;
using arch::perm;
using hv::access_kind;
using runtime::mapping;
using runtime::status;

constexpr gfn_range ram{gfn{0x1003}, 0x2000};
constexpr hfn backing{0x80000};

arch::ept format() {
  arch::ept f;
  f.access_dirty = true;
  return f;
}

struct rig {
  hv::vm vm;
  explicit rig(const hv::vm_options& o) : vm(o) {
    REQUIRE(vm.start(format()) == status::ok);
    REQUIRE(vm.add_slot({ram, backing}) == status::ok);
  }
  std::optional<mapping> at(gfn g) {
    mapping m;
    bool found = false;
    REQUIRE(vm.machine().lookup(vm.machine().state(0, vm.space()), g, m, found) == status::ok);
    return found ? std::optional(m) : std::nullopt;
  }
  std::uint64_t stale() {
    std::uint64_t n = 0;
    for (unsigned i = 0; i < vm.flushes().cpus(); ++i) n += vm.flushes().cache(i).stale_uses();
    return n;
  }
};

hv::vm_options with(bool lazy, unsigned cpus = 1) {
  hv::vm_options o;
  o.lazy = lazy;
  o.cpus = cpus;
  return o;
}

}  // namespace

TEST_SUITE("vm") {
TEST_CASE("a fault maps the aligned window as far as it lies in the slot") {
  for (const bool lazy : {false, true}) {
    rig r(with(lazy));
    REQUIRE(r.vm.access(0, gfn{0x1005}, access_kind::read));
    CHECK(!r.at(gfn{0x1002}));
    CHECK(r.at(gfn{0x1003})->out == hfn{0x80000});
    CHECK(r.at(gfn{0x100f})->out == hfn{0x8000c});
    CHECK(!r.at(gfn{0x1010}));
    CHECK(r.at(gfn{0x1005})->accessed);
    CHECK(!r.at(gfn{0x1006})->accessed);
    CHECK(r.vm.counts(0).faults == 1);
    CHECK(r.vm.machine().counts(0, r.vm.space()).commits == (lazy ? 1 : 13));
    CHECK(r.vm.flushes().counts(0).commands == 0);
  }
}
TEST_CASE("an access outside all slots is refused, and maps nothing") {
  rig r(with(true));
  CHECK(!r.vm.access(0, gfn{0x1002}, access_kind::read));
  CHECK(!r.vm.access(0, ram.end(), access_kind::write));
  CHECK(!r.vm.populate(0, ram.end()));
  CHECK(r.vm.space().tables() == 1);
}
TEST_CASE("populate maps its page alone, without A") {
  rig r(with(true));
  REQUIRE(r.vm.populate(0, gfn{0x1100}));
  CHECK(r.at(gfn{0x1100}));
  CHECK(!r.at(gfn{0x1101}));
  CHECK(!r.at(gfn{0x1100})->accessed);
}
TEST_CASE("a dirty page loses write access at harvest, and its next write faults once") {
  for (const bool lazy : {false, true}) {
    rig r(with(lazy));
    for (const auto page : {0x1100u, 0x1101u, 0x1200u}) REQUIRE(r.vm.access(0, gfn{page}, access_kind::write));
    REQUIRE(r.vm.access(0, gfn{0x1300}, access_kind::read));
    r.vm.exit_guest(0);
    r.vm.harvest_dirty(0);
    CHECK(r.vm.counts(0).harvested_pages == 3);
    CHECK(r.at(gfn{0x1101})->attr.access == perm::rx);
    CHECK(r.at(gfn{0x1102})->attr.access == perm::rwx);
    CHECK(r.vm.flushes().counts(0).commands == (lazy ? 1 : 3));
    REQUIRE(r.vm.access(0, gfn{0x1101}, access_kind::write));
    CHECK(r.vm.counts(0).write_faults == 1);
    CHECK(r.at(gfn{0x1101})->attr.access == perm::rwx);
    r.vm.exit_guest(0);
    r.vm.harvest_dirty(0);
    CHECK(r.vm.counts(0).harvested_pages == 4);
    CHECK(r.stale() == 0);
  }
}
TEST_CASE("ageing unmaps what was not touched since the last one") {
  for (const bool lazy : {false, true}) {
    rig r(with(lazy));
    REQUIRE(r.vm.access(0, gfn{0x1100}, access_kind::read));
    r.vm.exit_guest(0);
    r.vm.age(0);  // fifteen pages of the window were never touched
    CHECK(r.vm.counts(0).reclaimed_pages == 15);
    CHECK(r.vm.counts(0).aged_pages == 1);
    REQUIRE(r.at(gfn{0x1100}));
    CHECK(!r.at(gfn{0x1100})->accessed);
    REQUIRE(r.vm.access(0, gfn{0x1100}, access_kind::read));
    CHECK(r.at(gfn{0x1100})->accessed);
    r.vm.exit_guest(0);
    r.vm.age(0);
    CHECK(r.at(gfn{0x1100}));
    r.vm.age(0);
    CHECK(!r.at(gfn{0x1100}));
    CHECK(r.vm.space().tables() == 1);
    CHECK(r.stale() == 0);
  }
}
TEST_CASE("a cpu outside the guest invalidates when it enters, not before, and once") {
  rig r(with(true, 2));
  REQUIRE(r.vm.access(0, gfn{0x1100}, access_kind::write));
  REQUIRE(r.vm.access(1, gfn{0x1100}, access_kind::write));
  r.vm.exit_guest(0);
  r.vm.exit_guest(1);
  for (int i = 0; i < 3; ++i) {
    r.vm.harvest_dirty(0);
    REQUIRE(r.vm.machine().protect(r.vm.machine().state(0, r.vm.space()), {gfn{0x1100}, 1}, perm::r) == status::ok);
  }
  CHECK(r.vm.flushes().counts(1).commands == 0);
  CHECK(r.vm.flushes().counts(0).remote_requests == 0);
  REQUIRE(r.vm.access(1, gfn{0x1100}, access_kind::read));
  CHECK(r.vm.flushes().counts(1).commands == 1);
  CHECK(r.vm.flushes().counts(1).deferred == 1);
  CHECK(r.stale() == 0);
}
TEST_CASE("dropped flush commands show as stale uses") {
  auto o = with(true);
  o.drop_flush = 1;
  rig r(o);
  REQUIRE(r.vm.access(0, gfn{0x1100}, access_kind::write));
  r.vm.exit_guest(0);
  r.vm.harvest_dirty(0);
  REQUIRE(r.vm.access(0, gfn{0x1100}, access_kind::write));
  CHECK(r.stale() == 1);
  CHECK(r.vm.flushes().counts(0).dropped == 1);
}
TEST_CASE("faults retried for lack of tables end in the same mapping") {
  auto o = with(true);
  o.table_oom = 0.9;
  rig r(o);
  rig sound(with(true));
  for (std::uint64_t i = 0; i < 0x2000; i += 0x180) {
    REQUIRE(r.vm.access(0, ram.first + i, access_kind::read));
    REQUIRE(sound.vm.access(0, ram.first + i, access_kind::read));
  }
  CHECK(r.vm.counts(0).oom_retries > 0);
  CHECK(r.vm.failed_allocations() > 0);
  CHECK(r.vm.digest(0) == sound.vm.digest(0));
}
TEST_CASE("pages vanish and come back under a running guest, and no stale translation is used") {
  for (const bool lazy : {false, true}) {
    rig r(with(lazy, 3));
    std::atomic<bool> stop{false};
    std::atomic<int> running{0};
    const auto guest = [&](unsigned cpu) {
      for (std::uint64_t i = cpu; !stop.load(std::memory_order_relaxed); i = i * 5 + 1) {  // relaxed: only ends the loop
        (void)r.vm.access(cpu, ram.first + i % 128, i % 3 ? access_kind::read : access_kind::write);
        if (i == cpu) running.fetch_add(1, std::memory_order_relaxed);  // relaxed: only ends the wait
      }
      r.vm.exit_guest(cpu);
    };
    std::thread a(guest, 0u);
    std::thread b(guest, 1u);
    while (running.load(std::memory_order_relaxed) < 2) std::this_thread::yield();  // relaxed: likewise
    for (int round = 0; round < (lazy ? 40 : 4); ++round) {  // eagerly, each page waits for the guest
      r.vm.harvest_dirty(2);
      r.vm.age(2);
      std::this_thread::yield();
    }
    stop.store(true, std::memory_order_relaxed);  // relaxed: likewise
    a.join();
    b.join();
    CHECK(r.stale() == 0);
    r.vm.age(2);
    r.vm.age(2);
    CHECK(r.vm.counts(2).reclaimed_pages > 0);
    CHECK(r.vm.space().tables() == 1);
    CHECK(r.vm.machine().tables_in_use() == 1);
  }
}
TEST_CASE("cpus that change the guest's tables from inside the guest serve each other while they wait") {
  for (const bool lazy : {false, true}) {
    rig r(with(lazy, 3));
    std::atomic<unsigned> inside{0};
    const auto drive = [&](unsigned cpu) {
      auto* const outside = r.vm.machine().state(cpu, r.vm.space());
      const gfn_range own{gfn{0x1100 + cpu * 4}, 2};  // all in one table
      for (int i = 0; i < 150; ++i) {
        REQUIRE(r.vm.access(cpu, own.first, access_kind::write));
        inside.fetch_add(i == 0, std::memory_order_relaxed);  // relaxed: only ends the wait
        while (inside.load(std::memory_order_relaxed) < 3) r.vm.flushes().poll(cpu);  // relaxed: likewise
        const hv::narrowing_watch::scope narrowing(r.vm.narrowing());
        auto* const l = lazy ? r.vm.machine().enter(cpu, r.vm.space()) : outside;  // no exit: the cpu is still inside
        REQUIRE(r.vm.machine().unmap(l, own) == status::ok);
        if (lazy) REQUIRE(r.vm.machine().leave(l) == status::ok);
      }
      r.vm.exit_guest(cpu);
    };
    {
      std::vector<std::jthread> threads;
      for (unsigned i = 0; i < 3; ++i) threads.emplace_back(drive, i);
    }
    CHECK(r.stale() == 0);
    std::uint64_t posted = 0;
    for (unsigned i = 0; i < 3; ++i) posted += r.vm.flushes().counts(i).remote_requests;
    CHECK(posted > 0);
  }
}
TEST_CASE("a guest whose cpus could use up all ids does not start") {
  auto o = with(true, 3);
  o.id_bits = 2;
  hv::vm vm(o);
  CHECK(vm.start(format()) == status::too_many);
}
TEST_CASE("a guest runs the same with ids of 8 bits, of 16, and without") {
  std::vector<std::string> digests;
  for (const unsigned bits : {0u, 8u, 16u}) {
    auto o = with(true);
    o.id_bits = bits;
    rig r(o);
    for (std::uint64_t i = 0; i < 0x200; i += 7) REQUIRE(r.vm.access(0, ram.first + i, access_kind::write));
    r.vm.age(0);
    CHECK(r.stale() == 0);
    CHECK(r.vm.flushes().counts(0).commands == 1);
    digests.push_back(r.vm.digest(0));
    CHECK(digests.front() == digests.back());
  }
}
}

}  // namespace quire::tests
