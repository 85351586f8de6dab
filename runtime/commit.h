// Commit: applies a batch to the tables of one format, in the order break, flush, make, free.
#pragma once

#include "arch/slot.h"
#include "runtime/backend.h"
#include "runtime/coalesce.h"
#include "runtime/tables.h"

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
      : c_(c), f_(c.where.format<F>()), s_(c.where.shape), t_(c.host, c.where), lowest_(s_.top()) {
    path_[lowest_] = {t_.at(c.where.root), gfn{0}, false};
  }

  void run(const update_list& updates) {
    for (std::uint32_t i = 0; i < updates.count; ++i) apply(updates[i]);
    c_.count.runs += updates.count;
    ++c_.count.commits;
    climb(s_.top());
    flush();
    if constexpr (F::breaks) make(updates);
    settle();
  }

  void destroy() {
    c_.cpu.stale.add_whole();
    flush();
    c_.cpu.removed.add({c_.where.root, gfn{0}, s_.top()});
    settle();
  }

 private:
  struct step {
    slot table;
    gfn first;
    bool emptied;  // an entry was removed: the table may be empty now
  };

  void apply(const update& u) {
    const gfn end = u.range.end();
    for (gfn g = u.range.first; g < end;) {
      unsigned level = seek(g, end);
      for (bool same_table = true; same_table;) {
        const std::uint32_t i = s_.index(g, level);
        const gfn slot_end = s_.slot_first(g, level) + s_.slot_pages(level);
        const gfn_range part{g, (slot_end < end ? slot_end : end) - g};
        const slot at = path_[level].table[i];
        if (act(u, at, level, part)) {
          descend(at, level--, g);
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
      if (path_[lowest_].emptied && t_.all_empty(path_[lowest_].table, lowest_)) unlink(lowest_);
    }
  }

  void descend(slot at, unsigned from, gfn g) {
    const table_address table = f_.table(logical(at.load()), from);
    lowest_ = from - 1;
    path_[lowest_] = {t_.at(table), s_.table_first(g, lowest_), false};
  }

  /// Does what `u` asks for in the slot, for `part` of it. Returns true if the work is one level down.
  bool act(const update& u, slot at, unsigned level, gfn_range part) {
    const word e = logical(at.load());
    const kind k = f_.kind(e, level);
    switch (u.kind.op()) {
      case operation::map: return map(u, at, e, k, level, part);
      case operation::unmap: return unmap(at, k, level, part);
      case operation::protect: return protect(u, at, e, k, level, part);
      case operation::harvest: return harvest_leaf(u, at, e, k, level, part);
    }
    return false;
  }

  bool whole(gfn_range part, unsigned level) const { return part.pages == s_.slot_pages(level); }

  bool map(const update& u, slot at, word e, kind k, unsigned level, gfn_range part) {
    const hfn out = u.out + (part.first - u.range.first);
    const bool fits = t_.leaf_fits(u, part, out, level);
    if (k == kind::empty && !fits) return link_table(at, level);
    if (k != kind::empty && u.kind.keep_present()) {
      if (k == kind::leaf) c_.count.kept_pages += part.pages;
      return k == kind::table;
    }
    if (k == kind::leaf && t_.good_already(u, e, level, part.first, out)) return false;
    if (!fits) return k == kind::table || split(at, level, part.first);
    const word leaf = f_.make_leaf(out, u.kind.attr(), level);
    if (k == kind::empty) {
      swap(at, level, part.first, [leaf](word) { return leaf; });
    } else {
      remove(at, level, part.first, leaf);
    }
    return false;
  }

  bool unmap(slot at, kind k, unsigned level, gfn_range part) {
    if (k == kind::empty) return false;
    if (!whole(part, level)) return k == kind::table || split(at, level, part.first);
    remove(at, level, part.first, f_.empty(level));
    path_[level].emptied = true;
    return false;
  }

  bool protect(const update& u, slot at, word e, kind k, unsigned level, gfn_range part) {
    if (k != kind::leaf) return k == kind::table;
    const perm access = u.kind.attr().access;
    if (f_.with_access(e, access, level) == e) return false;
    if (!whole(part, level)) return split(at, level, part.first);
    swap(at, level, part.first, [&](word old) { return f_.with_access(old, access, level); });
    return false;
  }

  bool harvest_leaf(const update& u, slot at, word e, kind k, unsigned level, gfn_range part) {
    if (k != kind::leaf) return k == kind::table;
    const bool a = includes(u.kind.what(), harvest::accessed) && f_.accessed(e);
    const bool d = includes(u.kind.what(), harvest::dirty) && f_.dirty(e);
    if (!a && !d) return false;
    if (!whole(part, level)) return split(at, level, part.first);
    make_room();
    const bool wp = d && includes(u.kind.what(), harvest::write_protect);
    word old = swap(at, level, part.first, [&](word was) {
      const word kept = f_.without_status(was, a, d);
      if (!wp) return kept;
      const unsigned access = static_cast<unsigned>(f_.attributes_of(kept, level).access);
      return f_.with_access(kept, static_cast<perm>(access & ~static_cast<unsigned>(perm::w)), level);
    });
    old = f_.without_status(old, !a, !d);  // what stays set was not harvested
    tell(old, level, s_.slot_first(part.first, level), report::kind::harvested);
    return false;
  }

  /// Puts `now` where a leaf or a table was, and remembers what was there.
  void remove(slot at, unsigned level, gfn g, word now) {
    make_room();
    const word old = swap(at, level, g, [now](word) { return now; });
    if (f_.kind(old, level) == kind::leaf) {
      tell(old, level, g, report::kind::removed);
    } else {
      c_.cpu.removed.add({f_.table(old, level), g, level - 1});
    }
  }

  /// Takes the empty table of `level` on the path out of its parent.
  void unlink(unsigned level) {
    const gfn g = path_[level].first;
    remove(path_[level + 1].table[s_.index(g, level + 1)], level + 1, g, f_.empty(level + 1));
    path_[level + 1].emptied = true;
  }

  bool link_table(slot at, unsigned level) {
    const table_address table = take(level - 1);
    t_.clear(table, level - 1);
    const word now = f_.make_table(table, level);
    word put = now;
    if constexpr (F::breaks) {
      if (must_park(f_.empty(level), level)) put = F::park(now);
    }
    at.store(put);  // nothing cached an empty entry, and hardware leaves it alone
    any_parked_ |= put != now;
    ++c_.count.entries_written;
    return true;
  }

  bool split(slot at, unsigned level, gfn g) {
    const table_address table = take(level - 1);
    ++c_.count.splits;
    swap(at, level, s_.slot_first(g, level), [&](word old) {
      const slot first = t_.at(table);
      for (std::uint32_t i = 0; i < s_.entries(level - 1); ++i) first[i].store(f_.leaf_piece(old, level, i));
      return f_.make_table(table, level);
    });
    return true;
  }

  table_address take(unsigned level) {
    QUIRE_INVARIANT(c_.claims[level] > 0, "table frames that a commit may need are reserved at enqueue");
    --c_.claims[level];
    const table_address table = c_.where.pools[level]->take(c_.cpu.index);
    c_.where.count_tables(1, s_.table_bytes[level]);
    ++c_.count.tables_taken;
    return table;
  }

  /// Changes one entry the way its transition demands, against hardware that sets A and D meanwhile.
  /// @param g     first page of the slot
  /// @param make  gives the new word for the old one; may be called again with what hardware made of the old one
  /// @return the word that was replaced
  template <class Make>
  word swap(slot at, unsigned level, gfn g, Make make) {
    word raw = at.load();
    for (;;) {
      const word old = logical(raw);
      const bool broken = old != raw;  // in this commit already: hardware sees nothing here
      const word now = make(old);
      const auto t = broken ? arch::transition::store : f_.classify(old, now, level);
      word put = now;
      if constexpr (F::breaks) {
        const bool old_may_be_cached = t == arch::transition::break_before_make || broken || must_park(old, level);
        if (old_may_be_cached && now != f_.empty(level)) put = F::park(now);
      }
      if (f_.status_bits() && f_.kind(raw, level) != kind::empty) {
        if (!at.replace(raw, put)) continue;
      } else {
        at.store(put);
      }
      ++c_.count.entries_written;
      if (t != arch::transition::store) {
        ++c_.count.flush_requested;
        c_.cpu.stale.add({g, s_.slot_pages(level)}, f_.kind(old, level) == kind::table);
      }
      any_parked_ |= put != now;
      return old;
    }
  }

  /// An empty entry may be one that this commit emptied: what was there is cached until the flush.
  bool must_park(word old, unsigned level) const {
    return f_.kind(old, level) == kind::empty && !c_.cpu.stale.empty();
  }

  word logical(word e) const {
    if constexpr (F::breaks) {
      if (F::parked(e)) return F::unpark(e);
    }
    return e;
  }

  void tell(word old, unsigned level, gfn first, report::kind what) {
    if (c_.where.options.reports.receive) c_.cpu.reports.add(t_.report_of(old, level, first, what));
  }

  /// Flushes early if there is no room to remember one more removal.
  void make_room() {
    if (!c_.cpu.reports.full() && !c_.cpu.removed.full()) return;
    flush(flush_reason::overflow);
    settle();
  }

  void flush() { flush(c_.reason); }
  void flush(flush_reason reason) {
    gather& stale = c_.cpu.stale;
    if (stale.empty()) return;
    if (c_.where.ever_ran()) {
      sort_ranges(stale.ranges());
      const std::size_t n = coalesce(stale.ranges(), 0);
      plan_flush(f_, c_.where.root_register, {stale.ranges().first(n), stale.whole(), stale.tables_removed()},
                 c_.cpu.commands);
      const flush_plan plan{c_.where.id, c_.where.root_register, c_.cpu.commands.all(), stale.whole(), reason};
      c_.host.flush(c_.host.context, c_.cpu.index, plan);
      ++c_.count.flush_plans[static_cast<unsigned>(reason)];
      c_.count.flush_full += stale.whole();
    } else {
      ++c_.count.flush_elided;
    }
    stale.clear();
  }

  /// Makes parked words valid: their old translations are gone everywhere.
  void make(const update_list& updates) {
    for (std::uint32_t i = 0; any_parked_ && i < updates.count; ++i) {
      t_.each_slot(c_.where.root, s_.top(), updates[i].range, [&](slot at, word e, unsigned /*level*/) {
        if (!F::parked(e)) return e;
        at.store(F::unpark(e));
        ++c_.count.entries_written;
        return F::unpark(e);
      });
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
      const word e = logical(first[i].load());
      const gfn g = r.first + (std::uint64_t{i} << s_.shift[r.level]);
      const kind k = f_.kind(e, r.level);
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
  unsigned lowest_;
  bool any_parked_ = false;
  step path_[arch::level_limit] = {};
};

}  // namespace quire::runtime
