// Two cpus and a space of every format: cpu 1 maps, cpu 0 unmaps, in lazy sections; the flush sink prints.
#include <cstdio>
#include <cstdlib>
#include <thread>

#include "arch/arm64/stage2_flush.h"
#include "arch/s390/dat_flush.h"
#include "arch/x86/ept_flush.h"
#include "arch/x86/npt.h"
#include "runtime/host/block_tables.h"
#include "runtime/host/hosted.h"
#include "runtime/machine.h"

using namespace quire;

constexpr std::size_t table_bytes = 64 << 20;
constexpr std::uint64_t leaves = 64;
struct guests {
  runtime::host::block_tables tables;
  runtime::space* by_id[runtime::machine::max_spaces] = {};
};

void check(runtime::status s) {
  if (s != runtime::status::ok) std::exit(1);
}

bool allocate_tables(void* context, std::size_t bytes, std::size_t align, std::uint64_t* physical) {
  return static_cast<guests*>(context)->tables.allocate(bytes, align, physical);
}

void flush(void* context, unsigned cpu, const runtime::flush_plan& plan) {  // a hypervisor executes them
  const runtime::space& s = *static_cast<guests*>(context)->by_id[plan.space];
  for (const auto& c : plan.commands) std::printf("  cpu %u: %s\n", cpu, s.backend->describe(s, c).c_str());
}

template <class F>
void run(runtime::machine& machine, guests& all, const char* name, const F& format) {
  runtime::space* guest = nullptr;
  check(machine.create_space(0, format, {.max_leaf_level = 0, .reports = {}}, guest));  // the smallest leaves
  all.by_id[guest->id] = guest;
  for (const unsigned cpu : {0u, 1u}) guest->note_run(cpu);  // to be called before each VM entry
  const std::uint64_t unit = guest->shape.slot_pages(0);
  std::printf("%s\n", name);

  std::thread cpu_1([&] {
    runtime::lazy_state* section = machine.enter(1, *guest, {arch::gfn{0}, leaves * unit});
    check(machine.map(section, {arch::gfn{0}, leaves * unit}, arch::hfn{0x80000}, {arch::perm::rwx}));
    check(machine.leave(section));  // empty to present: nothing to flush
  });
  cpu_1.join();

  runtime::lazy_state* section = machine.enter(0, *guest);
  for (std::uint64_t i = 0; i < 2 * 8; i += 2) check(machine.unmap(section, {arch::gfn{i * unit}, unit}));
  check(machine.leave(section));  // 8 pages, one flush
  runtime::counters sum = machine.counts(0, *guest);
  sum += machine.counts(1, *guest);
  std::printf("  %lu updates, %lu entries written\n", sum.updates, sum.entries_written);
  check(machine.destroy_space(0, guest));
}

int main() {
  void* memory = std::aligned_alloc(1 << 20, table_bytes);
  guests all{{{static_cast<std::byte*>(memory), table_bytes}, 0x100000}};
  runtime::platform host = runtime::host::hosted_platform();
  host.context = &all;
  host.allocate_tables = allocate_tables;
  host.table_offset = all.tables.table_offset();
  host.flush = flush;
  runtime::machine machine;
  check(machine.start(host, {.cpus = 2, .pool = {}, .max_cpus = 0}));
  run(machine, all, "EPT", arch::ept{});
  run(machine, all, "stage 2, 4 KiB", arch::stage2_4k{});
  run(machine, all, "stage 2, 16 KiB", arch::stage2_16k{});
  run(machine, all, "stage 2, 64 KiB", arch::stage2_64k{});
  run(machine, all, "DAT", arch::dat{});
  run(machine, all, "NPT", arch::npt{});
  machine.stop();
  std::free(memory);
}
