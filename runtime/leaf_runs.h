// Neighbouring leaves changed at once: the short cuts of a commit for ranges.
#pragma once

#include "runtime/commit_path.h"
#include "runtime/leaf_changes.h"

namespace quire::runtime {

/// The commit goes on one by one where nothing here applies.
template <class F>
class leaf_runs {
 public:
  using word = typename F::word;
  using slot = arch::slot<F>;
  using kind = arch::entry_kind;

  leaf_runs(const commit_context& c, entry_writer<F>& w, commit_path<F>& path)
      : c_(c), m_(*c.cpu.memory), f_(c.where.format<F>()), s_(c.where.shape), t_(c.host, c.where), w_(w), path_(path),
        ops_(w.ops()), reports_(f_) {}

  /// Does what `u` asks for in as many of `n` slots as can be done at once, from the one of page `g` on, whose entry is `e`.
  /// The table of `level` is held. Returns how many; 0: none.
  std::uint32_t act(const update& u, slot at, word e, unsigned level, gfn g, std::uint32_t n) {
    if (s_.group_bits[level] || (path_[level].hidden && !direct(level))) return 0;
    const kind k = f_.kind(e, level);
    switch (u.kind.op()) {
      case operation::map: return k == kind::empty ? map(u, at, level, g, n) : 0;
      case operation::unmap:
        if (k == kind::table) return level == 1 ? unlink(at, g, n) : 0;
        return k == kind::leaf ? unmap(at, e, level, g, n) : skip(at, level, n);
      case operation::protect: return k == kind::leaf ? protect(u, at, e, level, g, n) : 0;
      case operation::harvest: return f_.status_bits() ? harvest(u, at, e, level, g, n) : 0;
    }
    return 0;
  }

  // For leaves from the one of page `g` on, at most n, that a table has which is held. Each returns how many it dealt with, in
  // order. Where entries change by instruction, in detached tables only.

  /// As long as they agree in what `c` says.
  std::uint32_t change_access(const access_change<F>& c, slot at, unsigned level, gfn g, std::uint32_t n) {
    const std::uint32_t done = f_.status_bits() ? change_live(at, n, c.words) : ops_.change_run(at.address(), n, c.words);
    c_.count.entries_written += done;
    if (c.flush) w_.note_stale_run({g, std::uint64_t{done} << s_.shift[level]}, level, done);
    return done;
  }

  /// Takes the status of leaves, among which are no tables. There is room for reports.
  std::uint32_t take_status(const status_harvest<F>& s, slot at, unsigned level, gfn g, std::uint32_t n) {
    constexpr std::uint32_t most = report_queue::spare;
    std::uint32_t index[most];
    word old[most];
    if (n > most) n = most;
    const std::uint32_t found = ops_.harvest_live(at.address(), n, s.rule, index, old);
    const std::uint64_t pages = s_.slot_pages(level);
    w_.note_stale_leaves(g, {index, found}, level);
    if (c_.where.options.reports.receive) {
      for (std::uint32_t i = 0; i < found; ++i) m_.reports.add(reports_.harvested(s, old[i], level, g + index[i] * pages, pages));
    }
    c_.count.entries_written += found;
    return n;
  }

  /// Leaf `e` and those whose outputs follow, in a space whose status hardware does not track. They become empty.
  std::uint32_t take(slot at, word e, unsigned level, gfn g, std::uint32_t n) {
    const std::uint32_t done = ops_.take_run(at.address(), n, step_of(e, level), f_.empty(level));
    tell_removed(e, level, g, done);
    c_.count.entries_written += done;
    w_.note_stale_run({g, std::uint64_t{done} << s_.shift[level]}, level, done);
    return done;
  }
  /// Leaves of level 0.
  const leaf_line<F>& leaves_like(attributes a) {
    if (!(a == leaves_attributes_) || leaves_.below == 0) {
      leaves_ = leaf_line<F>(f_, s_, a, 0);
      leaves_attributes_ = a;
    }
    return leaves_;
  }
  bool follows(slot at, word e, unsigned level) { return at[1].load() == e + step_of(e, level); }

