// Commit: applies a batch to the tables of one format, in the order break, flush, make, free.
#pragma once

#include "runtime/entry_writer.h"

namespace quire::runtime {

/// One commit. Keeps the path of the previous walk and climbs only as far as the next page demands.
/// Lives under the space's lock, for the length of one backend::commit().
template <class F>
class committer {
 public:
  using word = typename F::word;
  using slot = arch::slot<F>;
  using kind = arch::entry_kind;

  explicit committer(const commit_context& c)
      : c_(c), f_(c.where.format<F>()), s_(c.where.shape), t_(c.host, c.where), w_(c, t_), lowest_(s_.top()) {
    path_[lowest_] = {t_.at(c.where.root), gfn{0}, false, false};
  }

  void run(const update_list& updates) {
    for (std::uint32_t i = 0; i < updates.count; ++i) apply(updates[i]);
    c_.count.runs += updates.count;
    ++c_.count.commits;
    climb(s_.top());
    w_.flush(c_.reason);
    w_.make_parked(updates);
    settle();
  }

  void destroy() {
    c_.cpu.stale.add_whole();
    w_.flush(c_.reason);
    c_.cpu.removed.add({c_.where.root, gfn{0}, s_.top()});
    settle();
  }

 private:
  struct step {
    slot table;
    gfn first;
    bool emptied;  // an entry was removed: the table may be empty now
    bool hidden;   // hardware cannot reach the table before the flush
  };

  void apply(const update& u) {
    const gfn end = u.range.end();
    for (gfn g = u.range.first; g < end;) {
      unsigned level = seek(g, end);
      keep_runs_whole(level, g, end);
      for (bool same_table = true; same_table;) {
        const std::uint32_t i = s_.index(g, level);
        const gfn slot_end = s_.slot_first(g, level) + s_.slot_pages(level);
        const gfn_range part{g, (slot_end < end ? slot_end : end) - g};
        const slot at = path_[level].table[i];
        if (act(u, at, level, part)) {
          descend(at, level--, g);
          keep_runs_whole(level, g, end);
          continue;
        }
        g = part.end();
        same_table = g < end && i + 1 < s_.entries(level);
      }
    }
  }

  /// Climbs to the lowest known table that holds `g` and whose slots are not smaller than what can be done at
  /// once. Returns its level.
  unsigned seek(gfn g, gfn end) {
    unsigned level = lowest_;
    const auto fits_above = [&](unsigned l) {
      return s_.slot_first(g, l + 1) == g && end - g >= s_.slot_pages(l + 1);
    };
    while (level < s_.top() && (s_.table_first(g, level) != path_[level].first || fits_above(level))) ++level;
    if (level != lowest_ || level == s_.top()) ++c_.count.walks;
    climb(level);
    return level;
  }

  void climb(unsigned level) {
    for (; lowest_ < level; ++lowest_) {
      if (path_[lowest_].emptied && all_empty(path_[lowest_].table, lowest_)) unlink(lowest_);
    }
  }

  bool all_empty(slot table, unsigned level) const {
    for (std::uint32_t i = 0; i < s_.entries(level); ++i) {
      if (w_.logical(table[i]) != f_.empty(level)) return false;
    }
    return true;
  }

  void descend(slot at, unsigned from, gfn g) {
    const table_address table = f_.table(w_.logical(at), from);
    lowest_ = from - 1;
    path_[lowest_] = {t_.at(table), s_.table_first(g, lowest_), false, path_[from].hidden || w_.held_back(at)};
  }

  /// Does what `u` asks for in the slot, for `part` of it. Returns true if the work is one level down.
  bool act(const update& u, slot at, unsigned level, gfn_range part) {
    const word e = w_.logical(at);
    const kind k = f_.kind(e, level);
    switch (u.kind.op()) {
      case operation::map: return map(u, at, e, k, level, part);
      case operation::unmap: return unmap(u, at, e, k, level, part);
      case operation::protect: return protect(u, at, e, k, level, part);
      case operation::harvest: return harvest_leaf(u, at, e, k, level, part);
    }
    return false;
  }

  bool whole(gfn_range part, unsigned level) const { return part.pages == s_.slot_pages(level); }

