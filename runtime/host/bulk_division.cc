// The cuts of bulk_division.h.
#include "runtime/host/bulk_division.h"

#include <algorithm>

namespace quire::runtime::host {

namespace {

// Spreads neighbours, and places any fixed distance apart, evenly over the workers.
unsigned worker_of(std::uint64_t table, unsigned workers) {
  const std::uint64_t spread = table * 0x9e3779b97f4a7c15u >> 32;
  return static_cast<unsigned>(spread * workers >> 32);
}

class cutter {
 public:
  cutter(const space& s, unsigned workers)
      : s_(s.shape),
        level_(bulk_division::level_of(s.shape)),
        workers_(workers),
        lone_(workers),
        shared_(workers) {}

  unsigned level() const { return level_; }
  gfn unit_first(gfn g) const { return s_.table_first(g, level_); }
  gfn unit_end(gfn g) const { return unit_first(g) + s_.table_pages(level_); }

  /// In ascending order.
  void add_above_units(const bulk_piece& p) {
    std::vector<bulk_piece>& all = lone_.front().pieces;
    if (!all.empty() && all.back().extent == p.extent && all.back().range.end() == p.range.first) {
      all.back().range.pages += p.range.pages;
    } else {
      all.push_back(p);
    }
  }

  /// Adds an extent that lies in the newest unit, as most do. False: it does not.
  bool extend(gfn_range r, std::uint32_t extent) {
    if (r.end() > open_end_) return false;
    open_->end = extent + 1;
    return true;
  }
  /// Cuts `p`, of an extent, at the ends of units; in ascending order.
  /// @param first_leaf  gives the size, in pages, of the first leaf of a piece: what has to link the unit's table
  template <class FirstLeaf>
  void add(bulk_piece p, FirstLeaf first_leaf) {
    while (p.range.pages > 0) {
      if (extend(p.range, p.extent)) return;
      if (p.range.first < open_end_) {
        open_->end = p.extent + 1;
        split(p, open_end_ - p.range.first);
      } else {
        open_unit(p, first_leaf(p));
      }
    }
  }

  /// Part of a range in one unit, whose table is there.
  void add(gfn_range r) { units_of(r.first).push_back({r, 0, 1, 0}); }

  void finish(bulk_division& p) {
    std::size_t most_left = 0;
    for (const bulk_division::lone_pieces& l : lone_) most_left += l.pieces.size();
    p.lone = std::move(lone_);
    for (const std::vector<bulk_unit>& own : shared_) {
      p.shares.push_back(static_cast<std::uint32_t>(p.units.size()));
      p.units.insert(p.units.end(), own.begin(), own.end());
    }
    p.shares.push_back(static_cast<std::uint32_t>(p.units.size()));
    for (const bulk_unit& u : p.units) most_left += u.end - u.first;
    p.left.reserve(most_left);
  }

 private:
  unsigned worker_at(gfn g) const {
    return worker_of(g.value >> (s_.shift[level_] + s_.index_bits[level_]), workers_);
  }
  std::vector<bulk_unit>& units_of(gfn g) { return shared_[worker_at(g)]; }

  // The unit that `p` begins in, whose table so many pages at its front link: they are taken off.
  void open_unit(bulk_piece& p, std::uint64_t linking) {
    open_end_ = unit_end(p.range.first);
    std::vector<bulk_unit>& own = units_of(p.range.first);
    lone_[worker_at(p.range.first)].pieces.push_back(split(p, linking));
    const std::uint32_t first = p.extent + (p.range.pages == 0);
    own.push_back({{p.range.first, open_end_ - p.range.first}, first, first, 0});
    open_ = &own.back();
  }

  // Takes so many pages off the front of `p`.
  static bulk_piece split(bulk_piece& p, std::uint64_t pages) {
    const bulk_piece front{{p.range.first, pages}, p.out, p.extent};
    p.range = {p.range.first + pages, p.range.pages - pages};
    p.out = p.out + pages;
    return front;
  }

