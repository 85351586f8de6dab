// One second-stage tree: its format, root, sections and lock.
#pragma once

#include <new>
#include <type_traits>

#include "runtime/cpu.h"
#include "runtime/prepare.h"
#include "runtime/table_pool.h"

namespace quire::runtime {

struct backend;
struct section;

struct space_options {
  /// Largest leaf that map() uses, as a level.
  unsigned max_leaf_level = arch::level_limit - 1;
  observer reports;
};

/// Fields belong to the runtime; an embedder calls the functions.
///
///            note_run  functions  fields
///   any cpu    any        any     under `lock`, but the constant ones
struct space {
  // Constant from creation to destruction.
  std::uint32_t id = 0;
  const runtime::backend* backend = nullptr;
  geometry shape;
  std::uint64_t root_register = 0;  ///< EPTP, VTTBR or ASCE
  table_address root;
  space_options options;
  table_pool* pools[arch::level_limit] = {};  // by level
  std::atomic<section*>* sections = nullptr;  // by cpu; set once
  std::uint64_t first_generation = 0;         // of its states

  spin_lock lock;  // held by whoever commits
  std::uint64_t table_bytes = 0;

  /// Tables linked in the tree, the root included. Exact while no commit runs.
  std::uint64_t tables() const { return tables_.load(std::memory_order_relaxed); }  // relaxed: a statistic
  /// The most bytes that tables of the space ever took.
  std::uint64_t peak_table_bytes() const { return peak_bytes_.load(std::memory_order_relaxed); }  // relaxed: likewise

  /// Who has run the space: none, cpu c alone (c + 1), or several.
  using runners = std::uint32_t;
  static constexpr runners nobody = 0, several = ~runners{0};

  /// To be called before `cpu` walks the tables of this space, on every VM entry; until the first call changes need
  /// no flush, and while it is always the same cpu, a flush by that cpu need not reach others.
  /// Cost: one load, after the first call.
  void note_run(unsigned cpu) {
    runners seen = ran_.load(std::memory_order_relaxed);  // relaxed: a mark only ever grows
    while (seen != cpu + 1 && seen != several) {
      // acq_rel: follows the query of a commit, and then this cpu sees its stores, or comes before it.
      if (ran_.compare_exchange_weak(seen, seen == nobody ? cpu + 1 : several, std::memory_order_acq_rel,
                                     std::memory_order_relaxed)) {
        return;
      }
    }
  }
  runners ran() { return ran_.fetch_or(0, std::memory_order_acq_rel); }  // acq_rel: see note_run()

  /// Under `lock`.
  void count_tables(int change, std::uint64_t bytes) {
    // relaxed: written under the lock, read as statistics.
    tables_.store(tables_.load(std::memory_order_relaxed) + static_cast<std::uint64_t>(change), std::memory_order_relaxed);
    table_bytes = change > 0 ? table_bytes + bytes : table_bytes - bytes;
    if (table_bytes > peak_table_bytes()) peak_bytes_.store(table_bytes, std::memory_order_relaxed);
  }

  template <class F>
  void set_format(const F& f) {
    static_assert(std::is_trivially_copyable_v<F> && sizeof(F) <= sizeof format_);
    new (format_) F(f);
  }
  template <class F>
  const F& format() const {
    return *std::launder(reinterpret_cast<const F*>(format_));
  }

 private:
  std::atomic<runners> ran_{nobody};
  std::atomic<std::uint64_t> tables_{0};
  std::atomic<std::uint64_t> peak_bytes_{0};
  alignas(8) unsigned char format_[64] = {};
};

}  // namespace quire::runtime
