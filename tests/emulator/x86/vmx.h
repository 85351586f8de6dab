// VMX instructions and the numbers that the payload uses with them.
// [sdm3] "Field Encoding in VMCS", "VMX Basic Exit Reasons", "VMX Capability Reporting Facility".
#pragma once

#include <cstdint>

namespace quire::tests::x86 {

enum class field : std::uint64_t {
  guest_es = 0x800, guest_cs = 0x802, guest_tr = 0x80e,  // selectors: ES CS SS DS FS GS LDTR TR
  host_es = 0xc00, host_cs = 0xc02, host_tr = 0xc0c,     // ES CS SS DS FS GS TR
  eptp = 0x201a, guest_physical_address = 0x2400, link_pointer = 0x2800,
  guest_efer = 0x2806, host_efer = 0x2c02,
  pin_controls = 0x4000, cpu_controls = 0x4002, exception_bitmap = 0x4004, exit_controls = 0x400c,
  entry_controls = 0x4012, cpu_controls_2 = 0x401e,
  instruction_error = 0x4400, exit_reason = 0x4402, exit_interruption = 0x4404,
  guest_limit = 0x4800,   // ES CS SS DS FS GS LDTR TR GDTR IDTR
  guest_rights = 0x4814,  // ES CS SS DS FS GS LDTR TR
  guest_interruptibility = 0x4824,
  exit_qualification = 0x6400,
  guest_cr0 = 0x6800, guest_cr3 = 0x6802, guest_cr4 = 0x6804, guest_dr7 = 0x681a, guest_rip = 0x681e,
  guest_rflags = 0x6820, guest_pending_debug = 0x6822,
  host_cr0 = 0x6c00, host_cr3 = 0x6c02, host_cr4 = 0x6c04, host_rip = 0x6c16,
};

/// The n-th of fields that follow one another.
constexpr field operator+(field first, unsigned n) {
  return static_cast<field>(static_cast<std::uint64_t>(first) + 2 * n);
}

// Control bits.
constexpr std::uint64_t HLT_EXITING = 1u << 7, SECONDARY_CONTROLS = 1u << 31, ENABLE_EPT = 1u << 1;
constexpr std::uint64_t HOST_64 = 1u << 9, LOAD_HOST_EFER = 1u << 21;     // VM-exit controls
constexpr std::uint64_t GUEST_64 = 1u << 9, LOAD_GUEST_EFER = 1u << 15;  // VM-entry controls

// Model-specific registers.
constexpr std::uint32_t IA32_FEATURE_CONTROL = 0x3a, IA32_VMX_BASIC = 0x480, IA32_VMX_CR0_FIXED0 = 0x486;
constexpr std::uint32_t IA32_VMX_CR0_FIXED1 = 0x487, IA32_VMX_CR4_FIXED0 = 0x488, IA32_VMX_CR4_FIXED1 = 0x489;
constexpr std::uint32_t IA32_VMX_PROCBASED_CTLS2 = 0x48b, IA32_VMX_TRUE_PINBASED_CTLS = 0x48d;
constexpr std::uint32_t IA32_VMX_TRUE_PROCBASED_CTLS = 0x48e, IA32_VMX_TRUE_EXIT_CTLS = 0x48f;
constexpr std::uint32_t IA32_VMX_TRUE_ENTRY_CTLS = 0x490, IA32_EFER = 0xc000'0080;

// Basic exit reasons.
constexpr std::uint64_t exit_exception = 0, exit_vmcall = 18, exit_ept_violation = 48, exit_ept_misconfiguration = 49;

inline std::uint64_t rdmsr(std::uint32_t msr) {
  std::uint64_t low = 0, high = 0;
  asm volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr));
  return high << 32 | low;
}

inline void wrmsr(std::uint32_t msr, std::uint64_t value) {
  asm volatile("wrmsr" : : "c"(msr), "a"(value), "d"(value >> 32) : "memory");
}

/// The three below: false where VMX reports failure, [sdm3] "Conventions".
inline bool vmxon(std::uint64_t region) {
  bool ok = false;
  asm volatile("vmxon %1" : "=@cca"(ok) : "m"(region) : "memory");
  return ok;
}

/// VMCLEAR and VMPTRLD of one region.
inline bool load_vmcs(std::uint64_t region) {
  bool ok = false;
  asm volatile("vmclear %1" : "=@cca"(ok) : "m"(region) : "memory");
  if (ok) asm volatile("vmptrld %1" : "=@cca"(ok) : "m"(region) : "memory");
  return ok;
}

inline bool invept(std::uint64_t type, std::uint64_t eptp) {
  const std::uint64_t descriptor[2] = {eptp, 0};
  bool ok = false;
  asm volatile("invept %1, %2" : "=@cca"(ok) : "m"(descriptor), "r"(type) : "memory");
  return ok;
}

inline std::uint64_t vmread(field f) {
  std::uint64_t value = 0;
  asm volatile("vmread %1, %0" : "=r"(value) : "r"(f) : "cc");
  return value;
}

inline bool vmwrite(field f, std::uint64_t value) {
  bool ok = false;
  asm volatile("vmwrite %1, %2" : "=@cca"(ok) : "r"(value), "r"(f));
  return ok;
}

}  // namespace quire::tests::x86
