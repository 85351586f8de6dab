// The numbers, one line per topic, each with the prefix "el2:".
#include "console.h"
#include "hypervisor.h"

namespace el2 {

void print_report(const vm& guest) {
  tally t;
  runtime::counters done;
  for (unsigned i = 0; i < cpus; ++i) {
    t += all_cpus[i].count;
    done += guest.counts(i);
  }
  print("el2: mode ", guest.lazy() ? "lazy" : "eager", "\n");
  print("el2: exits ", t.aborts + t.smcs + t.hypercalls + t.registers, ": aborts ", t.aborts, ", smc ",
        t.smcs, ", hvc ", t.hypercalls, ", timer ", t.registers, "\n");
  print("el2: faults ", t.missing + t.permission + t.device, ": missing ", t.missing, ", write-protected ",
        t.permission, ", device ", t.device, "; tried again ", t.busy, "; pages brought in ", t.pages, "\n");
  print("el2: rounds ", t.rounds, ": pages found dirty ", t.dirty, ", accessed ", t.accessed, "; migrated ",
        t.migrated, ", taken away ", t.removed - t.migrated, "\n");
  print("el2: sections ", t.sections, ", updates ", done.updates, ", commits ", done.commits,
        ", entries written ", done.entries_written, ", entries gone stale ", done.flush_requested, "\n");
  print("el2: flushes ", t.flushes, ", TLBI asked for ", t.tlbi_asked, ", TLBI executed ", t.tlbi_executed,
        "\n");
}

}  // namespace el2
