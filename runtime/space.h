// One second-stage tree: its format, root, sections and guards.
#pragma once

#include <new>
#include <type_traits>

#include "arch/walk_shape.h"
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
///            functions  fields
///   any cpu     any     the constant ones; `lock` and `closed` as commit.h says
struct space {
  // Constant from creation to destruction.
  std::uint32_t id = 0;
  const runtime::backend* backend = nullptr;
  geometry shape;
  arch::walk_shape walk;            // for lookups of many pages
  std::uint64_t root_register = 0;  ///< EPTP, VTTBR or ASCE
  table_address root;
  space_options options;
  table_pool* pools[arch::level_limit] = {};  // by level
  std::atomic<section*>* sections = nullptr;  // by cpu; set once
  std::uint64_t first_generation = 0;         // of its states

  /// Held by a commit that wants the space for itself alone, which is seldom.
  spin_lock lock;
  /// Whose commits alone may begin a phase: cpu c as c + 1; 0 = everybody's.
  std::atomic<std::uint32_t> closed{0};

  /// Goes up before frames of tables that were taken out can be used again: a lookup that read from such a frame finds
  /// another version afterwards, and starts over.
  std::uint64_t version() const { return version_.load(std::memory_order_acquire); }  // acquire: see move_version()
  /// Where version() is read, for loops that do so often.
  const std::atomic<std::uint64_t>& version_word() const { return version_; }
  void move_version() {
    version_.fetch_add(1, std::memory_order_acq_rel);  // acq_rel: comes after the tables were taken out
    full_fence();  // and before whatever is written to the frames: Arm lets later stores pass that of an exchange
  }

  /// Moves after tables were taken out and before anybody waits for the phases that may still be inside: a phase that finds
  /// it as it was may use a table that it reached by a walk before, in an earlier phase.
  std::uint64_t unlinks() const { return unlinks_.load(std::memory_order_acquire); }  // acquire: see note_unlinked()
  void note_unlinked() {
    unlinks_.fetch_add(1, std::memory_order_acq_rel);  // acq_rel: comes after the tables were taken out
    full_fence();  // the mark is out before phases are looked at, see phase_word::raise()
  }

  /// The guard's value now, for updates that are resolved from here on. `index` is 1..63.
  std::uint32_t guard_sequence(unsigned index) const {
    return guards_[index].load(std::memory_order_acquire) & guard::sequence_mask;  // acquire: pairs with bump_guard()
  }
  /// Cancels all updates that carry an older value of the guard and are not committed. Whoever wants to know that none
  /// is being committed calls machine::drain() next.
  void bump_guard(unsigned index) {
    guards_[index].fetch_add(1, std::memory_order_acq_rel);  // acq_rel: what was resolved before the change is older
    full_fence();  // a commit phase that begins from now on sees it; drain() waits for those that are in progress
  }
  bool cancelled(guard g) const { return g.index != 0 && guard_sequence(g.index) != g.sequence; }

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

  /// So many tables, of so many bytes together, were taken into the tree, or out of it (both negative).
  void count_tables(std::int64_t tables, std::int64_t bytes) {
    const auto more = static_cast<std::uint64_t>(bytes);
    tables_.fetch_add(static_cast<std::uint64_t>(tables), std::memory_order_relaxed);  // relaxed: a statistic
    const std::uint64_t now = table_bytes_.fetch_add(more, std::memory_order_relaxed) + more;  // relaxed: likewise
    std::uint64_t peak = peak_table_bytes();
    while (tables > 0 && now > peak &&
           !peak_bytes_.compare_exchange_weak(peak, now, std::memory_order_relaxed)) {  // relaxed: likewise
    }
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
  std::atomic<std::uint64_t> version_{0};
  std::atomic<std::uint64_t> unlinks_{0};
  std::atomic<std::uint32_t> guards_[guard::count] = {};
  std::atomic<std::uint64_t> tables_{0};
  std::atomic<std::uint64_t> table_bytes_{0};
  std::atomic<std::uint64_t> peak_bytes_{0};
  alignas(8) unsigned char format_[64] = {};
};

}  // namespace quire::runtime
