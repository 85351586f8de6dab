// Updates of ranges that go on from table to table of level 0 without a walk.
#pragma once

#include "runtime/leaf_runs.h"

namespace quire::runtime {

/// Tables of level 0 under the table of level 1 that the path of a commit has, as far as they are held at once and their
/// leaves are alike: what update and format make of them is worked out once, and a table costs some 50 instructions besides
/// its entries. What is different the commit does, and may come back behind it.
template <class F>
class table_sweep {
 public:
  using word = typename F::word;
  using slot = arch::slot<F>;
  using kind = arch::entry_kind;

  table_sweep(const commit_context& c, entry_writer<F>& w, commit_path<F>& path, leaf_runs<F>& runs)
      : c_(c), reports_(c.cpu.memory->reports), f_(c.where.format<F>()), s_(c.where.shape), t_(c.host, c.where), w_(w), path_(path),
        runs_(runs), held_(c.owners, c.cpu.index) {
    const word varies = (f_.make_table({~std::uint64_t{s_.table_bytes[0] - 1}}, 1) ^ f_.make_table({0}, 1)) | f_.status_bits();
    link_mask_ = ~varies;
    link_ = f_.make_table({0}, 1) & link_mask_;
  }

  /// Does what `u` asks for from page `g` on, up to the page that it returns. In a phase.
  gfn run(const update& u, gfn g) {
    if (path_.lowest() > 1 || s_.top() == 0 || s_.group_bits[0] || path_[1].hidden) return g;
    if (path_[1].first != s_.table_first(g, 1)) return g;
    // What is held back in formats whose entries change by instruction is not in the tables yet.
    if (entry_writer<F>::instructed && !w_.detached(path_[1].table[s_.index(g, 1)])) return g;
    switch (u.kind.op()) {
      case operation::map: return map(u, g);
      case operation::unmap: return unmap(u, g);
      case operation::protect: return protect(u, g);
      case operation::harvest: return harvest(u, g);
    }
    return g;
  }

 private:
  static constexpr unsigned page_bits = F::base_shift - arch::page_shift;
  static constexpr unsigned table_bits = page_bits + F::index_bits(0);
  static constexpr unsigned frame_bits = 3 + F::index_bits(0);
  static constexpr std::uint32_t entries = 1u << F::index_bits(0);

  word link_in(slot at) const {
    if constexpr (entry_writer<F>::instructed) return w_.detached(at) ? f_.restored(at.load(), 1) : f_.empty(1);
    return at.load();
  }

  /// Calls `act(slot, index, page, n)` for the n pages of the update in each table. It returns how many of them it has done.
  template <class Act>
  gfn each_table(gfn g, gfn end, Act act) {
    const slot links = path_[1].table;
    const std::uint64_t first = path_[1].first.value, pages_under = s_.table_pages(1);
    while (g < end && g.value - first < pages_under) {
      const word link = link_in(links[static_cast<std::uint32_t>((g.value - first) >> table_bits)]);
      const table_address table = f_.table(link, 1);
      if ((link & link_mask_) != link_ || !held_(table, frame_bits)) break;
      const std::uint32_t i = static_cast<std::uint32_t>(g.value >> page_bits) & (entries - 1);
      const std::uint64_t left = (end - g) >> page_bits;
      const std::uint32_t n = left < entries - i ? static_cast<std::uint32_t>(left) : entries - i;
      const std::uint32_t done = act(t_.at(table)[i], i, g, n);
      g = g + (std::uint64_t{done} << page_bits);
      if (done < n) break;
    }
    return g;
  }

  gfn map(const update& u, gfn g) {
    const std::uint64_t distance = u.out.value - u.range.first.value;
    const bool larger = u.kind.leaf_level() > 0 && ((distance & (s_.slot_pages(1) - 1)) == 0);  // a leaf may take a table's place
    if (!w_.nothing_pending() || larger) return g;
    const leaf_line<F>& leaves = runs_.leaves_like(u.kind.attr());
    if (u.range.end().value + distance > leaves.below) return g;
    return each_table(g, u.range.end(), [&](slot at, std::uint32_t, gfn page, std::uint32_t n) {
      const word leaf = leaves.at(page.value + distance);
      const std::uint32_t done = w_.ops().fill_if_empty(at.address(), n, f_.empty(0), leaf, leaves.step << page_bits);
      c_.count.entries_written += done;
      return done;
    });
  }

  // Tables of which something is left, by what is next to the range: others may have to go.
  gfn unmap(const update& u, gfn g) {
    if (f_.status_bits()) return g;
    return each_table(g, u.range.end(), [&](slot at, std::uint32_t i, gfn page, std::uint32_t n) {
      const bool stays = (i + n < entries && at[n].load() != f_.empty(0)) || (i > 0 && slot(at.address() - 1).load() != f_.empty(0));
      const word e = at.load();
      if (!stays || f_.kind(e, 0) != kind::leaf || reports_.left() == 0) return std::uint32_t{0};
      if (n > 1 && !runs_.follows(at, e, 0)) return std::uint32_t{0};
      return runs_.take(at, e, 0, page, n);
    });
  }

  gfn protect(const update& u, gfn g) {
    const slot links = path_[1].table;
    const word link = link_in(links[s_.index(g, 1)]);
    if ((link & link_mask_) != link_) return g;
    const word e = t_.at(f_.table(link, 1))[s_.index(g, 0)].load();
    if (f_.kind(e, 0) != kind::leaf) return g;
    const access_change<F> c(f_, e, u.kind.attr().access, 0);
    if (!c.possible) return g;
    return each_table(g, u.range.end(), [&](slot at, std::uint32_t, gfn page, std::uint32_t n) {
      return runs_.change_access(c, at, 0, page, n);
    });
  }

  gfn harvest(const update& u, gfn g) {
    if (f_.status_bits() == 0) return g;
    const status_harvest<F> wanted(f_, u.kind.what(), 0);
    return each_table(g, u.range.end(), [&](slot at, std::uint32_t, gfn page, std::uint32_t n) {
      std::uint32_t done = 0;
      while (done < n && reports_.left() > 0) {
        done += runs_.take_status(wanted, at[done], 0, page + (std::uint64_t{done} << page_bits), n - done);
      }
      return done;
    });
  }

  const commit_context& c_;
  report_queue& reports_;
  const F& f_;
  const geometry& s_;
  const tables<F> t_;
  entry_writer<F>& w_;
  commit_path<F>& path_;
  leaf_runs<F>& runs_;
  const owner_words::held_by held_;
  word link_mask_, link_;  // what entries that link tables of level 0 have in common, under that mask
};

}  // namespace quire::runtime
