// `quire bench`: micro-benchmarks by Google Benchmark, with its flags, its table and its JSON.
#pragma once

#include <string>
#include <vector>

#include "runtime/simd.h"

namespace quire::perf {

/// Registers and runs; `flags` are those of Google Benchmark. Returns an exit_status.
int run_bench(const std::vector<std::string>& flags);
/// What --help says behind the options.
std::string bench_explanation();

// Names are paths: what is measured, how its input looks, size, variant. Each function registers one family
// for variant `v`, which is available.
void add_commit_benchmarks(runtime::simd v);
void add_queue_benchmarks(runtime::simd v);
void add_lookup_benchmarks(runtime::simd v);
void add_table_benchmarks(runtime::simd v);
void add_coalesce_benchmarks(runtime::simd v);
/// Coalescing by single methods, for which there is no choice.
void add_method_benchmarks();

}  // namespace quire::perf
