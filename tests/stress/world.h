// What all threads of a stress test share: one machine, its spaces and pages, a clock, and what is known of
// each page.
#pragma once

#include <atomic>
#include <deque>
#include <memory>
#include <mutex>
#include <string>

#include "runtime/host/block_tables.h"
#include "tests/stress/flush_bus.h"
#include "tests/stress/hardware.h"
#include "tests/stress/history.h"

namespace quire::tests {

using runtime::lazy_state;
using runtime::status;

/// What is known of a page of the first space. A tick says that something older than it must not be used.
struct page_marks {
  static constexpr unsigned most_threads = 8;
  std::atomic<std::uint64_t> removed{0};                 // the newest unmap that has returned was called then
  std::atomic<std::uint64_t> narrowed{0};                // likewise, that took write access
  std::atomic<std::uint64_t> cleaned{0};                 // likewise, that cleared D
  std::atomic<std::uint64_t> mapped[most_threads] = {};  // likewise, that mapped it: see world::pack()
  std::atomic<std::uint64_t> dirtied{0};                 // when D was last set
  std::atomic<std::uint64_t> reported{0};                // when D was last reported
  std::atomic<std::uint64_t> times_dirtied{0};
  std::atomic<std::uint64_t> times_reported{0};
};

/// Raises a mark; any thread at any time.
inline void raise_to(std::atomic<std::uint64_t>& mark, std::uint64_t tick) {
  std::uint64_t seen = mark.load(std::memory_order_relaxed);  // relaxed: only the order of ticks counts
  while (seen < tick &&
         !mark.compare_exchange_weak(seen, tick, std::memory_order_acq_rel)) {  // acq_rel: see stale()
  }
}

/// A section on its way from one thread to another.
struct parcel {
  lazy_state* state;
  unsigned space, depth, paused;
};

class world {
 public:
  static constexpr unsigned workers = 4, spaces = 2;
  static constexpr unsigned sleeper = workers, drainer = workers + 1, cpus = workers + 2;
  /// Frames carry the low bits of the page that they are mapped to, and above them a number that tells
  /// mappings apart.
  static constexpr unsigned page_bits = 22, variant_bits = 14;
  static constexpr std::uint8_t slot_guard = 5;

  world(const stress_format& format, std::uint64_t seed, bool long_run);
  ~world();

  runtime::machine& m() { return machine_; }
  runtime::space& s(unsigned i = 0) { return *spaces_[i]; }
  const arch::geometry& shape() { return spaces_[0]->shape; }
  const hardware& hw() const { return *hardware_; }
  flush_bus& bus() { return bus_; }
  const std::uint64_t seed;
  const bool long_run;

  // Pages. Each worker has its own, in both spaces; next to those of others; and every n-th of two leaf
  // tables. What all share and the slot are alone in their trees, so that tables of all levels come and go
  // there.
  gfn_range own(unsigned worker) const { return {gfn{(2 + worker) * l2_}, 3 * l1_}; }
  gfn_range beside(unsigned worker) const { return {gfn{l2_ + worker * 2 * l1_}, 2 * l1_}; }
  gfn_range huge(unsigned worker) const { return {gfn{(8 + worker) * l2_}, l2_}; }
  gfn_range interleaved() const { return {gfn{l1_ - 32}, 64}; }
  gfn_range shared() const { return {gfn{20 * l2_}, 2 * l1_}; }
  gfn_range slot() const { return {gfn{21 * l2_}, 2 * l1_}; }
  /// Null for pages that nobody keeps marks of.
  page_marks* marks(gfn g);
  /// Calls `visit(gfn, page_marks&)`.
  template <class Visit>
  void each_marked(Visit visit) {
    for (const tracked& t : tracked_) {
      for (std::uint64_t i = 0; i < t.range.pages; ++i) visit(t.range.first + i, marks_[t.base + i]);
    }
  }

  static hfn frame(gfn g, std::uint64_t variant) { return {variant << page_bits | low(g.value)}; }
  static std::uint64_t variant_of(hfn h) { return h.value >> page_bits; }
  static bool belongs(hfn h, gfn g) { return low(h.value) == low(g.value); }
  std::uint64_t new_variant() {
    return variants_.fetch_add(1, std::memory_order_relaxed) &
           ((1u << variant_bits) - 1);  // relaxed: only differs
  }
  static std::uint64_t pack(std::uint64_t tick, hfn out) { return tick << variant_bits | variant_of(out); }

  std::uint64_t tick() {
    return clock_.fetch_add(1, std::memory_order_acq_rel) + 1;
  }                                                                             // acq_rel: orders deeds
  std::uint64_t now() const { return clock_.load(std::memory_order_acquire); }  // acquire: likewise

  // The slot: its mappings carry the guard's value as their variant.
  std::uint64_t oldest_slot() const {
    return oldest_slot_.load(std::memory_order_acquire);
  }  // acquire: after the change
  void set_oldest_slot(std::uint64_t sequence) {
    oldest_slot_.store(sequence, std::memory_order_release);  // release: nothing older is mapped
  }
  static bool too_old(hfn out, std::uint64_t oldest) {
    return ((variant_of(out) - oldest) & ((1u << variant_bits) - 1)) >= 1u << (variant_bits - 1);
  }
  std::mutex slot_change;  // only ever tried

  void post(const parcel& p);
  bool fetch(parcel& p);

  /// Remembers the first failure. Threads end soon after it.
  void fail(gfn page, const std::string& what);
  bool failed() const { return failed_.load(std::memory_order_acquire); }  // acquire: the text is there
  std::string problem() const { return problem_; }
  gfn problem_page() const { return problem_page_; }

  /// The cpu and the vCPU of the calling thread.
  struct place {
    unsigned cpu = 0, vcpu = 0;
    bool is_vcpu = false;
  };
  static place& here();

 private:
  struct tracked {
    gfn_range range;
    std::size_t base;
  };
  static constexpr std::uint64_t low(std::uint64_t v) { return v & ((std::uint64_t{1} << page_bits) - 1); }
  static void hear(void* context, unsigned cpu, std::span<const runtime::report> reports);
  void note_reported(const runtime::report& r);
  void prepare_platform();
  void track(gfn_range r);

  std::unique_ptr<std::byte[]> memory_;
  std::unique_ptr<runtime::host::block_tables> source_;
  std::mutex source_lock_;
  runtime::platform host_;
  flush_bus bus_;
  std::unique_ptr<hardware> hardware_;
  runtime::machine machine_;
  runtime::space* spaces_[spaces] = {};
  std::uint64_t l1_ = 0, l2_ = 0;
  std::vector<tracked> tracked_;
  std::vector<page_marks> marks_;
  std::atomic<std::uint64_t> clock_{0};
  std::atomic<std::uint64_t> variants_{0};
  std::atomic<std::uint64_t> oldest_slot_{0};
  std::mutex parcel_lock_;
  std::deque<parcel> parcels_;
  std::atomic<bool> failed_{false};
  std::mutex problem_lock_;
  std::string problem_;
  gfn problem_page_;
};

}  // namespace quire::tests
