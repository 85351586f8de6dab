// One machine of so many cpus with warm tables, and the threads that update them.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "perf/scale_processors.h"
#include "perf/scale_sink.h"
#include "perf/scale_work.h"
#include "runtime/host/arena_tables.h"

namespace quire::perf {

/// What all repetitions on so many cpus gave.
struct scale_point {
  unsigned cpus = 0;
  std::vector<double> updates_per_s;         ///< by repetition
  std::vector<std::vector<double>> per_cpu;  ///< by repetition, by cpu
  // Sums over the repetitions.
  std::uint64_t updates = 0;
  std::uint64_t sections = 0;
  std::uint64_t forced_commits = 0;
  scale_flush_counts flushes;
  hv::latency_histogram waits;
  hv::latency_histogram drains;
  std::uint64_t pending = 0;       ///< updates that drains found pending
  bool pinned = true;              ///< every thread, to a processor of its own
  bool drains_undisturbed = true;  ///< the thread that drains had a processor of its own
};

/// One thread at a time, that is not one of its own, calls it.
class scale_world {
 public:
  scale_world(const scale_options& o, const processor_list& processors, unsigned cpus);
  scale_world(const scale_world&) = delete;
  scale_world& operator=(const scale_world&) = delete;

  /// Makes the spaces and lets each cpu work on all of its pages once. Returns what is wrong, or nothing.
  std::string prepare();
  /// One repetition. Errors as prepare().
  std::string repeat();
  /// Compares tables and counters with what the cpus did. Returns what differs, or nothing.
  std::string check();

  const scale_point& result() const { return point_; }

  // For measuring single steps, between the other calls.
  unsigned cpus() const { return cpus_; }
  scale_sink& sink() { return sink_; }
  scale_worker& worker(unsigned cpu) { return workers_[cpu]; }
  scale_work& work() { return work_; }
  const scale_layout& layout() const { return layout_; }
  const runtime::platform& host() const { return host_; }
  /// Makes the calling thread cpu `cpu`, on a processor of its own, until it ends. False if the system
  /// refuses.
  bool become(unsigned cpu);
  /// To be called between two blocks: the cpu runs its guest for a moment.
  void run_guest(unsigned cpu) {
    sink_.poll(cpu);
    workers_[cpu].space->note_run(cpu);
    sink_.run(cpu, workers_[cpu].space->id);
  }

 private:
  struct alignas(128) timing {
    std::uint64_t start_ns = 0, end_ns = 0;
    std::uint64_t updates_before = 0, sections_before = 0;
    runtime::status failed = runtime::status::ok;
    bool pinned = true;
  };
  enum class gate : int { closed, open, abandoned };

  runtime::status make_spaces();
  std::string run(double seconds);
  void start_threads(std::vector<std::jthread>& threads, bool drains, std::uint64_t blocks);
  bool wait_for_gate();
  void work_on(unsigned cpu, std::uint64_t blocks);
  void drain_until_stopped();
  void drain_one(unsigned n, std::vector<std::uint64_t>& seen);
  std::uint64_t pending_in(unsigned space, std::vector<std::uint64_t>& seen) const;
  void record();
  std::uint64_t forced_commits() const;

  static bool allocate_tables(void* context, std::size_t bytes, std::size_t align, std::uint64_t* physical);
  static void flush(void* context, unsigned cpu, const runtime::flush_plan& plan);
  static void relax(void* context);

  // On lines that nobody writes while cpus work: what follows is constant.
  alignas(128) std::atomic<bool> stop_{false};
  std::atomic<gate> gate_{gate::closed};
  std::atomic<unsigned> arrived_{0};
  const scale_options& options_;
  const processor_list& processors_;
  const unsigned cpus_;
  const bool drains_;
  scale_layout layout_;
  runtime::host::arena_tables table_memory_;
  runtime::platform host_;
  scale_sink sink_;
  runtime::machine machine_;
  scale_work work_;
  std::vector<runtime::space*> spaces_;
  std::vector<scale_worker> workers_;
  std::vector<scale_marks> marks_;
  std::vector<timing> timings_;
  runtime::status drain_failed_ = runtime::status::ok;
  std::uint64_t uncounted_updates_ = 0;  // made by prepare() itself
  std::uint64_t forced_before_ = 0;
  scale_point point_;
};

}  // namespace quire::perf
