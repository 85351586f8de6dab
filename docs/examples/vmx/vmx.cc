// The virtual machine: VMX operation and the VMCS. Its execution is in start.S.
#include "vmx.h"

#include "calls.h"

namespace vmx {

extern "C" {
bool enter_guest(registers* guest, bool launched);
extern const char vm_exit[];
}

namespace {

constexpr std::uint32_t IA32_FEATURE_CONTROL = 0x3a, IA32_VMX_BASIC = 0x480, IA32_VMX_CR0_FIXED0 = 0x486,
                        IA32_VMX_CR4_FIXED0 = 0x488, IA32_VMX_PROCBASED_CTLS2 = 0x48b,
                        IA32_VMX_TRUE_PINBASED_CTLS = 0x48d, IA32_VMX_TRUE_PROCBASED_CTLS = 0x48e,
                        IA32_VMX_TRUE_EXIT_CTLS = 0x48f, IA32_VMX_TRUE_ENTRY_CTLS = 0x490,
                        IA32_EFER = 0xc000'0080;
constexpr u64 SECONDARY_CONTROLS = 1u << 31, ENABLE_EPT = 1u << 1;
constexpr u64 EXIT_HOST_64 = 1u << 9, EXIT_LOAD_EFER = 1u << 21, ENTRY_GUEST_64 = 1u << 9,
              ENTRY_LOAD_EFER = 1u << 15;

alignas(4096) std::uint32_t vmxon_region[1024];
alignas(4096) std::uint32_t vmcs_region[1024];

u64 rdmsr(std::uint32_t msr) {
  u64 low = 0, high = 0;
  asm volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr));
  return high << 32 | low;
}
void wrmsr(std::uint32_t msr, u64 value) { asm volatile("wrmsr" ::"c"(msr), "a"(value), "d"(value >> 32)); }

