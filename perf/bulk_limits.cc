// Loops of bulk_limits.h.
#include "perf/bulk_limits.h"

#include <algorithm>
#include <atomic>

#include "perf/compare/stopwatch.h"
#include "runtime/host/worker_arenas.h"
#include "runtime/table_ops.h"

namespace quire::perf {

namespace {

constexpr std::size_t table_words = 512, chunk_tables = 32;
constexpr std::uint64_t first_word = 0x1000'0037, word_step = 0x1000;

struct chunks {
  std::span<std::uint64_t> words;  // whole tables
  runtime::host::worker_arenas arenas;
  std::vector<std::uint64_t> busy_ns;  // by thread

  /// Calls work(first word of a table) for all tables, and notes how long it took. Returns the sum of what it returned.
  template <class Work>
  std::size_t time(bulk_operation operation, bulk_run& made, Work work) {
    const std::size_t tables = words.size() / table_words;
    std::atomic<std::size_t> next{0}, sum{0};
    std::fill(busy_ns.begin(), busy_ns.end(), 0);
    const std::uint64_t start = now_ns();
    arenas.run([&](unsigned thread) {
      const stopwatch watch;
      std::size_t own = 0;
      // relaxed, both: chunks have nothing in common, and run() ends after all threads
      for (std::size_t t; (t = next.fetch_add(chunk_tables, std::memory_order_relaxed)) < tables;) {
        for (const std::size_t end = std::min(t + chunk_tables, tables); t < end; ++t) own += work(&words[t * table_words]);
      }
      sum.fetch_add(own, std::memory_order_relaxed);
      busy_ns[thread] += static_cast<std::uint64_t>(watch.ns());
    });
    const auto i = static_cast<std::size_t>(operation);
    made.ns[i] = now_ns() - start;
    made.path_ns[i] = *std::max_element(busy_ns.begin(), busy_ns.end());
    return sum.load(std::memory_order_relaxed);  // relaxed: likewise
  }
};

}  // namespace

std::string measure_bulk_limits(const bulk_layout& l, bulk_memory& memory, unsigned threads, bulk_run& made) {
  const std::uint64_t table_bytes = table_words * sizeof(std::uint64_t), tables = (l.table_bytes + table_bytes - 1) / table_bytes;
  chunks c{memory.words(tables * table_bytes), runtime::host::worker_arenas(threads, runtime::host::thread_binding::processor),
           std::vector<std::uint64_t>(threads)};
  const runtime::table_ops& ops = runtime::table_ops_for(runtime::chosen_simd(), false);
  c.time(bulk_operation::limit_fill, made, [&ops](std::uint64_t* at) {
    ops.fill(at, table_words, first_word, word_step);
    return 1u;
  });
  const std::size_t good = c.time(bulk_operation::limit_read, made, [&ops](const std::uint64_t* at) {
    return ops.match_run(at, table_words, first_word, word_step, ~std::uint64_t{0});
  });
  return good == c.words.size() ? std::string() : "limits: memory is not as it was filled";
}

}  // namespace quire::perf