  bool map(const update& u, slot at, word e, kind k, unsigned level, gfn_range part) {
    const hfn out = u.out + (part.first - u.range.first);
    const bool fits = t_.leaf_fits(u, part, out, level);
    if (k == kind::empty && !fits) return link_table(at, level, part.first);
    if (k != kind::empty && u.kind.keep_present()) {
      if (k == kind::leaf) c_.count.kept_pages += part.pages;
      return k == kind::table;
    }
    if (fits && wants_group(u, level, part.first, out)) return map_group(u, at, e, k, level, part.first, out);
    if (k == kind::leaf && t_.good_already(u, e, level, part.first, out)) return false;
    if (!fits) return k == kind::table || split(at, e, level, part.first);
    const word leaf = f_.make_leaf(out, u.kind.attr(), level);
    if (k == kind::empty) {
      make_room();
      w_.swap(at, level, part.first, path_[level].hidden, [leaf](word) { return leaf; });
    } else {
      unfold(at, e, level, part.first);
      remove(at, level, part.first, leaf);
    }
    return false;
  }

  bool unmap(const update& u, slot at, word e, kind k, unsigned level, gfn_range part) {
    if (k == kind::empty) return false;
    if (!whole(part, level)) return k == kind::table || split(at, e, level, part.first);
    path_[level].emptied = true;
    if (in_group(e, k, level) && covers_group(u, level, part.first)) {
      replace_group(at, level, part.first, report::kind::removed, false, [this, level](word, gfn) { return f_.empty(level); });
      return false;
    }
    unfold(at, e, level, part.first);
    remove(at, level, part.first, f_.empty(level));
    return false;
  }

  bool protect(const update& u, slot at, word e, kind k, unsigned level, gfn_range part) {
    if (k != kind::leaf) return k == kind::table;
    const perm access = u.kind.attr().access;
    if (f_.with_access(e, access, level) == e) return false;
    if (!whole(part, level)) return split(at, e, level, part.first);
    // A group that changes as a whole may be mixed until the flush, as a range of single pages may.
    if (!covers_group(u, level, part.first)) unfold(at, e, level, part.first);
    make_room();
    w_.swap(at, level, part.first, path_[level].hidden, [&](word old) { return f_.with_access(old, access, level); });
    return false;
  }

  bool harvest_leaf(const update& u, slot at, word e, kind k, unsigned level, gfn_range part) {
    if (k != kind::leaf) return k == kind::table;
    const word all = t_.shared_status(at, e, level, part.first);
    const bool a = includes(u.kind.what(), harvest::accessed) && f_.accessed(all);
    const bool d = includes(u.kind.what(), harvest::dirty) && f_.dirty(all);
    if (!a && !d) return false;
    if (!whole(part, level)) return split(at, e, level, part.first);
    const bool wp = d && includes(u.kind.what(), harvest::write_protect);
    const auto harvested = [&, a, d, wp](word was, gfn) {
      const word kept = f_.without_status(was, a, d);
      if (!wp) return kept;
      const unsigned access = static_cast<unsigned>(f_.attributes_of(kept, level).access);
      return f_.with_access(kept, static_cast<perm>(access & ~static_cast<unsigned>(perm::w)), level);
    };
    if (in_group(e, k, level) && covers_group(u, level, part.first)) {
      replace_group(at, level, part.first, report::kind::harvested, false, harvested, !a, !d);
      return false;
    }
    unfold(at, e, level, part.first);
    make_room();
    const word old = w_.swap(at, level, part.first, path_[level].hidden, [&](word was) { return harvested(was, part.first); });
    // What stays set was not harvested.
    tell(f_.without_status(old, !a, !d), level, s_.slot_first(part.first, level), report::kind::harvested);
    return false;
  }

  /// Puts `now` where a leaf or a table was, and remembers what was there.
  void remove(slot at, unsigned level, gfn g, word now, bool park = false, bool drained = false) {
    make_room();
    const word old = w_.swap(at, level, g, path_[level].hidden, [now](word) { return now; }, park, drained);
    if (f_.kind(old, level) == kind::leaf) {
      tell(old, level, g, report::kind::removed);
    } else if (f_.kind(old, level) == kind::table) {
      c_.cpu.removed.add({f_.table(old, level), g, level - 1});
    }
  }

  /// Takes the empty table of `level` on the path out of its parent.
  void unlink(unsigned level) {
    const gfn g = path_[level].first;
    remove(path_[level + 1].table[s_.index(g, level + 1)], level + 1, g, f_.empty(level + 1), false, true);
    path_[level + 1].emptied = true;
  }

