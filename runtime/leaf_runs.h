// Neighbouring leaves changed at once: the short cuts of a commit for ranges.
#pragma once

#include "runtime/commit_path.h"
#include "runtime/table_ops.h"

namespace quire::runtime {

/// How the leaves of one level and kind differ by their output: leaf(out) = first + out * step, up to an output.
template <class F>
struct leaf_line {
  using word = typename F::word;
  word first = 0;
  word step = 0;            ///< for each 4 KiB page; formats shift the frame number into place, where it does not wrap
  std::uint64_t below = 0;  ///< holds for outputs below this; 0: for none

  leaf_line() = default;
  leaf_line(const F& f, const geometry& s, attributes a, unsigned level) : first(f.make_leaf(hfn{0}, a, level)) {
    const std::uint64_t pages = s.slot_pages(level);
    step = (f.make_leaf(hfn{pages}, a, level) - first) >> s.shift[level];
    // Frame numbers lie in one field up to 48 bits of address in every format, and in most of them further.
    for (const std::uint64_t end : {s.output_pages, std::uint64_t{1} << 36}) {
      const std::uint64_t last = end - pages;
      if (end > s.output_pages || f.make_leaf(hfn{last}, a, level) != first + last * step) continue;
      below = end;
      break;
    }
  }
  word at(std::uint64_t out) const { return first + out * step; }
};

/// The commit goes on one by one where nothing here applies.
template <class F>
class leaf_runs {
 public:
  using word = typename F::word;
  using slot = arch::slot<F>;
  using kind = arch::entry_kind;

  leaf_runs(const commit_context& c, entry_writer<F>& w, commit_path<F>& path)
      : c_(c), m_(*c.cpu.memory), f_(c.where.format<F>()), s_(c.where.shape), t_(c.host, c.where), w_(w), path_(path),
        ops_(w.ops()) {}

  /// Does what `u` asks for in as many of `n` slots as can be done at once, from the one of page `g` on, whose entry is `e`.
  /// The table of `level` is held. Returns how many; 0: none.
  std::uint32_t act(const update& u, slot at, word e, unsigned level, gfn g, std::uint32_t n) {
    if (s_.group_bits[level] || path_[level].hidden) return 0;
    const kind k = f_.kind(e, level);
    switch (u.kind.op()) {
      case operation::map: return k == kind::empty ? map(u, at, level, g, n) : 0;
      case operation::unmap: return k == kind::leaf ? unmap(at, e, level, g, n) : k == kind::empty ? skip(at, level, n) : 0;
      case operation::protect: return k == kind::leaf ? protect(u, at, e, level, g, n) : 0;
      case operation::harvest:
        // What this commit has parked is new: it has no status yet.
        return level == 0 && f_.status_bits() ? harvest(u, at, level, g, n) : 0;
    }
    return 0;
  }

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
    return f_.empty(level) == 0 ? table_pool::content::zeroed : table_pool::content::any;
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
  bool tell_all(slot table, gfn first, report_stream& out) {
    const std::uint32_t n = s_.entries(0);
    const bool in_runs = !f_.status_bits() && s_.group_bits[0] == 0;
    for (std::uint32_t i = 0; i < n;) {
      const gfn g = first + (std::uint64_t{i} << s_.shift[0]);
      word e = w_.logical(table[i]);
      std::uint32_t done = 1;
      if (f_.kind(e, 0) == kind::leaf) {
        report r = t_.report_of(t_.shared_status(table[i], e, 0, g), 0, g, report::kind::removed);
        if (in_runs && table[i].load() == e) done = ops_.take_run(table[i].address(), n - i, step_of(e, 0), f_.empty(0));
        r.range.pages = std::uint64_t{done} << s_.shift[0];
        out.add(r);
      } else if (e == f_.empty(0)) {
        done = ops_.first_not(table[i].address(), n - i, e);
        if (done == 0) done = 1;
      }
      i += done;
    }
    return in_runs && all_empty(table, 0);
  }
  /// True if all entries of a table will be empty when the commit is done.
  bool all_empty(slot table, unsigned level) const {
    const std::uint32_t n = s_.entries(level);
    if (!entry_writer<F>::instructed || w_.nothing_pending()) return ops_.all_equal(table.address(), n, f_.empty(level));
    for (std::uint32_t i = 0; i < n;) {
      const slot at = table[i];
      if (const entry_span* s = m_.changes.span_of(at.address())) {
        if (!s->emptied) return false;
        i += s->entries - static_cast<std::uint32_t>(at.address() - s->at);
      } else if (m_.changes.has_single(level)) {
        if (w_.logical(at) != f_.empty(level)) return false;
        ++i;
      } else {
        const std::uint32_t to_span = m_.changes.free_of_spans(at.address(), n - i);
        if (!ops_.all_equal(at.address(), to_span, f_.empty(level))) return false;
        i += to_span;
      }
    }
    return true;
  }

