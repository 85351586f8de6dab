// What follows a phase of a commit: reports are delivered, and tables that were taken out go back to their pools.
#pragma once

#include <utility>

#include "runtime/leaf_runs.h"

namespace quire::runtime {

/// Lives as long as the commit.
template <class F>
class settlement {
 public:
  using word = typename F::word;
  using slot = arch::slot<F>;
  using kind = arch::entry_kind;

  settlement(const commit_context& c, entry_writer<F>& w, leaf_runs<F>& runs)
      : c_(c), m_(*c.cpu.memory), f_(c.where.format<F>()), s_(c.where.shape), t_(c.host, c.where), w_(w), runs_(runs) {}

  /// Delivers reports and frees removed tables. After the flush and in no phase: once the phases of others that were in
  /// progress are over too, nothing changes in these tables any more, and lookups notice that they went.
  void settle() {
    if (!m_.removed.empty()) free_removed();
    m_.reports.deliver(c_.where.options.reports, c_.cpu.index);
  }

 private:
  void free_removed() {
    c_.where.note_unlinked();
    c_.cpus.wait_for_phases(c_.cpu.index, c_.host);
    c_.where.move_version();
    for (const removed_table& r : m_.removed.all()) free_tree(r);
    give_leaf_tables(m_.removed.unheard());
    m_.removed.clear();
    c_.where.count_tables(-std::exchange(freed_, 0), -std::exchange(freed_bytes_, 0));
  }

  void free_tree(const removed_table& r) {
    const bool reported = c_.where.options.reports.receive != nullptr;
    bool emptied = r.emptied;
    if (!emptied && r.level == 0) {
      if (reported) emptied = runs_.tell_all(t_.at(r.table), r.first);
    } else if (!emptied && r.level == 1 && !reported) {
      give_leaf_tables(t_.at(r.table));
    } else if (!emptied) {
      free_below(r);
    }
    c_.where.pools[r.level]->give(c_.cpu.index, {r.table, emptied && runs_.clear_frame_fits(r.level)});
    count(r.level, 1);
  }

  void free_below(const removed_table& r) {
    const slot first = t_.at(r.table);
    for (std::uint32_t i = 0; i < s_.entries(r.level); ++i) {
      const gfn g = r.first + (std::uint64_t{i} << s_.shift[r.level]);
      word e = w_.logical(first[i]);
      const kind k = f_.kind(e, r.level);
      constexpr std::uint32_t ahead = 8;
      if (i + ahead < s_.entries(r.level)) t_.prefetch_below(first[i + ahead], r.level);
      if (k == kind::leaf) e = t_.shared_status(first[i], e, r.level, g);
      if (k == kind::leaf) runs_.tell_settled(t_.report_of(e, r.level, g, report::kind::removed));
      if (k == kind::table) free_tree({f_.table(e, r.level), g, r.level - 1, false});
    }
  }

  // Those below a table of level 1, where nobody hears of their leaves: they are not looked at.
  void give_leaf_tables(slot first) {
    constexpr std::uint32_t most = 64;
    table_address found[most];
    std::uint32_t n = 0;
    const auto give = [&] { give_leaf_tables(std::span(found, std::exchange(n, 0))); };
    for (std::uint32_t i = s_.entries(1); i-- > 0;) {
      const word e = w_.logical(first[i]);
      if (f_.kind(e, 1) != kind::table) continue;
      found[n++] = f_.table(e, 1);
      if (n == most) give();
    }
    give();
  }

  void give_leaf_tables(std::span<const table_address> tables) {
    c_.where.pools[0]->give(c_.cpu.index, tables);
    count(0, static_cast<std::uint32_t>(tables.size()));
  }

  void count(unsigned level, std::uint32_t tables) {
    freed_ += tables;
    freed_bytes_ += std::int64_t{tables} * s_.table_bytes[level];
    c_.count.tables_freed += tables;
  }

  const commit_context& c_;
  commit_memory& m_;
  const F& f_;
  const geometry& s_;
  const tables<F> t_;
  entry_writer<F>& w_;
  leaf_runs<F>& runs_;
  std::int64_t freed_ = 0, freed_bytes_ = 0;  // tables that count_tables() does not know of yet
};

}  // namespace quire::runtime
