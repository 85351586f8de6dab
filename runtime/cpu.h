// What the runtime keeps for each cpu: a registered execution context, driven by one thread at a time.
#pragma once

#include "runtime/changes.h"
#include "runtime/flush.h"
#include "runtime/phase.h"

namespace quire::runtime {

/// What a commit must remember until its flush is done. Commits of one cpu do not overlap.
struct commit_memory {
  gather stale;
  report_queue reports;
  removed_tables removed;
  entry_changes changes;  ///< formats whose entries change by instruction
  parked_entries parked;  ///< formats that break entries
  arch::command_list commands;
  locked_words locked;
};

/// One per cpu index that may be registered, from start to stop.
///
///                     phase         interrupts  memory
///   own cpu      raise, lower           X         X
///   other cpus   wait_until_moved       -         -
struct alignas(64) cpu_context {
  phase_word phase;
  unsigned index = 0;
  unsigned interrupts = 0;          ///< nesting of interrupt context
  commit_memory* memory = nullptr;  ///< null: the cpu was never registered
  bool registered = false;          ///< under the machine's lock
};

/// All cpus of a machine; constant from start to stop.
struct cpu_list {
  cpu_context* all = nullptr;
  unsigned count = 0;  ///< that may be registered

  cpu_context& operator[](unsigned i) const { return all[i]; }
  /// Waits for every commit phase of other cpus that is in progress now. Whoever waits is in none itself and holds no
  /// table: phases wait for nothing but flushes, so this ends.
  void wait_for_phases(unsigned but, const platform& p) const {
    for (unsigned i = 0; i < count; ++i) {
      if (i != but) all[i].phase.wait_until_moved(p);
    }
  }
};

}  // namespace quire::runtime
