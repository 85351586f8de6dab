// Commit: applies a batch to the tables of one format, in the order break, flush, make, free.
#pragma once

#include "runtime/leaf_groups.h"
#include "runtime/settlement.h"
#include "runtime/single_leaves.h"
#include "runtime/table_detacher.h"
#include "runtime/table_sweep.h"

namespace quire::runtime {

/// One commit, of any number of phases. Keeps the path of the previous walk and climbs only as far as the next page
/// demands. Where it meets a table that another cpu may be changing, it completes what it has done, waits while it holds
/// nothing, and goes on: so commits never wait for each other in a circle.
template <class F>
class committer {
 public:
  using word = typename F::word;
  using slot = arch::slot<F>;
  using kind = arch::entry_kind;

  explicit committer(const commit_context& c)
      : c_(c), m_(*c.cpu.memory), f_(c.where.format<F>()), s_(c.where.shape), t_(c.host, c.where), w_(c), path_(c, w_), groups_(c, w_, path_), runs_(c, w_, path_), singles_(c, w_, path_, runs_),
        detacher_(c, w_, path_), sweep_(c, w_, path_, runs_), settlement_(c, w_, runs_) {}

  void run(const update_list& updates) {
    path_.begin();
    if (c_.shortcut) {
      apply(updates, 0);
      runs_.remember(updates[0], *c_.shortcut);
    } else {
      for (std::uint32_t i = 0; (i = singles_.put(updates, i)) < updates.count(); ++i) apply(updates, i);
    }
    while (!climb(s_.top())) retry();
    path_.end(c_.reason);
    settlement_.settle();
    c_.count.runs += updates.count();
    ++c_.count.commits;
  }

  std::uint32_t map_pages(const page_list& maps) {
    path_.begin();
    const std::uint32_t done = singles_.put(maps);
    path_.end(c_.reason);
    c_.count.updates += done;
    c_.count.runs += done;
    c_.count.commits += done > 0;
    return done;
  }

  void destroy() {
    m_.stale.add_whole();
    w_.flush(c_.reason);
    m_.removed.add({c_.where.root, gfn{0}, s_.top(), false});
    settlement_.settle();
  }

 private:
  /// What became of one slot.
  enum class result : std::uint8_t {
    done,
    group_done,  ///< all slots of the group are done: it is never begun again after a phase in between
    below,   ///< the work is one level down
    blocked  ///< nothing was changed; the phase has to end first
  };

  void apply(const update_list& updates, std::uint32_t i) {
    const update u = updates[i];
    const gfn end = u.range.end();
    bool interrupted = false;
    for (gfn g = u.range.first; g < end;) {
      if (c_.where.cancelled(u.kind.guarded_by())) {
        ++c_.count.cancelled_updates;
        if (interrupted) take_back(g);
        return;
      }
      if (detach(updates, i, u, g)) {
        const gfn from = g;
        g = sweep_.run(u, g);
        if (!(g < end) || (entry_writer<F>::instructed && from < g) || advance(u, g, end)) continue;
      }
      retry();
      interrupted = true;
    }
  }

  /// False: the phase has to end before the work can go on at `g`.
  bool detach(const update_list& updates, std::uint32_t i, const update& u, gfn g) {
    if constexpr (entry_writer<F>::instructed) {
      if (path_.lowest() <= 1 && s_.table_first(g, 1) == path_[1].first && w_.detached(path_[1].table[s_.index(g, 1)])) return true;
      if (detacher_.wants(u, g)) return go_to_links(g) && (path_.lowest() > 1 || detacher_.run(updates, i, g));
    }
    return true;
  }

