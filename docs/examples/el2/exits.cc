// What happens when the guest stops: stage-2 faults, SMC, HVC, and its timer.
#include "console.h"
#include "hypervisor.h"

namespace el2 {
namespace {

/// [armarm] "HPFAR_EL2, Hypervisor IPA Fault Address Register" is not written by permission faults on an
/// access of the guest itself: there its stage 1 is walked again. False if that has changed meanwhile.
bool fault_address(abort_syndrome why, u64& address) {
  const u64 far = EL2_READ(far_el2);
  if (!why.permission() || why.in_walk()) {
    address = EL2_READ(hpfar_el2) >> 4 << 12 | (far & 0xfff);
    return true;
  }
  const u64 saved = EL2_READ(par_el1);
  asm volatile("at s1e1r, %0\n isb" ::"r"(far) : "memory");
  const u64 par = EL2_READ(par_el1);
  EL2_WRITE(par_el1, saved);
  address = (par & 0x000f'ffff'ffff'f000) | (far & 0xfff);
  return !(par & 1);
}

/// The guest touched what it has not: a synchronous external abort, as without a hypervisor.
/// [armarm] "Synchronous exception handling", the AArch64.TakeException() pseudocode: which vector, which
/// PSTATE.
void inject_abort(frame& guest, u64 esr) {
  const bool data = exception_class_of(esr) == EC_data_abort, from_el1 = (guest.spsr & 0xf) != 0;
  const unsigned ec = (data ? EC_data_abort : EC_instruction_abort) + from_el1;  // own number for the same EL
  EL2_WRITE(esr_el1, u64{ec} << 26 | bit(25) | 0x10);  // IL; DFSC = external abort, not on a walk
  EL2_WRITE(far_el1, EL2_READ(far_el2));
  EL2_WRITE(elr_el1, guest.elr);
  EL2_WRITE(spsr_el1, guest.spsr);
  const u64 offset = !from_el1 ? 0x400 : guest.spsr & 1 ? 0x200 : 0;
  guest.elr = EL2_READ(vbar_el1) + offset;
  guest.spsr = SPSR_DAIF | SPSR_EL1h;
}

void handle_abort(cpu& self, frame& guest, u64 esr) {
  ++self.count.aborts;
  const abort_syndrome why{esr};
  u64 address = 0;
  if (!fault_address(why, address)) return;
  if (!why.missing() && !why.permission())
    fatal("stage-2 abort with ESR_EL2 ", hex{esr}, " at ", hex{address}, ", PC ", hex{guest.elr});
  switch (the().guest.serve(self, address, why)) {
    case served::yes:
      return;
    case served::again:
      asm volatile("yield");
      return;
    case served::hidden:
      return inject_abort(guest, esr);
  }
}

constexpr u64 encoding(unsigned op0, unsigned op1, unsigned crn, unsigned crm, unsigned op2) {
  return op0 << 20 | op2 << 17 | op1 << 14 | crn << 10 | crm << 1;
}

/// The guest's physical timer, whose interrupt goes to the guest: EL2 only does what the guest wanted to do.
/// [armarm] "ESR_EL2", ISS of trapped MSR and MRS.
bool access_timer(u64 esr, u64& value) {
  const bool read = esr & 1;
  switch (esr & 0x3f'fc1e) {
    case encoding(3, 3, 14, 2, 0):
      read ? void(value = EL2_READ(cntp_tval_el0)) : EL2_WRITE(cntp_tval_el0, value);
      return true;
    case encoding(3, 3, 14, 2, 1):
      read ? void(value = EL2_READ(cntp_ctl_el0)) : EL2_WRITE(cntp_ctl_el0, value);
      return true;
    case encoding(3, 3, 14, 2, 2):
      read ? void(value = EL2_READ(cntp_cval_el0)) : EL2_WRITE(cntp_cval_el0, value);
      return true;
  }
  return false;
}

void handle_register(cpu& self, frame& guest, u64 esr) {
  ++self.count.registers;
  const unsigned Rt = esr >> 5 & 31;
  u64 value = Rt == 31 ? 0 : guest.x[Rt];
  if (!access_timer(esr, value))
    fatal("trapped system register, ESR_EL2 ", hex{esr}, ", PC ", hex{guest.elr});
  if (Rt != 31) guest.x[Rt] = value;
  guest.elr += 4;
}

}  // namespace

void handle_exit(frame* guest) {
  cpu& self = this_cpu();
  const u64 esr = EL2_READ(esr_el2);
  switch (exception_class_of(esr)) {
    case EC_data_abort:
    case EC_instruction_abort:
      handle_abort(self, *guest, esr);
      break;
    case EC_SMC:
      ++self.count.smcs;
      guest->elr += 4;  // a trapped SMC has not been executed, unlike HVC
      handle_smc(self, *guest);
      break;
    case EC_HVC:
      ++self.count.hypercalls;
      handle_hypercall(self, *guest);
      break;
    case EC_system_register:
      handle_register(self, *guest, esr);
      break;
    default:
      fatal("exit with ESR_EL2 ", hex{esr}, ", PC ", hex{guest->elr});
  }
  the().maintenance.run_if_due(self, the().guest);
  the().guest.note_run(self);
}

extern "C" [[noreturn]] void unexpected_exception() {
  fatal("exception in EL2 or unexpected: ESR_EL2 ", hex{EL2_READ(esr_el2)}, " ELR_EL2 ",
        hex{EL2_READ(elr_el2)}, " FAR_EL2 ", hex{EL2_READ(far_el2)});
}

}  // namespace el2
