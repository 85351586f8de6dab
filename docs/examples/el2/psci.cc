// PSCI calls of the guest. What concerns the start of cpus and the end of the machine passes through EL2; the
// rest goes on to the firmware, which here is QEMU itself. [psci] "Function IDs".
#include "console.h"
#include "hypervisor.h"

namespace el2 {

extern "C" void start_secondary();  // start.S

namespace {

constexpr std::uint32_t PSCI_VERSION = 0x8400'0000, CPU_SUSPEND = 0xc400'0001, CPU_OFF = 0x8400'0002,
                        CPU_ON = 0xc400'0003, AFFINITY_INFO = 0xc400'0004, SYSTEM_OFF = 0x8400'0008,
                        SYSTEM_RESET = 0x8400'0009, PSCI_FEATURES = 0x8400'000a;
constexpr u64 NOT_SUPPORTED = ~u64{0}, INVALID_PARAMETERS = ~u64{1}, ALREADY_ON = ~u64{3};

u64 call_firmware(u64 function, u64 a1 = 0, u64 a2 = 0, u64 a3 = 0) {
  register u64 x0 asm("x0") = function;
  register u64 x1 asm("x1") = a1, x2 asm("x2") = a2, x3 asm("x3") = a3;
  asm volatile("smc #0"
               : "+r"(x0), "+r"(x1), "+r"(x2), "+r"(x3)
               :
               : "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11", "x12", "x13", "x14", "x15", "x16", "x17",
                 "memory");
  return x0;
}

/// The cpu starts at EL2, in start_secondary, and enters the guest where the caller wanted.
u64 start_cpu(u64 target, u64 entry, u64 context) {
  if (target >= cpus) return INVALID_PARAMETERS;  // the affinities of `virt` are 0, 1, ...
  cpu& other = all_cpus[target];
  if (other.started) return ALREADY_ON;
  other.entry = entry;
  other.context = context;
  other.started = true;
  asm volatile("dsb ish" ::: "memory");
  const u64 done = call_firmware(CPU_ON, target, reinterpret_cast<u64>(&start_secondary), target);
  if (done != 0) other.started = false;
  return done;
}

}  // namespace

void handle_smc(cpu& self, frame& guest) {
  u64* x = guest.x;
  switch (static_cast<std::uint32_t>(x[0])) {
    case CPU_ON:
      x[0] = start_cpu(x[1], x[2], x[3]);
      return;
    case CPU_OFF:
      self.started = false;
      x[0] = call_firmware(CPU_OFF);
      return;
    case SYSTEM_OFF:
    case SYSTEM_RESET:  // would start the hypervisor again, and the guest's image is used up
      print_report(the().guest);
      stop();
    case CPU_SUSPEND:  // a suspended cpu wakes up where it is: WFI
      asm volatile("wfi");
      x[0] = 0;
      return;
    case PSCI_VERSION:
    case AFFINITY_INFO:
    case PSCI_FEATURES:
      x[0] = call_firmware(x[0], x[1], x[2], x[3]);
      return;
    default:
      x[0] = NOT_SUPPORTED;
  }
}

}  // namespace el2
