// Two cpus and a space of every format: cpu 1 maps, cpu 0 unmaps, in lazy sections; the flush sink prints.
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "quire/quire.h"

enum { table_bytes = 64 << 20, physical_base = 0x100000, leaves = 64 };
struct host { unsigned char *tables; size_t tables_used, record_bytes; FILE *out; };
struct guest { quire_machine *machine; quire_space *space; uint64_t leaf_pages; };

static void check(quire_status s) { if (s != QUIRE_OK) exit(1); }
static void *allocate(void *context, size_t bytes, size_t align) {
  ((struct host *)context)->record_bytes += bytes;
  return aligned_alloc(align, (bytes + align - 1) / align * align);
}
static void release(void *context, void *record, size_t bytes) {
  ((struct host *)context)->record_bytes -= bytes;
  free(record);
}
static bool allocate_tables(void *context, size_t bytes, size_t align, uint64_t *physical) {
  struct host *host = context;
  const size_t at = (host->tables_used + align - 1) / align * align;
  if (at > table_bytes || bytes > table_bytes - at) return false;
  host->tables_used = at + bytes;
  *physical = physical_base + at;
  return true;
}
static void flush(void *context, unsigned cpu, const quire_flush_plan *plan) {  // a hypervisor executes the commands
  for (size_t i = 0; i < plan->command_count; ++i) {
    char text[120];
    check(quire_describe_command(plan->format, &plan->commands[i], text, sizeof text));
    fprintf(((struct host *)context)->out, "  cpu %u: %s\n", cpu, text);
  }
}
static void *map_on_cpu_1(void *of_guest) {
  const struct guest *g = of_guest;
  const quire_range all = {0, leaves * g->leaf_pages};
  quire_lazy_state *section;
  check(quire_enter(g->machine, 1, g->space, all, &section));
  check(quire_map(g->machine, section, all, 0x80000, (quire_attributes){.access = QUIRE_R | QUIRE_W | QUIRE_X}));
  check(quire_leave(g->machine, section));  // empty to present: nothing to flush
  return NULL;
}
static void run(const char *name, quire_format format, struct guest g) {
  quire_space_options options = {.size = sizeof options};
  quire_space_info info = {.size = sizeof info};
  quire_counters count[2] = {{.size = sizeof count[0]}, {.size = sizeof count[1]}};
  quire_lazy_state *section;
  pthread_t cpu_1;
  check(quire_default_options(format, &options));
  options.max_leaf_level = 0;  // the smallest leaves
  check(quire_create_space(g.machine, 0, &options, &g.space));
  check(quire_query_space(g.machine, g.space, &info));
  g.leaf_pages = info.leaf_pages;
  for (unsigned cpu = 0; cpu < 2; ++cpu) check(quire_note_run(g.machine, g.space, cpu));  // before each VM entry
  puts(name);
  if (pthread_create(&cpu_1, NULL, map_on_cpu_1, &g) || pthread_join(cpu_1, NULL)) exit(1);
  check(quire_enter(g.machine, 0, g.space, (quire_range){0, 0}, &section));
  for (uint64_t i = 0; i < 16; i += 2) check(quire_unmap(g.machine, section, (quire_range){i * g.leaf_pages, g.leaf_pages}));
  check(quire_leave(g.machine, section));  // 8 pages, one flush
  for (unsigned cpu = 0; cpu < 2; ++cpu) check(quire_counts(g.machine, cpu, g.space, &count[cpu]));
  printf("  %lu updates, %lu entries written\n", count[0].updates + count[1].updates,
         count[0].entries_written + count[1].entries_written);
  check(quire_destroy_space(g.machine, 0, g.space));
}
int main(void) {
  const char *names[] = {"EPT", "stage 2, 4 KiB", "stage 2, 16 KiB", "stage 2, 64 KiB", "DAT", "NPT"};
  struct host host = {.tables = aligned_alloc(1 << 20, table_bytes), .out = stdout};
  const quire_platform platform = {.size = sizeof platform, .context = &host, .allocate = allocate, .release = release,
    .allocate_tables = allocate_tables, .flush = flush, .table_offset = (uintptr_t)host.tables - physical_base};
  const quire_machine_options options = {.size = sizeof options, .cpus = 2, .cache_frames = 64};
  struct guest g = {NULL, NULL, 0};
  check(quire_start(&platform, &options, &g.machine));
  for (int format = QUIRE_EPT; format <= QUIRE_NPT; ++format) run(names[format], (quire_format)format, g);
  check(quire_stop(g.machine));
  free(host.tables);
  return host.record_bytes != 0;
}
