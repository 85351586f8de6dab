// Misuse of the C ABI case by case, with the status that each gets; and the sizes of its structs.
#include <stdlib.h>
#include <string.h>

#include "tests/embed/world.h"

// Structs keep their layout: programs that were compiled with an older header go on working.
#define SIZE(type, bytes) _Static_assert(sizeof(type) == (bytes), "the ABI of " #type " has changed")
SIZE(quire_range, 16);
SIZE(quire_attributes, 4);
SIZE(quire_command, 40);
SIZE(quire_flush_plan, 64);
SIZE(quire_platform, 104);
SIZE(quire_machine_options, 24);
SIZE(quire_report, 40);
SIZE(quire_space_options, 72);
SIZE(quire_mapping, 48);
SIZE(quire_map_options, 24);
SIZE(quire_space_info, 80);
SIZE(quire_table_counts, 24);
SIZE(quire_counters, 224);
_Static_assert(offsetof(quire_platform, sink_writes_entries) == 96 && offsetof(quire_space_options, npt) == 64 &&
                   offsetof(quire_flush_plan, whole) == 56 && offsetof(quire_counters, flush_plans) == 136,
               "members have moved");

static const quire_attributes rw = {QUIRE_R | QUIRE_W, 0, 0};

// The functions of the platform that must be there, and sizes of structs that do not exist.
static void check_start(struct embedder *e) {
  const quire_machine_options o = small_machine();
  quire_machine *machine = NULL;
  for (unsigned i = 0; i < 4; ++i) {
    quire_platform p = platform_of(e);
    if (i == 0) p.allocate = NULL;
    if (i == 1) p.release = NULL;
    if (i == 2) p.allocate_tables = NULL;
    if (i == 3) p.flush = NULL;
    CHECK(quire_start(&p, &o, &machine) == QUIRE_BAD_POINTER);
  }
  const size_t sizes[] = {0, 1, sizeof(quire_platform) - 8, sizeof(quire_platform) + 8, SIZE_MAX};
  for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; ++i) {
    quire_platform p = platform_of(e);
    p.size = sizes[i];
    CHECK(quire_start(&p, &o, &machine) == QUIRE_BAD_SIZE);
  }
  const uint32_t counts[][2] = {{5, 4}, {4097, 0}, {1, 4097}, {UINT32_MAX, 0}, {1, UINT32_MAX}, {UINT32_MAX, UINT32_MAX}};
  for (unsigned i = 0; i < 6; ++i) {
    const quire_platform p = platform_of(e);
    const quire_machine_options many = {.size = sizeof many, .cpus = counts[i][0], .max_cpus = counts[i][1]};
    CHECK(quire_start(&p, &many, &machine) == QUIRE_TOO_MANY);
  }
  CHECK(machine == NULL && e->record_bytes == 0);
}

// Memory that ends, at every allocation there is, and memory that is not aligned as asked for.
static void check_memory(struct embedder *e) {
  quire_status done = QUIRE_NO_MEMORY;
  for (unsigned i = 1; done != QUIRE_OK; ++i) {
    const quire_platform p = platform_of(e);
    const quire_machine_options o = small_machine();
    quire_space_options options = {.size = sizeof options};
    quire_machine *machine = NULL;
    quire_space *space = NULL;
    quire_lazy_state *state = NULL;
    CHECK(quire_default_options(QUIRE_DAT, &options) == QUIRE_OK);
    e->allocations = 0;
    e->fail_at = i;
    done = quire_start(&p, &o, &machine);
    if (done == QUIRE_OK) done = quire_create_space(machine, 0, &options, &space);
    if (done == QUIRE_OK) done = quire_enter(machine, 0, space, (quire_range){0, 0}, &state);
    CHECK(done == QUIRE_NO_MEMORY || (done == QUIRE_OK && i > 6));
    CHECK(quire_stop(machine) == (machine ? QUIRE_OK : QUIRE_BAD_MACHINE));
    CHECK(e->record_bytes == 0);
  }
  const quire_platform p = platform_of(e);
  quire_machine *machine = NULL;
  e->misaligned = true;
  CHECK(quire_start(&p, NULL, &machine) == QUIRE_NO_MEMORY && e->record_bytes == 0);
  e->misaligned = false;
  machine = start(e);
  quire_space_options options = {.size = sizeof options};
  quire_space *space = NULL;
  CHECK(quire_default_options(QUIRE_EPT, &options) == QUIRE_OK);
  e->tables_misaligned = true;
  CHECK(quire_create_space(machine, 0, &options, &space) == QUIRE_NO_TABLES);
  e->tables_misaligned = false;
  CHECK(quire_create_space(machine, 0, &options, &space) == QUIRE_OK);
  CHECK(quire_stop(machine) == QUIRE_OK);
}

