// Appends, lookups and empty sections for callgrind to count, see append_test.py. No test framework: only the
// runtime's code is compiled in, as a release has it.
#include <valgrind/callgrind.h>

#include <cstdio>
#include <cstdlib>

#include "arch/arm64/stage2_flush.h"
#include "arch/s390/dat_flush.h"
#include "arch/x86/ept_flush.h"
#include "arch/x86/npt.h"
#include "runtime/host/block_tables.h"
#include "runtime/machine.h"

namespace {

using namespace quire;

// What was counted since the last call of either goes to a part of callgrind's output with this name, or
// nowhere.
void count_as(const char* name) { CALLGRIND_DUMP_STATS_AT(name); }
void forget() { CALLGRIND_ZERO_STATS; }

void must(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "%s\n", what);
  std::abort();
}
void must(runtime::status s, const char* what) { must(s == runtime::status::ok, what); }

constexpr std::uint64_t base = std::uint64_t{1} << 30;  // physical address of `memory`
constexpr std::size_t table_bytes = std::size_t{32} << 20;
// Not a static array: callgrind finds no symbols in a program with a segment of such alignment.
std::byte* const memory = static_cast<std::byte*>(std::aligned_alloc(std::size_t{1} << 20, table_bytes));

runtime::platform host_of(runtime::host::block_tables& source) {
  runtime::platform host;
  host.context = &source;
  host.allocate = [](void*, std::size_t bytes, std::size_t align) {
    return std::aligned_alloc(align, (bytes + align - 1) / align * align);
  };
  host.release = [](void*, void* record, std::size_t) { std::free(record); };
  host.allocate_tables = [](void* context, std::size_t bytes, std::size_t align, std::uint64_t* physical) {
    return static_cast<runtime::host::block_tables*>(context)->allocate(bytes, align, physical);
  };
  host.table_offset = source.table_offset();
  host.flush = [](void*, unsigned, const runtime::flush_plan&) {};
  return host;
}

// The inline functions of the header, where they can be found.
[[gnu::noinline]] runtime::status map_in_call(runtime::machine& m, runtime::lazy_state* l, arch::gfn_range r, arch::hfn out) {
  return m.map(l, r, out, {arch::perm::rwx, 0, 0}, 0);
}
[[gnu::noinline]] runtime::status unmap_in_call(runtime::machine& m, runtime::lazy_state* l, arch::gfn_range r) {
  return m.unmap(l, r);
}

// A machine of two cpus with one space, known to both.
template <class F>
struct guest {
  runtime::host::block_tables source{{memory, table_bytes}, base};
  runtime::machine m;
  runtime::space* s = nullptr;
  std::uint64_t unit = 1;  // pages of the smallest leaf

  guest() {
    must(m.start(host_of(source), {.cpus = 2, .pool = {}, .max_cpus = 0}), "start");
    must(m.create_space(0, F{}, {}, s), "create_space");
    s->note_run(0);
    must(m.state(0, *s) && m.state(1, *s), "state");
    unit = s->shape.slot_pages(0);
  }
  // Maps one leaf of the smallest size.
  runtime::status map(runtime::lazy_state* l, std::uint64_t leaf) {
    return map_in_call(m, l, {arch::gfn{leaf * unit}, unit}, arch::hfn{leaf * unit});
  }
};

struct pattern {
  const char* name;
  std::uint64_t stride;  // in leaves
  unsigned appends;
};
constexpr std::uint64_t first_leaf = 0x1ff0;  // 16 leaves before a border of tables in every format

// The i-th append is counted alone. After every `drain_every` appends cpu 1 drains, which is not counted.
template <class F>
void append(const char* format, const pattern& p, unsigned drain_every) {
  guest<F> g;
  runtime::lazy_state* l = g.m.enter(0, *g.s);
  forget();
  for (unsigned i = 0; i < p.appends; ++i) {
    const runtime::status done = g.map(l, first_leaf + i * p.stride);
    char name[64];
    std::snprintf(name, sizeof name, "append %s %s %u %u", format, p.name, drain_every, i);
    count_as(name);
    must(done, name);
    if (drain_every && i % drain_every == drain_every - 1) must(g.m.drain(1, *g.s), "drain");
    forget();
  }
  const runtime::counters own = g.m.counts(0, *g.s);
  const unsigned forced = p.stride > 1 && p.appends > runtime::batch::capacity;
  must(own.updates == p.appends && own.forced_commits == forced,
       "the queue was full when it should not, or never");
  must((g.m.counts(1, *g.s).drained_runs > 0) == (drain_every > 0),
       "drains found what they should not, or nothing");
  must(g.m.leave(l), "leave");
  const std::uint64_t runs = g.m.counts(0, *g.s).runs;
  must(drain_every > 0 || runs == (p.stride == 1 ? 1 : p.appends),
       "the appends made other runs than they were to");
}

template <class F>
void look(const char* format) {
  guest<F> g;
  runtime::lazy_state* l = g.m.enter(0, *g.s);
  for (std::uint64_t leaf = 0; leaf < 64; leaf += 2) must(g.map(l, leaf), "map");
  must(g.m.leave(l), "leave");
  const auto find = [&](runtime::lazy_state* state, const char* what, std::uint64_t leaf, bool expected) {
    runtime::mapping m;
    bool found = false;
    forget();
    const runtime::status done = g.m.lookup(state, arch::gfn{leaf * g.unit}, m, found);
    char name[64];
    std::snprintf(name, sizeof name, "lookup %s %s", format, what);
    count_as(name);
    must(done, name);
    must(found == expected, name);
  };
  find(g.m.state(0, *g.s), "mapped", 2, true);
  find(g.m.state(0, *g.s), "hole", 3, false);
  l = g.m.enter(0, *g.s);
  must(g.map(l, 1), "map");
  must(g.map(l, 5), "map");
  find(l, "queued", 5, true);
  find(l, "beside-queued", 2, true);
  must(g.m.leave(l), "leave");
}

template <class F>
void empty_section(const char* format) {
  guest<F> g;
  forget();
  runtime::lazy_state* l = g.m.enter(0, *g.s);
  const runtime::status done = g.m.leave(l);
  char name[64];
  std::snprintf(name, sizeof name, "section %s empty", format);
  count_as(name);
  must(l && done == runtime::status::ok, name);

  l = g.m.enter(0, *g.s);
  must(g.map(l, 0), "map");
  must(unmap_in_call(g.m, l, {arch::gfn{64 * g.unit}, g.unit}), "unmap");
  forget();
  must(g.m.leave(l), "leave");
  std::snprintf(name, sizeof name, "leave %s one-update", format);
  count_as(name);
}

template <class F>
void measure(const char* format) {
  // Adjacent: one run, which grows. Separate: a record each, mostly in tables that the one before has
  // claimed, until one finds the queue full. Far: a record and a leaf table each, so that some have to claim
  // more.
  constexpr pattern patterns[] = {{"adjacent", 1, 300}, {"separate", 2, 600}, {"far", 4096, 150}};
  for (const pattern& p : patterns) {
    for (const unsigned drain_every : {0u, 1u, 7u}) append<F>(format, p, drain_every);
  }
  look<F>(format);
  empty_section<F>(format);
}

}  // namespace

int main() {
  measure<arch::ept>("ept");
  measure<arch::stage2_4k>("stage2");
  measure<arch::dat>("dat");
}
