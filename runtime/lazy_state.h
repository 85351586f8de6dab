// What stands behind a lazy_state*: the section of one (cpu, space), its queue, nesting and claims on tables.
#pragma once

#include "runtime/backend.h"
#include "runtime/state_handle.h"

namespace quire::runtime {

/// A section between two cpus: given away by machine::hand_over(), not yet taken by machine::take_over().
struct section_in_transit {
  lazy_state* name = nullptr;  ///< the state that was given away; null if none was
  std::uint32_t depth = 0;
  std::uint32_t paused = 0;
  gfn_range hint;
};

/// What the newest record of a queue has claimed.
struct newest_claims {
  static constexpr gfn none{~std::uint64_t{0}};  // shares no table with any page
  gfn last = none;       ///< a page on whose way all tables are claimed, for a map of level-0 leaves
  /// Attributes of the checked map that `last` comes from, as they are in memory; those of no map while `last` is `none`,
  /// since a caller may ask for that page too.
  std::uint64_t attributes = no_attributes;
  table_need split{};    ///< other operations: tables for splitting leaves at both ends, by level
  bool split_all = true; ///< however far the record grows, it splits no more than that

  void map_up_to(gfn page, arch::attributes a) {
    last = page;
    attributes = std::bit_cast<std::uint32_t>(a);
  }
  void forget_map() {
    last = none;
    attributes = no_attributes;
  }

 private:
  static constexpr std::uint64_t no_attributes = ~std::uint64_t{0};
};

/// What decides, without a look at the space, whether an update can be queued by a few compares.
struct append_limits {
  std::uint64_t output_pages = 0;    ///< 0 where one page is no granule: then all maps go the long way
  std::uint64_t outside_parent = 0;  ///< bits in which pages of one level-1 table agree; all bits where pages are no granules
  std::uint64_t outside_table = 0;        ///< the same of one level-0 table
  std::uint64_t outside_grandparent = 0;  ///< the same of one level-2 table
  std::uint64_t join_pages = 0;      ///< records of maps may join inside each so many pages; 1: leaves form groups
  std::uint64_t input_pages = 0;
  std::uint64_t inside_granule = 0;  ///< bits of a page number that are 0 in aligned ones
  update_kind unmap;                 ///< of the space's unmaps

  /// @param max_leaf  of the space
  append_limits(const geometry& s, unsigned max_leaf)
      : output_pages(s.slot_pages(0) > 1 ? 0 : s.output_pages), outside_parent(agreeing(s, 1)), outside_table(agreeing(s, 0)), outside_grandparent(agreeing(s, 2)),
        join_pages(s.group_bits[0] ? 1 : s.table_pages(0)), input_pages(s.input_pages),
        inside_granule(s.slot_pages(0) - 1), unmap(operation::unmap, {}, max_leaf, false, harvest::none) {}

 private:
  static std::uint64_t agreeing(const geometry& s, unsigned level) {
    return s.slot_pages(0) > 1 ? ~std::uint64_t{0} : ~(s.table_pages(level < s.top() ? level : s.top()) - 1);
  }
};

/// One per (cpu, space), made on first use.
///
///                 queue: append  queue: commit  transit  all else
///   owning cpu          X              L           L         X
///   other cpus          -              L           L         -     (but `count` and `queue.pending()`, to look)
/// L: under `drain_lock`.
struct section {
  explicit section(const append_limits& l) : limits(l) {}

  append_limits limits;
  unsigned cpu = 0;
  runtime::space* where = nullptr;
  /// Names the (cpu, space) outside sections, as long as the space lives.
  lazy_state* outside = nullptr;
  /// Names the section that is open; null if none is.
  lazy_state* inside = nullptr;
  std::uint64_t generation = 0;  // of the newest handle

