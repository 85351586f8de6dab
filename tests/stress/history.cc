// Searching for a legal order, see history.h.
#include "tests/stress/history.h"

#include <algorithm>

namespace quire::tests {

std::string describe(const deed& d) {
  constexpr const char* names[] = {"map",     "map_keep_present", "unmap", "protect",
                                   "harvest", "harvest+protect",  "drain"};
  const auto number = [](std::uint64_t n) { return std::to_string(n); };
  std::string text = "  [" + number(d.called) + ", " + number(d.queued) + ", " +
                     (d.done == deed::pending ? "pending" : number(d.done)) + "] cpu " + number(d.cpu) +
                     ": " + names[static_cast<unsigned>(d.what)] + " " + number(d.range.first.value) + "+" +
                     number(d.range.pages);
  if (d.what <= deed::kind::keep) text += " to " + number(d.out.value);
  if (includes(d.access, perm::w)) text += " writable";
  if (d.guarded) text += " guarded";
  return text + "\n";
}

page_history::page_history(std::span<const deeds* const> threads, gfn page, const page_state& first)
    : first_(first), threads_(threads.size()) {
  std::vector<const deed*> drains;
  for (const deeds* t : threads) {
    for (const deed& d : *t) {
      if (d.what == deed::kind::drain && d.done != deed::pending) drains.push_back(&d);
    }
  }
  for (unsigned i = 0; i < threads.size(); ++i) {
    for (const deed& d : *threads[i]) {
      if (d.what == deed::kind::drain || !d.range.contains(page)) continue;
      act a{d, i, d.out + (page - d.range.first)};
      for (const deed* drain : drains) {  // what was queued before a drain was called is done when that is
        if (d.queued < drain->called && drain->range.overlaps(d.range))
          a.what.done = std::min(a.what.done, drain->done);
      }
      threads_[i].push_back(a);
    }
  }
}

bool page_history::explains(const page_state& last) {
  failed_.clear();
  counts left;
  for (const auto& t : threads_) left.push_back(t.size());
  const std::optional<perm> access = last.present ? std::optional(last.access) : std::nullopt;
  return possible(left, {last.present, last.present ? last.out : hfn{}, access});
}

bool page_history::may_be_last(const counts& left, unsigned thread) const {
  if (left[thread] == 0) return false;
  const act& a = threads_[thread][left[thread] - 1];
  for (unsigned i = 0; i < threads_.size(); ++i) {
    if (i != thread && left[i] > 0 && before(a, threads_[i][left[i] - 1])) return false;
  }
  return true;
}

// True if what is left can end as `w` asks.
bool page_history::possible(counts& left, const wish& w) {
  if (std::all_of(left.begin(), left.end(), [](std::size_t n) { return n == 0; })) {
    return w.present == first_.present &&
           (!w.present || (w.out == first_.out && (!w.access || *w.access == first_.access)));
  }
  if (failed_.contains({left, w})) return false;
  for (unsigned i = 0; i < threads_.size(); ++i) {
    if (!may_be_last(left, i)) continue;
    const act& last = threads_[i][--left[i]];
    const bool found = undo(last, left, w);
    ++left[i];
    if (found) return true;
  }
  failed_.insert({left, w});
  return false;
}

// True if `w` can come out when `last` comes after what is left.
bool page_history::undo(const act& last, counts& left, const wish& w) {
  const deed& d = last.what;
  const bool as_mapped = w.present && w.out == last.out && (!w.access || *w.access == d.access);
  switch (d.what) {
    case deed::kind::unmap:
      return !w.present;
    case deed::kind::map:
      return as_mapped || (d.guarded && possible(left, w));
    case deed::kind::keep:
      if (as_mapped && possible(left, {false, {}, {}})) return true;
      return (w.present || d.guarded) && possible(left, w);
    case deed::kind::protect:
      if (!w.present) return possible(left, w);
      return (!w.access || *w.access == d.access) && possible(left, {true, w.out, {}});
    case deed::kind::harvest_protect:
      if (possible(left, w)) return true;
      return w.present && w.access && !includes(*w.access, perm::w) &&
             possible(left, {true, w.out, *w.access | perm::w});
    default:
      return possible(left, w);
  }
}

// True if another update certainly came between `a` (null: the beginning) and the sighting.
bool page_history::overwritten(const act* a, const sighting& s) const {
  for (const auto& t : threads_) {
    for (const act& b : t) {
      if (b.what.total() && b.what.done < s.called && (!a || before(*a, b))) return true;
    }
  }
  return false;
}

bool page_history::explains(const sighting& s) const {
  const bool as_first = s.seen.present == first_.present && (!s.seen.present || s.seen.out == first_.out);
  if (as_first && !overwritten(nullptr, s)) return true;
  for (const auto& t : threads_) {
    for (const act& a : t) {
      const bool maps = a.what.what <= deed::kind::keep;
      const bool same = s.seen.present ? maps && a.out == s.seen.out : a.what.what == deed::kind::unmap;
      if (same && a.what.called < s.done && !overwritten(&a, s)) return true;
    }
  }
  return false;
}

}  // namespace quire::tests
