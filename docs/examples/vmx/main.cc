// The hypervisor: memory of the guest in an EPT of Quire's, EPT violations served in sections, INVEPT by the
// sink.
#include <cstring>
#include <new>

#include "arch/x86/ept_flush.h"
#include "calls.h"
#include "runtime/machine.h"
#include "vmx.h"

namespace vmx {
namespace {

using namespace quire;

// 64 MiB: the image at 1 MiB, tables from 16 MiB on, the guest's memory from 32 MiB on.
constexpr u64 tables_first = 0x100'0000, ram_first = 0x200'0000,
              ram_pages = guest_bytes_of_ram / arch::page_bytes;
constexpr u64 around = 16;  // pages that one fault brings in

// EAGER=1 in the build: no sections, so each update takes effect at once.
#ifndef EAGER
#define EAGER 0
#endif
constexpr bool lazy = EAGER == 0;

alignas(64) std::byte records[1 << 20];
u64 records_used = 0, next_table = tables_first;
alignas(runtime::machine) std::byte
    machine_memory[sizeof(runtime::machine)];  // nobody runs constructors here
runtime::space* guest = nullptr;
u64 frames[ram_pages];  // host frame behind each page of the guest
u64 exits = 0, faults = 0, sections = 0, flushes = 0, removed = 0, removed_dirty = 0;

runtime::machine& machine() { return *std::launder(reinterpret_cast<runtime::machine*>(machine_memory)); }

void must(runtime::status s) {
  if (s != runtime::status::ok) fatal(runtime::status_text(s), 0);
}

/// The flush sink. There is one cpu, so what it drops nobody else holds.
void flush(void*, unsigned, const runtime::flush_plan& plan) {
  for (const arch::flush_command& c : plan.commands) {
    invept(c.operand[0]);  // arch::ept_flush::invept_single: the only command without Hyper-V
    ++flushes;
  }
}

void note_reports(void*, unsigned, std::span<const runtime::report> reports) {
  for (const runtime::report& r : reports) {
    removed += r.range.pages;
    if (r.dirty) removed_dirty += r.range.pages;
  }
}

void make_guest() {
  runtime::platform host;
  host.allocate = [](void*, std::size_t bytes, std::size_t align) -> void* {
    const u64 at = (records_used + align - 1) / align * align;
    if (at + bytes > sizeof records) return nullptr;
    records_used = at + bytes;
    return records + at;
  };
  host.release = [](void*, void*, std::size_t) {};  // one guest, from start to end
  host.allocate_tables = [](void*, std::size_t bytes, std::size_t align, std::uint64_t* physical) {
    *physical = (next_table + align - 1) / align * align;
    next_table = *physical + bytes;
    return next_table <= ram_first;
  };
  host.flush = flush;
  arch::ept format;
  format.access_dirty = true;
  new (machine_memory) runtime::machine;
  must(machine().start(host, {}));
  must(machine().create_space(0, format, {.max_leaf_level = 0, .reports = {nullptr, note_reports}}, guest));
  for (u64 i = 0; i < ram_pages; ++i) frames[i] = ram_first / arch::page_bytes + i;
}

/// The guest's program, and tables that map its first GiB to itself.
extern "C" const std::byte guest_first[], guest_bytes[];
void load_guest() {
  auto* tables = reinterpret_cast<u64*>(ram_first + guest_tables);
  tables[0] = (guest_tables + arch::page_bytes) | 3;  // P, R/W
  tables[512] = 0x83;                                 // P, R/W, PS: 1 GiB
  std::memcpy(reinterpret_cast<void*>(ram_first + guest_entry), guest_first,
              reinterpret_cast<u64>(guest_bytes));
}

/// A section or, in eager mode, none.
class updates {
 public:
  updates() : state_(lazy ? machine().enter(0, *guest) : machine().state(0, *guest)) { sections += lazy; }
  ~updates() {
    if (lazy) must(machine().leave(state_));
  }
  updates(const updates&) = delete;
  updates& operator=(const updates&) = delete;
  operator runtime::lazy_state*() const { return state_; }

 private:
  runtime::lazy_state* state_;
};

/// [sdm3] "Exit Qualification for EPT Violations": bits 3 to 5, what the page allows; none: it is missing.
void serve_fault() {
  ++faults;
  const arch::gfn page{vmread(field::fault_address) / arch::page_bytes};
  if (page.value >= ram_pages) fatal("the guest has no memory at page", page.value);
  const updates u;
  if (vmread(field::qualification) >> 3 & 7) return must(machine().protect(u, {page, 1}, arch::perm::rwx));
  const arch::gfn first{page.value / around * around};
  for (arch::gfn g = first; g < first + around; g = g + 1)
    must(machine().map_keep_present(u, {g, 1}, {frames[g.value]}, {arch::perm::rwx}));
}

void protect(arch::gfn first, u64 pages) {
  const updates u;
  for (u64 i = 0; i < pages; ++i) must(machine().protect(u, {first + i, 1}, arch::perm::r));
}

void swap(arch::gfn a, arch::gfn b) {
  const updates u;
  for (u64 i = 0; i < around; ++i) {
    const u64 left = frames[a.value + i];
    frames[a.value + i] = frames[b.value + i];
    frames[b.value + i] = left;
    must(machine().map(u, {a + i, 1}, {frames[a.value + i]}, {arch::perm::rwx}));
    must(machine().map(u, {b + i, 1}, {frames[b.value + i]}, {arch::perm::rwx}));
  }
}

u64 unmap(arch::gfn first, u64 pages) {
  removed = removed_dirty = 0;
  {
    const updates u;
    for (u64 i = 0; i < pages; ++i) must(machine().unmap(u, {first + i, 1}));
  }
  return removed | removed_dirty << 32;
}

[[noreturn]] void finish(u64 failures) {
  const auto line = [](const char* text, u64 value) {
    print(text);
    print(value);
  };
  line(lazy ? "vmx: lazy: exits " : "vmx: eager: exits ", exits);
  line(", faults ", faults);
  line(", sections ", sections);
  line(", INVEPT ", flushes);
  line("\nvmx: guest is done, failures ", failures);
  print("\n");
  stop();
}

void serve_call(registers& r) {
  const arch::gfn first{r.rdi / arch::page_bytes}, second{r.rsi / arch::page_bytes};
  switch (static_cast<call>(r.rax)) {
    case call::faults:
      r.rax = faults;
      break;
    case call::protect:
      protect(first, r.rsi);
      break;
    case call::swap:
      swap(first, second);
      break;
    case call::unmap:
      r.rax = unmap(first, r.rsi);
      break;
    case call::finish:
      finish(r.rdi);
    default:
      fatal("unknown call", r.rax);
  }
  vmwrite(field::guest_rip, vmread(field::guest_rip) + vmread(field::instruction_length));
}

}  // namespace

extern "C" [[noreturn]] void vmx_main() {
  make_guest();
  load_guest();
  start(guest->root_register);
  registers r{};
  for (;;) {
    guest->note_run(0);  // from now on, changes need flushes
    const u64 reason = run(r);
    ++exits;
    if (reason == exit_vmcall) {
      serve_call(r);
    } else if (reason == exit_ept_violation) {
      serve_fault();
    } else {
      fatal("unexpected VM exit, reason", reason);
    }
  }
}

}  // namespace vmx