  /// Makes the table of level 1 that holds `g`, if there is one, the lowest of the path or the last but one.
  bool go_to_links(gfn g) {
    unsigned level = path_.lowest() > 1 ? path_.lowest() : 1;
    while (level < s_.top() && s_.table_first(g, level) != path_[level].first) ++level;
    if (level > 1 && !climb(level)) return false;
    for (; level > 1; --level) {
      const slot at = path_[level].table[s_.index(g, level)];
      const word e = w_.logical(at);
      if (f_.kind(e, level) != kind::table) break;
      path_.descend(at, e, level, g);
    }
    return true;
  }

  /// Takes out the tables that the phase before has linked for page `g`, if nothing is in them: the update that wanted
  /// them is cancelled. In a phase of its own, since they may have been cached though no leaf of them ever was.
  void take_back(gfn g) {
    do {
      next_phase();
    } while (!take_out_on_path(g, 0));
  }

  /// Does what `u` asks for from page `g` on, as far as one table reaches, and moves `g` behind it. False: the phase has
  /// to end before the work can go on at `g`.
  bool advance(const update& u, gfn& g, gfn end) {
    unsigned level = 0;
    if (!seek(g, end, level)) return false;
    for (bool same_table = true; same_table;) {
      const std::uint32_t i = s_.index(g, level);
      const gfn slot_end = s_.slot_first(g, level) + s_.slot_pages(level);
      const gfn_range part{g, (slot_end < end ? slot_end : end) - g};
      const slot at = path_[level].table[i];
      word e = w_.logical(at);
      if (!passes(u, e, level, part)) {
        if (!ready(level, g, end)) return false;
        e = w_.logical(at);  // another cpu may have changed it before the table was held
        if (const std::uint32_t n = whole_slots(level, i, g, end); n > 1) {
          if (const std::uint32_t done = runs_.act(u, at, e, level, g, n)) {
            g = g + (std::uint64_t{done} << s_.shift[level]);
            same_table = g < end && s_.index(g, level) > i;
            continue;
          }
        }
        const result r = passes(u, e, level, part) ? result::below : act(u, at, e, level, part);
        if (r == result::blocked) return false;
        if (r == result::done || r == result::group_done) {
          g = r == result::done ? part.end() : t_.group_of(g, level).end();
          same_table = g < end && s_.index(g, level) > i;
          continue;
        }
        e = w_.logical(at);
      }
      path_.descend(at, e, level--, g);
    }
    return true;
  }

  /// Slots of the table from the i-th on that lie in [g, end) whole.
  std::uint32_t whole_slots(unsigned level, std::uint32_t i, gfn g, gfn end) const {
    if (s_.slot_first(g, level) != g) return 0;
    const std::uint64_t left = (end - g) >> s_.shift[level];
    const std::uint32_t most = s_.entries(level) - i;
    return left < most ? static_cast<std::uint32_t>(left) : most;
  }

  /// True if the work lies behind `e`, a table entry, and leaves the entry itself alone.
  bool passes(const update& u, word e, unsigned level, gfn_range part) const {
    if (f_.kind(e, level) != kind::table) return false;
    if (u.kind.op() == operation::unmap) return !whole(part, level);
    if (u.kind.op() != operation::map) return true;
    return u.kind.keep_present() || !t_.leaf_fits(u, part, u.out + (part.first - u.range.first), level);
  }

  /// Climbs to the lowest known table that holds `g` and whose slots are not smaller than what can be done at once.
  bool seek(gfn g, gfn end, unsigned& level) {
    level = path_.lowest();
    const auto fits_above = [&](unsigned l) {
      return s_.slot_first(g, l + 1) == g && end - g >= s_.slot_pages(l + 1);
    };
    while (level < s_.top() && (s_.table_first(g, level) != path_[level].first || fits_above(level))) ++level;
    if (level != path_.lowest() || level == s_.top()) ++c_.count.walks;
    return climb(level);
  }

  /// Leaves the tables below `level`, and takes out those that went empty. False: a table that has to be held cannot be.
  bool climb(unsigned level) {
    for (; path_.lowest() < level; path_.ascend()) {
      if (path_[path_.lowest()].emptied && !take_out_if_empty(path_.lowest())) return false;
    }
    return true;
  }

