// Loops of bulk_limits.h.
#include "perf/bulk_limits.h"

#include <algorithm>
#include <atomic>
#include <barrier>
#include <thread>

#include "perf/compare/stopwatch.h"
#include "runtime/host/numa_nodes.h"
#include "runtime/table_ops.h"

namespace quire::perf {

namespace {

constexpr std::size_t table_words = 512;
constexpr std::uint64_t first_word = 0x1000'0037, word_step = 0x1000;

/// The calling thread has a processor of its own as long as this lives, as a worker of runtime::host::bulk has.
class bound {
 public:
  explicit bound(unsigned thread) {
    unsigned node = 0;
    for (; node + 1 < here_.count() && thread >= here_.processors(node); ++node) thread -= here_.processors(node);
    before_ = here_.bind(node, thread);
  }
  ~bound() { here_.restore(before_); }
  bound(const bound&) = delete;
  bound& operator=(const bound&) = delete;

 private:
  const runtime::host::numa_nodes& here_ = runtime::host::numa_nodes::here();
  runtime::host::processor_set before_;
};

struct shares {
  std::span<std::uint64_t> words;  // whole tables, as many for each thread
  unsigned threads;

  /// Calls work(first word of a table) for all tables, and notes how long it took from when all threads were there. Returns
  /// the sum of what it returned. Errors: throws std::system_error if a thread cannot be had.
  template <class Work>
  std::size_t time(bulk_operation operation, bulk_run& made, Work work) const {
    const std::size_t tables = words.size() / table_words;
    std::atomic<std::size_t> sum{0};
    std::atomic<std::uint64_t> ns{0}, path_ns{0};
    std::uint64_t start = 0;
    std::barrier all_there(threads, [&start]() noexcept { start = now_ns(); });
    const auto run = [&](unsigned thread) {
      const bound to(thread);
      all_there.arrive_and_wait();
      const stopwatch watch;
      std::size_t own = 0;
      for (std::size_t t = tables * thread / threads; t < tables * (thread + 1) / threads; ++t) own += work(&words[t * table_words]);
      sum.fetch_add(own, std::memory_order_relaxed);  // relaxed, as all here: who reads the results has joined the threads
      raise_to(path_ns, static_cast<std::uint64_t>(watch.ns()));
      raise_to(ns, now_ns() - start);
    };
    std::vector<std::jthread> others;
    for (unsigned w = 1; w < threads; ++w) others.emplace_back(run, w);
    run(0);
    others.clear();
    const auto i = static_cast<std::size_t>(operation);
    made.ns[i] = ns.load(std::memory_order_relaxed);
    made.path_ns[i] = path_ns.load(std::memory_order_relaxed);
    return sum.load(std::memory_order_relaxed);
  }

 private:
  static void raise_to(std::atomic<std::uint64_t>& most, std::uint64_t n) {
    std::uint64_t seen = most.load(std::memory_order_relaxed);  // relaxed, both: as above
    while (seen < n && !most.compare_exchange_weak(seen, n, std::memory_order_relaxed, std::memory_order_relaxed)) {
    }
  }
};

}  // namespace

std::string measure_bulk_limits(const bulk_layout& l, bulk_memory& memory, unsigned threads, bulk_run& made) {
  const std::uint64_t table_bytes = table_words * sizeof(std::uint64_t), tables = (l.table_bytes + table_bytes - 1) / table_bytes;
  const shares all{memory.words(tables * table_bytes), threads};
  const runtime::table_ops& ops = runtime::table_ops_for(runtime::chosen_simd(), false);
  all.time(bulk_operation::limit_fill, made, [&ops](std::uint64_t* at) {
    ops.fill(at, table_words, first_word, word_step);
    return 1u;
  });
  const std::size_t good = all.time(bulk_operation::limit_read, made, [&ops](const std::uint64_t* at) {
    return ops.match_run(at, table_words, first_word, word_step, ~std::uint64_t{0});
  });
  return good == all.words.size() ? std::string() : "limits: memory is not as it was filled";
}

}  // namespace quire::perf
