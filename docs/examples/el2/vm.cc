// Stage 2 of the guest: creation, and the faults that fill it.
#include "vm.h"

#include "console.h"

namespace el2 {
namespace {

constexpr unsigned around = 16;  // pages that one fault brings in, if they are RAM: those of the same 64 KiB
constexpr arch::attributes ram{arch::perm::rwx, arch::stage2_4k::normal};
constexpr arch::attributes device{arch::perm::rw, arch::stage2_4k::device};

/// Hands out pieces of [first, end), and takes none back. Any cpu.
class bump_memory {
 public:
  constexpr bump_memory(u64 first, u64 end) : next_(first), end_(end) {}
  /// 0 if there is no more; `align` is a power of two.
  u64 take(u64 bytes, u64 align) {
    u64 at = 0, seen = next_.load(std::memory_order_relaxed);  // relaxed: nothing is published by it
    do {
      at = (seen + align - 1) & ~(align - 1);
      if (at > end_ || bytes > end_ - at) return 0;
    } while (!next_.compare_exchange_weak(seen, at + bytes, std::memory_order_relaxed));  // relaxed: likewise
    return at;
  }

 private:
  std::atomic<u64> next_;
  const u64 end_;
};

alignas(64) char record_memory[2 << 20];
bump_memory records(reinterpret_cast<u64>(record_memory),
                    reinterpret_cast<u64>(record_memory) + sizeof record_memory);
bump_memory tables(tables_first, tables_end);

runtime::platform make_platform() {
  runtime::platform p;
  p.allocate = [](void*, std::size_t bytes, std::size_t align) {
    return reinterpret_cast<void*>(records.take(bytes, align));
  };
  p.release = [](void*, void*, std::size_t) {};  // one guest, from start to end
  p.allocate_tables = [](void*, std::size_t bytes, std::size_t align, std::uint64_t* physical) {
    *physical = tables.take(bytes, align);
    return *physical != 0;
  };
  p.table_offset = 0;  // EL2 sees physical addresses
  p.flush = execute_plan;
  p.barrier = [](void*, unsigned) { asm volatile("dsb ishst" ::: "memory"); };
  p.current_cpu = [](void*) { return this_cpu().index; };
  return p;
}

// Final when they come: no cpu can use, or mark, what they report.
void note_reports(void*, unsigned cpu, std::span<const runtime::report> reports) {
  tally& count = all_cpus[cpu].count;
  for (const runtime::report& r : reports) {
    if (r.what == runtime::report::kind::removed) {
      count.removed += r.range.pages;
      if (r.accessed) count.removed_accessed += r.range.pages;
      if (r.dirty) count.removed_dirty += r.range.pages;
    } else {
      if (r.accessed) count.accessed += r.range.pages;
      if (r.dirty) count.dirty += r.range.pages;
    }
  }
}

}  // namespace

void must(runtime::status s) {
  if (s != runtime::status::ok) fatal(runtime::status_text(s));
}

runtime::lazy_state* updates::open(cpu& self, vm& where) {
  runtime::lazy_state* state = where.lazy() ? where.machine_.enter(self.index, *where.space_)
                                            : where.machine_.state(self.index, *where.space_);
  if (!state) fatal("no memory for a section");
  self.count.sections += where.lazy();
  return state;
}
updates::~updates() {
  if (vm_.lazy()) must(vm_.machine_.leave(state_));
}

void vm::create(bool lazy) {
  lazy_ = lazy;
  for (u64 i = 0; i < sizeof pages_ / sizeof pages_[0]; ++i)
    pages_[i].word.store(static_cast<std::uint32_t>((ram_first >> arch::page_shift) + i),
                         std::memory_order_relaxed);  // relaxed: other cpus start later
  format_.ipa_bits = 40;
  format_.oa_bits = 40;
  format_.vmid = vmids_.take();
  // [armarm] "ID_AA64MMFR1_EL1": HAFDBS = 2, hardware sets A and dirty state; "ID_AA64ISAR0_EL1": TLB = 2,
  // TLBI by ranges. This example wants the first, and does without the second if it must.
  if ((EL2_READ(id_aa64mmfr1_el1) & 15) < 2) fatal("this CPU does not set dirty state (FEAT_HAFDBS)");
  format_.dbm = true;
  format_.tlbi_ranges = EL2_READ(id_aa64isar0_el1) >> 56 >= 2;
  must(machine_.start(make_platform(), {.cpus = cpus, .pool = {}}));
  must(machine_.create_space(0, format_, {.max_leaf_level = 1, .reports = {nullptr, note_reports}}, space_));
}

served vm::serve(cpu& self, u64 address, abort_syndrome why) {
  const arch::gfn g = page_of(address);
  if (in_ram(g)) {
    find(g)->faults.fetch_add(1, std::memory_order_relaxed);  // relaxed: a number
    return why.permission() ? serve_write(self, g) : serve_missing(self, g);
  }
  const bool own = address >= own_first && address < own_end;
  return own || why.permission() ? served::hidden : serve_device(self, g);
}

// Pages around the one that is missing may be in the middle of a move to other frames. Who moves them claims
// them first, then lets the guard move on: so what was resolved against the old frame is left out by its
// commit, and faults again.
served vm::serve_missing(cpu& self, arch::gfn g) {
  const runtime::guard resolved{1, space_->guard_sequence(1)};
  // acquire: what the page's claimant did comes before
  if (find(g)->word.load(std::memory_order_acquire) & page::busy) {
    ++self.count.busy;
    return served::again;
  }
  ++self.count.missing;
  const updates u(self, *this);
  const arch::gfn first{g.value & ~u64{around - 1}};
  for (arch::gfn p = first; p < first + around; p = p + 1) {
    const std::uint32_t word = find(p)->word.load(std::memory_order_acquire);  // acquire: likewise
    if (word & page::busy) continue;
    const arch::perm access = word & page::held ? arch::perm::rx : ram.access;
    must(machine_.map_keep_present(u, {p, 1}, page::frame(word), {access, ram.type}, 0, resolved));
    ++self.count.pages;
  }
  return served::yes;
}

// A write to a page that was write-protected to see whether it is written.
served vm::serve_write(cpu& self, arch::gfn g) {
  if (!claim(g)) {
    ++self.count.busy;
    return served::again;
  }
  const bool held = find(g)->word.load(std::memory_order_relaxed) & page::held;  // relaxed: claimed
  if (!held) {
    ++self.count.permission;
    const updates u(self, *this);
    must(machine_.protect(u, {g, 1}, ram.access));
  }
  self.count.busy += held;
  release(g);
  return held ? served::again : served::yes;
}

// Devices are where the guest's addresses say: 2 MiB of them at a time, never executable.
served vm::serve_device(cpu& self, arch::gfn g) {
  ++self.count.device;
  const updates u(self, *this);
  must(machine_.map_keep_present(u, {{g.value & ~u64{511}}, 512}, {g.value & ~u64{511}}, device));
  return served::yes;
}

}  // namespace el2