  /// Keeps the way to the table that map `u` of one page went into.
  void remember(const update& u, leaf_shortcut& way) const {
    way.pages = 0;
    const auto& leaf_table = path_[0];
    if (s_.slot_pages(0) != 1 || s_.top() == 0 || s_.group_bits[0] || path_.lowest() > 0 || !leaf_table.held || leaf_table.hidden) return;
    if (u.kind.op() != operation::map || u.kind.leaf_level() != 0 || u.range.pages != 1 || !w_.nothing_pending()) return;
    const leaf_line<F> leaves(f_, s_, u.kind.attr(), 0);
    way = {leaf_table.first.value, s_.table_pages(0), leaf_table.table.address(), leaf_table.address, path_.unlinks(),
           std::bit_cast<std::uint32_t>(u.kind.attr()), F::byte_order != std::endian::native, leaves.first, leaves.step,
           leaves.below, f_.empty(0)};
  }

 private:
  bool leaf_aligned(const update& u, std::uint64_t out, unsigned level) const {
    return level <= u.kind.leaf_level() && s_.leaf[level] && (out & (s_.slot_pages(level) - 1)) == 0;
  }

  std::uint32_t map(const update& u, slot at, unsigned level, gfn g, std::uint32_t n) {
    const std::uint64_t out = u.out.value + (g - u.range.first);
    if (!leaf_aligned(u, out, level) || !w_.nothing_pending()) return 0;
    const leaf_line<F> leaves(f_, s_, u.kind.attr(), level);
    if (out + (std::uint64_t{n} << s_.shift[level]) > leaves.below) return 0;
    const std::uint32_t done =
        ops_.fill_if_empty(at.address(), n, f_.empty(level), leaves.at(out), leaves.step << s_.shift[level]);
    c_.count.entries_written += done;
    return done;
  }

  std::uint32_t skip(slot at, unsigned level, std::uint32_t n) const {
    return ops_.first_not(at.address(), n, f_.empty(level));
  }

  std::uint32_t unmap(slot at, word e, unsigned level, gfn g, std::uint32_t n) {
    if (at.load() != e) return 0;  // parked, or to be changed by instruction
    if constexpr (entry_writer<F>::instructed) return unmap_span(at, e, level, g, n);
    const std::uint32_t done = f_.status_bits() || n < 2 || !follows(at, e, level) ? take_each(at, level, g, n) : take(at, e, level, g, n);
    path_[level].emptied = true;
    c_.count.entries_written += done;
    w_.note_stale_run({g, std::uint64_t{done} << s_.shift[level]}, level, done);
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
    report r = t_.report_of(e, level, g, report::kind::removed);
    r.range.pages = std::uint64_t{n} << s_.shift[level];
    m_.reports.add(r);
  }

  bool follows(slot at, word e, unsigned level) const { return at[1].load() == e + step_of(e, level); }
  word step_of(word e, unsigned level) const {
    return leaf_line<F>(f_, s_, f_.attributes_of(e, level), level).step << s_.shift[level];
  }

  // Leaves whose outputs follow each other, in a space whose status hardware does not track.
  std::uint32_t take(slot at, word e, unsigned level, gfn g, std::uint32_t n) {
    const std::uint32_t done = ops_.take_run(at.address(), n, step_of(e, level), f_.empty(level));
    tell_removed(e, level, g, done);
    return done;
  }