  bool link_table(slot at, unsigned level, gfn g) {
    make_room();
    const table_address table = take(level - 1);
    t_.clear(table, level - 1);
    w_.swap(at, level, s_.slot_first(g, level), path_[level].hidden, [&](word) { return f_.make_table(table, level); });
    return true;
  }

  bool split(slot at, word e, unsigned level, gfn g) {
    unfold(at, e, level, g);
    make_room();
    const table_address table = take(level - 1);
    ++c_.count.splits;
    w_.swap(at, level, s_.slot_first(g, level), path_[level].hidden, [&](word old) {
      const slot first = t_.at(table);
      for (std::uint32_t i = 0; i < s_.entries(level - 1); ++i) first[i].store(f_.leaf_piece(old, level, i));
      return f_.make_table(table, level);
    });
    return true;
  }

  // Groups of leaves: see arch::grouping_format. All inert in formats without.

  bool in_group([[maybe_unused]] word e, [[maybe_unused]] kind k, [[maybe_unused]] unsigned level) const {
    if constexpr (arch::grouping_format<F>) return k == kind::leaf && s_.group_bits[level] > 0 && F::grouped(e);
    return false;
  }
  bool covers_group(const update& u, unsigned level, gfn g) const {
    const gfn_range group = t_.group_of(g, level);
    return u.range.first <= group.first && group.end() <= u.range.end();
  }
  bool wants_group(const update& u, unsigned level, gfn g, hfn out) const {
    if (s_.group_bits[level] == 0 || u.kind.keep_present() || !covers_group(u, level, g)) return false;
    const std::uint64_t mask = t_.group_of(g, level).pages - 1;
    return ((g.value ^ out.value) & mask) == 0;
  }
  slot first_of_group(slot at, unsigned level, gfn g) const {
    return slot(at.address() - (s_.index(g, level) & ((std::uint32_t{1} << s_.group_bits[level]) - 1)));
  }

  /// Maps the whole group that `g` lies in. Its entries become valid together: all are parked if one has to be.
  bool map_group(const update& u, [[maybe_unused]] slot at, word e, kind k, unsigned level, gfn g, hfn out) {
    if constexpr (arch::grouping_format<F>) {
      if (k == kind::leaf && F::grouped(e) && t_.maps(e, level, g, out, u.kind.attr())) return false;
      const gfn_range group = t_.group_of(g, level);
      const slot first = first_of_group(at, level, g);
      bool park = false;
      for (std::uint32_t i = 0; i < 1u << s_.group_bits[level]; ++i) {
        const word old = w_.logical(first[i]);
        park = park || f_.kind(old, level) != kind::empty || w_.must_park(old, level);
      }
      const auto leaf = [&](gfn page) {
        const hfn to = u.out + (page - u.range.first);
        return F::with_group(f_.make_leaf(to, u.kind.attr(), level), true);
      };
      if (in_group(e, k, level)) {
        replace_group(at, level, g, report::kind::removed, true, [&](word, gfn page) { return leaf(page); });
        return false;
      }
      gfn page = group.first;
      for (std::uint32_t i = 0; page < group.end(); ++i, page = page + s_.slot_pages(level)) {
        remove(first[i], level, page, leaf(page), park);
      }
    }
    return false;
  }

  /// Changes all leaves of the group around `g` and reports them as one, with A and D of any of them.
  template <class Make>
  void replace_group([[maybe_unused]] slot at, [[maybe_unused]] unsigned level, [[maybe_unused]] gfn g,
                     [[maybe_unused]] report::kind what, [[maybe_unused]] bool park, [[maybe_unused]] Make make,
                     [[maybe_unused]] bool hide_a = false, [[maybe_unused]] bool hide_d = false) {
    if constexpr (arch::grouping_format<F>) {
      make_room();
      const gfn_range group = t_.group_of(g, level);
      const slot first = first_of_group(at, level, g);
      word all = 0;
      gfn page = group.first;
      for (std::uint32_t i = 0; page < group.end(); ++i, page = page + s_.slot_pages(level)) {
        const word old = w_.swap(first[i], level, page, path_[level].hidden, [&](word was) { return make(was, page); }, park);
        all = i == 0 ? old : f_.with_status_of(all, old);
      }
      if (!c_.where.options.reports.receive) return;
      report r = t_.report_of(f_.without_status(all, hide_a, hide_d), level, group.first, what);
      r.range = group;
      c_.cpu.reports.add(r);
    }
  }

