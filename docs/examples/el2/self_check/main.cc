// The self-check: a guest at EL1 on two vCPUs that verifies from inside what the hypervisor does from
// outside.
#include "../layout.h"
#include "guest.h"

namespace self_check {
namespace {

unsigned passed_checks = 0, failed_checks = 0;

enum psci : u64 {
  PSCI_VERSION = 0x8400'0000,
  CPU_ON = 0xc400'0003,
  AFFINITY_INFO = 0xc400'0004,
  SYSTEM_OFF = 0x8400'0008
};
constexpr u64 invalid_parameters = ~u64{1}, already_on = ~u64{3};

// Stage 1: a 1 GiB block of devices, one of RAM, and `window` of tables for check_remap(). With the MMU off
// all memory would be Device, and a stage-1 walk is a reader of stage 2 as well. [armarm] "VMSAv8-64
// translation table format descriptors"; AttrIndx 0 is Normal write-back, 1 Device.
constexpr u64 block = 1, AttrIndx_device = 1 << 2, SH_inner = 3 << 8, AF = el2::bit(10), table = 3;
alignas(4096) u64 root_table[512];
}  // namespace
alignas(4096) u64 window_table[512];  // 2 MiB a slot
namespace {

void set_up_translation() {
  root_table[0] = block | AttrIndx_device | AF;
  root_table[1] = 0x4000'0000 | block | SH_inner | AF;
  root_table[2] = reinterpret_cast<u64>(window_table) | table;
  EL2_WRITE(mair_el1, 0x04ff);
  // TCR_EL1: EPD1, 40-bit output, write-back inner-shareable walks, 39 bits of input.
  EL2_WRITE(tcr_el1, u64{2} << 32 | el2::bit(23) | 3 << 12 | 1 << 10 | 1 << 8 | (64 - 39));
  EL2_WRITE(ttbr0_el1, reinterpret_cast<u64>(root_table));
  asm volatile("dsb ish\n tlbi vmalle1\n dsb ish\n isb" ::: "memory");
  EL2_WRITE(sctlr_el1, el2::SCTLR_EL1_reset | el2::bit(12) | el2::bit(2) | el2::bit(0));  // I, C, M
  el2::isb();
}

void check_firmware() {
  note("PSCI has version 1.0 or newer", call_firmware(PSCI_VERSION, 0, 0, 0) >= 0x1'0000);
  note("CPU_ON of no cpu is refused",
       call_firmware(CPU_ON, 7, reinterpret_cast<u64>(&start_second), 1) == invalid_parameters);
  note("the second vCPU is off", call_firmware(AFFINITY_INFO, 1, 0, 0) == 1);
  note("CPU_ON starts it", call_firmware(CPU_ON, 1, reinterpret_cast<u64>(&start_second), 1) == 0);
  note("it runs", second.next_lap());
  note("it is on", call_firmware(AFFINITY_INFO, 1, 0, 0) == 0);
  note("CPU_ON of a cpu that is on is refused",
       call_firmware(CPU_ON, 1, reinterpret_cast<u64>(&start_second), 1) == already_on);
}

void check_hidden_memory() {
  note("own memory can be read", try_read(reinterpret_cast<void*>(el2::guest_entry)));
  note("the hypervisor's image cannot be read",
       !try_read(reinterpret_cast<void*>(el2::own_first + 0x20'0000)));
  note("nor can its tables", !try_read(reinterpret_cast<void*>(el2::tables_first)));
  note("no hypercall reaches its memory",
       ask(hypercall::swap, el2::guest_entry, el2::tables_first) == 0 &&
           ask(hypercall::unmap, el2::tables_first, 1) == el2::unknown_hypercall);
}

}  // namespace

void note(const char* check, bool passed, const char* detail) {
  ++(passed ? passed_checks : failed_checks);
  el2::print("check: ", passed ? "passed" : "FAILED", ": ", check, detail, "\n");
}

extern "C" [[noreturn]] void vcpu_main(u64 index) {
  set_up_translation();
  if (index != 0) second.run();
  check_firmware();
  check_hidden_memory();
  check_faults();
  check_write_protection();
  check_remap();
  check_unmap();
  check_split_and_collapse();
  el2::print("self-check: ", u64{passed_checks}, " passed, ", u64{failed_checks}, " failed\n");
  for (;;) call_firmware(SYSTEM_OFF, 0, 0, 0);
}

extern "C" [[noreturn]] void guest_unexpected() {
  el2::print("self-check: unexpected exception, ESR_EL1 ", el2::hex{EL2_READ(esr_el1)}, " ELR_EL1 ",
             el2::hex{EL2_READ(elr_el1)}, " FAR_EL1 ", el2::hex{EL2_READ(far_el1)}, "\n");
  for (;;) call_firmware(SYSTEM_OFF, 0, 0, 0);
}

}  // namespace self_check