  // Leaves as they come, each with its own status.
  std::uint32_t take_each(slot at, unsigned level, gfn g, std::uint32_t n) {
    const bool tracked = f_.status_bits() != 0;
    const bool reported = c_.where.options.reports.receive != nullptr;
    std::uint32_t i = 0;
    for (; i < n && m_.reports.left() > 0; ++i) {
      word old = at[i].load();
      if (f_.kind(old, level) != kind::leaf) break;
      if (tracked) {
        old = at[i].exchange(f_.empty(level));
      } else {
        at[i].store(f_.empty(level));
      }
      if (reported) m_.reports.add(t_.report_of(old, level, g + (std::uint64_t{i} << s_.shift[level]), report::kind::removed));
    }
    return i;
  }

  std::uint32_t protect(const update& u, slot at, word e, unsigned level, gfn g, std::uint32_t n) {
    if (F::breaks && f_.status_bits()) return 0;  // access bits and dirty state share some there
    const perm access = u.kind.attr().access;
    const word now = f_.with_access(e, access, level);
    const auto t = f_.classify(e, now, level);
    if (now == e || at.load() != e || t == arch::transition::break_before_make) return 0;
    // Leaves that agree with the first one in all but address and status.
    const arch::level_rule rule = f_.rule(level);
    run_change c;
    c.set = f_.with_access(0, access, level);
    c.keep = f_.with_access(~word{0}, access, level) & ~c.set;
    c.mask = ~(rule.leaf_address | rule.high_bits | f_.status_bits());
    c.value = e & c.mask;
    if constexpr (entry_writer<F>::instructed) return protect_span(at, level, g, n, c);
    const std::uint32_t done = f_.status_bits() ? change_live(at, n, c) : ops_.change_run(at.address(), n, c);
    c_.count.entries_written += done;
    if (t == arch::transition::store_then_flush) w_.note_stale_run({g, std::uint64_t{done} << s_.shift[level]}, level, done);
    return done;
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

  // What of the entries' status `what` asks for, as bits.
  harvest_rule rule_of(runtime::harvest what, unsigned level) const {
    harvest_rule r;
    r.leaf = f_.rule(level).leaf;
    const word all = ~word{0};
    if (includes(what, runtime::harvest::accessed)) r.accessed = all & ~f_.without_status(all, true, false);
    if (!includes(what, runtime::harvest::dirty)) return r;
    if constexpr (F::breaks && requires { F::SW_DIRTY; }) {
      r.dirty = F::SW_DIRTY;
      r.dirty_pair = F::DBM | F::S2AP_W;
      r.pair_clear = F::S2AP_W;
    } else {
      r.dirty = all & ~f_.without_status(all, false, true);
    }
    if (includes(what, runtime::harvest::write_protect)) {
      const word writable = f_.with_access(0, perm::rw, level) & ~f_.with_access(0, perm::r, level);
      r.protect = writable | r.pair_clear;
    }
    return r;
  }

  // Takes the status of as many leaves as can be remembered.
  std::uint32_t harvest(const update& u, slot at, unsigned level, gfn g, std::uint32_t n) {
    constexpr std::uint32_t most = 256;
    std::uint32_t index[most];
    word old[most];
    const std::size_t room = m_.reports.left();
    if (n > most) n = most;
    if (n > room) n = static_cast<std::uint32_t>(room);
    const runtime::harvest what = u.kind.what();
    const bool keep_a = !includes(what, runtime::harvest::accessed), keep_d = !includes(what, runtime::harvest::dirty);
    const std::uint32_t found = ops_.harvest_live(at.address(), n, rule_of(what, level), index, old);
    for (std::uint32_t i = 0; i < found; ++i) {
      const gfn first = g + (std::uint64_t{index[i]} << s_.shift[level]);
      w_.note_stale_run({first, s_.slot_pages(level)}, level, 1);
      if (c_.where.options.reports.receive) m_.reports.add(t_.report_of(f_.without_status(old[i], keep_a, keep_d), level, first, report::kind::harvested));
    }
    c_.count.entries_written += found;
    return n;
  }

  const commit_context& c_;
  commit_memory& m_;
  const F& f_;
  const geometry& s_;
  const tables<F> t_;
  entry_writer<F>& w_;
  commit_path<F>& path_;
  const table_ops& ops_;
};

}  // namespace quire::runtime