  /// Fills the table of `level` that nobody can reach yet with the leaves that `u` asks for from page `g` on.
  bool fill_table(const update& u, slot table, unsigned level, gfn g) {
    const std::uint64_t out = u.out.value + (g - u.range.first);
    const leaf_line<F> leaves(f_, s_, u.kind.attr(), level);
    if (s_.group_bits[level] || out + s_.table_pages(level) > leaves.below || !leaf_aligned(u, out, level)) return false;
    ops_.fill(table.address(), s_.entries(level), leaves.at(out), leaves.step << s_.shift[level]);
    return true;
  }

  /// What a frame is to hold best for a table of empty entries.
  table_pool::content content_of_empty(unsigned level) const {
    return clear_frame_fits(level) ? table_pool::content::cleared : table_pool::content::any;
  }
  /// True if a cleared frame of the pool is a table of `level` that is empty.
  bool clear_frame_fits(unsigned level) const {
    const word empty = f_.empty(level), in_memory = F::byte_order == std::endian::native ? empty : __builtin_bswap64(empty);
    return c_.where.pools[level]->cleared_word() == in_memory;
  }
  /// Fills a table of `level` that is not the root with empty entries.
  void clear(slot table, unsigned level) { ops_.fill(table.address(), s_.entries(level), f_.empty(level), 0); }

  /// Fills a table with the leaves that together equal leaf `old` of `level`, one level up.
  void split(slot table, word old, unsigned level) {
    const std::uint32_t n = s_.entries(level - 1);
    const word first = f_.leaf_piece(old, level, 0), step = f_.leaf_piece(old, level, 1) - first;
    if (f_.leaf_piece(old, level, n - 1) == first + (n - 1) * step) return ops_.fill(table.address(), n, first, step);
    for (std::uint32_t i = 0; i < n; ++i) table[i].store(f_.leaf_piece(old, level, i));
  }

  /// Reports all leaves of a level-0 table that nobody can reach any more. True if it left all entries empty.
  bool tell_all(slot table, gfn first) {
    const std::uint32_t n = s_.entries(0);
    const bool in_runs = !f_.status_bits() && s_.group_bits[0] == 0;
    for (std::uint32_t i = 0; i < n;) {
      const gfn g = first + (std::uint64_t{i} << s_.shift[0]);
      word e = w_.logical(table[i]);
      std::uint32_t done = 1;
      if (f_.kind(e, 0) == kind::leaf) {
        report r = reports_.removed(t_.shared_status(table[i], e, 0, g), g, 0);
        if (in_runs && table[i].load() == e) done = ops_.take_run(table[i].address(), n - i, step_of(e, 0), f_.empty(0));
        r.range.pages = std::uint64_t{done} << s_.shift[0];
        tell_settled(r);
      } else if (e == f_.empty(0)) {
        done = ops_.first_not(table[i].address(), n - i, e);
        if (done == 0) done = 1;
      }
      i += done;
    }
    return in_runs && all_empty(table, 0);
  }
  /// Reports what is final already, after the flush.
  [[gnu::always_inline]] void tell_settled(const report& r) {
    const observer& to = c_.where.options.reports;
    if (!to.receive) return;
    if (m_.reports.left() == 0) m_.reports.deliver_settled(to, c_.cpu.index);
    m_.reports.add(r);
  }
  /// True if all entries of a table will be empty when the commit is done.
  bool all_empty(slot table, unsigned level) const {
    const std::uint32_t n = s_.entries(level);
    const word empty = f_.empty(level);
    if (w_.logical(table[n - 1]) != empty) return false;  // ranges are mostly unmapped from their begin
    for (std::uint32_t i = 0; (i += ops_.first_not(table[i].address(), n - i, empty)) < n;) {
      if (w_.logical(table[i]) != empty) return false;
      const entry_span* s = m_.changes.span_of(table[i].address());
      i += s ? s->entries - static_cast<std::uint32_t>(table[i].address() - s->at) : 1;
    }
    return true;
  }

