// Hardware that sets A and D while commits change the same entries.
#include <doctest/doctest.h>

#include <atomic>
#include <mutex>
#include <thread>

#include "tests/support/guest.h"
#include "tests/support/oracle.h"

namespace quire::tests {

namespace {

using runtime::harvest;

/// Calls `guest_work` in a thread of its own, and `update` again and again until it is done.
template <class Work, class Update>
void race(const Work& guest_work, const Update& update) {
  std::atomic<bool> done{false};
  std::thread cpu([&] {
    guest_work();
    done.store(true, std::memory_order_release);  // release: what the guest did is seen
  });
  while (!done.load(std::memory_order_acquire)) update();  // acquire: pairs with the release
  cpu.join();
}

}  // namespace

TEST_SUITE("status_race") {
TEST_CASE_TEMPLATE("D that hardware sets while a commit changes the entry is reported once and not lost", F,
                   QUIRE_FORMATS) {
  constexpr std::uint64_t pages = 512;
  guest<F> g({.cpus = 1});
  machine& m = g.m();
  if (!g.s().backend->tracks_status(g.s())) return;
  g.recording = false;
  page_set reported;
  bool twice = false;
  g.on_report = [&](const runtime::report& r) {
    if (!r.dirty) return;
    twice = twice || reported.pages_in(r.range) > 0;
    reported.add(r.range);
  };
  const gfn_range all{gfn{0}, pages};
  REQUIRE(m.map(g.state(), all, hfn{1}, {perm::rwx}, 0) == status::ok);
  bool narrow = false;
  for (int round = 0; round < 60; ++round) {
    bool allowed = true;
    bool updated = true;
    const auto write_each_page_once = [&] {
      for (std::uint64_t i = 0; i < pages; ++i) allowed = g.touch(gfn{i}, perm::w) && allowed;
    };
    const auto update = [&] {
      for (std::uint64_t i = 0; i < pages; ++i) g.touch(gfn{i}, perm::r);  // something to clear in each
      lazy_state* l = g.enter();
      updated = m.harvest_status(l, all, harvest::accessed) == status::ok && updated;
      updated = m.protect(l, all, narrow ? perm::rw : perm::rwx) == status::ok && updated;
      updated = m.leave(l) == status::ok && updated;
      narrow = !narrow;
    };
    race(write_each_page_once, update);
    CHECK(allowed);
    CHECK(updated);
    REQUIRE(m.harvest_status(g.state(), all, harvest::dirty) == status::ok);
    CHECK(reported.pages_in(all) == pages);
    CHECK(!twice);
    reported = {};
  }
}

TEST_CASE_TEMPLATE("D that hardware sets while a page or its table is unmapped is reported, or was never set",
                   F, QUIRE_FORMATS) {
  guest<F> g({.cpus = 1});
  machine& m = g.m();
  if (!g.s().backend->tracks_status(g.s())) return;
  g.recording = false;
  const std::uint64_t n = g.s().shape.slot_pages(1);
  page_set reported;
  g.on_report = [&](const runtime::report& r) {
    if (r.dirty) reported.add(r.range);
  };
  std::mutex access;  // of the cpu that runs the guest
  g.on_flush = [&](const runtime::flush_plan&) { const std::lock_guard wait_for_it(access); };
  for (int round = 0; round < 200; ++round) {
    REQUIRE(m.map(g.state(), {gfn{n}, n}, hfn{1}, {perm::rw}, 0) == status::ok);
    page_set written;
    const auto write = [&] {
      for (std::uint64_t i = 0; i < n; ++i) {
        const std::lock_guard one_access(access);
        if (g.touch(gfn{n + i}, perm::w)) written.add({gfn{n + i}, 1});
      }
    };
    std::uint64_t next = 0;
    bool updated = true;
    const auto unmap = [&] {  // page by page, or the table as a whole
      const gfn_range r = round % 2 ? gfn_range{gfn{n}, n} : gfn_range{gfn{n + next++ % n}, 1};
      updated = m.unmap(g.state(), r) == status::ok && updated;
    };
    race(write, unmap);
    CHECK(updated);
    REQUIRE(m.unmap(g.state(), {gfn{n}, n}) == status::ok);
    CHECK(reported == written);
    reported = {};
  }
}
}

}  // namespace quire::tests
