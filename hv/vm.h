// A guest on the microhypervisor: the fault handler, memory slots that change, dirty harvest and ageing.
#pragma once

#include <mutex>
#include <string>
#include <vector>

#include "hv/shootdown.h"
#include "hv/slots.h"
#include "runtime/host/arena_tables.h"

namespace quire::hv {

struct vm_options {
  unsigned cpus = 1;
  /// Serve faults, harvest and age in lazy sections, or one update at a time.
  bool lazy = true;
  /// Aligned window of pages that a fault maps; at least 1, which is the page alone.
  std::uint64_t fault_around_pages = 16;
  /// Largest leaf level for guest memory; 0 where A and D are wanted for each page.
  unsigned max_leaf_level = 0;
  unsigned id_bits = 16;  ///< as shootdown_options::id_bits
  double drop_flush = 0;  ///< share of flush commands left out, 0..1
  double table_oom = 0;   ///< share of table allocations that fail, 0 <= p < 1
  std::uint64_t seed = 1;
};

/// What a VM did, of one CPU. Written by that CPU alone.
struct vm_counters {
  std::uint64_t faults = 0;           ///< accesses that ended in one, spurious ones included
  std::uint64_t write_faults = 0;     ///< of these, writes to a page that was mapped without write access
  std::uint64_t oom_retries = 0;      ///< faults given back to the vCPU for lack of table memory
  std::uint64_t harvested_pages = 0;  ///< dirty pages found by harvest_dirty()
  std::uint64_t aged_pages = 0;       ///< accessed pages whose A was cleared by age()
  std::uint64_t reclaimed_pages = 0;  ///< pages unmapped by age()
  std::uint64_t reclaimed_dirty_pages = 0;  ///< of these, written since the last harvest
  std::uint64_t slot_pages = 0;             ///< pages that went with their slot
  std::uint64_t slot_dirty_pages = 0;       ///< of these, written since the last harvest
  std::uint64_t slot_waits = 0;  ///< faults given back to the vCPU since their slot was being changed
  std::uint64_t update_ns = 0;   ///< time from before the first update of a call to after its flush
};

/// Functions take the index of the cpu that calls. One thread at a time drives a cpu; a cpu that is handed to
/// another thread leaves the guest first.
///
///                access  populate  ..._slot  harvest_dirty, age  digest
///   own cpu        X        X         X              X             X
///   other cpus    any      any       any            any*           no call
/// * But the result depends on timing, unless the others are outside the guest.
///
/// A slot that changes. The slot is marked, so that no fault is resolved through it any more; its guard goes
/// up, so that faults resolved before are not committed any more; machine::drain() completes what is being
/// committed; the range is unmapped; the changed slot takes the marked one's place. A fault reads the guard
/// and then looks whether the list of slots is still the one that it was resolved with. If the guard is new,
/// so is the list, or it is marked. A fault that was cancelled comes again. vCPUs that touch a marked slot
/// try again until the change is over.
class vm {
 public:
  explicit vm(const vm_options& o);
  ~vm();
  vm(const vm&) = delete;
  vm& operator=(const vm&) = delete;

  /// Creates the second-stage tables in format `f`. Errors: those of machine::create_space and
  /// machine::start; too_many also if the cpus could hold all ids, see id_allocator::enough().
  template <class F>
  [[nodiscard]] runtime::status start(const F& f) {
    if (started_ != runtime::status::ok) return started_;
    const runtime::space_options o{options_.max_leaf_level, {this, &vm::hear}};
    const runtime::status made = machine_.create_space(0, f, o, space_);
    if constexpr (requires { F::storage_keys; }) keyed_ = F::storage_keys;
    return made == runtime::status::ok ? attach_cpus() : made;
  }
  /// After start(), at any time. Errors: bad_range if the slot is empty, overlaps another or lies beyond what
  /// the format can express; misaligned if its ends or its backing are no multiples of the format's page.
  /// Allocates.
  runtime::status add_slot(const memory_slot& s);
  /// Puts other frames behind the slot that begins at `first`. When it returns, no CPU can use the old
  /// frames, and no fault will map them. Pages that were there count in slot_pages, dirty ones also in
  /// slot_dirty_pages. Errors: bad_range if no slot begins there or the frames lie beyond the format's,
  /// misaligned. Waits for other changes of slots, for commits in progress, and in the flush. Allocates. The
  /// cpu leaves the guest.
  runtime::status move_slot(unsigned cpu, gfn first, hfn backing);
  /// Takes a slot out; as move_slot().
  runtime::status remove_slot(unsigned cpu, gfn first);
  /// True if dirty pages and untouched ones can be told, by A and D in entries or by storage keys.
  bool tracks_status() const { return keyed_ || space_->backend->tracks_status(*space_); }

