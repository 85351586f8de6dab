// The rounds of stress.h.
#include "tests/stress/stress.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <thread>

#include "tests/stress/worker.h"

namespace quire::tests {

namespace {

using clock = std::chrono::steady_clock;

std::uint64_t seed_of_run() {
  const char* text =
      std::getenv("QUIRE_SEED");  // NOLINT(concurrency-mt-unsafe): no test changes the environment
  return text ? std::strtoull(text, nullptr, 0) : std::random_device{}();
}

/// Walks the space again and again, and sleeps on the way.
class sleeper {
 public:
  explicit sleeper(world& w) : w_(w), thread_([this] { run(); }) {}
  ~sleeper() {
    stop_.store(true, std::memory_order_relaxed);  // relaxed: joined next
    thread_.join();
  }

 private:
  void run() {
    world::here() = {world::sleeper, world::sleeper, false};
    const gfn_range parts[] = {{gfn{0}, w_.huge(0).first.value}, w_.shared(), w_.slot()};
    unsigned part = 0;
    while (!stop_.load(std::memory_order_relaxed) && !w_.failed()) {  // relaxed: nothing follows from it
      const auto visit = [](void* self, const runtime::mapping& m) {
        return static_cast<sleeper*>(self)->see(m);
      };
      const status done =
          w_.m().for_each(w_.m().state(world::sleeper, w_.s()), parts[part++ % 3], visit, this);
      if (done != status::ok && done != status::stopped) w_.fail({}, "a walk fails");
    }
  }
  bool see(const runtime::mapping& m) {
    if (!world::belongs(m.out, m.range.first))
      w_.fail(m.range.first, "a walk finds the frame of another page");
    if (random_() % 32 == 0)
      usleep(static_cast<useconds_t>(random_() % (w_.long_run && random_() % 16 == 0 ? 1000000 : 5000)));
    return !stop_.load(std::memory_order_relaxed);  // relaxed: as above
  }

  world& w_;
  std::minstd_rand random_;
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

/// Drains all that others queue, again and again.
class drainer {
 public:
  explicit drainer(world& w) : w_(w), thread_([this] { run(); }) {}
  ~drainer() {
    stop_.store(true, std::memory_order_relaxed);  // relaxed: joined next
    thread_.join();
  }

 private:
  void run() {
    world::here() = {world::drainer, world::drainer, false};
    for (unsigned i = 0; !stop_.load(std::memory_order_relaxed) && !w_.failed();
         ++i) {  // relaxed: nothing follows from it
      if (w_.m().drain(world::drainer, w_.s(i % world::spaces)) != status::ok) w_.fail({}, "a drain fails");
      if (i % 64 == 63) usleep(i % 1000);
    }
  }

  world& w_;
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

/// Says who does what if nothing happens any more.
class watchdog {
 public:
  watchdog(world& w, const std::vector<std::unique_ptr<worker>>& workers)
      : w_(w), workers_(workers), thread_([this] { run(); }) {}
  ~watchdog() {
    stop_.store(true, std::memory_order_relaxed);  // relaxed: joined next
    thread_.join();
  }

 private:
  static constexpr unsigned patience_ms = 60000;

  void run() {
    std::uint64_t seen = 0;
    unsigned waited = 0;
    while (!stop_.load(std::memory_order_relaxed)) {  // relaxed: nothing follows from it
      usleep(20000);
      waited = w_.now() == seen ? waited + 20 : 0;
      seen = w_.now();
      if (waited < patience_ms) continue;
      std::fprintf(stderr, "no progress, QUIRE_SEED=%llu\n", static_cast<unsigned long long>(w_.seed));
      for (unsigned i = 0; i < workers_.size(); ++i)
        std::fprintf(stderr, "  cpu %u: %s\n", i, workers_[i]->doing());
      std::abort();
    }
  }

  world& w_;
  const std::vector<std::unique_ptr<worker>>& workers_;
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

class rounds {
 public:
  rounds(const stress_format& format, std::uint64_t seed, bool long_run)
      : w_(format, seed, long_run), dice_(seed) {
    for (unsigned i = 0; i < world::workers; ++i) workers_.push_back(std::make_unique<worker>(w_, i));
    shared_.resize(w_.shared().pages);
  }

  stress_result run(double seconds) {
    const auto end = clock::now() + std::chrono::duration<double>(seconds);
    stress_result r;
    {
      const watchdog dog(w_, workers_);
      const sleeper away(w_);
      while (clock::now() < end && !w_.failed()) {
        r.updates += round();
        const bool from_nothing = ++r.rounds % 4 == 0;
        if (!w_.failed()) check(from_nothing);
        if (w_.failed()) break;
        for (auto& one : workers_) one->forget();
      }
    }
    if (w_.failed()) r.problem = report(r.rounds);
    return r;
  }

 private:
  std::uint64_t round() {
    const auto actions = 100 + static_cast<unsigned>(dice_() % 700);
    std::vector<std::thread> threads;
    for (auto& one : workers_) threads.emplace_back([&one, actions] { one->run(actions); });
    {
      const drainer remote(w_);
      for (auto& t : threads) t.join();
    }
    std::uint64_t updates = 0;
    for (auto& one : workers_) updates += one->log().size();
    if (!w_.failed()) workers_[0]->end_parcels();
    return updates;
  }

