// table_ops/... of bench.h: operations on the entries of one warm table.
#include <array>
#include <memory>

#include "perf/bench/bench.h"
#include "perf/bench/measured.h"
#include "runtime/table_ops.h"

namespace quire::perf {

namespace {

using runtime::table_ops;

constexpr std::uint32_t entries = 512;
constexpr std::uint64_t first_entry = 0x40000037,
                        entry_step = 0x1000;  // of EPT: present, write-back, 4 KiB apart
constexpr std::uint64_t W = arch::ept::W, A = arch::ept::A, D = arch::ept::D;

struct table {
  alignas(4096) std::array<std::uint64_t, entries> words{};
  std::array<std::uint64_t, entries> old{};
  std::array<std::uint32_t, entries> index{};

  void fill() {
    for (std::uint32_t i = 0; i < entries; ++i) words[i] = first_entry + i * entry_step;
  }
};

constexpr runtime::protect_rule write_protect = {.leaf = {7, 0, 0}, .keep = ~W};
constexpr runtime::harvest_rule harvest_both = {.leaf = {7, 0, 0}, .accessed = A, .dirty = D};

/// An operation that changes what it finds is paired with one that puts it back: a table alone is too short
/// to be timed without.
struct table_benchmark {
  const char* name;
  std::uint32_t operations;  ///< in one `run`
  void (*prepare)(table& t);
  void (*run)(const table_ops& ops, table& t);
};

const table_benchmark benchmarks[] = {
    {"table_ops/fill", 1, [](table& t) { t.fill(); },
     [](const table_ops& o, table& t) { o.fill(t.words.data(), entries, first_entry, entry_step); }},
    {"table_ops/fill_if_empty+take_run", 2, [](table& t) { t.words.fill(0); },
     [](const table_ops& o, table& t) {
       o.fill_if_empty(t.words.data(), entries, 0, first_entry, entry_step);
       o.take_run(t.words.data(), entries, entry_step, 0);
     }},
    {"table_ops/fill+take_any", 2, [](table& t) { t.fill(); },
     [](const table_ops& o, table& t) {
       o.fill(t.words.data(), entries, first_entry, entry_step);
       o.take_any(t.words.data(), entries, 0, 0, t.old.data());
     }},
    {"table_ops/fill+protect", 2, [](table& t) { t.fill(); },
     [](const table_ops& o, table& t) {
       o.fill(t.words.data(), entries, first_entry, entry_step);
       o.protect(t.words.data(), entries, write_protect);
     }},
    {"table_ops/first_not/all_equal", 1, [](table& t) { t.words.fill(0); },
     [](const table_ops& o, table& t) { benchmark::DoNotOptimize(o.first_not(t.words.data(), entries, 0)); }},
    {"table_ops/harvest_live/touched=0", 1, [](table& t) { t.fill(); },
     [](const table_ops& o, table& t) {
       o.harvest_live(t.words.data(), entries, harvest_both, t.index.data(), t.old.data());
     }},
    {"table_ops/harvest_live/touched=1%", 1, [](table& t) { t.fill(); },
     [](const table_ops& o, table& t) {
       for (std::uint32_t i = 50; i < entries; i += 100) t.words[i] |= A | D;
       o.harvest_live(t.words.data(), entries, harvest_both, t.index.data(), t.old.data());
     }},
};

}  // namespace

void add_table_benchmarks(runtime::simd v) {
  for (const table_benchmark& b : benchmarks) {
    add_benchmark(b.name, v, [&b, v](benchmark::State& state) {
      const table_ops& ops = runtime::table_ops_for(v, false);
      const auto t = std::make_unique<table>();
      b.prepare(*t);
      for (auto _ : state) {
        b.run(ops, *t);
        benchmark::ClobberMemory();
      }
      state.SetItemsProcessed(state.iterations() * entries * b.operations);
    });
  }
}

}  // namespace quire::perf