  std::uint32_t depth = 0;   ///< nesting of enter()
  std::uint32_t paused = 0;  ///< nesting of pause()
  gfn_range hint;            ///< given to the outermost enter(); pages 0 = none
  std::uint64_t saved = 0;   ///< what platform::open_tables gave on the outermost enter()
  bool wrote = false;        ///< entries were written since the last platform::barrier()
  std::uint32_t walks = 0;   ///< calls of apply_to_range() in progress
  batch queue;
  table_need reserved{};     ///< claims that the queue holds, by level
  newest_claims newest;
  std::uint32_t prepaid_parents = 0;  ///< level-1 tables that are claimed beyond what `newest` tells
  leaf_shortcut shortcut;
  counters count;            ///< updates that `queue` holds are not in count.updates yet
  std::uint64_t direct = 0;  ///< immediate maps by machine::put_directly(); in none of the counters yet
  /// Held by whoever commits what is queued: the owner, or a cpu that drains it. Holders wait for tables and flushes, so
  /// it is never taken in a phase.
  alignas(64) spin_lock drain_lock;
  section_in_transit transit;
  std::atomic<std::uint64_t> drains{0};  ///< odd while another cpu commits what is queued, under `drain_lock`

  bool lazy() const { return depth > 0 && paused == 0; }
  /// True if something goes on that needs the section to stay. Owning cpu, or under `drain_lock`.
  bool in_use() const { return depth > 0 || paused > 0 || walks > 0 || transit.name != nullptr; }

  /// Queues an update if a few compares tell that this can be done. Owning cpu, in a section.
  /// A map: of one page, with attributes as in the map before, that continues the newest record inside a table, or lies under
  /// the same level-1 table as the one before, so that its tables are claimed already.
  /// Cost: some 20 to 30 instructions, none of them locked.
  bool append_map(gfn_range r, hfn out, attributes a, guard g);
  [[gnu::always_inline]] bool append_unmap(gfn_range r) {
    return (r.pages == 1 && queue.grow_by_page(r.first, limits.unmap) == batch::growth::done) || append_separate_unmap(r);
  }
  /// Lets the newest record grow from now on by few compares, as far as that is possible.
  void let_grow();

 private:
  bool append_separate_unmap(gfn_range r);
};

[[gnu::always_inline]] inline bool section::append_map(gfn_range r, hfn out, attributes a, guard g) {
  if (r.pages != 1) return false;
  const update_kind k = update_kind(operation::map, a, 0, false, harvest::none).with(g);
  queued_update* const next = queue.next();
  const batch::growth grown = queue.grow_by_page(next, r.first, out, k);
  if (grown != batch::growth::elsewhere) [[likely]] return grown == batch::growth::done;
  const std::uint64_t from_newest = r.first.value ^ newest.last.value;
  if (std::bit_cast<std::uint32_t>(a) != newest.attributes || out.value >= limits.output_pages) return false;
  if ((from_newest & limits.outside_parent) != 0) [[unlikely]] {
    if ((from_newest & limits.outside_grandparent) != 0 || prepaid_parents == 0 || queue.prepaid_spent()) return false;
    --prepaid_parents;
    newest.last = r.first;
  }
  return queue.append_claimed(next, r.first, out, k, (from_newest & limits.outside_table) == 0);
}

inline bool section::append_separate_unmap(gfn_range r) {
  // Where no leaf is larger than a page, nothing is split, so nothing has to be claimed.
  if (limits.unmap.leaf_level() != 0 || queue.full() || queue.ends_before(r.first) || !lazy()) return false;
  if (r.pages - 1 >= limits.input_pages || r.first.value > limits.input_pages - r.pages) return false;
  if (((r.first.value | r.pages) & limits.inside_granule) != 0) return false;
  queue.append({r, {}, limits.unmap});
  newest.forget_map();  // it may take a table out that was claimed for
  let_grow();
  return true;
}

inline void section::let_grow() {
  if (limits.inside_granule != 0) return;
  const update_kind k = queue.newest_kind();
  if (k == limits.unmap && newest.split_all && limits.input_pages % batch::growth_block == 0) return queue.let_grow();
  if (k.op() != operation::map || k.leaf_level() != 0 || limits.join_pages % batch::growth_block != 0) return;
  const gfn_range r = queue.newest();
  const std::uint64_t last = r.end().value - 1, end = last - last % batch::growth_block + batch::growth_block;
  if (end - r.first.value <= limits.output_pages - queue.newest_output().value) queue.let_grow();
}

/// The state that the caller sees now.
inline lazy_state* current(const section& s) { return s.inside ? s.inside : s.outside; }

}  // namespace quire::runtime
