// Threads that start machines, make spaces and use them through the C ABI at the same time; for the thread sanitizer.
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "quire/quire.h"

enum { threads = 4, rounds = 100, table_bytes = 64 << 20, physical_base = 1 << 30 };

static quire_machine *shared;
static quire_space *common;
static unsigned char *tables;
static _Atomic size_t tables_used;
static _Atomic unsigned failed;
static _Atomic unsigned reported;

#define MUST(call)                                                             \
  do {                                                                         \
    const quire_status status = (call);                                        \
    if (status == QUIRE_OK) break;                                             \
    fprintf(stderr, "line %d: %s\n", __LINE__, quire_status_text(status));     \
    ++failed;                                                                  \
  } while (0)

static void *allocate(void *context, size_t bytes, size_t align) {
  return context ? aligned_alloc(align, (bytes + align - 1) / align * align) : NULL;
}
static void release(void *context, void *memory, size_t bytes) {
  if (context && bytes > 0) free(memory);
}
static bool allocate_tables(void *context, size_t bytes, size_t align, uint64_t *physical) {
  const size_t at = atomic_fetch_add((_Atomic size_t *)context, bytes + align);
  *physical = physical_base + (at + align - 1) / align * align;
  return at + bytes + align <= table_bytes;
}
// A space that is being destroyed is named like any other, though another thread may get its number already.
static void flush(void *context, unsigned cpu, const quire_flush_plan *plan) {
  const bool known = plan->space == common || plan->space_context == (void *)(uintptr_t)(cpu + 1);
  if (!context || !known || plan->command_count == 0) ++failed;
}
static void report(void *context, unsigned cpu, const quire_report *r) {
  if (context == (void *)(uintptr_t)(cpu + 1) && !r->harvested) reported += (unsigned)r->range.pages;
}

static quire_machine *start(uint32_t cpus) {
  const quire_platform p = {.size = sizeof p, .context = &tables_used, .allocate = allocate, .release = release,
                            .allocate_tables = allocate_tables, .flush = flush,
                            .table_offset = (uintptr_t)tables - physical_base};
  const quire_machine_options o = {.size = sizeof o, .cpus = cpus, .cache_frames = 1, .refill_frames = 1};
  quire_machine *made = NULL;
  MUST(quire_start(&p, &o, &made));
  return made;
}

static quire_space *make_space(quire_machine *machine, unsigned cpu, quire_format format) {
  quire_space_options o = {.size = sizeof o};
  quire_space *made = NULL;
  MUST(quire_default_options(format, &o));
  o.context = (void *)(uintptr_t)(cpu + 1);
  o.report = report;
  MUST(quire_create_space(machine, cpu, &o, &made));
  MUST(quire_note_run(machine, made, cpu));
  return made;
}

static void update(quire_machine *machine, unsigned cpu, quire_space *space, uint64_t first) {
  quire_lazy_state *section = NULL;
  MUST(quire_enter(machine, cpu, space, (quire_range){0, 0}, &section));
  MUST(quire_map(machine, section, (quire_range){first, 64}, first, (quire_attributes){QUIRE_R | QUIRE_W | QUIRE_X, 0, 0}));
  MUST(quire_unmap(machine, section, (quire_range){first, 32}));
  MUST(quire_leave(machine, section));
}

static void *drive(void *argument) {
  const unsigned cpu = *(const unsigned *)argument;
  for (unsigned i = 0; i < rounds; ++i) {
    quire_space *own = make_space(shared, cpu, i % 2 ? QUIRE_EPT : QUIRE_DAT);
    update(shared, cpu, own, 512 * i);
    update(shared, cpu, common, 4096 * cpu + 16 * i);
    if (i % 8 == 0) MUST(quire_drain(shared, cpu, common, NULL));
    MUST(quire_destroy_space(shared, cpu, own));
    if (quire_note_run(shared, own, cpu) != QUIRE_BAD_SPACE) ++failed;
    if (i % 16 == 0) {
      quire_machine *machine = start(1);
      MUST(quire_stop(machine));
      if (quire_stop(machine) != QUIRE_BAD_MACHINE) ++failed;
    }
  }
  return NULL;
}

int main(void) {
  unsigned cpu[threads];
  pthread_t thread[threads];
  tables = aligned_alloc(1 << 20, table_bytes);
  shared = start(threads);
  common = make_space(shared, 0, QUIRE_STAGE2_4K);
  for (unsigned i = 0; i < threads; ++i) {
    cpu[i] = i;
    if (pthread_create(&thread[i], NULL, drive, &cpu[i])) return 2;
  }
  for (unsigned i = 0; i < threads; ++i) pthread_join(thread[i], NULL);
  MUST(quire_stop(shared));
  free(tables);
  printf("%u failures, %u pages reported\n", failed, reported);
  return failed != 0 || reported == 0;
}