  const geometry& s_;
  const unsigned level_;
  const unsigned workers_;
  std::vector<bulk_division::lone_pieces> lone_;  // by worker
  std::vector<std::vector<bulk_unit>> shared_;    // by worker
  bulk_unit* open_ = nullptr;  // the newest
  gfn open_end_{0};            // of its table
};

// Pages of the leaf, or group of leaves, that a map puts at the front of `p`; those of a whole table of level 0 if it fills
// one, which costs no more than to clear it.
std::uint64_t first_leaf_pages(const geometry& s, const bulk_piece& p, unsigned cap) {
  unsigned level = cap;
  const auto fits = [&](std::uint64_t pages) {
    return ((p.range.first.value | p.out.value) & (pages - 1)) == 0 && pages <= p.range.pages;
  };
  while (level > 0 && !(s.leaf[level] && fits(s.slot_pages(level)))) --level;
  const std::uint64_t table = s.table_pages(0);
  if (level == 0 && bulk_division::level_of(s) > 0 && (p.range.first.value & (table - 1)) == 0 && table <= p.range.pages) return table;
  const std::uint64_t group = s.slot_pages(level) << s.group_bits[level];
  return fits(group) ? group : std::min(s.slot_pages(level), p.range.pages);
}

// The largest leaf level that machine::map() would allow.
unsigned cap_of(const space& s, const bulk_extent& e) {
  if (e.attr.options & s.shape.level0_options) return 0;
  return std::min(e.max_leaf_level, s.options.max_leaf_level);
}

void cut_extent(const space& s, const bulk_extent& e, std::uint32_t index, cutter& c) {
  const unsigned cap = cap_of(s, e);
  const auto first_leaf = [&](const bulk_piece& p) {
    return first_leaf_pages(s.shape, p, std::min(cap, c.level()));
  };
  const auto part = [&](gfn from, gfn to) {
    return bulk_piece{{from, to - from}, e.out + (from - e.range.first), index};
  };
  gfn above = e.range.end();  // where leaves larger than a unit begin and end
  gfn below = above;
  if (largest_leaf(s.shape, e.range, e.out, cap) > c.level()) {
    above = c.unit_first(e.range.first) == e.range.first ? e.range.first : c.unit_end(e.range.first);
    below = c.unit_first(e.range.end());
  }
  c.add(part(e.range.first, above), first_leaf);
  if (above < below) c.add_above_units(part(above, below));
  c.add(part(below, e.range.end()), first_leaf);
}

}  // namespace

unsigned bulk_division::level_of(const geometry& s) {
  unsigned level = 0;
  while (level + 1 < s.top() && s.table_pages(level + 1) <= unit_pages) ++level;
  return level;
}

bulk_piece bulk_division::piece(const bulk_unit& u, std::uint32_t i) const {
  if (extents.empty()) return {u.range, {}, 0};
  const bulk_extent& e = extents[u.first + i];
  const gfn from = std::max(e.range.first, u.range.first), to = std::min(e.range.end(), u.range.end());
  return {{from, to - from}, e.out + (from - e.range.first), u.first + i};
}

void bulk_division::find_left() {
  left.clear();
  for (const lone_pieces& l : lone) {
    for (std::uint32_t i = l.done; i < l.pieces.size(); ++i) left.push_back(l.pieces[i].range);
  }
  for (const bulk_unit& u : units) {
    for (std::uint32_t i = u.done; i < u.end - u.first; ++i) left.push_back(piece(u, i).range);
  }
  std::sort(left.begin(), left.end(),
            [](const gfn_range& a, const gfn_range& b) { return a.first < b.first; });
  std::size_t n = 0;
  for (const gfn_range& r : left) {
    if (n > 0 && left[n - 1].end() == r.first) {
      left[n - 1].pages += r.pages;
    } else {
      left[n++] = r;
    }
  }
  left.resize(n);
}

status divide_extents(const space& s, std::span<const bulk_extent> extents, unsigned workers,
                      bulk_division& p) {
  cutter c(s, workers);
  gfn behind{0};
  for (std::size_t i = 0; i < extents.size(); ++i) {
    const gfn_range r = extents[i].range;
    if (r.pages == 0 || r.first < behind || !s.shape.holds(r)) return status::bad_range;
    behind = r.end();
    const auto index = static_cast<std::uint32_t>(i);
    if (!c.extend(r, index)) cut_extent(s, extents[i], index, c);
  }
  c.finish(p);
  p.extents = extents;
  return status::ok;
}

status divide_range(machine& m, lazy_state* l, const space& s, gfn_range r, unsigned workers,
                    bulk_division& p) {
  if (r.pages == 0 || !s.shape.holds(r)) return status::bad_range;
  struct search {
    cutter cut;
    bool found;  // a leaf inside a unit
    gfn at;      // where it is
  } look{cutter(s, workers), true, r.first};
  const auto visit = [](void* context, const mapping& leaf) {
    auto& to = *static_cast<search*>(context);
    to.found = leaf.level <= to.cut.level();
    to.at = leaf.range.first;
    if (!to.found) to.cut.add_above_units({leaf.range, {}, 0});
    return !to.found;
  };
  for (gfn g = r.first; g < r.end() && look.found;) {
    look.found = false;
    if (const status failed = m.for_each(l, {g, r.end() - g}, visit, &look);
        failed != status::ok && failed != status::stopped) {
      return failed;
    }
    if (!look.found) break;
    const gfn from = std::max(look.cut.unit_first(look.at), r.first);
    g = std::min(look.cut.unit_end(look.at), r.end());
    look.cut.add({from, g - from});
  }
  look.cut.finish(p);
  return status::ok;
}

}  // namespace quire::runtime::host