  /// Keeps the way to the table that `u` went into, if that is a map of one page, and what its leaf looks like.
  void remember(const update& u, leaf_shortcut& way) const {
    const auto& leaf_table = path_[0];
    if (s_.slot_pages(0) != 1 || s_.top() == 0 || s_.group_bits[0] || path_.lowest() > 0 || !leaf_table.held || leaf_table.hidden) return;
    if (u.kind.op() != operation::map || u.kind.leaf_level() != 0 || u.range.pages != 1 || !w_.nothing_pending()) return;
    const leaf_line<F> leaves(f_, s_, u.kind.attr(), 0);
    way = {leaf_table.first.value, s_.table_pages(0), leaf_table.table.address(), leaf_table.address, path_.unlinks(),
           std::bit_cast<std::uint32_t>(u.kind.attr()), leaves.first, leaves.step, leaves.below};
  }

 private:
  // True if entries change by stores although that takes an instruction elsewhere.
  bool direct(unsigned level) const { return entry_writer<F>::instructed && path_[level].hidden; }
  bool leaf_aligned(const update& u, std::uint64_t out, unsigned level) const {
    return level <= u.kind.leaf_level() && s_.leaf[level] && (out & (s_.slot_pages(level) - 1)) == 0;
  }

  std::uint32_t map(const update& u, slot at, unsigned level, gfn g, std::uint32_t n) {
    const std::uint64_t out = u.out.value + (g - u.range.first);
    if (!w_.nothing_pending() && !direct(level)) return 0;
    if (!leaf_aligned(u, out, level)) return level == 1 ? link_full_tables(u, at, out, n) : 0;
    const leaf_line<F> leaves(f_, s_, u.kind.attr(), level);
    if (out + (std::uint64_t{n} << s_.shift[level]) > leaves.below) return 0;
    const std::uint32_t done =
        ops_.fill_if_empty(at.address(), n, f_.empty(level), leaves.at(out), leaves.step << s_.shift[level]);
    c_.count.entries_written += done;
    return done;
  }

  // Links new tables of level-0 leaves, from output `out` on, in empty entries of a table of level 1.
  std::uint32_t link_full_tables(const update& u, slot at, std::uint64_t out, std::uint32_t n) {
    const leaf_line<F>& leaves = leaves_like(u.kind.attr());
    const std::uint64_t pages = s_.slot_pages(1);
    if (s_.group_bits[0] || out + n * pages > leaves.below || !leaf_aligned(u, out, 0)) return 0;
    table_pool& pool = *c_.where.pools[0];
    table_pool::frame taken;
    std::uint32_t done = 0;
    for (; done < n && at[done].load() == f_.empty(1) && path_.has_room(1) && path_.take(0, taken); ++done, out += pages) {
      pool.prefetch_next(c_.cpu.index);
      ops_.fill(t_.at(taken.table).address(), s_.entries(0), leaves.at(out), leaves.step << s_.shift[0]);
      at[done].store(f_.make_table(taken.table, 1));
    }
    c_.count.entries_written += done * std::uint64_t{s_.entries(0) + 1};
    return done;
  }

  std::uint32_t skip(slot at, unsigned level, std::uint32_t n) const {
    return ops_.first_not(at.address(), n, f_.empty(level));
  }

  std::uint32_t unmap(slot at, word e, unsigned level, gfn g, std::uint32_t n) {
    if (at.load() != e) return 0;  // parked, or to be changed by instruction
    if (entry_writer<F>::instructed && !direct(level)) return unmap_span(at, e, level, g, n);
    path_[level].emptied = true;
    return f_.status_bits() || n < 2 || !follows(at, e, level) ? take_each(at, level, g, n) : take(at, e, level, g, n);
  }