  /// While nothing is committed; a reader may sleep.
  void check(bool from_nothing) {
    for (auto& one : workers_) one->compare();
    check_shared();
    check_tables();
    check_dirty();
    if (!from_nothing) return;
    for (auto& one : workers_) one->unmap_all();
    shared_.assign(shared_.size(), {});
    for (unsigned i = 0; i < world::spaces; ++i) {
      if (w_.s(i).tables() != 1) w_.fail({}, "tables remain where nothing is mapped");
    }
    check_tables();
    check_dirty();
    w_.each_marked([this](gfn g, page_marks& p) {
      // relaxed: all threads have ended
      if (p.dirtied.load(std::memory_order_relaxed) > p.reported.load(std::memory_order_relaxed))
        w_.fail(g, "D was lost");
    });
  }

  // No frame waits for a reader, and none is lost.
  void check_tables() {
    std::uint64_t tables = 0;
    for (unsigned i = 0; i < world::spaces; ++i) {
      const census c = w_.hw().count(w_.s(i));
      tables += c.tables;
      if (c.tables != w_.s(i).tables()) w_.fail({}, "the space counts other tables than there are");
      if (c.empty) w_.fail({}, std::to_string(c.empty) + " empty tables are left");
      if (c.unsettled) w_.fail({}, std::to_string(c.unsettled) + " entries are neither valid nor empty");
    }
    const std::uint64_t frames = w_.m().tables_in_use();
    if (frames != tables)
      w_.fail({}, std::to_string(frames) + " frames are in use for " + std::to_string(tables) + " tables");
  }

  // Interleaved pages are single leaves, never split and in no group: each D is told once.
  void check_dirty() {
    for (std::uint64_t i = 0; i < w_.interleaved().pages; ++i) {
      const gfn g = w_.interleaved().first + i;
      const page_marks& p = *w_.marks(g);
      runtime::mapping m;
      bool found = false;
      if (w_.m().lookup(w_.m().state(world::here().cpu, w_.s()), g, m, found) != status::ok)
        w_.fail(g, "a lookup fails");
      const std::uint64_t set =
          p.times_dirtied.load(std::memory_order_relaxed);  // relaxed: all threads have ended
      const std::uint64_t told =
          p.times_reported.load(std::memory_order_relaxed) + (found && m.dirty);  // relaxed: likewise
      if (set != told)
        w_.fail(g,
                "D was set " + std::to_string(set) + " times, and told " + std::to_string(told) + " times");
    }
  }

  void check_shared() {
    std::vector<page_state> now(shared_.size());
    for (std::size_t i = 0; i < now.size(); ++i) {
      runtime::mapping m;
      const gfn g = w_.shared().first + i;
      if (w_.m().lookup(w_.m().state(world::here().cpu, w_.s()), g, m, now[i].present) != status::ok)
        w_.fail(g, "a lookup fails");
      if (now[i].present) now[i] = {true, m.out, m.attr.access};
    }
    std::vector<const deeds*> logs;
    for (auto& one : workers_) logs.push_back(&one->log());
    const std::size_t border = w_.shape().slot_pages(1);
    for (std::size_t i = 0; i < now.size(); ++i) {
      const bool often = i + 14 >= border && i < border + 10;
      if (!often && dice_() % 16) continue;
      const gfn g = w_.shared().first + i;
      page_history h(logs, g, shared_[i]);
      if (!h.explains(now[i]))
        w_.fail(g, "no legal order ends so: " + text_of(shared_[i]) + " at first, then " + text_of(now[i]));
      for (auto& one : workers_) {
        for (const sighting& s : one->sightings()) {
          if (s.page == g && !h.explains(s))
            w_.fail(g, "no legal order shows " + text_of(s.seen) + " in [" + std::to_string(s.called) + ", " +
                           std::to_string(s.done) + "]");
        }
      }
    }
    shared_ = now;
  }
  static std::string text_of(const page_state& p) {
    return p.present ? std::to_string(p.out.value) + (includes(p.access, perm::w) ? " writable" : "")
                     : "nothing";
  }

  std::string report(std::uint64_t round) {
    std::string text = w_.problem() + "\npage " + std::to_string(w_.problem_page().value) + ", round " +
                       std::to_string(round) + ", QUIRE_SEED=" + std::to_string(w_.seed) + "\n";
    std::vector<const deed*> all;
    for (auto& one : workers_) {
      for (const deed& d : one->log()) {
        if (d.range.overlaps({w_.problem_page(), 1})) all.push_back(&d);
      }
    }
    std::sort(all.begin(), all.end(), [](const deed* a, const deed* b) { return a->called < b->called; });
    for (std::size_t i = all.size() > 60 ? all.size() - 60 : 0; i < all.size(); ++i)
      text += describe(*all[i]);
    return text;
  }

  world w_;
  std::minstd_rand dice_;
  std::vector<std::unique_ptr<worker>> workers_;
  std::vector<page_state> shared_;  // at the beginning of the round
};

}  // namespace

double stress_seconds() {
  const char* text =
      std::getenv("QUIRE_STRESS_SECONDS");  // NOLINT(concurrency-mt-unsafe): no test changes the environment
  return text ? std::strtod(text, nullptr) : 10;
}

stress_result stress(const stress_format& format, double seconds) {
  return rounds(format, seed_of_run(), stress_seconds() >= 30).run(seconds);
}

}  // namespace quire::tests
