// Threads and bookkeeping of scale_world.h.
#include "perf/scale_world.h"

#include <sched.h>

#include <algorithm>
#include <chrono>

#include <fmt/format.h>

#include "perf/scale_check.h"
#include "perf/scale_clock.h"
#include "runtime/host/hosted.h"

namespace quire::perf {

using runtime::status;

namespace {

constexpr unsigned no_cpu = ~0u;
thread_local unsigned this_cpu = no_cpu;
thread_local unsigned spins = 0;

}  // namespace

scale_world::scale_world(const scale_options& o, const processor_list& processors, unsigned cpus)
    : options_(o),
      processors_(processors),
      cpus_(cpus),
      drains_(o.drain_every_us > 0),
      host_(runtime::host::hosted_platform()),
      sink_(cpus + 1),
      work_(machine_, sink_, layout_, o.op),
      workers_(cpus),
      marks_(cpus),
      timings_(cpus) {
  host_.context = this;
  host_.allocate_tables = &scale_world::allocate_tables;
  host_.table_offset = runtime::host::arena_tables::table_offset();
  host_.flush = &scale_world::flush;
  host_.relax = &scale_world::relax;
  point_.cpus = cpus;
  point_.drains_undisturbed = cpus < processors.count();
}

bool scale_world::allocate_tables(void* context, std::size_t bytes, std::size_t align,
                                  std::uint64_t* physical) {
  return static_cast<scale_world*>(context)->table_memory_.allocate(bytes, align, physical);
}

void scale_world::flush(void* context, unsigned cpu, const runtime::flush_plan& plan) {
  auto& self = *static_cast<scale_world*>(context);
  self.sink_.flush(cpu, plan, self.host_);
}

// Whoever waits acknowledges meanwhile. A processor is given up only after a while: the one waited for has
// its own.
void scale_world::relax(void* context) {
  if (this_cpu != no_cpu) static_cast<scale_world*>(context)->sink_.poll(this_cpu);
  if (++spins % 256 == 0) sched_yield();
}

bool scale_world::become(unsigned cpu) {
  this_cpu = cpu;
  return processors_.pin(cpu);
}

status scale_world::make_spaces() {
  runtime::machine_options options;
  options.cpus = cpus_ + 1;  // the last one drains
  status done = machine_.start(host_, options);
  runtime::space_options leaves;
  leaves.max_leaf_level = 0;
  for (std::uint64_t i = 0; i < layout_.spaces() && done == status::ok; ++i) {
    const auto make = [&](const auto& f) {
      return machine_.create_space(0, f, leaves, spaces_.emplace_back());
    };
    done = std::visit(make, options_.format.format);
  }
  for (unsigned cpu = 0; cpu < cpus_ && done == status::ok; ++cpu) {
    scale_worker& w = workers_[cpu];
    w.cpu = cpu;
    w.space = spaces_[layout_.space_of(cpu)];
    w.marks = drains_ ? &marks_[cpu] : nullptr;
    w.random = check_seed(cpu);
    runtime::lazy_state* l = machine_.state(cpu, *w.space);
    if (!l) return status::no_memory;
    if (options_.op != scale_op::protect) continue;  // which needs pages to begin with
    for (std::uint64_t block = 0; block < layout_.blocks() && done == status::ok; ++block) {
      const std::uint64_t index = block * layout_.batch;
      done = machine_.map(l, layout_.range(layout_.page(cpu, index), layout_.batch),
                          layout_.frame(cpu, 0, index), {scale_work::rwx, 0, 0}, 0);
      ++uncounted_updates_;
    }
  }
  return done;
}

std::string scale_world::prepare() {
  if (std::string wrong = lay_out(options_, cpus_, layout_); !wrong.empty()) return wrong;
  if (const status failed = make_spaces(); failed != status::ok) {
    return fmt::format("--cpus {}: cannot make the tables: {}", cpus_, status_text(failed));
  }
  std::string wrong = run(0);
  sink_.clear_counts();
  forced_before_ = forced_commits();
  return wrong;
}

std::string scale_world::repeat() {
  std::string wrong = run(options_.seconds);
  if (wrong.empty()) record();
  return wrong;
}

std::string scale_world::check() {
  std::uint64_t counted = 0;
  for (const runtime::space* s : spaces_) {
    for (unsigned cpu = 0; cpu <= cpus_; ++cpu) counted += machine_.counts(cpu, *s).updates;
  }
  std::uint64_t done = uncounted_updates_;
  for (const scale_worker& w : workers_) done += w.updates;
  if (counted != done)
    return fmt::format("{} cpus did {} updates, the runtime counted {}", cpus_, done, counted);
  for (const scale_worker& w : workers_) {
    if (std::string wrong = check_pages(machine_, layout_, options_.op, w); !wrong.empty()) return wrong;
  }
  return {};
}

// Lets all cpus work for so long; with 0, on all of their pages once, and nobody drains.
std::string scale_world::run(double seconds) {
  const bool timed = seconds > 0;
  // relaxed, three times: the threads that read them start later.
  stop_.store(false, std::memory_order_relaxed);
  gate_.store(gate::closed, std::memory_order_relaxed);
  arrived_.store(0, std::memory_order_relaxed);
  {
    std::vector<std::jthread> threads;
    start_threads(threads, drains_ && timed, timed ? ~std::uint64_t{0} : layout_.blocks());
    if (timed) std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
    if (timed) stop_.store(true, std::memory_order_relaxed);  // relaxed: says when, publishes nothing
  }
  for (const timing& t : timings_) {
    point_.pinned &= t.pinned;
    if (t.failed != status::ok) {
      return fmt::format("--cpus {}: an update failed: {}", cpus_, status_text(t.failed));
    }
  }
  if (drain_failed_ != status::ok)
    return fmt::format("--drain-every: a drain failed: {}", status_text(drain_failed_));
  return {};
}

// Starts them and opens the gate once all are there. Errors: throws std::system_error if the system refuses a
// thread.
void scale_world::start_threads(std::vector<std::jthread>& threads, bool drains, std::uint64_t blocks) {
  const auto set_gate = [this](gate to) {
    gate_.store(to, std::memory_order_release);  // release: pairs with wait_for_gate()
    gate_.notify_all();
  };
  try {
    for (unsigned cpu = 0; cpu < cpus_; ++cpu)
      threads.emplace_back([this, cpu, blocks] { work_on(cpu, blocks); });
    if (drains) threads.emplace_back([this] { drain_until_stopped(); });
  } catch (...) {
    set_gate(gate::abandoned);
    throw;
  }
  // acquire: the threads are pinned.
  for (unsigned n; (n = arrived_.load(std::memory_order_acquire)) < threads.size();) {
    arrived_.wait(n, std::memory_order_acquire);  // acquire: as above
  }
  set_gate(gate::open);
}

bool scale_world::wait_for_gate() {
  arrived_.fetch_add(1, std::memory_order_release);  // release: pairs with start_threads()
  arrived_.notify_all();
  gate_.wait(gate::closed, std::memory_order_acquire);  // acquire: the main thread has set everything up
  return gate_.load(std::memory_order_relaxed) == gate::open;  // relaxed: it does not change any more
}

void scale_world::work_on(unsigned cpu, std::uint64_t blocks) {
  timing& t = timings_[cpu];
  scale_worker& w = workers_[cpu];
  t.pinned = become(cpu);
  t.failed = status::ok;
  t.updates_before = w.updates;
  t.sections_before = w.sections;
  if (!wait_for_gate()) return;
  no_watch nobody;
  t.start_ns = now_ns();
  // relaxed: see run(). One load of a line that nobody writes meanwhile.
  while (blocks-- > 0 && !stop_.load(std::memory_order_relaxed) && t.failed == status::ok) {
    run_guest(cpu);
    t.failed = work_.next(w, nobody);
  }
  sink_.stop(cpu);
  t.end_ns = now_ns();
}

// The thread that drains: on the next processor, or, if the cpus take all of them, on whichever is free.
void scale_world::drain_until_stopped() {
  this_cpu = cpus_;
  const bool own = point_.drains_undisturbed && processors_.pin(cpus_);
  std::vector<std::uint64_t> seen(cpus_);
  if (!wait_for_gate()) return;
  const std::uint64_t every = options_.drain_every_us * 1000;
  std::uint64_t next = now_ns() + every;
  for (unsigned n = 0; !stop_.load(std::memory_order_relaxed); ++n) {  // relaxed: see run()
    while (own && now_ns() < next && !stop_.load(std::memory_order_relaxed))
      runtime::relax(host_);  // relaxed: as above
    if (const std::uint64_t now = now_ns(); !own && now < next) {
      std::this_thread::sleep_for(std::chrono::nanoseconds(std::min<std::uint64_t>(next - now, 10'000'000)));
      if (now_ns() < next) continue;
    }
    drain_one(n, seen);
    next = std::max(next + every, now_ns());
  }
}

void scale_world::drain_one(unsigned n, std::vector<std::uint64_t>& seen) {
  const auto which = static_cast<unsigned>(n % spaces_.size());
  point_.pending += pending_in(which, seen);
  const std::uint64_t start = now_ns();
  const status drained = machine_.drain(cpus_, *spaces_[which]);
  point_.drains.record(now_ns() - start);
  if (drained != status::ok) drain_failed_ = drained;
}

// Updates that are queued and were neither committed nor, as `seen` tells, drained before; a moment ago.
std::uint64_t scale_world::pending_in(unsigned space, std::vector<std::uint64_t>& seen) const {
  std::uint64_t sum = 0;
  for (unsigned cpu = 0; cpu < cpus_; ++cpu) {
    if (layout_.space_of(cpu) != space) continue;
    // relaxed, both: statistics; the later one may be the newer one.
    const std::uint64_t committed = marks_[cpu].committed.load(std::memory_order_relaxed);
    const std::uint64_t queued = marks_[cpu].queued.load(std::memory_order_relaxed);
    const std::uint64_t gone = std::max(committed, seen[cpu]);
    sum += queued > gone ? queued - gone : 0;
    seen[cpu] = queued;
  }
  return sum;
}

std::uint64_t scale_world::forced_commits() const {
  std::uint64_t sum = 0;
  for (const scale_worker& w : workers_) sum += machine_.counts(w.cpu, *w.space).forced_commits;
  return sum;
}

// Adds a repetition to the point. Between its start and its end, every cpu was at work but for the moment in
// which threads start and stop.
void scale_world::record() {
  std::uint64_t first = ~std::uint64_t{0}, last = 0, updates = 0;
  std::vector<double>& rates = point_.per_cpu.emplace_back();
  for (unsigned cpu = 0; cpu < cpus_; ++cpu) {
    const timing& t = timings_[cpu];
    const std::uint64_t own = workers_[cpu].updates - t.updates_before;
    const std::uint64_t ns = std::max<std::uint64_t>(t.end_ns - t.start_ns, 1);
    rates.push_back(static_cast<double>(own) * 1e9 / static_cast<double>(ns));
    updates += own;
    point_.sections += workers_[cpu].sections - t.sections_before;
    first = std::min(first, t.start_ns);
    last = std::max(last, t.end_ns);
  }
  point_.updates_per_s.push_back(static_cast<double>(updates) * 1e9 /
                                 static_cast<double>(std::max(last - first, std::uint64_t{1})));
  point_.updates += updates;
  point_.forced_commits = forced_commits() - forced_before_;
  for (unsigned cpu = 0; cpu <= cpus_; ++cpu) {
    const scale_flush_counts& c = sink_.counts(cpu);
    point_.flushes.flushes += c.flushes;
    point_.flushes.commands += c.commands;
    point_.flushes.remote_requests += c.remote_requests;
    if (cpu == cpus_) continue;  // what a drain waits for is in its own latency
    point_.flushes.waits += c.waits;
    point_.flushes.wait_ns += c.wait_ns;
    point_.waits += sink_.waits(cpu);
  }
  sink_.clear_counts();
}

}  // namespace quire::perf
