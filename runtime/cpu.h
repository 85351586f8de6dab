// What the runtime keeps for each cpu: a registered execution context, driven by one thread at a time.
#pragma once

#include <bit>
#include <cstddef>

#include "runtime/changes.h"
#include "runtime/flush.h"
#include "runtime/phase.h"
#include "runtime/state_handle.h"

namespace quire::runtime {

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
  const unsigned index;
  unsigned interrupts = 0;          ///< nesting of interrupt context
  commit_memory* memory = nullptr;  ///< null: the cpu was never registered
  bool registered = false;          ///< under the machine's lock

  constexpr explicit cpu_context(unsigned i) : index(i), name_(nobody(i)) {}
  /// The section that note() was told of last, if that was for `l` and was not forgotten since; else null. Two loads.
  section* found(const lazy_state* l) const {
    // relaxed: the own cpu writes both, or another one takes the name away that nobody uses any more
    if (name_.load(std::memory_order_relaxed) != state_handle(l).bits()) return nullptr;
    section* s = section_.load(std::memory_order_relaxed);  // relaxed: likewise
    if (!s) __builtin_unreachable();  // spares callers a compare
    return s;
  }
  void note(const lazy_state* l, section& s) {
    section_.store(&s, std::memory_order_relaxed);                    // relaxed: see found()
    name_.store(state_handle(l).bits(), std::memory_order_relaxed);  // relaxed: likewise
  }
  void forget() { name_.store(nobody(index), std::memory_order_relaxed); }  // relaxed: see found()
  void forget(const section& s) {
    if (section_.load(std::memory_order_relaxed) == &s) forget();  // relaxed: see found()
  }

 private:
  /// What cpu_list::context_of() finds another context for, so that found() is never asked for it.
  static constexpr std::uint64_t nobody(unsigned index) { return state_handle(0, 0, index ^ 1u).bits(); }

  std::atomic<std::uint64_t> name_;
  std::atomic<section*> section_{nullptr};
};

/// Those of a machine that was not started.
inline constinit cpu_context no_cpus[2] = {cpu_context(0), cpu_context(1)};

/// All cpus of a machine; constant from start to stop.
class cpu_list {
 public:
  cpu_context* all = no_cpus;  ///< places() of them
  unsigned count = 0;          ///< that may be registered

  cpu_list() = default;
  cpu_list(cpu_context* contexts, unsigned n) : all(contexts), count(n), in_offset_((places(n) - 1) * sizeof(cpu_context)) {}
  /// Contexts to be made for `n` cpus: a power of two, and two at least.
  static constexpr std::size_t places(unsigned n) { return n < 2 ? 2 : std::bit_ceil(n); }

  cpu_context& operator[](unsigned i) const { return all[i]; }
  /// The context of the cpu that `l` names, if there is such a cpu; else some other one. Cost: a load and two adds.
  cpu_context& context_of(const lazy_state* l) const {
    static_assert(sizeof(cpu_context) == std::size_t{1} << state_handle::cpu_shift);
    const std::uint64_t offset = state_handle(l).bits() & in_offset_;
    return *reinterpret_cast<cpu_context*>(reinterpret_cast<std::byte*>(all) + static_cast<std::size_t>(offset));
  }
  /// Waits for every commit phase of other cpus that is in progress now. Whoever waits is in none itself and holds no
  /// table: phases wait for nothing but flushes, so this ends.
  void wait_for_phases(unsigned but, const platform& p) const {
    for (unsigned i = 0; i < count; ++i) {
      if (i != but) all[i].phase.wait_until_moved(p);
    }
  }

 private:
  std::uint64_t in_offset_ = sizeof(cpu_context);  // what of a state's value is an offset in `all`
};

}  // namespace quire::runtime
