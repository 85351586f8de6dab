// What the hypervisor does to pages of the guest, seen by two vCPUs. Each check fails if a TLBI is left out.
#include "guest.h"

namespace self_check {

extern u64 window_table[512];

namespace {

// Each check has memory of its own that nothing has touched before.
constexpr u64 fresh = 0x5000'0000, guarded = 0x5200'0000, mapped = 0x5400'0000, removed = 0x5600'0000,
              large = 0x6000'0000, elsewhere = 0x6200'0000, window = 0x8000'0000;
constexpr u64 readable = 1, writable = 3;  // for hypercall::protect and set_leaf
using job = second_cpu::job;

bool protect(u64 address, u64 access, bool hold = false) {
  return ask(hypercall::protect, address, access, hold) == 1;
}

/// 50 times: two pages exchange frames, and both vCPUs, reading at `at`, see the other value each time.
void check_swaps(const char* name, u64 at, u64 a, u64 b, u64 value_a, u64 value_b) {
  second.start(job::read, at);
  unsigned swaps = 0, stale_here = 0, stale_there = 0;
  if (!second.next_lap()) return note(name, false, ": the second vCPU does not read");
  for (; swaps < 50; ++swaps) {
    if (ask(hypercall::swap, a, b) != 1) break;
    const u64 expected = swaps % 2 ? value_a : value_b;
    stale_here += load(at) != expected;
    if (!second.next_lap()) break;
    stale_there += second.seen() != expected;
  }
  second.stop();
  note(name, swaps == 50 && stale_here == 0 && stale_there == 0);
}

}  // namespace

void check_faults() {
  faults(fresh, 64);
  u64 sum = 0;
  for (u64 i = 0; i < 64; ++i) sum |= load(fresh + i * page_bytes);
  note("64 fresh pages are zero", sum == 0);
  note("they took a fault for each 16", faults(fresh, 64) == 4);
  for (u64 i = 0; i < 64; ++i) store(fresh + i * page_bytes, i);
  note("writing to them takes none", faults(fresh, 64) == 0);
  second.start(job::sweep, fresh + 64 * page_bytes, 64);
  note("the second vCPU faults pages in", second.next_lap() && faults(fresh + 64 * page_bytes, 64) >= 4);
  second.stop();
  note("and finds what it wrote", second.errors() == 0);
}

void check_write_protection() {
  store(guarded, 1);
  faults(guarded);
  protect(guarded, readable);
  note("a write-protected page can be read", load(guarded) == 1 && faults(guarded) == 0);
  store(guarded, 2);
  note("a write faults, and is done", faults(guarded) == 1 && load(guarded) == 2);
  store(guarded, 3);
  note("the next one does not fault", faults(guarded) == 0 && load(guarded) == 3);

  second.start(job::write, guarded);
  bool kept = true, resumed = true;
  for (unsigned i = 0; i < 20; ++i) {
    resumed &= second.next_lap();
    faults(guarded);
    protect(guarded, readable, true);
    const u64 value = load(guarded);
    kept &= within_two_seconds([&] { return faults(guarded) != 0 || load(guarded) != value; });
    kept &= load(guarded) == value;
    protect(guarded, writable);
    resumed &= within_two_seconds([&] { return load(guarded) > value; });
  }
  second.stop();
  note("while protection is held, the other vCPU faults and does not write", kept);
  note("and goes on when it is enabled again", resumed);
}

void check_remap() {
  const u64 a = mapped, b = mapped + 64 * page_bytes;
  store(a, 0xaaaa);
  store(b, 0xbbbb);
  check_swaps("50 remaps are seen by both vCPUs at once", a, a, b, 0xaaaa, 0xbbbb);

  // The same with two tables of stage 1: only the walk reads the page that is remapped.
  const u64 table_a = b + page_bytes, table_b = table_a + page_bytes;
  const u64 leaf = 3 | 3 << 8 | el2::bit(10);  // page, inner shareable, AF
  store(table_a, a | leaf);
  store(table_b, b | leaf);
  window_table[0] = table_a | 3;
  asm volatile("dsb ish\n isb" ::: "memory");
  check_swaps("50 remaps of a stage-1 table too", window, table_a, table_b, 0xaaaa, 0xbbbb);
}

void check_unmap() {
  for (u64 i = 0; i < 8; ++i)
    i < 4 ? store(removed + i * page_bytes, i + 1) : void(load(removed + i * page_bytes));
  const auto report = el2::unmap_report::unpack(ask(hypercall::unmap, removed, 16));
  note("unmap reports 16 pages, 8 accessed, 4 dirty",
       report.removed == 16 && report.accessed == 8 && report.dirty == 4);
  faults(removed, 16);
  note("an unmapped page faults, and holds what it held", load(removed) == 1 && faults(removed) == 1);

  // Every second page, so that a lazy section drops the whole VMID rather than each page.
  const u64 many = removed + 64 * page_bytes, pages = 160;
  for (u64 i = 0; i < pages; ++i) store(many + i * page_bytes, i);
  const auto scattered = el2::unmap_report::unpack(ask(hypercall::unmap, many, pages, 2));
  faults(many, pages);
  u64 stale = 0;
  for (u64 i = 0; i < pages; i += 16)
    stale += load(many + i * page_bytes) != i || faults(many + i * page_bytes) != 1;
  note("80 scattered pages are unmapped at once",
       scattered.removed == 80 && scattered.dirty == 80 && stale == 0);

  second.start(job::read, removed);
  unsigned seen = 0;
  for (unsigned i = 0; i < 20 && second.next_lap(); ++i) {
    faults(removed);
    ask(hypercall::unmap, removed, 16);
    second.next_lap();
    seen += faults(removed) > 0;
  }
  second.stop();
  note("the other vCPU faults each time", seen == 20 && second.seen() == 1);
}

// The second vCPU writes to all pages of 2 MiB but the last one, which changes frames while they are split.
void check_split_and_collapse() {
  const u64 last = large + block_bytes - page_bytes;
  store(last, 0x1a57);
  store(elsewhere, 0xe15e);
  second.start(job::sweep, large, 511);
  bool done = true, levels = true, swapped = true, faulted = true;
  for (unsigned i = 0; i < 10 && done; ++i) {
    done &= ask(hypercall::set_leaf, large, 1, writable) == 1 && second.next_lap();
    levels &= ask(hypercall::leaf_level, large) == 1;
    swapped &= load(last) == 0x1a57;
    done &= ask(hypercall::set_leaf, large, 0, writable) == 1 && second.next_lap();
    levels &= ask(hypercall::leaf_level, large) == 0;
    done &= ask(hypercall::swap, last, elsewhere) == 1;
    swapped &= load(last) == 0xe15e;
    done &= ask(hypercall::swap, last, elsewhere) == 1;
    swapped &= load(last) == 0x1a57;
    // Collapsed to a leaf without write access, whose pieces get it back fault by fault.
    faults(large, 512);
    done &= ask(hypercall::set_leaf, large, 1, readable) == 1 && second.next_lap();
    faulted &= faults(large, 512) >= 511;
  }
  second.stop();
  note("2 MiB are split and collapsed 10 times under load", done && levels);
  note("a page of them changes frames in between", swapped);
  note("a collapse without write access faults on each page", faulted);
  note("no write of the other vCPU is lost", second.errors() == 0);
}

}  // namespace self_check
