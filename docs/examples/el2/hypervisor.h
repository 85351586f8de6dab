// The hypervisor: one guest, the work that goes on below it, and the functions of the other files.
#pragma once

#include "rounds.h"
#include "vm.h"

namespace el2 {

struct hypervisor {
  vm guest;
  rounds maintenance;
};
hypervisor& the();

// exits.cc, psci.cc, hypercalls.cc: the guest has stopped, at all, by SMC, by HVC.
extern "C" void handle_exit(frame* guest);
void handle_smc(cpu& self, frame& guest);
void handle_hypercall(cpu& self, frame& guest);

/// report.cc: the numbers that are printed when the guest turns the machine off.
void print_report(const vm& guest);

// device_tree.cc: what QEMU says about the machine, and what the guest is told.
/// The value of /chosen/bootargs; "" if there is none.
const char* boot_arguments(const void* tree);
/// Writes the guest's tree to `to`: the hypervisor's memory is reserved and not to be mapped, and there is no
/// virtual timer, so that the guest uses the physical one, which EL2 sees.
void make_guest_tree(const void* from, void* to);

}  // namespace el2
