// What benchmarks of this folder share: preparation that is not timed, and a choice of variant.
#pragma once

#include <benchmark/benchmark.h>

#include "perf/compare/quire_tables.h"
#include "perf/compare/stopwatch.h"
#include "runtime/simd.h"

namespace quire::perf {

/// Runs `prepare` and, timed, `run` until there was enough of it. Both return whether it went well. The
/// library's own time has the cost of its pauses in it; `ns_per_page` has not.
template <class Prepare, class Run>
void measure(benchmark::State& state, std::uint64_t pages, Prepare prepare, Run run) {
  double ns = 0;
  for (auto _ : state) {
    state.PauseTiming();
    bool good = prepare();
    state.ResumeTiming();
    const stopwatch watch;
    good &= run();
    ns += watch.ns();
    if (!good) {
      state.SkipWithError("the tables refused a call");
      break;
    }
  }
  const double all = static_cast<double>(state.iterations()) * static_cast<double>(pages);
  state.SetItemsProcessed(static_cast<std::int64_t>(all));
  state.counters["ns_per_page"] = ns / all;
}

/// Registers `body(state)`, run with variant `v` in use.
template <class Body>
void add_benchmark(const std::string& name, runtime::simd v, Body body) {
  const auto with_variant = [v, body](benchmark::State& state) {
    if (!runtime::choose_simd(v)) return state.SkipWithError("the variant is not available");
    body(state);
  };
  benchmark::RegisterBenchmark((name + '/' + runtime::simd_text(v)).c_str(), with_variant);
}

}  // namespace quire::perf
