// Registration and start of bench.h.
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include "perf/bench/bench.h"
#include "perf/command.h"
#include "perf/scale_processors.h"

namespace quire::perf {

std::string bench_explanation() {
  return "Names are paths, VARIANT being scalar, avx2, avx512 or neon, as this CPU has them; pages are "
         "mapped by x86-ept:\n"
         "  append/VARIANT                                          one update that merges with nothing\n"
         "  enter_leave/VARIANT                                     an empty section\n"
         "  commit/{map,unmap,protect}/{seq,range,random}/space={1g,64g}/batch={64,512}/VARIANT\n"
         "                                                          a pass over 65536 pages in sections of "
         "so many updates\n"
         "  lookup/random/space={1g,64g}/batch=64/VARIANT           a pass of lookups\n"
         "  table_ops/OPERATION/VARIANT                             on the 512 entries of a warm table, some "
         "in pairs\n"
         "  coalesce/SHAPE/n=N/VARIANT, coalesce/SHAPE/n=N/method=METHOD  inputs of N pages\n"
         "In passes, `ns_per_page` is the exact time per page or update; the library's own has that of its "
         "pauses in it.\n"
         "Flags are Google Benchmark's, among them:\n"
         "  --benchmark_filter=REGEX  --benchmark_list_tests=true  --benchmark_repetitions=N  "
         "--benchmark_min_time=SECONDS\n"
         "  --benchmark_format=console|json|csv  --benchmark_out=FILE  "
         "--benchmark_out_format=json|console|csv\n"
         "Exit status: 0 all was run; 1 a benchmark met an error; 2 a flag is unknown, or nothing has a name "
         "that the filter takes.";
}

int run_bench(const std::vector<std::string>& flags) {
  std::vector<std::string> words = {"quire bench"};
  words.insert(words.end(), flags.begin(), flags.end());
  std::vector<char*> argv;
  for (std::string& w : words) argv.push_back(w.data());
  argv.push_back(nullptr);
  int argc = static_cast<int>(words.size());
  benchmark::Initialize(&argc, argv.data());
  if (argc > 1)
    return refuse(fmt::format(
        "'{}': Google Benchmark has no such flag or value; `quire bench --help` names flags", argv[1]));
  const processor_list processors;
  processors.pin(processors.count() - 1);
  const runtime::simd before = runtime::chosen_simd();
  for (unsigned i = 0; i < runtime::simd_variants; ++i) {
    const auto v = static_cast<runtime::simd>(i);
    if (!runtime::simd_available(v)) continue;
    add_queue_benchmarks(v);
    add_commit_benchmarks(v);
    add_lookup_benchmarks(v);
    add_table_benchmarks(v);
    add_coalesce_benchmarks(v);
  }
  add_method_benchmarks();
  const std::size_t run = benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  runtime::choose_simd(before);
  return run > 0
             ? success
             : refuse("no benchmark has a name that the filter takes; --benchmark_list_tests=true lists all");
}

}  // namespace quire::perf
