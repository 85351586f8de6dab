// Immediate updates of one page by several cpus, while tables are taken out under them: each mapping is removed exactly once.
#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <random>
#include <thread>
#include <vector>

#include "tests/support/guest.h"

namespace quire::tests {

namespace {

constexpr attributes rwx{perm::rwx, 0, 0};

/// Two cpus that map, to a frame of its own each time, and unmap single pages, each in tables of its own; a third takes tables
/// out and drains.
template <class F>
class race {
 public:
  explicit race(const F& f, unsigned max_leaf_level) : g_(f, options(max_leaf_level)), removed_(most_frames) {
    REQUIRE(g_.made == status::ok);
    for (const unsigned cpu : {0u, 1u, 2u}) {
      g_.s().note_run(cpu);
      REQUIRE(g_.m().state(cpu, g_.s()));  // what the rig counts is not for threads
    }
    g_.recording = false;
    g_.on_report = [this](const runtime::report& r) {
      for (std::uint64_t i = 0; i < r.range.pages; ++i) ++removed_[r.out.value + i];
    };
    g_.on_flush = [](const runtime::flush_plan& /*plan*/) {
      thread_local std::minstd_rand dice;
      if (dice() % 8 == 0) std::this_thread::yield();
    };
  }

  void run() {
    std::vector<std::thread> updating;
    for (const unsigned cpu : {0u, 1u}) updating.emplace_back([this, cpu] { update(cpu); });
    std::thread taking([this] { take_tables(); });
    for (std::thread& t : updating) t.join();
    done_ = true;
    taking.join();
    REQUIRE(g_.m().unmap(g_.state(2), {gfn{0}, g_.s().shape.input_pages}) == status::ok);
    CHECK(refused_ == 0);
    CHECK(g_.s().tables() == 1);
    CHECK(g_.m().tables_in_use() == 1);
    std::uint64_t lost = 0, twice = 0;
    for (std::uint64_t f = 1; f < next_frame_; ++f) lost += removed_[f] == 0, twice += removed_[f] > 1;
    CHECK(lost == 0);
    CHECK(twice == 0);
  }

 private:
  static constexpr unsigned updates = 20'000;  // by each cpu
  static constexpr std::uint64_t most_frames = 2 * updates + 1;

  static guest_base::options options(unsigned max_leaf_level) {
    guest_base::options o;
    o.cpus = 3;
    o.hooks = false;
    o.table_bytes = std::size_t{64} << 20;
    o.max_leaf_level = max_leaf_level;
    o.pool = {8, 16};
    return o;
  }
  std::uint64_t table() { return g_.s().shape.slot_pages(1); }

  void update(unsigned cpu) {
    std::mt19937_64 dice(cpu);
    machine& m = g_.m();
    lazy_state* const l = m.state(cpu, g_.s());
    for (unsigned i = 0; i < updates; ++i) {
      const std::uint64_t r = dice();
      const gfn page{(4 * cpu + r % 2) * table() + (r >> 8) % 8};
      const status s = (r >> 20) % 8 < 5 ? m.map(l, {page, 1}, hfn{next_frame_++}, rwx) : m.unmap(l, {page, 1});
      refused_ += s != status::ok;
    }
  }
  void take_tables() {
    std::mt19937_64 dice(77);
    machine& m = g_.m();
    lazy_state* const l = m.state(2, g_.s());
    while (!done_) {
      const std::uint64_t r = dice();
      status s = status::ok;
      switch (r % 8) {
        case 0: s = m.unmap(l, {gfn{0}, 8 * table()}); break;
        case 1: s = m.unmap(l, {gfn{(r >> 8) % 8 * table()}, table()}); break;
        case 2: s = m.drain(2, g_.s()); break;
        default: std::this_thread::sleep_for(std::chrono::microseconds((r >> 8) % 300));
      }
      refused_ += s != status::ok;
    }
  }

  guest<F> g_;
  std::vector<std::atomic<std::uint8_t>> removed_;  // by frame: how often it was reported
  std::atomic<std::uint64_t> next_frame_{1};
  std::atomic<std::uint64_t> refused_{0};
  std::atomic<bool> done_{false};
};

}  // namespace

TEST_SUITE("direct_race") {
TEST_CASE("single pages are updated at once by two cpus, while a third takes their tables out") {
  arch::ept with_status;
  with_status.access_dirty = true;
  arch::stage2_4k with_dirty;
  with_dirty.dbm = true;
  for (const unsigned max_leaf_level : {0u, 5u}) {
    CAPTURE(max_leaf_level);
    race(arch::ept{}, max_leaf_level).run();
    race(with_status, max_leaf_level).run();
    race(with_dirty, max_leaf_level).run();
    race(arch::dat{}, max_leaf_level).run();
  }
}
}

}  // namespace quire::tests
