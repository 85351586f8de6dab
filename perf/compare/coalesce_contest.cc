// Lanes of coalesce_contest.h.
#include "perf/compare/coalesce_contest.h"

#include <fmt/format.h>

#include "perf/coalesce_methods.h"
#include "perf/compare/coalesce_batch.h"
#include "perf/compare/section_times.h"
#include "perf/scale_clock.h"

namespace quire::perf {

namespace {

using ranges = std::vector<arch::gfn_range>;

template <class Run>
ranges result_of(coalesce_batch& batch, Run run) {
  batch.restore();
  const auto found = batch.run(run);
  return {found.begin(), found.end()};
}

/// What std::sort and a scan make of the batch is right.
template <class Run>
lane make_lane(const std::string& operation, std::string column, std::shared_ptr<coalesce_batch> batch,
               Run run, bool inject) {
  lane l;
  l.column = std::move(column);
  l.check = [=](lane& own) -> std::string {
    const ranges right = result_of(*batch, coalesce_methods().front().run);
    ranges found = result_of(*batch, run);
    if (inject) ++found.front().pages;
    if (found == right) return {};
    return fmt::format("{}, {}: {} ranges that are not the {} right ones", operation, own.column,
                       found.size(), right.size());
  };
  l.run = [=] {
    section_times times;
    for (unsigned i = 0; i < 3; ++i) {
      batch->restore();
      const std::uint64_t from = now_ns();
      batch->run(run);
      times.add(now_ns() - from, batch->pages());
    }
    return times.median();
  };
  return l;
}

}  // namespace

std::string coalesce_operation(coalesce_shape s, std::size_t n) {
  return fmt::format("coalesce_{}_{}", n, coalesce_shape_text(s));
}

contest make_coalesce(coalesce_shape s, std::size_t n, const injection& inject) {
  contest c;
  c.operation = coalesce_operation(s, n);
  c.pages = n;
  c.formats = {"any"};
  c.limit_is_best_method = true;
  const auto batch = std::make_shared<coalesce_batch>(s, n);
  const auto own = [](std::span<std::uint64_t> pages, std::span<arch::gfn_range> out,
                      std::span<std::byte> scratch) { return runtime::coalesce_pages(pages, out, scratch); };
  c.lanes.push_back(make_lane(c.operation, "lazy", batch, own, inject.column == "lazy"));
  for (const coalesce_method& m : coalesce_methods()) {
    if (!m.applies(s, n)) continue;
    const bool first = &m == &coalesce_methods().front();
    c.lanes.push_back(make_lane(c.operation, first ? "std_sort" : m.name, batch, m.run, false));
  }
  return c;
}

}  // namespace quire::perf
