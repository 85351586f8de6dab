// VMX: the instructions, the numbers of VMCS fields, and the one virtual machine.
// [sdm3] "Field Encoding in VMCS", "VMX Basic Exit Reasons".
#pragma once

#include <cstdint>

namespace vmx {

using u64 = std::uint64_t;

enum class field : u64 {
  guest_es = 0x800,  // selectors: ES CS SS DS FS GS LDTR TR
  host_es = 0xc00,   // ES CS SS DS FS GS TR
  eptp = 0x201a,
  fault_address = 0x2400,
  link_pointer = 0x2800,
  guest_efer = 0x2806,
  host_efer = 0x2c02,
  pin_controls = 0x4000,
  cpu_controls = 0x4002,
  exception_bitmap = 0x4004,
  exit_controls = 0x400c,
  entry_controls = 0x4012,
  cpu_controls_2 = 0x401e,
  instruction_error = 0x4400,
  exit_reason = 0x4402,
  instruction_length = 0x440c,
  guest_limit = 0x4800,   // ES CS SS DS FS GS LDTR TR
  guest_rights = 0x4814,  // likewise
  qualification = 0x6400,
  guest_cr0 = 0x6800,
  guest_cr3 = 0x6802,
  guest_cr4 = 0x6804,
  guest_dr7 = 0x681a,
  guest_rsp = 0x681c,
  guest_rip = 0x681e,
  guest_rflags = 0x6820,
  host_cr0 = 0x6c00,
  host_cr3 = 0x6c02,
  host_cr4 = 0x6c04,
  host_rip = 0x6c16,
};

enum exit_reason : u64 { exit_vmcall = 18, exit_ept_violation = 48 };

inline u64 vmread(field f) {
  u64 value = 0;
  asm volatile("vmread %1, %0" : "=r"(value) : "r"(f) : "cc");
  return value;
}
void vmwrite(field f, u64 value);
/// INVEPT, single context: nothing that was translated by this EPTP is used any more.
void invept(u64 eptp);

/// The guest's registers but RIP, RSP and RFLAGS; start.S knows the order.
struct registers {
  u64 rax, rcx, rdx, rbx, rbp, rsi, rdi, r8_to_r15[8];
};

/// VMX root operation, and a VMCS for a guest in 64-bit mode. It starts at calls.h's `guest_entry`.
void start(u64 eptp);
/// Lets the guest run until its next VM exit; the basic exit reason.
u64 run(registers& guest);

// console.cc: text to port 0xe9.
void print(const char* text);
void print(u64 value);
/// Ends the machine: Bochs stops at this instruction.
[[noreturn]] void stop();
[[noreturn]] void fatal(const char* text, u64 value);

}  // namespace vmx
