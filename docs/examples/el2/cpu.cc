// EL2 set-up of a cpu: its address space, the traps, and what the guest is given of the machine.
#include "cpu.h"

namespace el2 {

cpu all_cpus[cpus];

namespace {

// One level-1 table of 1 GiB blocks: devices, then RAM, each at its physical address.
// [armarm] "VMSAv8-64 translation table format descriptors": block, AttrIndx, AP[1] is one at EL2, inner
// shareable, AF, XN.
constexpr u64 block = 1, AttrIndx_normal = 0 << 2, AttrIndx_device = 1 << 2, AP_one = bit(6),
              SH_inner = 3 << 8, AF = bit(10), XN = bit(54);
alignas(4096) constinit const u64 own_table[512] = {
    block | AttrIndx_device | AP_one | AF | XN,
    ram_first | block | AttrIndx_normal | AP_one | SH_inner | AF,
};

void set_up_own_translation() {
  EL2_WRITE(mair_el2, 0x04ff);  // 0: Normal write-back, 1: Device-nGnRE
  // [armarm] "TCR_EL2, Translation Control Register (EL2)": 39 bits, so walks start at level 1; write-back
  // inner shareable walks; 40-bit output; the bits that are one.
  EL2_WRITE(tcr_el2, bit(31) | bit(23) | 2 << 16 | 3 << 12 | 1 << 10 | 1 << 8 | (64 - 39));
  EL2_WRITE(ttbr0_el2, reinterpret_cast<u64>(own_table));
  asm volatile("dsb ish\n tlbi alle2\n dsb ish\n isb" ::: "memory");
  EL2_WRITE(sctlr_el2, 0x30c5'0830 | bit(12) | bit(2) | bit(0));  // I, C, M
  isb();
}

}  // namespace

void set_up_cpu(cpu& self) {
  EL2_WRITE(tpidr_el2, reinterpret_cast<u64>(&self));
  set_up_own_translation();
  EL2_WRITE(hcr_el2, HCR_VM | HCR_SWIO | HCR_TSC | HCR_RW | HCR_APK | HCR_API);
  EL2_WRITE(cptr_el2, 0x32ff);                           // the guest's floating point and vectors do not trap
  EL2_WRITE(mdcr_el2, EL2_READ(pmcr_el0) >> 11 & 0x1f);  // HPMN: all event counters are the guest's
  EL2_WRITE(vpidr_el2, EL2_READ(midr_el1));
  EL2_WRITE(vmpidr_el2, EL2_READ(mpidr_el1));

  // The counter is the guest's. The physical timer traps, so that EL2 sees each tick (exits.cc); the guest is
  // told that there is no other (device_tree.cc).
  EL2_WRITE(cnthctl_el2, bit(0));  // EL1PCTEN, not EL1PCEN
  EL2_WRITE(cntvoff_el2, 0);

  // GICv3: EL1 uses the system registers, and no interrupt is virtual.
  // [gic] "ICC_SRE_EL2, Interrupt Controller System Register Enable register (EL2)": SRE, Enable.
  EL2_WRITE(icc_sre_el2, bit(0) | bit(3));
  isb();
  EL2_WRITE(ich_hcr_el2, 0);

  EL2_WRITE(sctlr_el1, SCTLR_EL1_reset);
  isb();
}

void set_up_stage2(u64 vtcr, u64 vttbr) {
  EL2_WRITE(vtcr_el2, vtcr);
  EL2_WRITE(vttbr_el2, vttbr);
  isb();
  // Nothing is known about what TLBs held before.
  asm volatile("tlbi vmalls12e1\n dsb nsh\n isb" ::: "memory");
}

}  // namespace el2
