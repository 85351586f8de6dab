// commit/... and lookup/... of bench.h: passes over pages of one EPT space.
#include <fmt/format.h>

#include "perf/bench/bench.h"
#include "perf/bench/measured.h"
#include "perf/compare/pages.h"

namespace quire::perf {

namespace {

constexpr std::uint64_t pass_pages = 65536;

enum class update : std::uint8_t { map, unmap, protect };
constexpr const char* update_names[] = {"map", "unmap", "protect"};
enum class order : std::uint8_t { seq, range, random };
constexpr const char* order_names[] = {"seq", "range", "random"};

struct commit_benchmark {
  update what;
  order how;
  bool sparse;
  std::uint64_t batch;

  std::string name() const {
    return fmt::format("commit/{}/{}/space={}/batch={}", update_names[static_cast<unsigned>(what)],
                       order_names[static_cast<unsigned>(how)], sparse ? "64g" : "1g", batch);
  }
};

bool update_pages(quire_tables& t, const commit_benchmark& b, const working_set& w) {
  const page_list& pages = b.how == order::random ? w.shuffled.pages : w.ordered;
  const bool one_call = b.how == order::range;
  switch (b.what) {
    case update::map:
      return one_call ? t.map_range(w.first(), w.pages()) : t.map_each(pages);
    case update::unmap:
      return one_call ? t.unmap_tables(w.first(), w.pages()) : t.unmap_each(pages);
    case update::protect:
      return one_call ? t.protect_range(w.first(), w.pages()) : t.protect_each(pages);
  }
  return false;
}

// Brings all pages to the state that the update starts from.
bool prepare(quire_tables& t, const commit_benchmark& b, const working_set& w) {
  if (b.what == update::map) return t.clear() && t.map_each(w.kept);
  return t.map_each(w.shuffled.pages) && t.unprotect_range(w.first(), w.ordered.back() - w.first() + 1);
}

void run_commit(benchmark::State& state, const commit_benchmark& b) {
  // In random order tables stay, as far as all pages lie in one range.
  const layout l = b.sparse ? layout::sparse : b.how == order::random ? layout::kept : layout::dense;
  const working_set w = make_working_set(l, pass_pages, table_words);
  quire_tables t(arch::ept{}, update_mode::lazy, false,
                 table_memory(pass_pages, b.sparse ? sparse_pages : 2 * pass_pages));
  t.set_section_updates(b.batch);
  measure(
      state, pass_pages, [&] { return prepare(t, b, w); }, [&] { return update_pages(t, b, w); });
}

void run_lookup(benchmark::State& state, bool sparse) {
  const working_set w = make_working_set(sparse ? layout::sparse : layout::dense, pass_pages, table_words);
  quire_tables t(arch::ept{}, update_mode::lazy, false,
                 table_memory(pass_pages, sparse ? sparse_pages : pass_pages));
  page_list frames(pass_pages);
  if (!t.map_each(w.ordered)) return state.SkipWithError("the pages cannot be mapped");
  measure(
      state, pass_pages, [] { return true; }, [&] { return t.look_up(w.shuffled.pages, frames); });
}

}  // namespace

void add_commit_benchmarks(runtime::simd v) {
  for (const update what : {update::map, update::unmap, update::protect}) {
    for (const order how : {order::seq, order::range, order::random}) {
      for (const bool sparse : {false, true}) {
        if (sparse && how != order::random) continue;
        for (const std::uint64_t batch : {64u, 512u}) {
          if (how == order::range && batch != 512) continue;  // one update
          const commit_benchmark b{what, how, sparse, how == order::range ? 1 : batch};
          add_benchmark(b.name(), v, [b](benchmark::State& state) { run_commit(state, b); });
        }
      }
    }
  }
}

void add_lookup_benchmarks(runtime::simd v) {
  for (const bool sparse : {false, true}) {
    add_benchmark(fmt::format("lookup/random/space={}/batch={}", sparse ? "64g" : "1g", lookup_batch), v,
                  [sparse](benchmark::State& state) { run_lookup(state, sparse); });
  }
}

}  // namespace quire::perf
