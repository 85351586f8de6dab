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
    std::vector<bulk_piece>& all = lone_.front();
    if (!all.empty() && all.back().extent == p.extent && all.back().range.end() == p.range.first) {
      all.back().range.pages += p.range.pages;
    } else {
      all.push_back(p);
    }
  }

  /// Cuts `p` at the ends of units; in ascending order.
  /// @param first_leaf  gives the size, in pages, of the first leaf of a piece: what has to link the unit's
  /// table. Null:
  ///                    the tables are there
  template <class FirstLeaf>
  void add(bulk_piece p, FirstLeaf first_leaf) {
    while (p.range.pages > 0) {
      const std::uint64_t inside = std::min(unit_end(p.range.first) - p.range.first, p.range.pages);
      bulk_piece part = split(p, inside);
      const gfn unit = unit_first(part.range.first);
      const unsigned w = worker_of(unit.value >> (s_.shift[level_] + s_.index_bits[level_]), workers_);
      std::vector<open_unit>& own = shared_[w];
      if (own.empty() || own.back().first != unit) {
        own.push_back({unit, {}});
        if (const std::uint64_t pages = first_leaf(part); pages > 0) lone_[w].push_back(split(part, pages));
      }
      if (part.range.pages > 0) own.back().pieces.push_back(part);
    }
  }

  void finish(bulk_division& p) {
    for (const std::vector<bulk_piece>& all : lone_) p.lone.push_back(put(p, all));
    for (const std::vector<open_unit>& own : shared_) {
      p.shares.push_back(static_cast<std::uint32_t>(p.units.size()));
      for (const open_unit& u : own) p.units.push_back(put(p, u.pieces));
    }
    p.shares.push_back(static_cast<std::uint32_t>(p.units.size()));
    p.left.reserve(p.pieces.size());
  }

 private:
  struct open_unit {
    gfn first;
    std::vector<bulk_piece> pieces;
  };

  // Takes so many pages off the front of `p`.
  static bulk_piece split(bulk_piece& p, std::uint64_t pages) {
    const bulk_piece front{{p.range.first, pages}, p.out, p.extent};
    p.range = {p.range.first + pages, p.range.pages - pages};
    p.out = p.out + pages;
    return front;
  }
  static bulk_unit put(bulk_division& p, const std::vector<bulk_piece>& pieces) {
    const auto first = static_cast<std::uint32_t>(p.pieces.size());
    p.pieces.insert(p.pieces.end(), pieces.begin(), pieces.end());
    return {first, static_cast<std::uint32_t>(p.pieces.size()), 0};
  }

  const geometry& s_;
  const unsigned level_;
  const unsigned workers_;
  std::vector<std::vector<bulk_piece>> lone_;   // by worker
  std::vector<std::vector<open_unit>> shared_;  // by worker
};

// Pages of the leaf, or group of leaves, that a map puts at the front of `p`.
std::uint64_t first_leaf_pages(const geometry& s, const bulk_piece& p, unsigned cap) {
  unsigned level = cap;
  const auto fits = [&](std::uint64_t pages) {
    return ((p.range.first.value | p.out.value) & (pages - 1)) == 0 && pages <= p.range.pages;
  };
  while (level > 0 && !(s.leaf[level] && fits(s.slot_pages(level)))) --level;
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

void bulk_division::find_left() {
  left.clear();
  const auto add = [this](const bulk_unit& u) {
    for (std::uint32_t i = u.first + u.done; i < u.end; ++i) left.push_back(pieces[i].range);
  };
  for (const bulk_unit& u : lone) add(u);
  for (const bulk_unit& u : units) add(u);
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
    cut_extent(s, extents[i], static_cast<std::uint32_t>(i), c);
  }
  c.finish(p);
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
    look.cut.add({{from, g - from}, {}, 0}, [](const bulk_piece&) { return std::uint64_t{0}; });
  }
  look.cut.finish(p);
  return status::ok;
}

}  // namespace quire::runtime::host
