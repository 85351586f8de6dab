// tests/emulator/arm64/payload_guest.cc: real accesses at EL1 and EL0 through the stage 2 under test.
//
// The code that runs there needs a translation too, but the tables under test should need no entry for it.
// So before each access it runs once under small private tables with the same VMID, which leaves its page in
// the TLB; then VTTBR_EL2 and VTCR_EL2 get the values under test. An entry in the TLB is known by its VMID,
// not by the tables it came from, and QEMU keeps it until a TLBI or another VMID. The payload itself executes
// no TLBI: what the tables under test left in the TLB stays. Where a TLBI of the test removed the page, the
// next access brings it back. QEMU keeps entries of EL1 and EL0 apart, so that run is at the level of the
// access; at EL0 it ends through the vectors of EL1, which brings the page in for both.
#include "tests/emulator/arm64/layout.h"
#include "tests/emulator/arm64/payload.h"

namespace quire::tests::arm64 {
namespace {

constexpr u64 bit(unsigned n) { return u64{1} << n; }

// [armarm] "SPSR_EL2, Saved Program Status Register (EL2)": EL1 with SP_EL1, EL0; D, A, I and F masked.
constexpr u64 EL1h = 5, EL0t = 0, DAIF = 15 << 6;

// [armarm] "Software Step exceptions": an instruction of EL1 is stepped if all three are set.
constexpr u64 SPSR_SS = bit(21), MDSCR_SS = bit(0), MDCR_TDE = bit(8);

// [armarm] "ESR_EL2, Exception Syndrome Register": EC and the immediate of HVC.
enum exception_class : u64 {
  EC_unknown = 0,
  EC_HVC = 0x16,
  EC_instruction_abort = 0x20,
  EC_instruction_abort_same_el = 0x21
};
constexpr u64 exception_class_of(u64 esr) { return esr >> 26 & 0x3f; }
constexpr u64 immediate_of(u64 esr) { return esr & 0xffff; }

// Private tables: 4 KiB granule, 52-bit addresses, so levels -1 to 3; one page.
// [armarm] "VTCR_EL2, Virtualization Translation Control Register": DS, SL2, RES1 bit
// 31, PS = 52 bits, T0SZ = 64 - 52.
constexpr u64 private_vtcr = bit(32) | bit(33) | bit(31) | u64{6} << 16 | 12;
constexpr u64 vtcr_VS = bit(19), vttbr_VMID = u64{0xffff} << 48;
alignas(4096) u64 private_table[5][512];  // root first

u64 tested_vttbr, tested_vtcr;
u64 writes_done;

/// How the guest came back. `syndrome` is ESR_EL1 if the exception went to EL1 first, else ESR_EL2.
struct outcome {
  u64 syndrome, hpfar, elr, x0;
  bool through_el1;
  bool el0;
  /// The HVC behind the access was reached. At EL0 it is undefined, which EL1 hears of.
  bool finished() const {
    if (el0) return through_el1 && exception_class_of(syndrome) == EC_unknown;
    return !through_el1 && exception_class_of(syndrome) == EC_HVC && immediate_of(syndrome) == 0;
  }
  reply fault() const { return {0, 0, {syndrome, hpfar}}; }
};

u64 in_guest(const char* code) { return stub_page | (reinterpret_cast<u64>(code) & 0xfff); }

void set_tables(u64 vttbr, u64 vtcr) {
  asm volatile("msr vttbr_el2, %0\n msr vtcr_el2, %1\n isb" ::"r"(vttbr), "r"(vtcr) : "memory");
}

outcome run_in_guest(u64 pc, u64 x0, u64 x1, bool el0, u64 spsr = 0) {
  outcome o{};
  o.el0 = el0;
  o.x0 = run_guest(pc, x0, x1, DAIF | (el0 ? EL0t : EL1h) | spsr);
  asm volatile("mrs %0, esr_el2\n mrs %1, elr_el2" : "=r"(o.syndrome), "=r"(o.elr));
  // A stepped instruction that faults into EL1 comes back before the vector's HVC is executed.
  o.through_el1 = o.elr - in_guest(stub_vectors) < 0x800;
  if (o.through_el1) {
    asm volatile("mrs %0, esr_el1" : "=r"(o.syndrome));
  } else {
    asm volatile("mrs %0, hpfar_el2" : "=r"(o.hpfar));
  }
  return o;
}

/// Brings the page of the guest's code into the TLB, then runs.
outcome access(u64 pc, u64 x0, u64 x1, bool el0, bool step = false) {
  set_tables(reinterpret_cast<u64>(private_table[0]) | (tested_vttbr & vttbr_VMID),
             private_vtcr | (tested_vtcr & vtcr_VS));
  const bool ready = run_in_guest(in_guest(stub_idle), 0, 0, el0).finished();
  set_tables(tested_vttbr, tested_vtcr);
  asm volatile("msr mdscr_el1, %0\n isb" ::"r"(step ? MDSCR_SS : 0));
  const outcome o = run_in_guest(pc, x0, x1, el0, step ? SPSR_SS : 0);
  asm volatile("msr mdscr_el1, xzr\n isb");
  const bool lost =
      exception_class_of(o.syndrome) == EC_instruction_abort && (o.elr & ~u64{0xfff}) == stub_page;
  if (ready && !lost) return o;
  print("E the page of the payload's guest code is not in the TLB\n");
  leave(1);
}

}  // namespace

void set_tested_tables(u64 vttbr_el2, u64 vtcr_el2) {
  tested_vttbr = vttbr_el2;
  tested_vtcr = vtcr_el2;
  set_tables(tested_vttbr, tested_vtcr);  // AT uses them too
}

void set_up_guest(u64 vttbr_el2, u64 vtcr_el2, u64 hcr_el2) {
  // [armarm] "VMSAv8-64 descriptor formats": AF, S2AP = read-only, MemAttr = Normal write-back; page or
  // table.
  const u64 page = reinterpret_cast<u64>(stub_load) | bit(10) | bit(6) | 15 << 2 | 3;
  for (unsigned i = 0; i < 5; ++i)
    private_table[i][stub_page >> (48 - 9 * i) & 511] =
        i == 4 ? page : reinterpret_cast<u64>(private_table[i + 1]) | 3;
  const u64 vbar = in_guest(stub_vectors), sctlr_el1_RES1 = 0x30d0'0800;
  asm volatile("msr sctlr_el1, %0\n msr vbar_el1, %1" ::"r"(sctlr_el1_RES1), "r"(vbar));
  asm volatile("msr hcr_el2, %0" ::"r"(hcr_el2));
  set_tested_tables(vttbr_el2, vtcr_el2);
  asm volatile("msr oslar_el1, xzr\n msr mdcr_el2, %0\n isb" ::"r"(MDCR_TDE));  // debug exceptions go to EL2
}

reply guest_read(u64 address, bool el0) {
  const outcome o = access(in_guest(stub_load), address, 0, el0);
  if (!o.finished()) return o.fault();
  return {1, o.x0, {}};
}

reply guest_write(u64 address, u64 arrival, bool el0) {
  const u64 value = 0x5175'6972'6500'0000 + ++writes_done;  // unlike any word that is there
  const outcome o = access(in_guest(stub_store), address + 8, value, el0);
  if (!o.finished()) return o.fault();
  u64 found = 0;
  const bool arrived = physical_load(arrival + 8, &found) && found == value;
  return {1, arrived ? arrival : 0, {}};
}

reply guest_fetch(u64 address, bool el0) {
  const u64 pc = address + 16;  // a landing holds NOP there
  const outcome o = access(pc, 0, 0, el0, true);
  // All else than an abort of this very fetch, such as an undefined instruction, means that it was fetched.
  const u64 ec = exception_class_of(o.syndrome);
  const u64 abort_to_el1 = el0 ? EC_instruction_abort : EC_instruction_abort_same_el;
  if (o.through_el1 ? ec == abort_to_el1 : ec == EC_instruction_abort && o.elr == pc) return o.fault();
  return {1, 0, {}};
}

}  // namespace quire::tests::arm64
