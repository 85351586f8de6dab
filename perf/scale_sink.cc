// Mailboxes of scale_sink.h.
#include "perf/scale_sink.h"

#include "perf/scale_clock.h"
#include "runtime/spin_lock.h"

namespace quire::perf {

scale_sink::scale_sink(unsigned cpus) : targets_(cpus), senders_(cpus) {
  for (sender& s : senders_) s.tickets.resize(cpus);
}

void scale_sink::run(unsigned cpu, std::uint32_t space) {
  target& t = targets_[cpu];
  if (t.runs.load(std::memory_order_relaxed) == space + 1) return;  // relaxed: only this cpu writes it
  // seq_cst: either a flush sees that this cpu runs the space, or the walks that follow see its table writes.
  t.runs.store(space + 1, std::memory_order_seq_cst);
}

void scale_sink::stop(unsigned cpu) {
  target& t = targets_[cpu];
  t.runs.store(nothing, std::memory_order_release);  // release: the guest's accesses come before
  poll(cpu);
}

void scale_sink::acknowledge(target& t, std::uint64_t posted) {
  t.answered = posted;
  t.runs.store(nothing, std::memory_order_relaxed);         // relaxed: the next line publishes it
  t.acknowledged.store(posted, std::memory_order_release);  // release: the old translations are gone
}

void scale_sink::flush(unsigned cpu, const runtime::flush_plan& plan, const runtime::platform& host) {
  sender& own = senders_[cpu];
  ++own.count.flushes;
  own.count.commands += plan.commands.size();
  const auto cpus = static_cast<unsigned>(targets_.size());
  std::uint64_t start = 0;
  std::uint64_t posted = 0;
  for (unsigned i = 0; i < cpus; ++i) {
    own.tickets[i] = 0;
    // seq_cst: see run().
    if (i == cpu || targets_[i].runs.load(std::memory_order_seq_cst) != plan.space + 1) continue;
    if (posted++ == 0) start = now_ns();
    own.tickets[i] = post(i);
  }
  if (posted == 0) return;
  for (unsigned i = 0; i < cpus; ++i) {
    if (own.tickets[i] == 0) continue;
    // acquire: as in acknowledged(); a cpu that holds no translations any more need not answer.
    while (!acknowledged(i, own.tickets[i]) && targets_[i].runs.load(std::memory_order_acquire) != nothing) {
      runtime::relax(host);
    }
  }
  const std::uint64_t waited = now_ns() - start;
  own.count.remote_requests += posted;
  own.count.wait_ns += waited;
  ++own.count.waits;
  own.waits.record(waited);
}

void scale_sink::clear_counts() {
  for (sender& s : senders_) {
    s.count = {};
    s.waits = {};
  }
}

}  // namespace quire::perf
