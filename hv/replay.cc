// The threads and epochs of replay.h.
#include "hv/replay.h"

#include <barrier>
#include <chrono>
#include <thread>

#include <fmt/format.h>

#include "arch/arm64/stage2_flush.h"
#include "arch/s390/dat_flush.h"
#include "arch/x86/ept_flush.h"
#include "runtime/host/hosted.h"

namespace quire::hv {

namespace {

/// What one thread does in one epoch.
struct cpu_work {
  std::vector<trace_record> accesses;
  std::vector<gfn> populated;  // cpu 0 only: pages that no vCPU touched; they come before the accesses
};

enum class epoch_end : std::uint8_t { none, harvest = 1, age = 2, both = 3 };

/// One replay in progress: worker threads, one per cpu, meet the reading thread at two barriers per epoch.
class session {
 public:
  session(vm& guest, unsigned cpus)
      : vm_(guest), work_(cpus), meet_(static_cast<std::ptrdiff_t>(cpus) + 1), finished_(static_cast<std::ptrdiff_t>(cpus)) {
    for (unsigned i = 0; i < cpus; ++i) threads_.emplace_back([this, i] { run(i); });
  }
  ~session() {
    stop_ = true;
    meet_.arrive_and_wait();
  }
  session(const session&) = delete;
  session& operator=(const session&) = delete;

  /// The next epoch's work; filled by the reading thread between two calls of run_epoch().
  std::vector<cpu_work>& work() { return work_; }
  void run_epoch(epoch_end end) {
    end_ = end;
    meet_.arrive_and_wait();  // the workers start
    meet_.arrive_and_wait();  // the workers are done
    for (cpu_work& w : work_) {
      w.accesses.clear();
      w.populated.clear();
    }
  }
  bool pinned() const { return pinned_.load(std::memory_order_relaxed); }  // relaxed: read after a barrier

 private:
  void run(unsigned cpu) {
    if (!runtime::host::pin_thread(cpu)) pinned_.store(false, std::memory_order_relaxed);  // relaxed: as above
    for (;;) {
      meet_.arrive_and_wait();
      if (stop_) return;
      const cpu_work& w = work_[cpu];
      for (const gfn g : w.populated) vm_.populate(cpu, g);
      finished_.arrive_and_wait();
      for (const trace_record& r : w.accesses) vm_.access(cpu, gfn{r.page}, r.kind);
      vm_.exit_guest(cpu);
      finished_.arrive_and_wait();
      if (cpu == 0) finish_epoch();
      meet_.arrive_and_wait();
    }
  }
  void finish_epoch() {
    if (static_cast<unsigned>(end_) & static_cast<unsigned>(epoch_end::harvest)) vm_.harvest_dirty(0);
    if (static_cast<unsigned>(end_) & static_cast<unsigned>(epoch_end::age)) vm_.age(0);
  }

  vm& vm_;
  std::vector<cpu_work> work_;
  std::barrier<> meet_;      // workers and the reading thread
  std::barrier<> finished_;  // workers alone
  epoch_end end_ = epoch_end::none;
  bool stop_ = false;
  std::atomic<bool> pinned_{true};
  std::vector<std::jthread> threads_;
};

/// Decides what happens at the ends of epochs.
class schedule {
 public:
  explicit schedule(const replay_options& o) : o_(o), precopy_(o.precopy && o.precopy_from && *o.precopy_from == 0) {}
  void marker(std::uint64_t number) {
    if (number == 1 && !o_.precopy_from) precopy_ = o_.precopy;
  }
  epoch_end at_end_of(std::uint64_t epoch) {
    if (o_.precopy_from && epoch >= *o_.precopy_from) precopy_ = o_.precopy;
    const bool age = o_.reclaim && (epoch + 1) % reclaim_epochs == 0;
    return static_cast<epoch_end>((precopy_ ? 1 : 0) | (age ? 2 : 0));
  }
  bool precopy() const { return precopy_; }

