// append/... and enter_leave/... of bench.h.
#include "perf/bench/bench.h"
#include "perf/bench/measured.h"
#include "perf/compare/pages.h"

namespace quire::perf {

namespace {

using runtime::gfn;
using runtime::hfn;
using runtime::status;

// One iteration queues what a section takes at the most; the section is left while nobody measures.
void run_append(benchmark::State& state) {
  quire_tables t(arch::ept{}, update_mode::lazy, false, table_memory(section_updates, 4096));
  const working_set w = make_working_set(layout::kept, section_updates, table_words);
  t.map_each(w.kept);
  runtime::machine& m = t.machine();
  runtime::lazy_state* section = nullptr;
  const auto prepare = [&] {
    if (section && m.leave(section) != status::ok) return false;
    if (!t.unmap_pieces(w.pieces)) return false;
    section = m.enter(0, t.space());
    return section != nullptr;
  };
  measure(state, section_updates, prepare, [&] {
    bool good = true;
    for (const std::uint64_t p : w.shuffled.pages) {
      good &= m.map(section, {gfn{p}, 1}, hfn{p + frame_distance}, quire_tables::access, 0) == status::ok;
    }
    return good;
  });
  if (section && m.leave(section) != status::ok) state.SkipWithError("the section cannot be left");
}

void run_enter_leave(benchmark::State& state) {
  constexpr std::uint64_t sections = 1000;  // per iteration
  quire_tables t(arch::ept{}, update_mode::lazy, false, table_memory(1, 512));
  runtime::machine& m = t.machine();
  measure(
      state, sections, [] { return true; },
      [&] {
        bool good = true;
        for (std::uint64_t i = 0; i < sections; ++i) good &= m.leave(m.enter(0, t.space())) == status::ok;
        return good;
      });
}

}  // namespace

void add_queue_benchmarks(runtime::simd v) {
  add_benchmark("append", v, run_append);
  add_benchmark("enter_leave", v, run_enter_leave);
}

}  // namespace quire::perf