// What docs/embedding.md says of memory for records, on 64-bit machines.
static void check_budget(struct embedder *e) {
  enum { kib = 1024, of_machine = 150 * kib, of_cpu = 169 * kib + kib / 2, of_space = kib + kib / 4, of_state = 17 * kib };
  quire_machine *machine = start(e);
  CHECK(e->record_bytes > of_machine && e->record_bytes <= of_machine + cpus * of_cpu);
  make_space(machine, e, QUIRE_EPT);  // with the pool of its tables
  const size_t before = e->record_bytes;
  quire_space *space = make_space(machine, e, QUIRE_EPT);
  CHECK(e->record_bytes - before <= of_space + 8 * cpu_limit);
  const size_t without_state = e->record_bytes;
  state_of(machine, 0, space);
  CHECK(e->record_bytes - without_state <= of_state);
  CHECK(quire_stop(machine) == QUIRE_OK);
}

// Places of handles run out, come back, and never give the same handle twice.
static void check_handles(struct embedder *e) {
  enum { machines = 64, spaces = 256 };
  static quire_machine *made[machines];
  static quire_space *space[spaces];
  quire_machine *one_more = NULL;
  const quire_platform p = platform_of(e);
  for (unsigned i = 0; i < machines; ++i) CHECK(quire_start(&p, NULL, &made[i]) == QUIRE_OK);
  CHECK(quire_start(&p, NULL, &one_more) == QUIRE_TOO_MANY);
  for (unsigned i = 0; i < machines; ++i) CHECK(quire_stop(made[i]) == QUIRE_OK);
  quire_machine *machine = start(e);
  for (unsigned i = 0; i < machines; ++i) CHECK(quire_stop(made[i]) == QUIRE_BAD_MACHINE);

  quire_space_options o = {.size = sizeof o};
  quire_space *again = NULL;
  CHECK(quire_default_options(QUIRE_EPT, &o) == QUIRE_OK);
  for (unsigned i = 0; i < spaces; ++i) CHECK(quire_create_space(machine, 0, &o, &space[i]) == QUIRE_OK);
  CHECK(quire_create_space(machine, 0, &o, &again) == QUIRE_TOO_MANY);
  CHECK(quire_destroy_space(machine, 1, space[100]) == QUIRE_OK);
  CHECK(quire_create_space(machine, 0, &o, &again) == QUIRE_OK && again != space[100]);
  CHECK(quire_destroy_space(machine, 1, space[100]) == QUIRE_BAD_SPACE);
  CHECK(quire_stop(machine) == QUIRE_OK);
  CHECK(quire_stop(machine) == QUIRE_BAD_MACHINE);
}

static void check_options(quire_machine *machine, quire_space *space, quire_lazy_state *state) {
  quire_space_options o = {.size = sizeof o};
  quire_space *made = NULL;
  uint32_t sequence = 0;
  CHECK(quire_default_options(QUIRE_NPT + 1, &o) == QUIRE_BAD_FORMAT);
  for (uint32_t format = QUIRE_EPT; format <= QUIRE_NPT; ++format) {
    memset(&o, 0xff, sizeof o);
    o.size = sizeof o;
    o.format = format;
    o.report = NULL;
    const bool all_flags = format == QUIRE_EPT || format == QUIRE_NPT;  // these have no number that can be wrong
    CHECK(quire_create_space(machine, 0, &o, &made) == (all_flags ? QUIRE_OK : QUIRE_BAD_FORMAT));
    if (all_flags) CHECK(quire_destroy_space(machine, 0, made) == QUIRE_OK);
  }
  o.format = UINT32_MAX;
  CHECK(quire_create_space(machine, 0, &o, &made) == QUIRE_BAD_FORMAT);
  const uint32_t guards[] = {0, QUIRE_GUARDS, UINT32_MAX};
  for (unsigned i = 0; i < 3; ++i) {
    CHECK(quire_guard_sequence(machine, space, guards[i], &sequence) == QUIRE_BAD_OPTION);
    CHECK(quire_bump_guard(machine, space, guards[i]) == QUIRE_BAD_OPTION);
  }
  const quire_map_options maps[] = {{sizeof *maps, 3, 0, 0, 0},
                                    {sizeof *maps, UINT32_MAX, 0, 0, 0},
                                    {sizeof *maps, QUIRE_MAP_REPLACE, 0, QUIRE_GUARDS, 0},
                                    {sizeof *maps, QUIRE_MAP_REPLACE, 0, 1, 1u << 18}};
  for (unsigned i = 0; i < 4; ++i) {
    CHECK(quire_map_with(machine, state, (quire_range){0, 1}, 0, rw, &maps[i]) == QUIRE_BAD_OPTION);
  }
  const quire_map_options exact = {sizeof exact, QUIRE_MAP_EXACT, UINT32_MAX, 0, 0};
  CHECK(quire_map_with(machine, state, (quire_range){0, 1}, 0, rw, &exact) == QUIRE_BAD_LEAF_LEVEL);
  CHECK(quire_harvest_status(machine, state, (quire_range){0, 1}, 8) == QUIRE_BAD_OPTION);
  CHECK(quire_protect(machine, state, (quire_range){0, 1}, 0x101) == QUIRE_BAD_ATTRIBUTES);
}