#define READ_CONTROL_REGISTER(name)                     \
  ([] {                                                 \
    ::vmx::u64 value_;                                  \
    asm volatile("mov %%" #name ", %0" : "=r"(value_)); \
    return value_;                                      \
  }())

/// [sdm3] "Enabling and Entering VMX Operation".
void enter_root_operation() {
  constexpr u64 locked = 1, vmx_outside_smx = 4, VMXE = 1u << 13;
  if (!(rdmsr(IA32_FEATURE_CONTROL) & locked)) wrmsr(IA32_FEATURE_CONTROL, locked | vmx_outside_smx);
  asm volatile("mov %0, %%cr0" ::"r"(READ_CONTROL_REGISTER(cr0) | rdmsr(IA32_VMX_CR0_FIXED0)) : "memory");
  asm volatile("mov %0, %%cr4" ::"r"(READ_CONTROL_REGISTER(cr4) | VMXE | rdmsr(IA32_VMX_CR4_FIXED0))
               : "memory");
  vmxon_region[0] = vmcs_region[0] = static_cast<std::uint32_t>(rdmsr(IA32_VMX_BASIC) & 0x7fff'ffff);
  const u64 on = reinterpret_cast<u64>(vmxon_region), vmcs = reinterpret_cast<u64>(vmcs_region);
  bool ok = false;
  asm volatile("vmxon %1" : "=@cca"(ok) : "m"(on) : "memory");
  if (ok) asm volatile("vmclear %1" : "=@cca"(ok) : "m"(vmcs) : "memory");
  if (ok) asm volatile("vmptrld %1" : "=@cca"(ok) : "m"(vmcs) : "memory");
  if (!ok) fatal("no VMX operation", 0);
}

/// [sdm3] "Algorithms for Determining VMX Capabilities": low half of the MSR must be 1, high half may be 1.
void set_controls(field f, std::uint32_t msr, u64 wanted) {
  const u64 allowed = rdmsr(msr), value = (wanted | (allowed & 0xffff'ffff)) & allowed >> 32;
  if ((value & wanted) != wanted) fatal("the CPU lacks a VMX control of MSR", msr);
  vmwrite(f, value);
}

constexpr field nth(field first, unsigned n) { return static_cast<field>(static_cast<u64>(first) + 2 * n); }

void set_host_state() {
  for (unsigned i = 0; i < 7; ++i) vmwrite(nth(field::host_es, i), i == 1 ? 0x18 : 0x10);  // TR must not be 0
  vmwrite(field::host_cr0, READ_CONTROL_REGISTER(cr0));
  vmwrite(field::host_cr3, READ_CONTROL_REGISTER(cr3));
  vmwrite(field::host_cr4, READ_CONTROL_REGISTER(cr4));
  vmwrite(field::host_efer, rdmsr(IA32_EFER));
  vmwrite(field::host_rip, reinterpret_cast<u64>(vm_exit));
}

/// [sdm3] "Checks on the Guest State Area". Bases, LDTR and descriptor tables stay 0.
void set_guest_state() {
  constexpr u64 data = 0xc093, code = 0xa09b, unusable = 1u << 16, busy_task = 0x8b;
  for (unsigned i = 0; i < 8; ++i) {
    vmwrite(nth(field::guest_es, i), i == 6 ? 0 : i == 1 ? 0x18 : 0x10);
    vmwrite(nth(field::guest_limit, i), i == 7 ? 0x67 : 0xffff'ffff);
    vmwrite(nth(field::guest_rights, i), i == 1 ? code : i == 6 ? unusable : i == 7 ? busy_task : data);
  }
  vmwrite(field::guest_cr0, READ_CONTROL_REGISTER(cr0));
  vmwrite(field::guest_cr3, guest_tables);
  vmwrite(field::guest_cr4, READ_CONTROL_REGISTER(cr4));
  vmwrite(field::guest_efer, rdmsr(IA32_EFER));
  vmwrite(field::guest_dr7, 0x400);
  vmwrite(field::guest_rflags, 2);
  vmwrite(field::guest_rsp, guest_stack - 8);  // as after a call
  vmwrite(field::guest_rip, guest_entry);
}

}  // namespace

void vmwrite(field f, u64 value) {
  bool ok = false;
  asm volatile("vmwrite %1, %2" : "=@cca"(ok) : "r"(value), "r"(f));
  if (!ok) fatal("VMWRITE refused field", static_cast<u64>(f));
}

void invept(u64 eptp) {
  const u64 descriptor[2] = {eptp, 0}, single_context = 1;
  bool ok = false;
  asm volatile("invept %1, %2" : "=@cca"(ok) : "m"(descriptor), "r"(single_context) : "memory");
  if (!ok) fatal("INVEPT refused EPTP", eptp);
}

void start(u64 eptp) {
  enter_root_operation();
  set_controls(field::pin_controls, IA32_VMX_TRUE_PINBASED_CTLS, 0);
  set_controls(field::cpu_controls, IA32_VMX_TRUE_PROCBASED_CTLS, SECONDARY_CONTROLS);
  set_controls(field::cpu_controls_2, IA32_VMX_PROCBASED_CTLS2, ENABLE_EPT);
  set_controls(field::exit_controls, IA32_VMX_TRUE_EXIT_CTLS, EXIT_HOST_64 | EXIT_LOAD_EFER);
  set_controls(field::entry_controls, IA32_VMX_TRUE_ENTRY_CTLS, ENTRY_GUEST_64 | ENTRY_LOAD_EFER);
  vmwrite(field::exception_bitmap, 0xffff'ffff);  // the guest has no handlers
  vmwrite(field::link_pointer, ~u64{0});
  vmwrite(field::eptp, eptp);
  set_host_state();
  set_guest_state();
}

u64 run(registers& guest) {
  static bool launched = false;
  if (!enter_guest(&guest, launched)) fatal("VM entry refused, error", vmread(field::instruction_error));
  launched = true;
  const u64 reason = vmread(field::exit_reason);
  if (reason >> 31) fatal("VM entry failed, reason", reason);
  return reason & 0xffff;
}

}  // namespace vmx