  // Takes out tables of level 0, with all that is in them.
  std::uint32_t unlink(slot at, gfn g, std::uint32_t n) {
    if (path_[1].hidden || m_.changes.has_single(1)) return 0;
    if constexpr (entry_writer<F>::instructed) n = m_.changes.has_room_for_span() ? m_.changes.free_of_spans(at.address(), n) : 0;
    if (n > m_.removed.left()) n = static_cast<std::uint32_t>(m_.removed.left());
    const auto table = [&](std::uint32_t i, table_address& t) {
      const word e = at[i].load();
      t = f_.table(e, 1);
      return f_.kind(e, 1) == kind::table;
    };
    std::uint32_t done = 0;
    if (c_.where.options.reports.receive) {
      for (table_address t; done < n && table(done, t); ++done)
        m_.removed.add({t, g + (std::uint64_t{done} << s_.shift[1]), 0, false});
    } else {
      done = m_.removed.add_unheard(n, table);
    }
    if (done == 0) return 0;
    path_[1].emptied = true;
    if constexpr (entry_writer<F>::instructed) {
      entry_span s = span_from(at, 1, g, done);
      s.emptied = true;
      s.set = f_.empty(1);
      w_.change_span(s, true);
    } else {
      ops_.fill(at.address(), done, f_.empty(1), 0);
      c_.count.entries_written += done;
      w_.note_stale_run({g, std::uint64_t{done} << s_.shift[1]}, 1, done, true);
    }
    return done;
  }

  // In formats whose valid entries change by instruction. Shorter runs are left to single changes.
  static constexpr std::uint32_t shortest_span = 8;
  std::uint32_t room_for_span([[maybe_unused]] slot at, [[maybe_unused]] unsigned level, [[maybe_unused]] std::uint32_t n) const {
    if constexpr (entry_writer<F>::instructed) {
      // Neither entries that one instruction does not take, nor such as are to change already.
      if (level > 0 || f_.run_limit(0) < s_.entries(0) || m_.changes.has_single(0) || !m_.changes.has_room_for_span()) return 0;
      return m_.changes.free_of_spans(at.address(), n);
    }
    return 0;
  }
  word invalid_bits([[maybe_unused]] unsigned level) const {
    if constexpr (entry_writer<F>::instructed) return f_.invalidated(0, level);
    return 0;
  }
  entry_span span_from(slot at, unsigned level, gfn g, std::uint32_t n) const {
    return {at.address(), n, static_cast<std::uint8_t>(level), false, g, path_[level].address, 0, 0};
  }

  std::uint32_t unmap_span(slot at, word e, unsigned level, gfn g, std::uint32_t n) {
    n = room_for_span(at, level, n);
    if (n >= shortest_span) n = ops_.match_run(at.address(), n, e, step_of(e, level), ~word{0});
    if (n < shortest_span) return 0;
    entry_span s = span_from(at, level, g, n);
    s.emptied = true;
    s.set = f_.empty(level);
    w_.change_span(s);
    path_[level].emptied = true;
    tell_removed(e, level, g, n);
    return n;
  }

  std::uint32_t protect_span(slot at, unsigned level, gfn g, std::uint32_t n, const run_change& c) {
    n = room_for_span(at, level, n);
    if (n >= shortest_span) n = ops_.match_run(at.address(), n, c.value, 0, c.mask);
    if (n < shortest_span) return 0;
    entry_span s = span_from(at, level, g, n);
    s.keep = c.keep & ~invalid_bits(level);
    s.set = c.set;
    w_.change_span(s);
    return n;
  }

  void tell_removed(word e, unsigned level, gfn g, std::uint32_t n) {
    if (!c_.where.options.reports.receive) return;
    const std::uint64_t pages = std::uint64_t{n} << s_.shift[level];
    if (level == 0) return m_.reports.add(reports_.removed(e, g, pages));
    report r = t_.report_of(e, level, g, report::kind::removed);
    r.range.pages = pages;
    m_.reports.add(r);
  }

