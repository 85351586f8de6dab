// Measuring of contest.h.
#include "perf/compare/contest.h"

#include <algorithm>
#include <utility>

#include "perf/progress.h"

namespace quire::perf {

namespace {

// Makes a limit of the method that was best.
void add_best_method(contest& c) {
  const lane* best = nullptr;
  for (const lane& l : c.lanes) {
    if (l.column != "lazy" && (!best || l.median() < best->median())) best = &l;
  }
  lane limit = *best;
  limit.method = std::exchange(limit.column, "limit");
  c.lanes.push_back(std::move(limit));
}

}  // namespace

double lane::median() const {
  std::vector<double> all = ns;
  const auto middle = all.begin() + static_cast<std::ptrdiff_t>(all.size() / 2);
  std::nth_element(all.begin(), middle, all.end());
  if (all.size() % 2 == 1) return *middle;
  return (*middle + *std::max_element(all.begin(), middle)) / 2;
}

std::string measure(contest& c, std::uint64_t repeats) {
  progress_line line(c.operation + ": step");
  std::uint64_t done = 0;
  const std::uint64_t all = (repeats + 1) * c.lanes.size();
  for (lane& l : c.lanes) {
    if (std::string wrong = l.check(l); !wrong.empty()) return wrong;
    line.show(++done, all);
  }
  for (std::uint64_t r = 0; r < repeats; ++r) {
    for (lane& l : c.lanes) {
      l.ns.push_back(l.run());
      line.show(++done, all);
    }
  }
  // What a lane holds is not needed any more; the next contest wants the memory.
  for (lane& l : c.lanes) l.check = nullptr, l.run = nullptr;
  if (c.limit_is_best_method) add_best_method(c);
  return {};
}

}  // namespace quire::perf
