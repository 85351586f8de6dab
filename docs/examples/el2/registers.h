// System registers and their bits, as the manual names them.
#pragma once

#include "layout.h"

/// Reads or writes a system register. Volatile: its value is the CPU's, not the program's.
#define EL2_READ(name)                                       \
  ([] {                                                      \
    ::el2::u64 value_;                                       \
    asm volatile("mrs %0, " #name : "=r"(value_)::"memory"); \
    return value_;                                           \
  }())
#define EL2_WRITE(name, value) \
  ([](::el2::u64 value_) { asm volatile("msr " #name ", %x0" ::"rZ"(value_) : "memory"); }(value))

namespace el2 {

constexpr u64 bit(unsigned n) { return u64{1} << n; }

inline void isb() { asm volatile("isb" ::: "memory"); }

// [armarm] "HCR_EL2, Hypervisor Configuration Register". IMO, FMO and AMO are clear: interrupts are the
// guest's. TSC: SMC of the guest comes here. API, APK: pointer authentication is the guest's.
inline constexpr u64 HCR_VM = bit(0), HCR_SWIO = bit(1), HCR_TSC = bit(19), HCR_RW = bit(31),
                     HCR_APK = bit(40), HCR_API = bit(41);

// [armarm] "ESR_EL2, Exception Syndrome Register (EL2)".
inline constexpr unsigned EC_HVC = 0x16, EC_SMC = 0x17, EC_system_register = 0x18,
                          EC_instruction_abort = 0x20, EC_data_abort = 0x24;
constexpr unsigned exception_class_of(u64 esr) { return esr >> 26 & 0x3f; }

/// ISS of aborts. The low two bits of DFSC are the level, which does not matter here.
struct abort_syndrome {
  u64 esr;
  bool missing() const { return (esr & 0x3c) == 0x04; }     ///< translation fault
  bool permission() const { return (esr & 0x3c) == 0x0c; }  ///< permission fault
  bool in_walk() const { return esr & bit(7); }  ///< S1PTW: the guest's own tables were being walked
};

// [armarm] "SPSR_EL2, Saved Program Status Register (EL2)".
inline constexpr u64 SPSR_EL1h = 5, SPSR_DAIF = 15 << 6;

// [armarm] "SCTLR_EL1, System Control Register (EL1)": MMU and caches off, the bits that are one in ARMv8.0.
inline constexpr u64 SCTLR_EL1_reset = 0x30d0'0800;

}  // namespace el2
