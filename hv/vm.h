// A guest on the microhypervisor: memory slots, the fault handler, dirty harvest and ageing.
#pragma once

#include <string>
#include <vector>

#include "hv/shootdown.h"
#include "hv/storage_keys.h"
#include "runtime/host/arena_tables.h"

namespace quire::hv {

using arch::gfn_range;

/// Guest pages backed by host frames, one after the other. Backing is fixed for the life of the VM.
struct memory_slot {
  gfn_range pages;
  hfn backing;
};

struct vm_options {
  unsigned cpus = 1;
  /// Serve faults, harvest and age in lazy sections, or one update at a time.
  bool lazy = true;
  /// Aligned window of pages that a fault maps; at least 1, which is the page alone.
  std::uint64_t fault_around_pages = 16;
  /// Largest leaf level for guest memory; 0 where A and D are wanted for each page.
  unsigned max_leaf_level = 0;
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
  std::uint64_t update_ns = 0;        ///< time from before the first update of a call to after its flush
};

/// Functions take the index of the cpu that calls. One thread at a time drives a cpu.
///
///                      access, serve  populate  harvest_dirty, age
///   other cpus              any          any      none in guest mode, or the result depends on timing
class vm {
 public:
  explicit vm(const vm_options& o);
  ~vm();
  vm(const vm&) = delete;
  vm& operator=(const vm&) = delete;

  /// Creates the second-stage tables in format `f`. Errors: those of machine::create_space, and no_memory if the
  /// machine did not start.
  template <class F>
  [[nodiscard]] runtime::status start(const F& f) {
    if (started_ != runtime::status::ok) return started_;
    const runtime::space_options o{options_.max_leaf_level, {this, &vm::hear}};
    const auto made = machine_.create_space(0, f, o, space_);
    if constexpr (requires { F::storage_keys; }) keyed_ = F::storage_keys;
    return made == runtime::status::ok ? attach_cpus() : made;
  }
  /// After start(). Ends and backing are multiples of the format's page.
  void add_slot(const memory_slot& s);
  /// True if dirty pages and untouched ones can be told, by A and D in entries or by storage keys.
  bool tracks_status() const { return keyed_ || space_->backend->tracks_status(*space_); }

  /// Runs one access of the guest on `cpu`, faults served, until it is done.
  /// False if the page is in no slot.
  bool access(unsigned cpu, gfn g, access_kind kind);
  /// VM exit: the next access() enters again. For pauses of the guest.
  void exit_guest(unsigned cpu);
  /// Maps one page without a vCPU, as a loader or device does. False if it is in no slot.
  bool populate(unsigned cpu, gfn g);
  /// Collects the pages written since the last harvest and takes write access from them, so that the next write
  /// to each faults.
  void harvest_dirty(unsigned cpu);
  /// Unmaps pages not touched since the last call, and clears A of the others.
  void age(unsigned cpu);

  /// Digest of what the guest has mapped, see digest.h.
  std::string digest(unsigned cpu);

  runtime::machine& machine() { return machine_; }
  runtime::space& space() { return *space_; }
  shootdown& flushes() { return shootdown_; }
  const vm_counters& counts(unsigned cpu) const { return cpus_[cpu].count; }
  std::uint64_t failed_allocations() const { return failed_allocations_; }

 private:
  struct alignas(64) vcpu_context {
    bool in_guest = false;
    runtime::lazy_state* outside = nullptr;
    vm_counters count;
  };
  class update_timer;

  runtime::status attach_cpus();
  void serve(unsigned cpu, gfn g, access_kind kind, access_result why);
  bool mapped(unsigned cpu, gfn g);
  runtime::status map_window(unsigned cpu, const memory_slot& slot, gfn_range window);
  void walk_all(unsigned cpu, runtime::machine::range_visitor visit, void* context);
  const memory_slot* slot_of(gfn g) const;
  /// The page of the format's size that holds `g`.
  gfn_range page_of(gfn g) const;
  void touch_key(gfn g, access_kind kind);
  /// Bits that the keys of any frame of the range had set; clears them.
  std::uint8_t take_keys(const memory_slot& s, gfn_range r, std::uint8_t which);
  bool harvest_keys(runtime::lazy_state* l, const runtime::mapping& m);
  bool age_keys(runtime::lazy_state* l, const runtime::mapping& m);
  runtime::lazy_state* enter(unsigned cpu, gfn_range hint);
  void leave(runtime::lazy_state* l);
  static void hear(void* context, unsigned cpu, const runtime::report& r);
  static bool allocate_tables(void* context, std::size_t bytes, std::size_t align, std::uint64_t* physical);
  static void flush(void* context, unsigned cpu, const runtime::flush_plan& plan);

  vm_options options_;
  runtime::host::arena_tables table_memory_;
  runtime::platform platform_;
  shootdown shootdown_;
  narrowing_watch narrowing_;
  std::mt19937_64 random_;  // of table_oom; under the pool's lock
  std::uint64_t failed_allocations_ = 0;
  /// An allocation has failed by table_oom: so do the others, until the fault that met it has ended.
  std::atomic<bool> memory_short_{false};
  runtime::machine machine_;
  runtime::status started_;
  runtime::space* space_ = nullptr;
  std::vector<memory_slot> slots_;
  bool keyed_ = false;  // reference and change are in storage keys
  std::vector<storage_keys> keys_;  // by slot
  std::vector<vcpu_context> cpus_;
};

}  // namespace quire::hv