 private:
  const replay_options& o_;
  bool precopy_;
};

void hand_out(const trace_record& r, std::vector<cpu_work>& work, schedule& plan) {
  if (r.kind == access_kind::marker) {
    plan.marker(r.page);
  } else if (r.vcpu == no_vcpu) {
    work[0].populated.push_back(gfn{r.page});
  } else {
    work[r.vcpu % work.size()].accesses.push_back(r);
  }
}

std::string run_trace(trace_reader& trace, session& s, schedule& plan, const replay_progress& progress,
                      replay_result& result) {
  std::uint64_t epoch = 0;
  trace_record r{};
  for (;;) {
    const auto step = trace.next(r);
    if (step == trace_reader::step::damaged) return trace.error();
    const std::uint64_t until = step == trace_reader::step::end ? trace.header().epochs : trace.header().epoch_of(r);
    for (; epoch < until; ++epoch) {
      s.run_epoch(plan.at_end_of(epoch));
      if (progress) progress(epoch + 1, trace.header().epochs);
    }
    if (step == trace_reader::step::end) break;
    hand_out(r, s.work(), plan);
    ++result.records;
  }
  result.epochs = epoch;
  result.pinned = s.pinned();
  result.precopy_started = plan.precopy();
  return {};
}

void add(vm_counters& sum, const vm_counters& c) {
  sum.faults += c.faults;
  sum.write_faults += c.write_faults;
  sum.oom_retries += c.oom_retries;
  sum.harvested_pages += c.harvested_pages;
  sum.aged_pages += c.aged_pages;
  sum.reclaimed_pages += c.reclaimed_pages;
  sum.reclaimed_dirty_pages += c.reclaimed_dirty_pages;
  sum.update_ns += c.update_ns;
}

void collect(vm& guest, unsigned cpus, replay_result& result) {
  for (unsigned i = 0; i < cpus; ++i) {
    result.updates += guest.machine().counts(i, guest.space());
    result.flushes += guest.flushes().counts(i);
    add(result.guest, guest.counts(i));
    const tlb& cache = guest.flushes().cache(i);
    if (result.stale_uses == 0 && cache.stale_uses() > 0) result.first_stale_gfn = cache.first_stale().value;
    result.stale_uses += cache.stale_uses();
    result.tlb_hits += cache.hits();
    result.tlb_walks += cache.walks();
  }
  result.cpus = cpus;
  result.tables_allocated = guest.machine().tables_allocated();
  result.peak_table_bytes = guest.space().peak_table_bytes();
  result.failed_allocations = guest.failed_allocations();
  result.digest = guest.digest(0);
}

vm_options options_for(const replay_options& o, unsigned cpus) {
  vm_options v;
  v.cpus = cpus;
  v.lazy = o.lazy;
  v.fault_around_pages = o.fault_around_pages;
  // Dirty logging and ageing want to know each page; without them leaves may be as large as the window.
  v.max_leaf_level = o.precopy || o.reclaim ? 0 : arch::level_limit - 1;
  v.drop_flush = o.drop_flush;
  v.table_oom = o.table_oom;
  v.seed = o.seed;
  return v;
}

// Guest memory lies at an offset of 4 GiB in host memory, whatever its place in the guest. Returns what is wrong, or
// nothing.
std::string add_ram(vm& guest, const ram_region& r) {
  const gfn_range pages{gfn{r.first_byte >> arch::page_shift}, r.bytes >> arch::page_shift};
  const hfn backing{pages.first.value + (std::uint64_t{1} << 20)};
  const arch::geometry& shape = guest.space().shape;
  if (!shape.holds(pages)) return fmt::format("ends beyond the {} pages that the format can map", shape.input_pages);
  if ((backing + pages.pages).value > shape.output_pages) {
    return fmt::format("is backed by frames up to {:#x}, beyond the {} that the format can name", (backing + pages.pages).value,
                       shape.output_pages);
  }
  if ((pages.first.value | pages.pages) % shape.slot_pages(0) != 0) {
    return fmt::format("does not begin and end at a multiple of {} bytes, the format's page", shape.slot_pages(0) << arch::page_shift);
  }
  const auto added = guest.add_slot({pages, backing});
  return added == runtime::status::ok ? std::string() : fmt::format("cannot be a memory slot: {}", status_text(added));
}

}  // namespace

template <class F>
std::string replay(const F& f, const replay_options& o, const replay_progress& progress, replay_result& result) {
  trace_reader trace;
  if (!trace.open(o.trace)) return trace.error();
  const auto start = std::chrono::steady_clock::now();
  const unsigned cpus = o.cpus ? o.cpus : trace.header().vcpus;
  vm guest(options_for(o, cpus));
  if (const auto failed = guest.start(f); failed != runtime::status::ok) {
    return fmt::format("cannot make the guest's tables: {}", status_text(failed));
  }
  if ((o.precopy || o.reclaim) && !guest.tracks_status()) {
    return fmt::format("scenarios precopy and reclaim need to know what the guest touched, and {} does not record it as it is set", F::name);
  }
  for (const ram_region& r : trace.header().ram) {
    if (std::string wrong = add_ram(guest, r); !wrong.empty()) return fmt::format("{}: format {}: RAM at {:#x} {}", o.trace, F::name, r.first_byte, wrong);
  }
  schedule plan(o);
  result = {};
  result.vcpus = trace.header().vcpus;
  {
    session s(guest, cpus);
    if (std::string wrong = run_trace(trace, s, plan, progress, result); !wrong.empty()) return wrong;
  }
  result.wall_s = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  collect(guest, cpus, result);
  return {};
}

template std::string replay(const arch::ept&, const replay_options&, const replay_progress&, replay_result&);
template std::string replay(const arch::stage2_4k&, const replay_options&, const replay_progress&, replay_result&);
template std::string replay(const arch::stage2_16k&, const replay_options&, const replay_progress&, replay_result&);
template std::string replay(const arch::stage2_64k&, const replay_options&, const replay_progress&, replay_result&);
template std::string replay(const arch::dat&, const replay_options&, const replay_progress&, replay_result&);

}  // namespace quire::hv
