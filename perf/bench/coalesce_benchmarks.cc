// coalesce/... of bench.h.
#include <fmt/format.h>

#include "perf/bench/bench.h"
#include "perf/bench/measured.h"
#include "perf/coalesce_methods.h"
#include "perf/compare/coalesce_batch.h"

namespace quire::perf {

namespace {

template <class Run>
void run_coalesce(benchmark::State& state, coalesce_shape s, std::size_t n, Run run) {
  coalesce_batch batch(s, n);
  const auto restore = [&] {
    batch.restore();
    return true;
  };
  measure(state, batch.pages(), restore, [&] { return !batch.run(run).empty(); });
}

std::string name_of(coalesce_shape s, std::size_t n) {
  return fmt::format("coalesce/{}/n={}", coalesce_shape_text(s), n);
}

}  // namespace

void add_coalesce_benchmarks(runtime::simd v) {
  for (const coalesce_shape s : coalesce_shapes) {
    for (const std::size_t n : coalesce_sizes) {
      add_benchmark(name_of(s, n), v, [s, n](benchmark::State& state) {
        run_coalesce(state, s, n, [](auto pages, auto out, auto scratch) {
          return runtime::coalesce_pages(pages, out, scratch);
        });
      });
    }
  }
}

void add_method_benchmarks() {
  for (const coalesce_method& m : coalesce_methods()) {
    for (const coalesce_shape s : coalesce_shapes) {
      for (const std::size_t n : coalesce_sizes) {
        if (!m.applies(s, n)) continue;
        const std::string name = fmt::format("{}/method={}", name_of(s, n), m.name);
        benchmark::RegisterBenchmark(
            name.c_str(), [s, n, &m](benchmark::State& state) { run_coalesce(state, s, n, m.run); });
      }
    }
  }
}

}  // namespace quire::perf