  bool take_out_if_empty(unsigned level) {
    if (!path_.hold(level)) return path_.met() == obstacle::none;  // it is gone already
    if (!all_empty(path_[level].table, level)) return true;
    if (!path_.has_room(level + 1) || !path_.hold(level + 1)) return false;
    const slot link = path_.link_of(level);
    const word e = w_.logical(link);
    if (f_.kind(e, level + 1) != kind::table || f_.table(e, level + 1) != path_[level].address) return true;
    remove(link, level + 1, path_[level].first, f_.empty(level + 1), false, true);
    path_[level + 1].emptied = true;
    return true;
  }

  bool all_empty(slot table, unsigned level) const {
    return runs_.all_empty(table, level);
  }

  /// Ends the phase, waits for what it has met, and begins the next one. Tables that may have gone empty are looked at
  /// again, since another cpu may have come in between.
  void retry() {
    struct {
      gfn first;
      unsigned level;
    } emptied[arch::level_limit];
    unsigned n = 0;
    for (unsigned level = s_.top(); level-- > path_.lowest();) {
      if (path_[level].emptied) emptied[n++] = {path_[level].first, level};
    }
    next_phase();
    while (n > 0) {
      if (take_out_on_path(emptied[n - 1].first, emptied[n - 1].level)) {
        --n;
      } else {
        next_phase();
      }
    }
  }

  void next_phase() {
    path_.end(path_.met() == obstacle::none ? flush_reason::overflow : flush_reason::contention);
    settlement_.settle();
    path_.wait();
    path_.begin();
  }

  /// Looks whether the table of `level` that holds `g`, or those above it, are empty.
  bool take_out_on_path(gfn g, unsigned level) {
    if (!climb(s_.top())) return false;
    for (unsigned l = s_.top(); l > level; --l) {
      const slot at = path_[l].table[s_.index(g, l)];
      const word e = w_.logical(at);
      if (f_.kind(e, l) != kind::table) break;
      path_.descend(at, e, l, g);
    }
    path_[path_.lowest()].emptied = true;
    return climb(s_.top());
  }

  /// Makes sure that entries of the table of `level` on the path may be changed, and what it takes remembered.
  bool ready(unsigned level, gfn g, gfn end) {
    if constexpr (entry_writer<F>::instructed) {
      if (!w_.dissolve_span(path_[level].table[s_.index(g, level)])) return false;
    }
    if (path_.has_room(level) && (path_[level].held || room_for_table(level, g, end))) return path_.hold(level);
    return false;
  }

  /// One instruction takes neighbouring entries of a table, so a phase should not end in the middle of them; nor should they
  /// become many single changes because there is no room for another span.
  bool room_for_table([[maybe_unused]] unsigned level, [[maybe_unused]] gfn g, [[maybe_unused]] gfn end) const {
    if constexpr (entry_writer<F>::instructed) {
      const gfn stop = s_.table_first(g, level) + s_.table_pages(level);
      const std::uint64_t entries = ((stop < end ? stop : end) - g) >> s_.shift[level];
      constexpr std::uint64_t many = 32;
      if (level == 0 && entries >= many && !m_.changes.has_room_for_span()) return false;
      return entries > entry_changes::capacity / 2 || w_.has_room(entries);
    }
    return true;
  }

  /// Does what `u` asks for in the slot, for `part` of it. The table is held.
  result act(const update& u, slot at, word e, unsigned level, gfn_range part) {
    const kind k = f_.kind(e, level);
    switch (u.kind.op()) {
      case operation::map: return map(u, at, e, k, level, part);
      case operation::unmap: return unmap(u, at, e, k, level, part);
      case operation::protect: return protect(u, at, e, k, level, part);
      case operation::harvest: return harvest_leaf(u, at, e, k, level, part);
    }
    return result::done;
  }

