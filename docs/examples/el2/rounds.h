// Work below a running guest, as for live migration and reclaim: dirty logging, ageing, and moving pages
// elsewhere.
#pragma once

#include "vm.h"

namespace el2 {

/// One cpu at a time makes a round, at an exit, when the last one is long enough ago. Each round looks at a
/// window of the guest's RAM; the window goes on when all three kinds have looked at it.
class rounds {
 public:
  /// Rounds every so many milliseconds; 0 = never.
  void start(u64 period_ms);
  void run_if_due(cpu& self, vm& guest);

 private:
  static constexpr u64 window_pages = 16384;   // 64 MiB
  static constexpr unsigned most_moves = 512;  // in one round
  static constexpr unsigned idle_limit = 2;    // rounds

  void log_dirty(cpu& self);
  void age(cpu& self);
  arch::gfn_range window() const { return {page_of(own_end) + at_, window_pages}; }

  vm* guest_ = nullptr;
  u64 period_ = 0;            // in ticks of the counter
  std::atomic<u64> next_{0};  // when the next round is due
  std::atomic<bool> busy_{false};
  unsigned kind_ = 0;
  u64 at_ = 0;                   // first page of the window, from the start of the guest's RAM
  arch::gfn moves_[most_moves];  // what the dirty log has found last
  unsigned move_count_ = 0;
};

}  // namespace el2
