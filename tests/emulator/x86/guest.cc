// The guest of the payload: its stub page, its VMCS, and one VM entry for each access.
#include "tests/emulator/x86/guest.h"

#include "tests/emulator/x86/ports.h"
#include "tests/emulator/x86/stub.h"
#include "tests/emulator/x86/vmx.h"

namespace quire::tests::x86 {
namespace {

struct guest_registers {
  std::uint64_t rax, rbx, rcx, rdx;
};

extern "C" {
bool enter_guest(guest_registers* r, bool launched);
extern const char guest_exit[], guest_code[], guest_code_end[];
extern const char guest_read[], guest_write[], guest_read_poke_read[];
}

// The stub page is at once the guest's PML4, its only PDPT and its code. PML4 entry `self` makes it the PDPT; as such
// its entries `..._window` map 1 GiB each. The other entries are 0, so what a fetched word happens to do with RAX = 0
// stops at a guest page fault.
constexpr std::uint64_t self = 1, code_window = 2, probe_window = 3, entry_window = 4, code_offset = 0x800;
constexpr std::uint64_t P = 1, RW = 2, A = 0x20, D = 0x40, PS = 0x80;
constexpr std::uint64_t window_bytes = 1u << 30;

constexpr std::uint64_t linear(std::uint64_t window, std::uint64_t guest_address) {
  return self << 39 | window << 30 | guest_address % window_bytes;
}
constexpr std::uint64_t window_entry(std::uint64_t guest_address) {
  return (guest_address & ~(window_bytes - 1)) | P | RW | A | D | PS;
}
volatile std::uint64_t* stub_page() { return reinterpret_cast<volatile std::uint64_t*>(stub_frame_address); }
std::uint64_t code_address(const char* instruction) {
  return linear(code_window, stub_guest_address) + code_offset + static_cast<std::uint64_t>(instruction - guest_code);
}

alignas(4096) std::uint32_t vmxon_region[1024];
alignas(4096) std::uint32_t vmcs_region[1024];
bool launched = false;

void write_stub_page() {
  for (unsigned i = 0; i < 512; ++i) stub_page()[i] = 0;
  stub_page()[self] = stub_guest_address | P | RW | A;
  stub_page()[code_window] = window_entry(stub_guest_address);
  auto* code = reinterpret_cast<volatile char*>(stub_frame_address + code_offset);
  for (const char* from = guest_code; from != guest_code_end; ++from) *code++ = *from;
}

void set(field f, std::uint64_t value) {
  if (!vmwrite(f, value)) fail("VMWRITE refused field", static_cast<std::uint64_t>(f));
}

/// [sdm3] "Algorithms for Determining VMX Capabilities": low half of the MSR must be 1, high half may be 1.
void set_controls(field f, std::uint32_t msr, std::uint64_t wanted) {
  const std::uint64_t allowed = rdmsr(msr);
  const std::uint64_t value = (wanted | (allowed & 0xffff'ffff)) & allowed >> 32;
  if ((value & wanted) != wanted) fail("the CPU lacks a VMX control of MSR", msr);
  set(f, value);
}

std::uint64_t read_cr0() {
  std::uint64_t value = 0;
  asm volatile("mov %%cr0, %0" : "=r"(value));
  return value;
}
std::uint64_t read_cr3() {
  std::uint64_t value = 0;
  asm volatile("mov %%cr3, %0" : "=r"(value));
  return value;
}
std::uint64_t read_cr4() {
  std::uint64_t value = 0;
  asm volatile("mov %%cr4, %0" : "=r"(value));
  return value;
}

/// [sdm3] "Enabling and Entering VMX Operation".
void enter_root_operation() {
  constexpr std::uint64_t locked = 1, vmx_outside_smx = 4, VMXE = 1u << 13;
  if (!(rdmsr(IA32_FEATURE_CONTROL) & locked)) wrmsr(IA32_FEATURE_CONTROL, locked | vmx_outside_smx);
  const std::uint64_t cr0 = (read_cr0() | rdmsr(IA32_VMX_CR0_FIXED0)) & rdmsr(IA32_VMX_CR0_FIXED1);
  const std::uint64_t cr4 = (read_cr4() | VMXE | rdmsr(IA32_VMX_CR4_FIXED0)) & rdmsr(IA32_VMX_CR4_FIXED1);
  asm volatile("mov %0, %%cr0" : : "r"(cr0) : "memory");
  asm volatile("mov %0, %%cr4" : : "r"(cr4) : "memory");
  vmxon_region[0] = vmcs_region[0] = static_cast<std::uint32_t>(rdmsr(IA32_VMX_BASIC) & 0x7fff'ffff);
  if (!vmxon(reinterpret_cast<std::uint64_t>(vmxon_region))) fail("VMXON failed", 0);
  if (!load_vmcs(reinterpret_cast<std::uint64_t>(vmcs_region))) fail("VMPTRLD failed", 0);
}

void set_all_controls(std::uint64_t eptp) {
  set_controls(field::pin_controls, IA32_VMX_TRUE_PINBASED_CTLS, 0);
  set_controls(field::cpu_controls, IA32_VMX_TRUE_PROCBASED_CTLS, HLT_EXITING | SECONDARY_CONTROLS);
  set_controls(field::cpu_controls_2, IA32_VMX_PROCBASED_CTLS2, ENABLE_EPT);
  set_controls(field::exit_controls, IA32_VMX_TRUE_EXIT_CTLS, HOST_64 | LOAD_HOST_EFER);
  set_controls(field::entry_controls, IA32_VMX_TRUE_ENTRY_CTLS, GUEST_64 | LOAD_GUEST_EFER);
  set(field::exception_bitmap, 0xffff'ffff);
  set(field::link_pointer, ~std::uint64_t{0});
  set(field::eptp, eptp);
}

void set_host_state() {
  for (unsigned i = 0; i < 6; ++i) set(field::host_es + i, 0x10);
  set(field::host_cs, 0x18);
  set(field::host_tr, 0x10);  // must not be 0; nothing uses the task state
  set(field::host_cr0, read_cr0());
  set(field::host_cr3, read_cr3());
  set(field::host_cr4, read_cr4());
  set(field::host_efer, rdmsr(IA32_EFER));
  set(field::host_rip, reinterpret_cast<std::uint64_t>(guest_exit));
}

/// [sdm3] "Checks on the Guest State Area". Bases, LDTR and descriptor tables stay 0.
void set_guest_state() {
  constexpr std::uint64_t data = 0xc093, code = 0xa09b, busy_task = 0x8b, unusable = 1u << 16;
  for (unsigned i = 0; i < 6; ++i) {
    set(field::guest_es + i, 0x10);
    set(field::guest_limit + i, 0xffff'ffff);
    set(field::guest_rights + i, data);
  }
  set(field::guest_cs, 0x18);
  set(field::guest_rights + 1, code);
  set(field::guest_rights + 6, unusable);  // LDTR
  set(field::guest_tr, 0x10);
  set(field::guest_limit + 7, 0x67);
  set(field::guest_rights + 7, busy_task);
  set(field::guest_cr0, read_cr0());
  set(field::guest_cr3, stub_guest_address);
  set(field::guest_cr4, read_cr4());
  set(field::guest_efer, rdmsr(IA32_EFER));
  set(field::guest_dr7, 0x400);
}

/// One VM entry and exit; the basic exit reason.
std::uint64_t run(guest_registers& r, std::uint64_t rip, bool single_step) {
  constexpr std::uint64_t always_one = 2, TF = 0x100;
  set(field::guest_rip, rip);
  set(field::guest_rflags, always_one | (single_step ? TF : 0));
  set(field::guest_pending_debug, 0);
  set(field::guest_interruptibility, 0);
  if (!enter_guest(&r, launched)) fail("VM entry refused, error", vmread(field::instruction_error));
  launched = true;
  const std::uint64_t reason = vmread(field::exit_reason);
  if (reason >> 31) fail("VM entry failed, reason", reason);
  return reason & 0xffff;
}

/// Ends the machine if the last exit is no fault of an access to the page of `address`: the walk of the guest's own
/// tables and the fetch of its code go through the tables under test too.
outcome fault_of(std::uint64_t address, std::uint64_t reason) {
  const std::uint64_t fault = vmread(field::guest_physical_address);
  if ((fault ^ address) >> 12) fail("the guest cannot use its stub page, it faulted at", fault);
  return {false, fault, reason, vmread(field::exit_qualification)};
}

bool is_ept_fault(std::uint64_t reason) {
  return reason == exit_ept_violation || reason == exit_ept_misconfiguration;
}

/// Lets a window of the guest show `address`; the linear address there.
std::uint64_t show(std::uint64_t window, std::uint64_t address) {
  if (address >> 40) fail("no guest-physical address is", address);
  stub_page()[window] = window_entry(address);
  return linear(window, address);
}

}  // namespace

void start_guest(std::uint64_t eptp) {
  write_stub_page();
  enter_root_operation();
  set_all_controls(eptp);
  set_host_state();
  set_guest_state();
}

void change_tables(std::uint64_t eptp) { set(field::eptp, eptp); }

outcome access_guest(access what, std::uint64_t address, std::uint64_t value) {
  const std::uint64_t target = show(probe_window, address);
  if (what == access::fetch) {
    guest_registers r{};
    const std::uint64_t reason = run(r, target, true);
    if (is_ept_fault(reason)) return fault_of(address, reason);
    return {true, 0, 0, 0};  // whatever the word that was fetched did
  }
  guest_registers r{value, target, 0, 0};
  const std::uint64_t reason = run(r, code_address(what == access::read ? guest_read : guest_write), false);
  if (is_ept_fault(reason)) return fault_of(address, reason);
  if (reason != exit_vmcall) fail("unexpected VM exit, reason", reason);
  return {true, what == access::read ? r.rax : 0, 0, 0};
}

outcome read_poke_read(std::uint64_t address, std::uint64_t entry_address, std::uint64_t entry) {
  guest_registers r{0, show(probe_window, address), show(entry_window, entry_address), entry};
  const std::uint64_t reason = run(r, code_address(guest_read_poke_read), false);
  if (is_ept_fault(reason)) return fault_of(address, reason);
  if (reason != exit_vmcall) fail("unexpected VM exit, reason", reason);
  return {true, r.rax, 0, 0};
}

}  // namespace quire::tests::x86