  bool whole(gfn_range part, unsigned level) const { return part.pages == s_.slot_pages(level); }

  result map(const update& u, slot at, word e, kind k, unsigned level, gfn_range part) {
    const hfn out = u.out + (part.first - u.range.first);
    const bool fits = t_.leaf_fits(u, part, out, level);
    if (k == kind::empty && !fits) return link_table(u, at, level, part);
    if (k != kind::empty && u.kind.keep_present()) {
      if (k == kind::leaf) c_.count.kept_pages += part.pages;
      return result::done;
    }
    if (fits && groups_.begins(level, part.first) && groups_.wants(u, level, part.first, out)) {
      map_group(u, at, e, k, level, part.first, out);
      return result::group_done;
    }
    if (k == kind::leaf && t_.good_already(u, e, level, part.first, out)) return result::done;
    if (!fits) return split(at, e, level, part.first);
    const word leaf = f_.make_leaf(out, u.kind.attr(), level);
    if (k == kind::empty) {
      w_.swap(at, level, part.first, path_[level].hidden, [leaf](word) { return leaf; });
    } else {
      groups_.unfold(at, e, level, part.first);
      remove(at, level, part.first, leaf);
    }
    return result::done;
  }

  result unmap(const update& u, slot at, word e, kind k, unsigned level, gfn_range part) {
    if (k == kind::empty) return result::done;
    if (!whole(part, level)) return split(at, e, level, part.first);
    path_[level].emptied = true;
    if (groups_.holds(e, k, level) && groups_.begins(level, part.first) && groups_.covers(u, level, part.first)) {
      groups_.replace(at, level, part.first, report::kind::removed, false, [this, level](word, gfn) { return f_.empty(level); });
      return result::group_done;
    }
    groups_.unfold(at, e, level, part.first);
    remove(at, level, part.first, f_.empty(level));
    return result::done;
  }

  result protect(const update& u, slot at, word e, kind k, unsigned level, gfn_range part) {
    if (k != kind::leaf) return result::done;
    const perm access = u.kind.attr().access;
    if (f_.with_access(e, access, level) == e) return result::done;
    if (!whole(part, level)) return split(at, e, level, part.first);
    // A group that changes as a whole may be mixed until the flush, as a range of single pages may.
    if (!groups_.covers(u, level, part.first)) groups_.unfold(at, e, level, part.first);
    w_.swap(at, level, part.first, path_[level].hidden, [&](word old) { return f_.with_access(old, access, level); });
    return result::done;
  }

  result harvest_leaf(const update& u, slot at, word e, kind k, unsigned level, gfn_range part) {
    if (k != kind::leaf) return result::done;
    const word all = t_.shared_status(at, e, level, part.first);
    const bool a = includes(u.kind.what(), harvest::accessed) && f_.accessed(all);
    const bool d = includes(u.kind.what(), harvest::dirty) && f_.dirty(all);
    if (!a && !d) return result::done;
    if (!whole(part, level)) return split(at, e, level, part.first);
    const bool wp = d && includes(u.kind.what(), harvest::write_protect);
    const auto harvested = [&, a, d, wp](word was, gfn) {
      const word kept = f_.without_status(was, a, d);
      if (!wp) return kept;
      const unsigned access = static_cast<unsigned>(f_.attributes_of(kept, level).access);
      return f_.with_access(kept, static_cast<perm>(access & ~static_cast<unsigned>(perm::w)), level);
    };
    if (groups_.holds(e, k, level) && groups_.begins(level, part.first) && groups_.covers(u, level, part.first)) {
      groups_.replace(at, level, part.first, report::kind::harvested, false, harvested, !a, !d);
      return result::group_done;
    }
    groups_.unfold(at, e, level, part.first);
    const word old = w_.swap(at, level, part.first, path_[level].hidden, [&](word was) { return harvested(was, part.first); });
    // What stays set was not harvested.
    tell(f_.without_status(old, !a, !d), level, s_.slot_first(part.first, level), report::kind::harvested);
    return result::done;
  }

