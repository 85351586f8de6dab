// Plays steps on a guest, eagerly or in sections, and watches what no step may break.
#pragma once

#include <array>

#include "tests/support/guest.h"
#include "tests/support/steps.h"

namespace quire::tests {

/// Watches along: a dirty page is reported once or still there; no CPU keeps a translation that was removed
/// or narrowed once nothing is queued any more.
class player {
 public:
  /// @param all  where steps play
  player(guest_base& g, const any_format& f, bool lazy, gfn_range all);
  player(const player&) = delete;
  player& operator=(const player&) = delete;

  /// Some maps are made as lists of pages, which may run out of table memory in the middle.
  bool lists = true;
  /// Does any step but touches and interrupts. Sections do not exist if played eagerly.
  status play(const step& s);
  /// Does an update in interrupt context.
  status interrupt(const step& s);
  /// What play() has to answer, table memory aside.
  status expected(const step& s) const;
  /// One access of the guest. False if it faults.
  bool touch(gfn g, perm need);
  /// Commits what is queued.
  void settle();
  /// Ends pauses and sections.
  void finish();
  /// What lookup() says of `g`.
  std::optional<page_run> look(gfn g) { return clipped(g_.look(g)); }
  /// What the tables say of `g`.
  std::optional<page_run> in_tables(gfn g) { return clipped(g_.in_tables(g)); }
  /// What for_each() finds, joined.
  std::vector<page_run> runs();
  /// Dirty pages inside `r`, as for_each() finds them.
  page_set dirty(gfn_range r);

  /// Sum over all pages that were reported removed, each with its frame and attributes.
  std::uint64_t removed_sum() const { return removed_sum_; }
  /// What went wrong first; empty if nothing did.
  const std::string& wrong() const { return wrong_; }
  /// Checks what was written and not reported against the tables.
  void check_dirty();
  guest_base& where() { return g_; }

 private:
  struct cached {
    gfn page;
    bool valid = false;
    mapping is;
  };

  lazy_state* state() { return depth_ > 0 ? inside_ : g_.state(); }
  status update(lazy_state* l, const step& s);
  status map_backwards(lazy_state* l, const page_run& r);
  status change_section(const step& s);
  void fail(const char* what, gfn g);
  void hear(const runtime::report& r);
  void drop(const runtime::flush_plan& plan);
  void check_cached();
  static std::optional<page_run> clipped(const std::optional<mapping>& m);

  guest_base& g_;
  const bool lazy_;
  const any_format format_;
  const gfn_range all_;
  const bool tracked_;
  lazy_state* inside_ = nullptr;
  unsigned depth_ = 0;
  unsigned paused_ = 0;
  page_set written_;  // and not reported
  std::array<cached, 16> cache_;
  std::size_t next_cached_ = 0;
  std::uint64_t removed_sum_ = 0;
  std::string wrong_;
};

}  // namespace quire::tests
