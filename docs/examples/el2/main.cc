// Start: the first cpu makes the guest, then each cpu sets itself up and enters it.
#include <new>

#include "console.h"
#include "hypervisor.h"

namespace el2 {
namespace {

// Made by the first cpu: there is nobody to run constructors.
alignas(hypervisor) char storage[sizeof(hypervisor)];

/// The number behind `name` in the arguments, such as "el2.rounds=20"; or `otherwise`.
u64 argument(const char* all, const char* name, u64 otherwise) {
  for (; *all != 0; ++all) {
    unsigned n = 0;
    while (name[n] != 0 && all[n] == name[n]) ++n;
    if (name[n] != 0) continue;
    u64 value = 0;
    for (const char* digit = all + n; *digit >= '0' && *digit <= '9'; ++digit)
      value = value * 10 + (*digit - '0');
    return value;
  }
  return otherwise;
}

void make_guest() {
  const void* tree = reinterpret_cast<const void*>(own_first);
  const char* arguments = boot_arguments(tree);
  hypervisor& h = *new (storage) hypervisor;
  h.guest.create(argument(arguments, "el2.lazy=", 1) != 0);
  h.maintenance.start(argument(arguments, "el2.rounds=", 0));
  make_guest_tree(tree, reinterpret_cast<void*>(guest_tree));
  all_cpus[0] = {.index = 0, .started = true, .entry = guest_entry, .context = guest_tree, .count = {}};
  for (unsigned i = 1; i < cpus; ++i) all_cpus[i].index = i;
  print("el2: ", h.guest.lazy() ? "lazy" : "eager", " mode; the guest has memory from ", hex{own_end}, " to ",
        hex{ram_end}, "\n");
}

}  // namespace

hypervisor& the() { return *std::launder(reinterpret_cast<hypervisor*>(storage)); }

/// Where start.S comes to, on each cpu; when it returns, the guest runs with the registers in `first`.
/// [booting] "Call the kernel image": MMU off, interrupts masked, x0 given.
extern "C" void cpu_main(unsigned index, frame* first) {
  cpu& self = all_cpus[index];
  set_up_cpu(self);
  if (index == 0) make_guest();
  vm& guest = the().guest;
  set_up_stage2(guest.control_register(), guest.root_register());
  guest.note_run(self);
  *first = {};
  first->x[0] = self.context;
  first->elr = self.entry;
  first->spsr = SPSR_DAIF | SPSR_EL1h;
}

}  // namespace el2
