// What a space maps, as the simplest data structure that can say it: the oracle of random tests.
#pragma once

#include <map>
#include <optional>
#include <vector>

#include "runtime/backend.h"

namespace quire::tests {

using arch::attributes;
using arch::gfn;
using arch::gfn_range;
using arch::hfn;
using arch::perm;

/// A run of pages that follow each other on both sides.
struct page_run {
  gfn_range range;
  hfn out;
  attributes attr;
  friend bool operator==(const page_run&, const page_run&) = default;
};

/// Appends `r` to runs in ascending order, joined with the last one where it continues it.
void join(std::vector<page_run>& runs, const page_run& r);

/// Runs by their first page. Every function takes effect at once, in order.
class oracle {
 public:
  void map(const page_run& r, bool keep_present);
  void unmap(gfn_range r);
  void protect(gfn_range r, perm access);
  /// Takes `lost` from the access of the pages.
  void narrow(gfn_range r, perm lost);
  /// The run that holds `g`; none for a hole.
  std::optional<page_run> find(gfn g) const;
  /// Everything, in ascending order, joined.
  std::vector<page_run> runs() const;

 private:
  void cut(gfn g);

  std::map<gfn, page_run> runs_;
};

/// A set of pages, as disjoint ranges.
class page_set {
 public:
  void add(gfn_range r);
  void remove(gfn_range r);
  /// How many pages of `r` are in the set.
  std::uint64_t pages_in(gfn_range r) const;
  /// In ascending order, none touching.
  std::vector<gfn_range> ranges() const;
  bool contains(gfn g) const { return pages_in({g, 1}) == 1; }
  friend bool operator==(const page_set& a, const page_set& b) { return a.end_by_first_ == b.end_by_first_; }

 private:
  std::map<gfn, gfn> end_by_first_;  // never touching
};

}  // namespace quire::tests