static void check_ranges(quire_machine *machine, quire_space *space, quire_lazy_state *state) {
  const quire_range bad[] = {{0, 0}, {0, UINT64_MAX}, {UINT64_MAX, 1}, {UINT64_MAX, UINT64_MAX}, {1, (uint64_t)1 << 36}};
  quire_mapping m = {.size = sizeof m};
  for (unsigned i = 0; i < 5; ++i) {
    CHECK(quire_map(machine, state, bad[i], 0, rw) == QUIRE_BAD_RANGE);
    CHECK(quire_unmap(machine, state, bad[i]) == QUIRE_BAD_RANGE);
    CHECK(quire_protect(machine, state, bad[i], QUIRE_R) == QUIRE_BAD_RANGE);
    CHECK(quire_harvest_status(machine, state, bad[i], QUIRE_HARVEST_DIRTY) == QUIRE_BAD_RANGE);
    CHECK(quire_drain(machine, 0, space, &bad[i]) == QUIRE_BAD_RANGE);
  }
  CHECK(quire_map(machine, state, (quire_range){0, 2}, UINT64_MAX, rw) == QUIRE_BAD_RANGE);
  CHECK(quire_map(machine, state, (quire_range){0, (uint64_t)1 << 36}, 0, rw) == QUIRE_NO_TABLES);
  CHECK(quire_lookup(machine, state, UINT64_MAX, &m) == QUIRE_BAD_RANGE);
  m.size = SIZE_MAX;
  CHECK(quire_lookup(machine, state, 0, &m) == QUIRE_BAD_SIZE);
}

// Sections, pauses and interrupts that were not begun, or not ended.
static void check_order(quire_machine *machine, struct embedder *e) {
  quire_space *space = make_space(machine, e, QUIRE_STAGE2_16K);
  quire_lazy_state *state = state_of(machine, 0, space), *moved = NULL;
  CHECK(quire_leave(machine, state) == QUIRE_NO_SECTION);
  CHECK(quire_resume(machine, state) == QUIRE_NOT_PAUSED);
  CHECK(quire_leave_interrupt(machine, 0) == QUIRE_NOT_IN_INTERRUPT);
  CHECK(quire_hand_over(machine, state) == QUIRE_NO_SECTION);
  CHECK(quire_take_over(machine, 1, state, &moved) == QUIRE_BAD_STATE);
  CHECK(quire_map(machine, state, (quire_range){1, 4}, 0, rw) == QUIRE_MISALIGNED);
  CHECK(quire_map(machine, state, (quire_range){4, 4}, 3, rw) == QUIRE_MISALIGNED);

  quire_lazy_state *section = enter(machine, 0, space);
  CHECK(quire_map(machine, section, (quire_range){4, 4}, 8, rw) == QUIRE_OK);
  CHECK(quire_destroy_space(machine, 0, space) == QUIRE_IN_SECTION);
  CHECK(quire_remove_cpu(machine, 0) == QUIRE_IN_SECTION);
  CHECK(quire_hand_over(machine, section) == QUIRE_OK);
  CHECK(quire_unmap(machine, section, (quire_range){4, 4}) == QUIRE_BAD_STATE);
  CHECK(quire_take_over(machine, cpu_limit, section, &moved) == QUIRE_BAD_CPU);
  CHECK(quire_take_over(machine, 1, section, &moved) == QUIRE_OK);
  CHECK(quire_unmap(machine, moved, (quire_range){4, 4}) == QUIRE_OK);
  CHECK(quire_leave(machine, moved) == QUIRE_OK);
  CHECK(quire_leave(machine, moved) == QUIRE_BAD_STATE);
  CHECK(e->reported_pages == 4 && e->last.space == space && e->last.space_context == e);
  CHECK(quire_destroy_space(machine, 0, space) == QUIRE_OK);
  CHECK(e->last.space == space && e->last.whole && e->last.reason == QUIRE_REASON_DESTROY);
  CHECK(quire_unmap(machine, state, (quire_range){4, 4}) == QUIRE_BAD_STATE);

  unsigned cpu = 0;
  CHECK(quire_add_cpu(machine, &cpu) == QUIRE_OK && cpu == 2);
  CHECK(quire_add_cpu(machine, &cpu) == QUIRE_OK && cpu == 3);
  CHECK(quire_add_cpu(machine, &cpu) == QUIRE_TOO_MANY);
  CHECK(quire_remove_cpu(machine, 2) == QUIRE_OK);
  CHECK(quire_enter_interrupt(machine, 2) == QUIRE_BAD_CPU);
}

