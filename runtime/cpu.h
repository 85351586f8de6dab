// What the runtime keeps for each cpu: a registered execution context, driven by one thread at a time.
#pragma once

#include <atomic>

#include "runtime/changes.h"
#include "runtime/flush.h"
#include "runtime/platform.h"
#include "runtime/spin_lock.h"

namespace quire::runtime {

/// Tells whether a cpu is reading tables without a lock.
///
///           enter/leave  wait_for_reader
///   own cpu      X       outside only
///   others       -            any
class reader_flag {
 public:
  void enter() {
    // seq_cst: the flag is set before the first table is read, or wait_for_reader() could see no reader while the
    // reader sees the old table.
    count_.fetch_add(1, std::memory_order_seq_cst);
  }
  void leave() { count_.fetch_add(1, std::memory_order_release); }  // release: reads end before the table is freed

  /// Returns once a reader that was inside has left. A reader is inside for one walk, so this is short.
  void wait_for_reader(const platform& p) const {
    const std::uint64_t seen = count_.load(std::memory_order_seq_cst);  // seq_cst: see enter()
    if (!(seen & 1)) return;
    while (count_.load(std::memory_order_acquire) == seen) relax(p);  // acquire: see leave()
  }

 private:
  std::atomic<std::uint64_t> count_{0};  // odd: inside
};

struct alignas(64) cpu_context {
  reader_flag reader;
  unsigned index = 0;
  unsigned interrupts = 0;  ///< nesting of interrupt context; own cpu only

  // What a commit of this cpu needs until its flush is done. Commits of one cpu do not overlap.
  gather stale;
  report_queue reports;
  removed_tables removed;
  entry_changes changes;   // formats whose entries change by instruction
  unfolded_groups unfolded;  // formats with groups of leaves
  arch::command_list commands;
};

}  // namespace quire::runtime
