// A flush sink that posts to every vCPU and waits until each has served it, with the TLB of each.
#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "runtime/backend.h"
#include "tests/stress/formats.h"

namespace quire::tests {

/// What one vCPU has cached: pages of 4 KiB, and the way to leaf tables.
class soft_tlb {
 public:
  struct entry {
    bool valid = false;
    bool dirty = false;
    arch::perm access = arch::perm::none;
    arch::gfn page;
    arch::hfn out;
    std::uint64_t filled = 0;  ///< the clock after the walk
  };
  struct way {
    bool valid = false;
    arch::gfn_range range;
    arch::table_address table;
  };

  entry& at(arch::gfn g) { return entries_[g.value % entries]; }
  way& way_to(arch::gfn g, unsigned table_shift) { return ways_[(g.value >> table_shift) % ways]; }
  void drop(arch::gfn_range r);
  void drop_all() { drop({{0}, ~std::uint64_t{0}}); }

 private:
  static constexpr std::size_t entries = 64, ways = 16;
  entry entries_[entries];
  way ways_[ways];
};

/// One vCPU is driven by one thread. A flush is posted to all that are in guest mode, and has ended when all
/// of them have served it; who waits serves too.
///
///                enter, leave, serve   flush
///   own thread            X              X
///   others               any            any
class flush_bus {
 public:
  flush_bus(stress_format format, unsigned vcpus);

  soft_tlb& tlb(unsigned vcpu) { return vcpus_[vcpu].tlb; }
  void enter_guest(unsigned vcpu);
  void leave_guest(unsigned vcpu);
  bool in_guest(unsigned vcpu) const {
    return vcpus_[vcpu].in_guest.load(std::memory_order_relaxed);  // relaxed: asked by its own thread
  }
  /// To be called between two accesses, and while waiting for anything.
  void serve(unsigned vcpu);
  /// Returns when no vCPU has anything cached that the plan covers.
  void flush(unsigned vcpu, const runtime::flush_plan& plan);

 private:
  using ranges = std::vector<arch::gfn_range>;
  struct alignas(64) state {
    std::atomic<bool> in_guest{false};
    std::atomic<std::uint64_t> posted{0};  // flushes that this one asked for
    const ranges* newest = nullptr;        // what the newest of them covers; valid until all have served it
    std::unique_ptr<std::atomic<std::uint64_t>[]> served;  // of each vCPU's flushes
    soft_tlb tlb;
  };

  ranges covered(const runtime::flush_plan& plan) const;

  const stress_format format_;
  std::vector<state> vcpus_;
};

}  // namespace quire::tests