  /// Runs one access of the guest on `cpu`, faults served, until it is done. False if the page is in no slot.
  /// Blocks as long as the page's slot is being changed.
  bool access(unsigned cpu, gfn g, access_kind kind);
  /// VM exit: the next access() enters again. For pauses of the guest.
  void exit_guest(unsigned cpu);
  /// Maps one page without a vCPU, as a loader or device does. False if it is in no slot. Blocks as access().
  bool populate(unsigned cpu, gfn g);
  /// Collects the pages written since the last harvest and takes write access from them, so that the next
  /// write to each faults.
  void harvest_dirty(unsigned cpu);
  /// Unmaps pages not touched since the last call, and clears A of the others.
  void age(unsigned cpu);

  /// Digest of what the guest has mapped, see digest.h.
  std::string digest(unsigned cpu);

  runtime::machine& machine() { return machine_; }
  runtime::space& space() { return *space_; }
  shootdown& flushes() { return shootdown_; }
  unsigned cpus() const { return options_.cpus; }
  /// Held by callers that narrow or remove mappings through machine(), so that uses meanwhile are not stale.
  narrowing_watch& narrowing() { return narrowing_; }
  const vm_counters& counts(unsigned cpu) const { return cpus_[cpu].count; }
  std::uint64_t failed_allocations() const { return failed_allocations_; }

 private:
  struct alignas(64) vcpu_context {
    bool in_guest = false;
    bool changes_slot = false;
    runtime::lazy_state* outside = nullptr;
    slot_set::reader slots;
    std::shared_ptr<const slot_list> walked;  // held while harvest_dirty() or age() walks it
    vm_counters count;
  };
  class update_timer;
  /// What a fault was resolved to.
  struct resolution {
    enum class kind : std::uint8_t { none, changing, found };
    kind what = kind::none;
    memory_slot slot;
    runtime::guard guard;
  };

  runtime::status attach_cpus();
  // Faults.
  bool serve(unsigned cpu, gfn g, access_kind kind, access_result why);
  resolution resolve(unsigned cpu, gfn g);
  bool mapped(unsigned cpu, gfn g);
  gfn_range window_of(const memory_slot& s, gfn g) const;
  runtime::status map_window(unsigned cpu, const resolution& to, gfn_range window);
  void count_oom(unsigned cpu);
  /// The page of the format's size that holds `g`.
  gfn_range page_of(gfn g) const;
  runtime::lazy_state* enter(unsigned cpu, gfn_range hint);
  void leave(runtime::lazy_state* l);
  // Slots.
  runtime::status check_slot(const memory_slot& s) const;
  std::shared_ptr<storage_keys> keys_for(const memory_slot& s) const;
  runtime::status change_slot(unsigned cpu, gfn first, const hfn* backing);
  void withdraw(unsigned cpu, gfn_range pages);
  // Dirty and accessed pages.
  void walk_all(unsigned cpu, runtime::machine::range_visitor visit, void* context);
  void touch_key(unsigned cpu, hfn frame, access_kind kind);
  storage_keys* keys_of(unsigned cpu, hfn frame);
  std::uint8_t take_keys(unsigned cpu, hfn first, std::uint64_t frames, std::uint8_t which);
  bool harvest_keys(runtime::lazy_state* l, const runtime::mapping& m);
  bool age_keys(runtime::lazy_state* l, const runtime::mapping& m);
  void count_removed(unsigned cpu, const runtime::report& r);
  // What the runtime calls, from any cpu.
  static void hear(void* context, unsigned cpu, std::span<const runtime::report> reports);
  static bool allocate_tables(void* context, std::size_t bytes, std::size_t align, std::uint64_t* physical);
  static void flush(void* context, unsigned cpu, const runtime::flush_plan& plan);
  static void relax(void* context);

  vm_options options_;
  const std::uint64_t serial_;  // of all VMs of the process
  runtime::host::arena_tables table_memory_;
  void (*yield_)(void* context);
  runtime::platform platform_;
  shootdown shootdown_;
  narrowing_watch narrowing_;
  std::mutex random_lock_;  // each size of tables has a pool, and a pool a lock, of its own
  std::mt19937_64 random_;  // of table_oom
  std::uint64_t failed_allocations_ = 0;
  /// An allocation has failed by table_oom: so do the others, until the fault that met it has ended.
  std::atomic<bool> memory_short_{false};
  runtime::machine machine_;
  runtime::status started_;
  runtime::space* space_ = nullptr;
  bool keyed_ = false;      // reference and change are in storage keys
  std::mutex change_lock_;  // held by who changes slots
  slot_set slots_;
  std::vector<vcpu_context> cpus_;
};

}  // namespace quire::hv
