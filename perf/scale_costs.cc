// Measurements of scale_costs.h, each by clock readings around one step, less what the clock itself takes.
#include "perf/scale_costs.h"

#include <algorithm>
#include <latch>

#include <fmt/format.h>

#include "perf/scale_clock.h"
#include "runtime/spin_lock.h"

namespace quire::perf {

namespace {

constexpr std::size_t wanted_sections = 4096;
constexpr std::uint64_t rounds = 20000;

double median(std::vector<std::uint64_t>& all) {
  const auto middle = all.begin() + static_cast<std::ptrdiff_t>(all.size() / 2);
  std::nth_element(all.begin(), middle, all.end());
  return static_cast<double>(*middle);
}

// What two readings of the clock are apart with nothing between them.
double clock_ns() {
  std::vector<std::uint64_t> all;
  for (std::uint64_t i = 0; i < rounds; ++i) {
    const std::uint64_t start = now_ns();
    all.push_back(now_ns() - start);
  }
  return median(all);
}

// Times the sections of one cpu.
class section_watch {
 public:
  section_watch(const scale_sink& sink, unsigned cpu, double clock) : sink_(sink), cpu_(cpu), clock_(clock) {}

  void begin() {
    before_ = sink_.counts(cpu_);
    start_ = now_ns();
  }
  void queued() { queued_ = now_ns(); }
  void left(std::uint64_t updates) {
    const std::uint64_t end = now_ns();
    const scale_flush_counts& after = sink_.counts(cpu_);
    const auto less_clock = [this](std::uint64_t ns) {
      return std::max(static_cast<double>(ns) - clock_, 0.0);
    };
    costs.push_back({less_clock(queued_ - start_),
                     less_clock(end - queued_ - (after.wait_ns - before_.wait_ns)), updates,
                     after.flushes > before_.flushes});
  }

  std::vector<section_cost> costs;

 private:
  const scale_sink& sink_;
  const unsigned cpu_;
  const double clock_;
  scale_flush_counts before_;
  std::uint64_t start_ = 0, queued_ = 0;
};

// The cpus take turns, so that nobody is in the way of anybody.
void take_turns(scale_world& world, unsigned cpu, std::atomic<unsigned>& turn, section_watch& watch,
                runtime::status& failed) {
  world.become(cpu);
  scale_worker& w = world.worker(cpu);
  const std::size_t wanted = wanted_sections / world.cpus();
  while (true) {
    // acquire: the other cpu's block comes before.
    while (turn.load(std::memory_order_acquire) % world.cpus() != cpu) runtime::relax(world.host());
    const bool done = watch.costs.size() >= wanted || failed != runtime::status::ok;
    if (!done) {
      world.run_guest(cpu);
      failed = world.work().next(w, watch);
    } else {
      world.sink().stop(cpu);
    }
    turn.fetch_add(1, std::memory_order_release);  // release: see above
    if (done) return;
  }
}

// Sections that something else interrupted are not what a step costs.
void drop_slowest(std::vector<section_cost>& sections) {
  const auto slower = [](const section_cost& a, const section_cost& b) {
    return a.append_ns + a.commit_ns < b.append_ns + b.commit_ns;
  };
  std::vector<section_cost> sorted = sections;
  const auto last = sorted.begin() + static_cast<std::ptrdiff_t>(sorted.size() * 99 / 100);
  std::nth_element(sorted.begin(), last, sorted.end(), slower);
  std::erase_if(sections, [&](const section_cost& s) { return slower(*last, s); });
}

double mean_per_update(const std::vector<section_cost>& sections, double section_cost::*cost) {
  double ns = 0, updates = 0;
  for (const section_cost& s : sections) {
    ns += s.*cost;
    updates += static_cast<double>(s.updates);
  }
  return updates > 0 ? ns / updates : 0;
}

}  // namespace

double section_costs::append_ns_per_update() const {
  return mean_per_update(sections, &section_cost::append_ns);
}
double section_costs::commit_ns_per_update() const {
  return mean_per_update(sections, &section_cost::commit_ns);
}
double section_costs::flushes_per_section() const {
  const auto flushing =
      std::count_if(sections.begin(), sections.end(), [](const auto& s) { return s.flushes; });
  return sections.empty() ? 0 : static_cast<double>(flushing) / static_cast<double>(sections.size());
}

std::string measure_sections(const scale_options& o, const processor_list& p, unsigned cpus,
                             section_costs& costs) {
  scale_options quiet = o;
  quiet.drain_every_us = 0;
  scale_world world(quiet, p, cpus);
  if (std::string wrong = world.prepare(); !wrong.empty()) return wrong;
  const double clock = clock_ns();
  std::vector<section_watch> watches;
  for (unsigned cpu = 0; cpu < cpus; ++cpu) watches.emplace_back(world.sink(), cpu, clock);
  runtime::status failed = runtime::status::ok;  // for whose turn it is
  {
    std::atomic<unsigned> turn{0};
    std::vector<std::jthread> threads;
    for (unsigned cpu = 0; cpu < cpus; ++cpu) {
      threads.emplace_back([&, cpu] { take_turns(world, cpu, turn, watches[cpu], failed); });
    }
  }
  if (failed != runtime::status::ok) return fmt::format("--model: an update failed: {}", status_text(failed));
  for (const section_watch& w : watches) {
    costs.sections.insert(costs.sections.end(), w.costs.begin(), w.costs.end());
  }
  drop_slowest(costs.sections);
  return {};
}

request_costs measure_requests(const processor_list& p) {
  scale_sink sink(2);
  runtime::platform nothing;
  const double clock = clock_ns();
  std::vector<std::uint64_t> answers, posts, trips;
  std::atomic<bool> stop{false};
  std::latch polling(1);
  {
    std::jthread target([&] {
      p.pin(1);
      polling.count_down();
      while (!stop.load(std::memory_order_relaxed)) {  // relaxed: says when, publishes nothing
        sink.run(1, 0);
        const std::uint64_t start = now_ns();
        if (sink.poll(1)) answers.push_back(now_ns() - start);
      }
      sink.stop(1);
    });
    std::jthread sender([&] {
      p.pin(0);
      polling.wait();
      for (std::uint64_t i = 0; i < rounds; ++i) {
        const std::uint64_t start = now_ns();
        const std::uint64_t ticket = sink.post(1);
        const std::uint64_t posted = now_ns();
        while (!sink.acknowledged(1, ticket)) runtime::relax(nothing);
        trips.push_back(now_ns() - start);
        posts.push_back(posted - start);
      }
      stop.store(true, std::memory_order_relaxed);  // relaxed: see above
    });
  }
  request_costs c;
  c.request_ns = std::max(median(posts) - clock, 0.0);
  c.acknowledge_ns = answers.empty() ? 0 : std::max(median(answers) - clock, 0.0);
  c.latency_ns = std::max(median(trips) - 2 * clock - c.request_ns - c.acknowledge_ns, 0.0) / 2;
  return c;
}

}  // namespace quire::perf
