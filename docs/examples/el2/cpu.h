// One physical cpu, which runs the vCPU of the same index, and what it has counted.
#pragma once

#include "layout.h"
#include "registers.h"

namespace el2 {

/// Registers of a guest that is not running; start.S knows the layout.
struct frame {
  u64 x[31] = {};
  u64 elr = 0;
  u64 spsr = 0;
  u64 padding = 0;  // keeps the stack aligned to 16 bytes
};
static_assert(sizeof(frame) == 272);

struct tally {
  u64 aborts = 0, smcs = 0, hypercalls = 0, registers = 0;  ///< exits by cause
  u64 missing = 0, permission = 0, device = 0;              ///< faults that were served
  u64 busy = 0;                  ///< faults on pages that another cpu had claimed: the guest tries again
  u64 pages = 0;                 ///< that faults brought in, their surroundings included
  u64 rounds = 0, migrated = 0;  ///< rounds (rounds.h), and pages that moved
  u64 sections = 0;              ///< opened and left
  u64 flushes = 0;               ///< calls of the flush sink
  u64 tlbi_asked = 0;            ///< TLBI commands in the plans of the runtime
  u64 tlbi_executed = 0;         ///< of these, executed: all, unless the build drops some
  u64 removed = 0, removed_accessed = 0, removed_dirty = 0;  ///< pages reported as unmapped or replaced
  u64 accessed = 0, dirty = 0;                               ///< pages reported by harvests

  tally& operator+=(const tally& o) {
    const u64* from = reinterpret_cast<const u64*>(&o);
    u64* to = reinterpret_cast<u64*>(this);
    for (unsigned i = 0; i < sizeof(tally) / sizeof(u64); ++i) to[i] += from[i];
    return *this;
  }
};

struct cpu {
  unsigned index = 0;
  bool started = false;  ///< by PSCI CPU_ON, or the first one
  u64 entry = 0;         ///< where its vCPU begins, with `context` in x0
  u64 context = 0;
  tally count;
};

extern cpu all_cpus[cpus];

/// The cpu that executes this.
inline cpu& this_cpu() { return *reinterpret_cast<cpu*>(EL2_READ(tpidr_el2)); }

/// EL2 of this cpu: its own address space, traps, what the guest sees of the machine.
void set_up_cpu(cpu& self);
/// VTCR_EL2 and VTTBR_EL2.
void set_up_stage2(u64 vtcr, u64 vttbr);

}  // namespace el2
