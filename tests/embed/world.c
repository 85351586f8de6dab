// The machine of the C tests.
#include "tests/embed/world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static unsigned failed;

void check_that(bool condition, const char *text, const char *file, int line) {
  if (condition) return;
  fprintf(stderr, "%s:%d: failed: %s\n", file, line, text);
  ++failed;
}

unsigned failures(void) { return failed; }

// A header in front of each block tells whether it comes back with the size that it had.
enum { header = 128 };

static void *allocate(void *context, size_t bytes, size_t align) {
  struct embedder *e = context;
  CHECK(align > 0 && align <= 64 && (align & (align - 1)) == 0);
  if (++e->allocations == e->fail_at) return NULL;
  unsigned char *block = aligned_alloc(64, header + (bytes + 8 + 63) / 64 * 64);
  unsigned char *memory = block + header + (e->misaligned ? 4 : 0);
  memcpy(memory - sizeof bytes, &bytes, sizeof bytes);
  e->record_bytes += bytes;
  return memory;
}

static void release(void *context, void *memory, size_t bytes) {
  struct embedder *e = context;
  size_t allocated = 0;
  memcpy(&allocated, (unsigned char *)memory - sizeof allocated, sizeof allocated);
  CHECK(allocated == bytes);
  e->record_bytes -= bytes;
  free((unsigned char *)memory - header - (e->misaligned ? 4 : 0));
}

static bool allocate_tables(void *context, size_t bytes, size_t align, uint64_t *physical) {
  struct embedder *e = context;
  const size_t at = (e->tables_used + align - 1) / align * align;
  if (at > table_bytes || bytes > table_bytes - at) return false;
  e->tables_used = at + bytes;
  *physical = physical_base + at + (e->tables_misaligned ? 8 : 0);
  return true;
}

static void flush(void *context, unsigned cpu, const quire_flush_plan *plan) {
  struct embedder *e = context;
  CHECK(cpu < cpu_limit && plan->size == sizeof *plan && plan->command_count > 0 && plan->reason < QUIRE_REASONS);
  for (size_t i = 0; i < plan->command_count; ++i) {
    char text[120];
    CHECK(quire_describe_command(plan->format, &plan->commands[i], text, sizeof text) == QUIRE_OK);
    CHECK(strncmp(text, "unknown", 7) != 0);
  }
  ++e->flushes;
  e->commands += (unsigned)plan->command_count;
  e->last = *plan;
}

static void report(void *context, unsigned cpu, const quire_report *r) {
  struct embedder *e = context;
  CHECK(cpu < cpu_limit && r->size == sizeof *r && r->range.pages > 0);
  e->reported_pages += (unsigned)r->range.pages;
}

void open_embedder(struct embedder *e) {
  memset(e, 0, sizeof *e);
  e->tables = aligned_alloc(1 << 20, table_bytes);
}

void close_embedder(struct embedder *e) {
  CHECK(e->record_bytes == 0);
  free(e->tables);
}

quire_platform platform_of(struct embedder *e) {
  quire_platform p;
  memset(&p, 0, sizeof p);
  p.size = sizeof p;
  p.context = e;
  p.allocate = allocate;
  p.release = release;
  p.allocate_tables = allocate_tables;
  p.flush = flush;
  p.table_offset = (uintptr_t)e->tables - physical_base;
  return p;
}

quire_machine_options small_machine(void) {
  const quire_machine_options o = {
      .size = sizeof o, .cpus = cpus, .max_cpus = cpu_limit, .cache_frames = 4, .refill_frames = 4};
  return o;
}

quire_machine *start(struct embedder *e) {
  const quire_platform p = platform_of(e);
  const quire_machine_options o = small_machine();
  quire_machine *machine = NULL;
  CHECK(quire_start(&p, &o, &machine) == QUIRE_OK);
  return machine;
}

quire_space *make_space(quire_machine *machine, struct embedder *e, quire_format format) {
  quire_space_options o = {.size = sizeof o};
  quire_space *space = NULL;
  CHECK(quire_default_options(format, &o) == QUIRE_OK);
  o.context = e;
  o.report = report;
  o.max_leaf_level = 0;
  CHECK(quire_create_space(machine, 0, &o, &space) == QUIRE_OK);
  for (unsigned cpu = 0; cpu < cpus; ++cpu) CHECK(quire_note_run(machine, space, cpu) == QUIRE_OK);
  return space;
}

quire_lazy_state *state_of(quire_machine *machine, unsigned cpu, quire_space *space) {
  quire_lazy_state *state = NULL;
  CHECK(quire_state(machine, cpu, space, &state) == QUIRE_OK);
  return state;
}

quire_lazy_state *enter(quire_machine *machine, unsigned cpu, quire_space *space) {
  quire_lazy_state *state = NULL;
  CHECK(quire_enter(machine, cpu, space, (quire_range){0, 0}, &state) == QUIRE_OK);
  return state;
}