  /// Takes the group of leaf `e` apart, if it is in one, before one of its leaves changes alone. Every piece gets A
  /// and D of the whole.
  void unfold([[maybe_unused]] slot at, [[maybe_unused]] word e, [[maybe_unused]] unsigned level, [[maybe_unused]] gfn g) {
    if constexpr (arch::grouping_format<F>) {
      if (!in_group(e, f_.kind(e, level), level)) return;
      const gfn_range group = t_.group_of(g, level);
      const slot first = first_of_group(at, level, g);
      word all = 0;
      for (const bool spread : {false, true}) {
        gfn page = group.first;
        for (std::uint32_t i = 0; page < group.end(); ++i, page = page + s_.slot_pages(level)) {
          const word old = w_.swap(first[i], level, page, path_[level].hidden, [&](word was) {
            return spread ? f_.with_status_of(was, all) : F::with_group(was, false);
          });
          all = i == 0 && !spread ? old : f_.with_status_of(all, old);
        }
      }
      c_.cpu.unfolded.add(group);
    }
  }

  table_address take(unsigned level) {
    QUIRE_INVARIANT(c_.claims[level] > 0, "table frames that a commit may need are reserved at enqueue");
    --c_.claims[level];
    const table_address table = c_.where.pools[level]->take(c_.cpu.index);
    c_.where.count_tables(1, s_.table_bytes[level]);
    ++c_.count.tables_taken;
    return table;
  }

  void tell(word old, unsigned level, gfn first, report::kind what) {
    if (c_.where.options.reports.receive) c_.cpu.reports.add(t_.report_of(old, level, first, what));
  }

  /// Flushes early if there is no room to remember one more removal or change.
  void make_room() { make_room(1); }
  void make_room(std::size_t entries) {
    if (!c_.cpu.reports.full() && !c_.cpu.removed.full() && w_.has_room(entries)) return;
    w_.flush(flush_reason::overflow);
    if constexpr (entry_writer<F>::instructed) {
      for (step& s : path_) s.hidden = false;  // the new words are in place
    }
    settle();
  }

  /// Flushes early rather than in the middle of a table, so that one instruction can take all of its entries.
  void keep_runs_whole(unsigned level, gfn g, gfn end) {
    if constexpr (entry_writer<F>::instructed) {
      const gfn stop = s_.table_first(g, level) + s_.table_pages(level);
      const std::uint64_t entries = ((stop < end ? stop : end) - g) >> s_.shift[level];
      if (!path_[level].hidden && entries <= entry_changes::capacity / 2) make_room(entries);
    }
  }

  /// Delivers reports and frees removed tables. After the flush, so nothing changes in them any more.
  void settle() {
    report_stream out(c_.where.options.reports, c_.cpu.index);
    for (const report& r : c_.cpu.reports.all()) out.add(r);
    c_.cpu.reports.clear();
    if (c_.cpu.removed.all().empty()) return;
    for (unsigned i = 0; i < c_.cpu_count; ++i) c_.cpus[i].reader.wait_for_reader(c_.host);
    for (const removed_table& r : c_.cpu.removed.all()) free_tree(r, out);
    c_.cpu.removed.clear();
  }

  void free_tree(const removed_table& r, report_stream& out) {
    const slot first = t_.at(r.table);
    for (std::uint32_t i = 0; i < s_.entries(r.level); ++i) {
      const gfn g = r.first + (std::uint64_t{i} << s_.shift[r.level]);
      word e = w_.logical(first[i]);
      const kind k = f_.kind(e, r.level);
      if (k == kind::leaf) e = t_.shared_status(first[i], e, r.level, g);
      if (k == kind::leaf) out.add(t_.report_of(e, r.level, g, report::kind::removed));
      if (k == kind::table) free_tree({f_.table(e, r.level), g, r.level - 1}, out);
    }
    c_.where.pools[r.level]->give(c_.cpu.index, r.table);
    c_.where.count_tables(-1, s_.table_bytes[r.level]);
    ++c_.count.tables_freed;
  }

  const commit_context& c_;
  const F& f_;
  const geometry& s_;
  const tables<F> t_;
  entry_writer<F> w_;
  unsigned lowest_;
  step path_[arch::level_limit] = {};
};

}  // namespace quire::runtime
