// Cutting and joining runs of oracle.h.
#include "tests/support/oracle.h"

#include <algorithm>

namespace quire::tests {

void join(std::vector<page_run>& runs, const page_run& r) {
  const bool follows = !runs.empty() && runs.back().range.end() == r.range.first &&
                       runs.back().out + runs.back().range.pages == r.out && runs.back().attr == r.attr;
  if (follows) {
    runs.back().range.pages += r.range.pages;
  } else {
    runs.push_back(r);
  }
}

// Makes `g` the first page of a run, if a run holds it.
void oracle::cut(gfn g) {
  const auto at = runs_.upper_bound(g);
  if (at == runs_.begin()) return;
  page_run& whole = std::prev(at)->second;
  if (whole.range.first == g || whole.range.end() <= g) return;
  const std::uint64_t kept = g - whole.range.first;
  runs_.emplace_hint(at, g, page_run{{g, whole.range.pages - kept}, whole.out + kept, whole.attr});
  whole.range.pages = kept;
}

void oracle::map(const page_run& r, bool keep_present) {
  if (!keep_present) {
    unmap(r.range);
    runs_.emplace(r.range.first, r);
    return;
  }
  gfn g = r.range.first;
  while (g < r.range.end()) {
    const auto next = runs_.upper_bound(g);
    if (next != runs_.begin() && g < std::prev(next)->second.range.end()) {
      g = std::prev(next)->second.range.end();
      continue;
    }
    const gfn end = next == runs_.end() ? r.range.end() : std::min(next->first, r.range.end());
    runs_.emplace_hint(next, g, page_run{{g, end - g}, r.out + (g - r.range.first), r.attr});
    g = end;
  }
}

void oracle::unmap(gfn_range r) {
  cut(r.first);
  cut(r.end());
  runs_.erase(runs_.lower_bound(r.first), runs_.lower_bound(r.end()));
}

void oracle::protect(gfn_range r, perm access) {
  cut(r.first);
  cut(r.end());
  for (auto at = runs_.lower_bound(r.first); at != runs_.end() && at->first < r.end(); ++at) {
    at->second.attr.access = access;
  }
}

void oracle::narrow(gfn_range r, perm lost) {
  cut(r.first);
  cut(r.end());
  for (auto at = runs_.lower_bound(r.first); at != runs_.end() && at->first < r.end(); ++at) {
    perm& access = at->second.attr.access;
    access = static_cast<perm>(static_cast<unsigned>(access) & ~static_cast<unsigned>(lost));
  }
}

std::optional<page_run> oracle::find(gfn g) const {
  const auto next = runs_.upper_bound(g);
  if (next == runs_.begin()) return {};
  const page_run& r = std::prev(next)->second;
  return r.range.contains(g) ? std::optional(r) : std::nullopt;
}

std::vector<page_run> oracle::runs() const {
  std::vector<page_run> all;
  for (const auto& [first, run] : runs_) join(all, run);
  return all;
}

void page_set::add(gfn_range r) {
  gfn first = r.first;
  gfn end = r.end();
  auto at = end_by_first_.upper_bound(first);
  if (at != end_by_first_.begin() && std::prev(at)->second >= first) --at;
  while (at != end_by_first_.end() && at->first <= end) {
    first = std::min(first, at->first);
    end = std::max(end, at->second);
    at = end_by_first_.erase(at);
  }
  end_by_first_.emplace(first, end);
}

void page_set::remove(gfn_range r) {
  auto at = end_by_first_.upper_bound(r.first);
  if (at != end_by_first_.begin() && std::prev(at)->second > r.first) --at;
  while (at != end_by_first_.end() && at->first < r.end()) {
    const auto [first, end] = *at;
    at = end_by_first_.erase(at);
    if (first < r.first) end_by_first_.emplace(first, r.first);
    if (end > r.end()) end_by_first_.emplace(r.end(), end);
  }
}

std::uint64_t page_set::pages_in(gfn_range r) const {
  std::uint64_t pages = 0;
  auto at = end_by_first_.upper_bound(r.first);
  if (at != end_by_first_.begin() && std::prev(at)->second > r.first) --at;
  for (; at != end_by_first_.end() && at->first < r.end(); ++at) {
    pages += std::min(at->second, r.end()) - std::max(at->first, r.first);
  }
  return pages;
}

std::vector<gfn_range> page_set::ranges() const {
  std::vector<gfn_range> all;
  for (const auto& [first, end] : end_by_first_) all.push_back({first, end - first});
  return all;
}

}  // namespace quire::tests
