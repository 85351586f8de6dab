// The flush sink: commands of quire::arch::stage2_flush become instructions.
#include "console.h"
#include "vm.h"

// To test that the self-check notices: 1 leaves out all TLBI, 2 those by IPA, 3 and 4 one of those for a
// VMID.
#ifndef DROP_TLBI
#define DROP_TLBI 0
#endif

namespace el2 {

using quire::arch::flush_command;
using quire::arch::stage2_flush;

namespace {

constexpr bool by_ipa(stage2_flush op) {
  return op == stage2_flush::ipas2e1is || op == stage2_flush::ripas2e1is;
}
constexpr bool for_vmid(stage2_flush op) {
  return op == stage2_flush::vmalle1is || op == stage2_flush::vmalls12e1is;
}

constexpr bool dropped(stage2_flush op) {
  if (DROP_TLBI == 2) return by_ipa(op);
  if (DROP_TLBI == 3) return op == stage2_flush::vmalle1is;
  if (DROP_TLBI == 4) return op == stage2_flush::vmalls12e1is;
  return DROP_TLBI == 1 && (by_ipa(op) || for_vmid(op));
}

void execute(stage2_flush op, u64 operand) {
  if (op == stage2_flush::dsb_ishst) asm volatile("dsb ishst" ::: "memory");
  if (op == stage2_flush::dsb_ish) asm volatile("dsb ish" ::: "memory");
  if (op == stage2_flush::isb) isb();
  if (op == stage2_flush::ipas2e1is) asm volatile("tlbi ipas2e1is, %0" ::"r"(operand) : "memory");
  // Planned only if the CPU has FEAT_TLBIRANGE; the compiler is told so here alone.
  if (op == stage2_flush::ripas2e1is)
    asm volatile(".arch armv8.4-a\n tlbi ripas2e1is, %0" ::"r"(operand) : "memory");
  if (op == stage2_flush::vmalle1is) asm volatile("tlbi vmalle1is" ::: "memory");
  if (op == stage2_flush::vmalls12e1is) asm volatile("tlbi vmalls12e1is" ::: "memory");
  if (op > stage2_flush::vmalls12e1is) fatal("the planner asks for a command that is unknown here");
}

}  // namespace

void execute_plan(void* /*context*/, unsigned cpu, const quire::runtime::flush_plan& plan) {
  tally& count = all_cpus[cpu].count;
  ++count.flushes;
  // TLBI acts on the VMID in VTTBR_EL2.
  const u64 before = EL2_READ(vttbr_el2);
  if (before != plan.root_register) {
    EL2_WRITE(vttbr_el2, plan.root_register);
    isb();
  }
  for (const flush_command& c : plan.commands) {
    const auto op = static_cast<stage2_flush>(c.op);
    const bool invalidates = by_ipa(op) || for_vmid(op);
    count.tlbi_asked += invalidates;
    if (dropped(op)) continue;
    count.tlbi_executed += invalidates;
    execute(op, c.operand[0]);
  }
  if (before != plan.root_register) {
    EL2_WRITE(vttbr_el2, before);
    isb();
  }
}

}  // namespace el2