  /// Puts `now` where a leaf or a table was, and remembers what was there.
  void remove(slot at, unsigned level, gfn g, word now, bool park = false, bool drained = false) {
    const word old = w_.swap(at, level, g, path_[level].hidden, [now](word) { return now; }, park, drained);
    if (f_.kind(old, level) == kind::leaf) {
      tell(old, level, g, report::kind::removed);
    } else if (f_.kind(old, level) == kind::table) {
      m_.removed.add({f_.table(old, level), g, level - 1, drained});
    }
  }

  /// Links a new table, with all its leaves if `u` maps the whole of it.
  result link_table(const update& u, slot at, unsigned level, gfn_range part) {
    table_pool::frame taken;
    const auto wanted = whole(part, level) ? table_pool::content::any : runs_.content_of_empty(level - 1);
    if (!path_.take(level - 1, taken, wanted)) return result::blocked;
    const slot table = t_.at(taken.table);
    const bool filled = whole(part, level) && runs_.fill_table(u, table, level - 1, part.first);
    if (!filled && !(taken.cleared && runs_.clear_frame_fits(level - 1))) runs_.clear(table, level - 1);
    w_.swap(at, level, s_.slot_first(part.first, level), path_[level].hidden,
            [&](word) { return f_.make_table(taken.table, level); });
    if (filled) c_.count.entries_written += s_.entries(level - 1);
    return filled ? result::done : result::below;
  }

  result split(slot at, word e, unsigned level, gfn g) {
    table_pool::frame taken;
    if (!path_.take(level - 1, taken)) return result::blocked;
    groups_.unfold(at, e, level, g);
    ++c_.count.splits;
    w_.swap(at, level, s_.slot_first(g, level), path_[level].hidden, [&](word old) {
      runs_.split(t_.at(taken.table), old, level);
      return f_.make_table(taken.table, level);
    });
    return result::below;
  }

  /// Maps the whole group that `g` lies in. Its entries become valid together: all are parked if one has to be.
  void map_group(const update& u, [[maybe_unused]] slot at, word e, kind k, unsigned level, gfn g, hfn out) {
    if constexpr (arch::grouping_format<F>) {
      if (k == kind::leaf && F::grouped(e) && t_.maps(e, level, g, out, u.kind.attr())) return;
      const gfn_range group = t_.group_of(g, level);
      const slot first = groups_.first_of(at, level, g);
      bool park = false;
      for (std::uint32_t i = 0; i < 1u << s_.group_bits[level]; ++i) {
        const word old = w_.logical(first[i]);
        park = park || f_.kind(old, level) != kind::empty || w_.must_park(old, level);
      }
      const auto leaf = [&](gfn page) {
        const hfn to = u.out + (page - u.range.first);
        return F::with_group(f_.make_leaf(to, u.kind.attr(), level), true);
      };
      if (groups_.holds(e, k, level)) {
        groups_.replace(at, level, g, report::kind::removed, true, [&](word, gfn page) { return leaf(page); });
        return;
      }
      gfn page = group.first;
      for (std::uint32_t i = 0; page < group.end(); ++i, page = page + s_.slot_pages(level)) {
        remove(first[i], level, page, leaf(page), park);
      }
    }
  }

  void tell(word old, unsigned level, gfn first, report::kind what) {
    if (c_.where.options.reports.receive) m_.reports.add(t_.report_of(old, level, first, what));
  }

  const commit_context& c_;
  commit_memory& m_;
  const F& f_;
  const geometry& s_;
  const tables<F> t_;
  entry_writer<F> w_;
  commit_path<F> path_;
  leaf_groups<F> groups_;
  leaf_runs<F> runs_;
  single_leaves<F> singles_;
  table_detacher<F> detacher_;
  table_sweep<F> sweep_;
  settlement<F> settlement_;
};

}  // namespace quire::runtime