  word step_of(word e, unsigned level) {
    if (step_ == 0 || step_level_ != level) {
      step_ = leaf_line<F>(f_, s_, f_.attributes_of(e, level), level).step << s_.shift[level];
      step_level_ = level;
    }
    return step_;
  }

  // Leaves as they come, each with its own status. They are reported some at a time: a locked instruction waits for all stores
  // before it.
  std::uint32_t take_each(slot at, unsigned level, gfn g, std::uint32_t n) {
    constexpr std::uint32_t most = 64;
    word old[most];
    std::uint32_t done = 0, taken = most;
    while (taken == most && done < n) {
      const std::uint32_t left = n - done < most ? n - done : most;
      const std::uint32_t room = left < m_.reports.left() ? left : static_cast<std::uint32_t>(m_.reports.left());
      for (taken = 0; taken < room; ++taken) {
        const slot next = at[done + taken];
        old[taken] = next.load();
        if (f_.kind(old[taken], level) != kind::leaf) break;
        if (f_.status_bits()) {
          old[taken] = next.exchange(f_.empty(level));
        } else {
          next.store(f_.empty(level));
        }
      }
      tell_each(old, level, g + (std::uint64_t{done} << s_.shift[level]), taken);
      done += taken;
    }
    c_.count.entries_written += done;
    w_.note_stale_run({g, std::uint64_t{done} << s_.shift[level]}, level, done);
    return done;
  }
  void tell_each(const word* old, unsigned level, gfn g, std::uint32_t n) {
    for (std::uint32_t i = 0, run = 0; i < n; i += run) {
      const word step = step_of(old[i], level);
      for (run = 1; i + run < n && old[i + run] == old[i] + run * step;) ++run;
      tell_removed(old[i], level, g + (std::uint64_t{i} << s_.shift[level]), run);
    }
  }

  std::uint32_t protect(const update& u, slot at, word e, unsigned level, gfn g, std::uint32_t n) {
    const access_change<F> c(f_, e, u.kind.attr().access, level);
    if (!c.possible || at.load() != e) return 0;
    if (entry_writer<F>::instructed && !direct(level)) return protect_span(at, level, g, n, c.words);
    return change_access(c, at, level, g, n);
  }

  std::uint32_t harvest(const update& u, slot at, word e, unsigned level, gfn g, std::uint32_t n) {
    const status_harvest<F> wanted(f_, u.kind.what(), level);
    if (level > 0) {
      if (f_.kind(e, level) == kind::empty) return skip(at, level, n);
      // Up to the next table. What this commit has parked is new and is none of these: it has no status yet.
      n = ops_.match_run(at.address(), n, e, 0, wanted.rule.leaf.any | wanted.rule.leaf.mask);
      if (n == 0 || f_.kind(e, level) != kind::leaf) return 0;
    }
    return take_status(wanted, at, level, g, n);
  }

  // As table_ops::change_run(), against hardware that sets status meanwhile.
  std::uint32_t change_live(slot at, std::uint32_t n, const run_change& c) const {
    std::uint32_t i = 0;
    for (; i < n; ++i) {
      word e = at[i].load();
      if ((e & c.mask) != c.value) break;
      while (!at[i].replace(e, (e & c.keep) | c.set)) {
      }
    }
    return i;
  }

  const commit_context& c_;
  commit_memory& m_;
  const F& f_;
  const geometry& s_;
  const tables<F> t_;
  entry_writer<F>& w_;
  commit_path<F>& path_;
  const table_ops& ops_;
  leaf_reports<F> reports_;
  word step_ = 0;  // of leaves of `step_level_` whose outputs follow each other, whatever their attributes
  unsigned step_level_ = 0;
  leaf_line<F> leaves_;
  attributes leaves_attributes_;
};

}  // namespace quire::runtime
