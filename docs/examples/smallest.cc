// The smallest embedding: one cpu, one EPT space, two lazy sections, a flush sink that prints.
#include <cstdio>
#include <cstdlib>

#include "arch/x86/ept_flush.h"
#include "runtime/machine.h"

using namespace quire;

constexpr std::uint64_t base = 0x100000;     // physical address of `memory`
alignas(4096) std::byte memory[256 * 4096];  // for tables
std::size_t used = 0;

bool allocate_tables(void*, std::size_t bytes, std::size_t align, std::uint64_t* physical) {
  const std::size_t at = (used + align - 1) / align * align;
  if (at > sizeof memory || bytes > sizeof memory - at) return false;
  used = at + bytes;
  *physical = base + at;
  return true;
}

void flush(void*, unsigned cpu, const runtime::flush_plan& plan) {  // a hypervisor executes the commands
  for (const auto& c : plan.commands) std::printf("cpu %u: %s\n", cpu, describe(arch::ept{}, c).c_str());
}

void check(runtime::status s) {
  if (s != runtime::status::ok) std::exit(1);
}

int main() {
  runtime::platform host;
  host.allocate = [](void*, std::size_t bytes, std::size_t align) {
    return std::aligned_alloc(align, (bytes + align - 1) / align * align);
  };
  host.release = [](void*, void* record, std::size_t) { std::free(record); };
  host.allocate_tables = allocate_tables;
  host.table_offset = reinterpret_cast<std::uintptr_t>(memory) - base;
  host.flush = flush;
  runtime::machine machine;
  check(machine.start(host, {}));
  runtime::space* guest = nullptr;
  check(machine.create_space(0, arch::ept{}, {.max_leaf_level = 0, .reports = {}}, guest));  // 4 KiB leaves
  guest->note_run(0);  // to be called before each VM entry: from now on, flushes are needed

  runtime::lazy_state* section = machine.enter(0, *guest);
  check(machine.map(section, {arch::gfn{0}, 512}, arch::hfn{0x80000}, {arch::perm::rwx}));
  check(machine.leave(section));  // empty to present: nothing to flush

  section = machine.enter(0, *guest);
  for (std::uint64_t i = 0; i < 512; i += 2) check(machine.unmap(section, {arch::gfn{i}, 1}));
  check(machine.leave(section));  // 256 pages, one flush

  const auto count = machine.counts(0, *guest);
  std::printf("%lu updates, %lu entries written\n", count.updates, count.entries_written);
}
