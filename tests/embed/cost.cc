// The same calls through the C++ API and the C ABI, for callgrind to count; see cost_test.py.
#include <valgrind/callgrind.h>

#include <cstdio>
#include <cstdlib>

#include "arch/x86/ept_flush.h"
#include "quire/quire.h"
#include "runtime/host/block_tables.h"
#include "runtime/machine.h"

namespace {

using namespace quire;

void must(bool condition) {
  if (!condition) std::abort();
}

constexpr std::uint64_t base = std::uint64_t{1} << 30;
constexpr std::size_t table_bytes = std::size_t{8} << 20;

void* allocate(void*, std::size_t bytes, std::size_t align) {
  return std::aligned_alloc(align, (bytes + align - 1) / align * align);
}
void release(void*, void* record, std::size_t) { std::free(record); }
bool allocate_tables(void* tables, std::size_t bytes, std::size_t align, std::uint64_t* physical) {
  return static_cast<runtime::host::block_tables*>(tables)->allocate(bytes, align, physical);
}

struct memory {
  runtime::host::block_tables tables{
      {static_cast<std::byte*>(std::aligned_alloc(std::size_t{1} << 20, table_bytes)), table_bytes}, base};
};

struct native_guest : memory {
  runtime::machine m;
  runtime::space* s = nullptr;
  runtime::lazy_state* l = nullptr;

  native_guest() {
    runtime::platform p;
    p.context = &tables;
    p.allocate = allocate;
    p.release = release;
    p.allocate_tables = allocate_tables;
    p.table_offset = tables.table_offset();
    p.flush = [](void*, unsigned, const runtime::flush_plan&) {};
    must(m.start(p, {}) == runtime::status::ok);
    must(m.create_space(0, arch::ept{}, {}, s) == runtime::status::ok);
    s->note_run(0);
  }
  bool enter() { return (l = m.enter(0, *s)) != nullptr; }
  bool leave() { return m.leave(l) == runtime::status::ok; }
  bool map(std::uint64_t g, std::uint64_t out) {
    return m.map(l, {arch::gfn{g}, 1}, arch::hfn{out}, {arch::perm::rwx, 0, 0}) == runtime::status::ok;
  }
  bool unmap(std::uint64_t g) { return m.unmap(l, {arch::gfn{g}, 1}) == runtime::status::ok; }
  bool protect(std::uint64_t g) {
    return m.protect(l, {arch::gfn{g}, 1}, arch::perm::r) == runtime::status::ok;
  }
  bool look(std::uint64_t g) {
    runtime::mapping found;
    bool present = false;
    return m.lookup(l, arch::gfn{g}, found, present) == runtime::status::ok;
  }
  bool note_run() {
    s->note_run(0);
    return true;
  }
};

struct foreign_guest : memory {
  quire_machine* m = nullptr;
  quire_space* s = nullptr;
  quire_lazy_state* l = nullptr;

  foreign_guest() {
    quire_platform p{};
    p.size = sizeof p;
    p.context = &tables;
    p.allocate = allocate;
    p.release = release;
    p.allocate_tables = allocate_tables;
    p.table_offset = tables.table_offset();
    p.flush = [](void*, unsigned, const quire_flush_plan*) {};
    quire_space_options o{};
    o.size = sizeof o;
    must(quire_start(&p, nullptr, &m) == QUIRE_OK);
    must(quire_default_options(QUIRE_EPT, &o) == QUIRE_OK);
    must(quire_create_space(m, 0, &o, &s) == QUIRE_OK);
    must(quire_note_run(m, s, 0) == QUIRE_OK);
  }
  bool enter() { return quire_enter(m, 0, s, {0, 0}, &l) == QUIRE_OK; }
  bool leave() { return quire_leave(m, l) == QUIRE_OK; }
  bool map(std::uint64_t g, std::uint64_t out) { return quire_map(m, l, {g, 1}, out, {7, 0, 0}) == QUIRE_OK; }
  bool unmap(std::uint64_t g) { return quire_unmap(m, l, {g, 1}) == QUIRE_OK; }
  bool protect(std::uint64_t g) { return quire_protect(m, l, {g, 1}, QUIRE_R) == QUIRE_OK; }
  bool look(std::uint64_t g) {
    quire_mapping found;
    found.size = sizeof found;
    return quire_lookup(m, l, g, &found) == QUIRE_OK;
  }
  bool note_run() { return quire_note_run(m, s, 0) == QUIRE_OK; }
};

constexpr unsigned calls = 100;

// What callgrind counts, calls included.
template <class Call>
[[gnu::noinline]] bool measured(Call call) {
  bool good = true;
  for (std::uint64_t i = 0; i < calls; ++i) good &= call(i);
  return good;
}

template <class Call>
void count(const char* side, const char* what, Call call) {
  CALLGRIND_ZERO_STATS;
  const bool good = measured(call);
  char name[64];
  std::snprintf(name, sizeof name, "%s %s %u", side, what, calls);
  CALLGRIND_DUMP_STATS_AT(name);
  must(good);
}

template <class Guest>
void run(const char* side) {
  Guest g;
  must(g.enter());
  must(g.map(0, 0x400));
  count(side, "map_adjacent", [&](std::uint64_t i) { return g.map(i + 1, 0x401 + i); });
  count(side, "map_separate", [&](std::uint64_t i) { return g.map(0x200 + 2 * i, 0x800); });
  count(side, "lookup_queued", [&](std::uint64_t i) { return g.look(0x200 + i); });
  must(g.leave() && g.enter());
  count(side, "lookup", [&](std::uint64_t i) { return g.look(i); });
  count(side, "unmap_adjacent", [&](std::uint64_t i) { return g.unmap(i); });
  count(side, "protect_separate", [&](std::uint64_t i) { return g.protect(0x200 + 2 * i); });
  must(g.leave());
  count(side, "empty_section", [&](std::uint64_t) { return g.enter() && g.leave(); });
  count(side, "one_page_section",
        [&](std::uint64_t i) { return g.enter() && g.map(i, 0x900 + i) && g.leave(); });
  count(side, "note_run", [&](std::uint64_t) { return g.note_run(); });
}

}  // namespace

int main() {
  run<native_guest>("C++");
  run<foreign_guest>("C");
}
