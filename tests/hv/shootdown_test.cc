// Whom a flush asks, whom it leaves alone, what it waits for, and what is counted.
#include "hv/shootdown.h"

#include <random>
#include <thread>

#include "tests/hv/flush_rig.h"

namespace quire::tests {

namespace {

constexpr gfn page{0x123};
constexpr gfn_range pages{gfn{0x120}, 16};

hv::shootdown_options with(unsigned cpus, unsigned id_bits = 16) {
  hv::shootdown_options o;
  o.cpus = cpus;
  o.id_bits = id_bits;
  return o;
}

struct rig : flush_rig {
  std::vector<runtime::space*> spaces;
  explicit rig(const hv::shootdown_options& o, unsigned count = 1) : flush_rig(o) {
    for (unsigned i = 0; i < count; ++i) {
      spaces.push_back(&add(ept5_ad{}));
      map(0, *spaces[i], pages, hfn{0x900 + i * 0x100});
    }
  }
  runtime::space& s(unsigned i = 0) { return *spaces[i]; }
  /// Enters, caches one translation, and stays inside.
  void run(unsigned cpu, unsigned space = 0) {
    sink.enter_guest(cpu, s(space));
    REQUIRE(access(cpu, s(space), page) == access_result::done);
  }
};

}  // namespace

TEST_SUITE("shootdown") {
TEST_CASE("a cpu that never entered the guest is left alone, and counted") {
  rig r(with(4));
  r.run(1);
  r.sink.leave_guest(1);
  r.unmap(0, r.s(), pages);
  CHECK(r.counts(0).elided_targets == 2);
  CHECK(r.counts(0).remote_requests == 0);
  CHECK(r.counts(0).commands == 0);
  CHECK(r.counts(0).waits.count() == 0);
  CHECK(r.counts(1).commands == 0);
  r.sink.enter_guest(1, r.s());
  CHECK(r.counts(1).commands == 1);
  CHECK(r.counts(1).deferred == 1);
  CHECK(r.access(1, r.s(), page) == access_result::not_present);
}
TEST_CASE("a cpu that has dropped the space outside the guest is left alone until it enters again") {
  rig r(with(2));
  r.run(1);
  r.sink.leave_guest(1);
  r.flush(1, r.s());
  CHECK(r.counts(1).commands == 1);
  r.flush(0, r.s());
  CHECK(r.counts(0).elided_targets == 1);
  r.sink.enter_guest(1, r.s());
  CHECK(r.counts(1).deferred == 0);
  CHECK(r.counts(1).commands == 1);
  r.sink.leave_guest(1);
  r.flush(0, r.s());
  CHECK(r.counts(0).elided_targets == 1);
}
TEST_CASE("all targets are asked and the own cpu has flushed before the one wait begins") {
  rig r(with(4));
  for (const unsigned cpu : {0u, 1u, 2u}) r.run(cpu);
  r.sink.leave_guest(0);
  int rounds = 0;
  r.on_relax = [&] {
    if (rounds++ == 0) {
      CHECK(r.counts(0).commands == 1);
      CHECK(r.counts(0).remote_requests == 2);
    }
    if (rounds == 3) CHECK(r.access(2, r.s(), page) == access_result::not_present);  // the later one first
    if (rounds == 5) CHECK(r.access(1, r.s(), page) == access_result::not_present);
  };
  r.unmap(0, r.s(), pages);
  CHECK(rounds == 5);
  CHECK(r.counts(0).elided_targets == 1);
  CHECK(r.counts(0).waits.count() == 1);
  CHECK(r.counts(0).waits.max() > 0);
  for (const unsigned cpu : {1u, 2u}) {
    CHECK(r.counts(cpu).acknowledgements == 1);
    CHECK(r.counts(cpu).commands == 1);
    CHECK(r.counts(cpu).deferred == 0);
  }
  CHECK(r.stale() == 0);
}
TEST_CASE("a cpu inside the guest of another space is not asked; it catches up when it comes back") {
  rig r(with(2), 2);
  r.run(1, 0);
  r.sink.leave_guest(1);
  r.run(1, 1);
  r.unmap(0, r.s(0), pages);
  CHECK(r.counts(0).remote_requests == 0);
  CHECK(r.counts(0).elided_targets == 0);
  CHECK(r.access(1, r.s(1), page) == access_result::done);
  CHECK(r.counts(1).commands == 0);
  r.sink.leave_guest(1);
  r.sink.enter_guest(1, r.s(0));
  CHECK(r.counts(1).deferred == 1);
  CHECK(r.access(1, r.s(0), page) == access_result::not_present);
  CHECK(r.stale() == 0);
}
TEST_CASE("a VM exit ends the wait for the cpu, and the request is dealt with later") {
  rig r(with(2));
  r.run(1);
  r.on_relax = [&] { r.sink.leave_guest(1); };
  r.unmap(0, r.s(), pages);
  CHECK(r.counts(0).remote_requests == 1);
  CHECK(r.counts(1).acknowledgements == 0);
  r.sink.enter_guest(1, r.s());
  CHECK(r.access(1, r.s(), page) == access_result::not_present);
  CHECK(r.counts(1).acknowledgements == 1);
  CHECK(r.counts(1).deferred == 1);
  CHECK(r.counts(1).commands == 1);  // the request found nothing left to do
}
TEST_CASE("requests of more spaces than a mailbox holds make the cpu drop everything, once") {
  constexpr unsigned count = hv::mailbox::places + 2;
  rig r(with(2), count + 1);
  r.run(1, 0);
  unsigned at = 0;
  r.on_relax = [&] {  // the cpu goes on to the next guest and never looks at its requests
    r.sink.leave_guest(1);
    r.sink.enter_guest(1, r.s(++at));
  };
  for (unsigned i = 0; i < count; ++i) r.unmap(0, r.s(i), pages);
  CHECK(at == count);
  CHECK(r.counts(1).acknowledgements == 0);
  CHECK(r.access(1, r.s(count), page) == access_result::done);
  CHECK(r.counts(1).acknowledgements == count);
  CHECK(r.caused(1, flush_cause::mailbox_full) == 1);
  CHECK(r.counts(1).commands == 1);
  r.on_relax = nullptr;
  for (unsigned i = 0; i < count; ++i) {
    r.sink.leave_guest(1);
    r.sink.enter_guest(1, r.s(i));
    CHECK(r.access(1, r.s(i), page) == access_result::not_present);
  }
  CHECK(r.counts(1).commands == 1);
  CHECK(r.stale() == 0);
}
TEST_CASE("requests that a mailbox holds are served one by one") {
  rig r(with(2), 4);
  unsigned at = 0;
  r.on_relax = [&] {
    r.sink.leave_guest(1);
    r.run(1, ++at);
  };
  r.sink.enter_guest(1, r.s(0));
  for (unsigned i = 0; i < 3; ++i) r.flush(0, r.s(i));
  CHECK(r.access(1, r.s(3), page) == access_result::done);
  CHECK(r.counts(1).acknowledgements == 3);
  CHECK(r.caused(1, flush_cause::mailbox_full) == 0);
}
TEST_CASE("every flush counts by its cause") {
  rig r(with(1));
  r.run(0);
  r.sink.leave_guest(0);
  r.unmap(0, r.s(), {gfn{0x120}, 1});
  auto* section = r.machine.enter(0, r.s());
  REQUIRE(r.machine.unmap(section, {gfn{0x121}, 1}) == status::ok);
  REQUIRE(r.machine.flush(section) == status::ok);
  REQUIRE(r.machine.unmap(section, {gfn{0x122}, 1}) == status::ok);
  REQUIRE(r.machine.leave(section) == status::ok);
  for (const flush_reason why : {flush_reason::immediate, flush_reason::flush, flush_reason::leave}) {
    CHECK(r.caused(0, static_cast<flush_cause>(why)) == 1);
  }
  std::uint64_t all = 0;
  for (const std::uint64_t n : r.counts(0).by_cause) all += n;
  CHECK(all == 3);
  CHECK(hv::cause_name(static_cast<unsigned>(flush_reason::leave)) == std::string("leave"));
  CHECK(hv::cause_name(static_cast<unsigned>(flush_cause::mailbox_full)) == std::string("mailbox_full"));
}
TEST_CASE("CPUs that do not tag translations drop everything when they switch to another space") {
  rig r(with(1, 0), 2);
  for (int i = 0; i < 3; ++i) {
    r.run(0, 0);
    r.sink.leave_guest(0);
    r.run(0, 0);
    r.sink.leave_guest(0);
    r.run(0, 1);
    r.sink.leave_guest(0);
  }
  CHECK(r.caused(0, flush_cause::space_switch) == 5);
  CHECK(r.counts(0).commands == 5);
  CHECK(r.stale() == 0);
}
TEST_CASE("cpus that flush the space of each other from inside the guest serve each other meanwhile") {
  rig r(with(2), 2);
  constexpr unsigned rounds = 2000;
  std::atomic<unsigned> inside{0};
  const auto drive = [&](unsigned cpu) {
    r.sink.enter_guest(cpu, r.s(cpu));
    inside.fetch_add(1, std::memory_order_relaxed);  // relaxed: only ends the wait
    while (inside.load(std::memory_order_relaxed) < 2) std::this_thread::yield();  // relaxed: likewise
    for (unsigned i = 0; i < rounds; ++i) r.flush(cpu, r.s(i % 4 == 3 ? cpu : 1 - cpu));
    r.sink.leave_guest(cpu);
  };
  { std::jthread a(drive, 0u), b(drive, 1u); }
  for (const unsigned cpu : {0u, 1u}) r.sink.poll(cpu);
  CHECK(r.counts(0).remote_requests + r.counts(1).remote_requests > 0);
  CHECK(r.counts(0).acknowledgements == r.counts(1).remote_requests);
  CHECK(r.counts(1).acknowledgements == r.counts(0).remote_requests);
}
TEST_CASE("four cpus enter, leave, change and flush three spaces at random, and nothing stale is used") {
  rig r(with(4), 3);
  const auto drive = [&](unsigned cpu) {
    std::mt19937_64 random(cpu + 1);
    for (int i = 0; i < 400; ++i) {
      const auto space = static_cast<unsigned>(random() % 3);
      r.sink.enter_guest(cpu, r.s(space));
      for (int n = 0; n < 20; ++n)
        (void)r.access(cpu, r.s(space), pages.first + random() % 16, access_kind::write);
      r.sink.leave_guest(cpu);
      runtime::space& changed = r.s(static_cast<unsigned>(random() % 3));
      const gfn g = pages.first + random() % 16;
      const hv::narrowing_watch::scope narrowing(r.watch);
      r.map(cpu, changed, {g, 1}, hfn{0x10000 + random() % 0x1000});
    }
  };
  {
    std::vector<std::jthread> threads;
    for (unsigned i = 0; i < 4; ++i) threads.emplace_back(drive, i);
  }
  CAPTURE("seeds 1..4");
  CHECK(r.stale() == 0);
  std::uint64_t posted = 0, acknowledged = 0;
  for (unsigned i = 0; i < 4; ++i) {
    r.sink.poll(i);
    posted += r.counts(i).remote_requests;
    acknowledged += r.counts(i).acknowledgements;
  }
  CHECK(posted == acknowledged);
}
}

}  // namespace quire::tests
