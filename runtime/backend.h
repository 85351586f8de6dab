// The functions that are compiled once per format: run-time choice of format costs one indirect call per
// operation, never one per entry.
#pragma once

#include "runtime/batch.h"
#include "runtime/counters.h"
#include "runtime/space.h"

namespace quire::runtime {

/// What a mapping is, as tables and queued updates have it.
struct mapping {
  gfn_range range;  ///< the part that was asked for, inside one leaf
  hfn out{};        ///< of range.first
  attributes attr;
  bool accessed = false;
  bool dirty = false;
  unsigned level = 0;  ///< of the leaf; for a queued map, the largest that it may get
};

/// A mapping, or a hole of range.pages.
struct piece {
  bool present = false;
  /// False while a commit changes the entry: hardware finds it invalid, `what` is what was or will be there.
  bool settled = true;
  mapping what;
};

/// One access of the guest, to be walked as a CPU does.
struct walk_request {
  gfn page;
  perm need = perm::none;  ///< r, w or x
  bool touch = false;      ///< set A on the path and, for a write, D on the leaf, if the access is allowed
  /// Start at this level-0 table, as a CPU does that has cached the way to it.
  bool from_leaf_table = false;
  table_address leaf_table;
};

/// What a walk found. The access is allowed if `present` and `access` includes what was needed.
struct translation {
  bool present = false;
  perm access = perm::none;
  std::uint8_t type = 0;
  bool accessed = false;
  bool dirty = false;
  unsigned level = 0;        ///< where the walk ended
  hfn out{};                 ///< of the page
  table_address leaf_table;  ///< the table that the walk ended in
};

/// The level-0 table that an immediate update of one page has found last, and what leaves with the attributes of the last such
/// map look like.
struct leaf_shortcut {
  std::uint64_t first = 0, pages = 0;  ///< under the table; pages 0: there is none
  std::uint64_t* entries = nullptr;
  table_address table;
  std::uint64_t unlinks = 0;  ///< space::unlinks() before the walk
  static constexpr std::uint64_t no_attributes = ~std::uint64_t{0};
  std::uint64_t attributes = no_attributes;     ///< as they are in memory, where leaves are known
  std::uint64_t leaf = 0, step = 0, below = 0;  ///< leaf(out) = leaf + out * step, for outputs below that
};

/// Everything that a commit works with.
struct commit_context {
  const platform& host;
  space& where;
  const owner_words& owners;
  const cpu_list& cpus;
  cpu_context& cpu;     // that commits
  counters& count;
  table_need& claims;  // what the commit may take, by level; goes down as it takes
  flush_reason reason;
  leaf_shortcut* shortcut = nullptr;  // null: nobody wants one; else there is one update
};

/// Pages that are mapped one by one, each with a leaf of level 0. All lie in the space, and were checked.
struct page_list {
  const gfn* pages = nullptr;
  const hfn* frames = nullptr;
  std::uint32_t count = 0;
  attributes attr;
};

struct backend {
  const char* name;
  /// Applies updates in order, in one phase or several: break, flush, make, free. Every table is claimed. Any cpu may
  /// commit at any time, in no phase.
  void (*commit)(const commit_context& c, const update_list& updates);
  /// Maps pages from the first one on, as long as their entries are empty and in tables that the cpu need not wait for. Returns how
  /// many it has mapped: nothing has to be flushed for these. Claims are for as many level-0 tables as it may take.
  std::uint32_t (*map_pages)(const commit_context& c, const page_list& maps);
  /// Unmaps the level-0 leaf of page `g` at `at`, in a table that the cpu holds and that does not go empty: takes it out,
  /// flushes, ends the phase that the cpu is in, and reports.
  void (*unmap_leaf)(const commit_context& c, std::uint64_t* at, gfn g);
  /// Flushes the whole space once, reports every mapping and frees all tables, the root too. Nobody else uses it.
  void (*destroy)(const commit_context& c);
  /// Tables that `u` lacks right now. While the space is closed to others.
  table_need (*missing)(const platform& host, const space& s, const update& u);
  /// The leaf or the hole around `g`, from the tables alone. Any cpu, at any time, against any commit; neither locks nor
  /// publishes anything. Never a hole where one mapping is just replaced by another.
  piece (*find)(const platform& host, const space& s, gfn g);
  /// Walks for an access of the guest. On a CPU that the flush sink waits for, or while nothing is committed.
  translation (*walk)(const platform& host, const space& s, const walk_request& q);
  /// True if hardware sets A and D in the tables of this space.
  bool (*tracks_status)(const space& s);
  /// Fills a table of `level` with empty entries.
  void (*clear)(const platform& host, const space& s, table_address table, unsigned level);
  arch::text_line (*describe)(const space& s, const arch::flush_command& c);
};

/// The backend of format F. Formats are listed, and so compiled, in backend.cc and nowhere else; tests add
/// theirs in the same way.
template <arch::flushing_format F>
const backend& backend_for();

}  // namespace quire::runtime