// What the callback of a walk tries to take away under it.
struct taker {
  quire_machine *machine;
  quire_space *space, *other;
  unsigned calls;
};
static bool take_away(void *context, const quire_mapping *m) {
  struct taker *t = context;
  CHECK(quire_stop(t->machine) == QUIRE_IN_SECTION);
  CHECK(quire_destroy_space(t->machine, 0, t->space) == QUIRE_IN_SECTION);
  CHECK(quire_destroy_space(t->machine, 1, t->space) == QUIRE_IN_SECTION);
  CHECK(quire_remove_cpu(t->machine, 0) == QUIRE_IN_SECTION);
  if (t->calls++ == 0) CHECK(quire_destroy_space(t->machine, 0, t->other) == QUIRE_OK);
  return m->range.first < 2;
}
static bool take_away_in(void *context, quire_lazy_state *state, const quire_mapping *m) {
  const struct taker *t = context;
  const bool more = take_away(context, m);
  CHECK(quire_leave(t->machine, state) == QUIRE_OK);  // ends the section of the walk, which is in progress still
  CHECK(quire_stop(t->machine) == QUIRE_IN_SECTION);
  CHECK(quire_destroy_space(t->machine, 0, t->space) == QUIRE_IN_SECTION);
  return more;
}

// Defect: stop, destroy_space and remove_cpu inside of a walk's callback took away what the walk goes on with.
static void check_callbacks(struct embedder *e) {
  quire_machine *machine = start(e);
  struct taker t = {machine, make_space(machine, e, QUIRE_EPT), make_space(machine, e, QUIRE_DAT), 0};
  quire_lazy_state *state = state_of(machine, 0, t.space);
  CHECK(quire_map(machine, state, (quire_range){0, 4}, 0, rw) == QUIRE_OK);
  CHECK(quire_for_each(machine, state, (quire_range){0, 4}, take_away, &t) == QUIRE_STOPPED && t.calls == 3);
  t.other = make_space(machine, e, QUIRE_DAT);
  t.calls = 0;
  CHECK(quire_apply_to_range(machine, state, (quire_range){0, 1}, 0, take_away_in, &t) == QUIRE_BAD_STATE);
  CHECK(t.calls == 1);
  CHECK(quire_destroy_space(machine, 0, t.space) == QUIRE_OK && quire_remove_cpu(machine, 0) == QUIRE_OK);
  e->reported_pages = 0;
  CHECK(quire_stop(machine) == QUIRE_OK);
}

// A machine that is stopped in the middle gives everything back.
static void check_stop(struct embedder *e) {
  quire_machine *machine = start(e);
  quire_space *space = make_space(machine, e, QUIRE_NPT);
  quire_lazy_state *section = enter(machine, 0, space);
  CHECK(quire_map(machine, section, (quire_range){0, 512}, 0, rw) == QUIRE_OK);
  CHECK(quire_pause(machine, section) == QUIRE_OK);
  CHECK(quire_stop(machine) == QUIRE_OK);
  CHECK(quire_flush(machine, section) == QUIRE_BAD_MACHINE);
}

static void check_texts(void) {
  const quire_command command = {QUIRE_INVEPT_SINGLE, {0x1234, 0, 0, 0}};
  char text[16] = "unchanged";
  for (int s = -1; s <= 200; ++s) CHECK(quire_status_text(s)[0] != 0);
  CHECK(strcmp(quire_status_text(INT32_MIN), "unknown status") == 0);
  CHECK(quire_describe_command(QUIRE_EPT, &command, text, 0) == QUIRE_BAD_RANGE && strcmp(text, "unchanged") == 0);
  CHECK(quire_describe_command(QUIRE_EPT, &command, text, 7) == QUIRE_OK && strcmp(text, "invept") == 0);
  CHECK(quire_describe_command(UINT32_MAX, &command, text, sizeof text) == QUIRE_BAD_FORMAT);
}

void check_cases(void) {
  struct embedder e;
  open_embedder(&e);
  check_start(&e);
  check_memory(&e);
  e.tables_used = 0;
  check_budget(&e);
  check_handles(&e);
  e.tables_used = 0;
  check_stop(&e);
  e.tables_used = 0;
  check_callbacks(&e);
  e.tables_used = 0;
  quire_machine *machine = start(&e);
  quire_space *space = make_space(machine, &e, QUIRE_EPT);
  check_options(machine, space, state_of(machine, 0, space));
  check_order(machine, &e);
  check_ranges(machine, space, state_of(machine, 0, space));  // takes all table memory
  check_texts();
  CHECK(quire_stop(machine) == QUIRE_OK);
  close_embedder(&e);
}
