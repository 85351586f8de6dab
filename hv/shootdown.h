// The flush sink of the microhypervisor: tells every CPU that may hold translations to drop them.
#pragma once

#include <memory>
#include <random>
#include <vector>

#include "hv/flush_counters.h"
#include "hv/id_allocator.h"
#include "hv/mailbox.h"
#include "hv/tlb.h"
#include "runtime/machine.h"

namespace quire::hv {

struct shootdown_options {
  unsigned cpus = 1;
  /// Width of the ids that tag translations, at most 16; 0 = CPUs that do not tag them, and drop all when
  /// they switch to another space.
  unsigned id_bits = 16;
  double drop = 0;             ///< fault injection: share of commands left out, 0..1
  bool drop_rollover = false;  ///< fault injection: ids are handed out anew, and nobody flushes for it
  std::uint64_t seed = 1;
};

/// One generation per space goes up with every flush. A cpu compares it at VM entry; one that is behind
/// invalidates and catches up. A flush posts a request to each cpu that is inside the guest, invalidates on
/// its own cpu meanwhile, and then waits once for all of them; a cpu that waits serves the requests to
/// itself. Cpus outside the guest get no request: they catch up when they enter. Cpus that can hold nothing
/// of the space, since they never entered it or have dropped all of it outside the guest, are not even looked
/// at (`holders`).
///
/// Why none is missed. A cpu enters by: mark as holder, store the mode, load the generation; a flush by:
/// raise the generation, load the holders, load the modes. All are sequentially consistent: either the flush
/// finds the mark and the mode, or the entry finds the generation. A cpu takes its mark away only itself,
/// outside the guest, after it has invalidated.
///
///                    enter_guest, leave_guest, poll   flush
///   own cpu                        X                    X
///   other cpus                    any                  any
/// X: serialized, but poll() may come inside flush(), and in any call of the runtime.
class shootdown {
 public:
  /// @param o  id_bits is 0 or enough for the cpus, see id_allocator::enough()
  explicit shootdown(const shootdown_options& o);

  /// VM entry of `cpu` into the guest of `s`: catches up first.
  void enter_guest(unsigned cpu, runtime::space& s);
  /// VM exit.
  void leave_guest(unsigned cpu);
  /// Serves requests to `cpu`. To be called in guest mode between two accesses, as an interrupt would come,
  /// and wherever the cpu waits for another one. Cost: one load, if there are none.
  void poll(unsigned cpu) {
    target& t = targets_[cpu];
    if (t.requests.pending() != 0) serve(t);
  }
  /// platform::flush. Blocks until no cpu can use what the plan covers; calls `host.relax` meanwhile.
  void flush(unsigned cpu, const runtime::flush_plan& plan, const runtime::platform& host);

  tlb& cache(unsigned cpu) { return targets_[cpu].cache; }
  /// The id under which `cpu` runs its guest, in guest mode.
  std::uint32_t running_id(unsigned cpu) const { return targets_[cpu].id; }
  const flush_counters& counts(unsigned cpu) const { return targets_[cpu].count; }
  unsigned cpus() const { return options_.cpus; }
  /// Times that ids were handed out anew.
  std::uint64_t id_rollovers() const { return ids_ ? ids_->generation() - 1 : 0; }

 private:
  static constexpr std::uint32_t host_mode = ~std::uint32_t{0};

  /// What a cpu knows of a space; waiting cpus read `caught_up`, the rest is the cpu's own.
  struct view_of_space {
    std::atomic<std::uint64_t> caught_up{0};
    std::uint32_t id = 0;  // under which the cpu entered it last
    bool ever_entered = false;
    bool may_hold = false;  // entered since the last invalidation; so are holders
  };
  struct target {
    mailbox requests;
    alignas(64) std::atomic<std::uint32_t> mode{host_mode};  // or the space whose guest runs
    std::uint32_t id = 0;
    std::uint32_t last_space = host_mode;
    unsigned index = 0;
    std::unique_ptr<view_of_space[]> views = std::make_unique<view_of_space[]>(runtime::machine::max_spaces);
    alignas(64) tlb cache;  // apart from what others read
    flush_counters count;
    std::mt19937_64 random;

    bool runs(std::uint32_t space) const {
      // relaxed: asked by the cpu itself, which writes it.
      return mode.load(std::memory_order_relaxed) == space;
    }
    std::uint64_t caught_up_to(std::uint32_t space) const {
      return views[space].caught_up.load(std::memory_order_relaxed);  // relaxed: likewise
    }
  };
  struct alignas(64) space_line {
    std::atomic<std::uint64_t> generation{0};
    space_identity identity;
  };

  std::uint32_t identify(target& t, std::uint32_t space);
  void invalidate(target& t, std::uint32_t space);
  void drop_everything(target& t, flush_cause cause);
  bool left_out(target& t);
  void catch_up(target& t, std::uint32_t space, bool cached);
  void hold(target& t, std::uint32_t space, bool holds);
  void serve(target& t);
  template <class Visit>
  void each_holder(std::uint32_t space, unsigned but, Visit visit);
  void wait(target& own, std::uint32_t space, std::uint64_t generation, const runtime::platform& host);
  bool waits_for(const target& t, std::uint32_t space, std::uint64_t generation) const;

  const shootdown_options options_;
  std::unique_ptr<target[]> targets_;
  std::unique_ptr<space_line[]> spaces_;
  unsigned holder_words_;
  std::unique_ptr<std::atomic<std::uint64_t>[]> holders_;  // a bit per cpu, holder_words_ for each space
  std::unique_ptr<id_allocator> ids_;                      // null if translations are not tagged
};

}  // namespace quire::hv
