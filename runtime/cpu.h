// What the runtime keeps for each cpu: a registered execution context, driven by one thread at a time.
#pragma once

#include "runtime/changes.h"
#include "runtime/flush.h"
#include "runtime/phase.h"

namespace quire::runtime {

struct lazy_state;
struct section;

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
///                     phase        found, note  forget(section)  all else
///   own cpu      raise, lower           X             X            X
///   other cpus   wait_until_moved       -             X            -
struct alignas(64) cpu_context {
  phase_word phase;
  unsigned index = 0;  ///< constant
  unsigned interrupts = 0;          ///< nesting of interrupt context
  commit_memory* memory = nullptr;  ///< null: the cpu was never registered
  bool registered = false;          ///< under the machine's lock

  void start(unsigned i) {
    index = i;
    forget();
  }
  /// The section that note() was told of last, if that was for `l` and was not forgotten since; else null. Two loads.
  section* found(const lazy_state* l) const {
    // relaxed: the own cpu writes both, or another one takes the name away that nobody uses any more
    if (name_.load(std::memory_order_relaxed) != l) return nullptr;
    section* s = section_.load(std::memory_order_relaxed);  // relaxed: likewise
    if (!s) __builtin_unreachable();  // spares callers a compare
    return s;
  }
  void note(const lazy_state* l, section& s) {
    section_.store(&s, std::memory_order_relaxed);  // relaxed: see found()
    name_.store(l, std::memory_order_relaxed);      // relaxed: likewise
  }
  void forget() { name_.store(nobody(), std::memory_order_relaxed); }  // relaxed: see found()
  void forget(const section& s) {
    if (section_.load(std::memory_order_relaxed) == &s) forget();  // relaxed: see found()
  }

 private:
  /// No state of this cpu, and not null: what found() is asked for has the index of this cpu in it.
  const lazy_state* nobody() const { return reinterpret_cast<const lazy_state*>(std::uintptr_t{index ^ 1u} << 1 | 1u); }

  std::atomic<const lazy_state*> name_{nullptr};
  std::atomic<section*> section_{nullptr};
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
