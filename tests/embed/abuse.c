// Every function of quire.h with null, stale, forged and foreign handles and with bad pointers, one at a time and all
// mixed: statuses, and no crash.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/embed/world.h"

/// What a function takes that can be wrong.
enum { machine_ = 1, cpu_ = 2, space_ = 4, state_ = 8, pointer_ = 16 };

/// What all functions are called with.
struct arguments {
  quire_machine *machine;
  unsigned cpu;
  quire_space *space;
  quire_lazy_state *state;
  quire_range range;
  uint64_t hfn;
  quire_attributes attributes;
  uint32_t word;      ///< guards, flags and whatever else is a number
  bool bad_pointers;  ///< then `pointer` is given for all of them
  void *pointer;
  bool destroy;  ///< call what destroys, too
};

/// If `bad` is not 0, functions that take one of it answer `expected`. All answers are statuses.
struct judge {
  unsigned bad;
  quire_status expected;
};

static void answered(const struct judge *j, unsigned takes, quire_status s, const char *call) {
  const bool known = s >= QUIRE_OK && (s <= QUIRE_STOPPED || (s >= QUIRE_BAD_MACHINE && s <= QUIRE_NOT_IN_INTERRUPT));
  if (known && !((takes & j->bad) && s != j->expected)) return;
  fprintf(stderr, "%s answers %d: %s\n", call, s, quire_status_text(s));
  CHECK(known);
  CHECK(s == j->expected);
}

static bool go_on(void *context, const quire_mapping *m) {
  *(unsigned *)context += m->present;
  return true;
}
static bool go_on_in(void *context, quire_lazy_state *state, const quire_mapping *m) {
  *(unsigned *)context += state && m->present;
  return true;
}

// `good` unless the arguments want bad pointers.
#define P(good) (a->bad_pointers ? a->pointer : (void *)(good))
#define CALL(takes, call) answered(j, takes, call, #call)

static void call_machine(const struct arguments *a, const struct judge *j) {
  quire_table_counts tables = {.size = sizeof tables};
  bool answer = false;
  unsigned added = 0;
  CALL(machine_ | cpu_, quire_enter_interrupt(a->machine, a->cpu));
  CALL(machine_ | cpu_ | pointer_, quire_in_interrupt(a->machine, a->cpu, a->bad_pointers ? NULL : &answer));
  CALL(machine_ | cpu_, quire_leave_interrupt(a->machine, a->cpu));
  CALL(machine_ | pointer_, quire_count_tables(a->machine, P(&tables)));
  CALL(machine_ | pointer_, quire_add_cpu(a->machine, P(&added)));
  if (a->destroy) CALL(machine_ | cpu_, quire_remove_cpu(a->machine, a->cpu));
}

static void call_space(const struct arguments *a, const struct judge *j) {
  quire_space_options options = {.size = sizeof options};
  quire_space_info info = {.size = sizeof info};
  quire_counters counts = {.size = sizeof counts};
  quire_space *made = NULL;
  uint32_t sequence = 0;
  CALL(pointer_, quire_default_options(QUIRE_DAT, P(&options)));
  CALL(machine_ | cpu_ | pointer_, quire_create_space(a->machine, a->cpu, P(&options), P(&made)));
  CALL(machine_ | space_ | pointer_, quire_query_space(a->machine, a->space, P(&info)));
  CALL(machine_ | space_ | cpu_, quire_note_run(a->machine, a->space, a->cpu));
  CALL(machine_ | space_ | cpu_ | pointer_, quire_counts(a->machine, a->cpu, a->space, P(&counts)));
  CALL(machine_ | space_ | pointer_, quire_guard_sequence(a->machine, a->space, a->word, P(&sequence)));
  CALL(machine_ | space_, quire_bump_guard(a->machine, a->space, a->word));
  if (a->destroy) CALL(machine_ | space_ | cpu_, quire_destroy_space(a->machine, a->cpu, a->space));
}

static void call_section(const struct arguments *a, const struct judge *j) {
  quire_lazy_state *state = NULL;
  quire_range hint;
  bool answer = false;
  CALL(machine_ | space_ | cpu_ | pointer_, quire_state(a->machine, a->cpu, a->space, P(&state)));
  CALL(machine_ | space_ | cpu_ | pointer_, quire_enter(a->machine, a->cpu, a->space, a->range, P(&state)));
  CALL(machine_ | state_, quire_flush(a->machine, a->state));
  CALL(machine_ | state_, quire_pause(a->machine, a->state));
  CALL(machine_ | state_, quire_resume(a->machine, a->state));
  CALL(machine_ | state_ | pointer_, quire_hint(a->machine, a->state, P(&hint)));
  CALL(machine_ | state_ | pointer_, quire_active(a->machine, a->state, a->bad_pointers ? NULL : &answer));
  CALL(machine_ | space_ | cpu_, quire_drain(a->machine, a->cpu, a->space, a->bad_pointers ? NULL : &a->range));
  CALL(machine_ | state_, quire_hand_over(a->machine, a->state));
  CALL(machine_ | state_ | pointer_, quire_take_over(a->machine, 1, a->state, P(&state)));
  CALL(machine_ | state_, quire_leave(a->machine, a->state));
}

static void call_updates(const struct arguments *a, const struct judge *j) {
  quire_map_options options = {.size = sizeof options, .mode = a->word & 3, .level = a->word};
  quire_mapping mapping = {.size = sizeof mapping};
  unsigned seen = 0;
  CALL(machine_ | state_, quire_map(a->machine, a->state, a->range, a->hfn, a->attributes));
  CALL(machine_ | pointer_, quire_map_with(a->machine, a->state, a->range, a->hfn, a->attributes, P(&options)));
  CALL(machine_ | state_, quire_protect(a->machine, a->state, a->range, QUIRE_R));
  CALL(machine_ | state_, quire_harvest_status(a->machine, a->state, a->range, a->word & 7));
  CALL(machine_, quire_protect(a->machine, a->state, a->range, a->word));
  CALL(machine_, quire_harvest_status(a->machine, a->state, a->range, a->word));
  CALL(machine_ | state_ | pointer_, quire_lookup(a->machine, a->state, a->range.first, P(&mapping)));
  CALL(machine_ | state_ | pointer_,
       quire_for_each(a->machine, a->state, a->range, a->bad_pointers ? NULL : go_on, &seen));
  CALL(machine_ | pointer_,
       quire_apply_to_range(a->machine, a->state, a->range, a->word & 7, a->bad_pointers ? NULL : go_on_in, &seen));
  CALL(machine_ | state_, quire_unmap(a->machine, a->state, a->range));
}

static void call_all(const struct arguments *a, const struct judge *j) {
  const quire_command command = {(uint16_t)a->word, {a->hfn, a->hfn, a->hfn, a->hfn}};
  char text[8];
  quire_machine *made = NULL;
  CHECK(quire_version() == QUIRE_VERSION && quire_status_text((int)a->word));
  CALL(pointer_, quire_describe_command(a->word % 6, P(&command), a->bad_pointers ? NULL : text, sizeof text));
  CALL(pointer_, quire_start(P(NULL), P(NULL), P(&made)));
  call_updates(a, j);
  call_section(a, j);
  call_space(a, j);
  call_machine(a, j);
  if (a->destroy) CALL(machine_, quire_stop(a->machine));
}

/// Handles that name nothing; three of them were right once.
enum { bad_handles = 9 };
struct world {
  struct embedder e, other;
  quire_machine *machine, *other_machine;
  quire_space *space, *other_space;
  quire_lazy_state *state, *other_state;
  void *bad[bad_handles];
};

static void open_world(struct world *w) {
  open_embedder(&w->e);
  open_embedder(&w->other);
  quire_machine *stopped = start(&w->e);
  CHECK(quire_stop(stopped) == QUIRE_OK);
  w->e.tables_used = 0;
  w->machine = start(&w->e);
  w->other_machine = start(&w->other);
  quire_space *destroyed = make_space(w->machine, &w->e, QUIRE_EPT);
  quire_lazy_state *stale = state_of(w->machine, 0, destroyed);
  CHECK(quire_destroy_space(w->machine, 0, destroyed) == QUIRE_OK);
  w->space = make_space(w->machine, &w->e, QUIRE_EPT);
  w->other_space = make_space(w->other_machine, &w->other, QUIRE_EPT);
  w->state = state_of(w->machine, 0, w->space);
  w->other_state = state_of(w->other_machine, 0, w->other_space);
  void *const bad[bad_handles] = {NULL,    (void *)1,  (void *)~(uintptr_t)0, w, (char *)w->machine + 1, (char *)w->state + 2,
                                  stopped, destroyed, stale};
  memcpy(w->bad, bad, sizeof bad);
}

static void close_world(struct world *w) {
  quire_stop(w->machine);
  quire_stop(w->other_machine);
  close_embedder(&w->e);
  close_embedder(&w->other);
}

static struct arguments good(const struct world *w) {
  const struct arguments a = {.machine = w->machine, .space = w->space, .state = w->state, .range = {16, 4}, .hfn = 64,
                              .attributes = {QUIRE_R | QUIRE_W, 0, 0}, .word = 1, .destroy = true};
  return a;
}

// One wrong argument: whoever takes it says so.
static void one_at_a_time(void) {
  static uint64_t words[2];
  for (unsigned i = 0; i < bad_handles + 1; ++i) {
    for (unsigned kind = machine_; kind <= pointer_; kind *= 2) {
      struct world w;
      open_world(&w);
      struct arguments a = good(&w);
      struct judge j = {kind, QUIRE_OK};
      void *foreign[] = {w.space, w.state, w.other_space, w.other_state};
      if (kind == machine_) {
        j.expected = QUIRE_BAD_MACHINE;
        a.machine = i < bad_handles ? w.bad[i] : foreign[0];
      } else if (kind == space_) {
        j.expected = QUIRE_BAD_SPACE;
        a.space = i < bad_handles ? w.bad[i] : foreign[2];
      } else if (kind == state_) {
        j.expected = QUIRE_BAD_STATE;
        a.state = i < bad_handles ? w.bad[i] : foreign[3];
      } else if (kind == cpu_) {
        j.expected = QUIRE_BAD_CPU;
        a.cpu = cpu_limit + i * i * 1000;
      } else {
        j.expected = QUIRE_BAD_POINTER;
        a.bad_pointers = true;
        a.pointer = i % 2 ? (char *)words + 1 : NULL;
        a.destroy = false;
      }
      call_all(&a, &j);
      close_world(&w);
    }
  }
}

static uint64_t dice(void) {
  static uint64_t x = 0x853c49e6748fea9b;
  x ^= x << 13;
  x ^= x >> 7;
  x ^= x << 17;
  return x;
}

static uint64_t number(void) {
  const uint64_t edges[] = {0, 1, 16, 512, 1u << 18, (uint64_t)1 << 36, (uint64_t)1 << 52, ~(uint64_t)0};
  return dice() % 4 ? edges[dice() % 8] + dice() % 3 - 1 : dice() >> dice() % 64;
}

// Everything wrong at once, or nothing. In the end the machine works as ever.
static void mixed(void) {
  for (unsigned round = 0; round < 30; ++round) {
    struct world w;
    open_world(&w);
    for (unsigned i = 0; i < 60; ++i) {
      struct arguments a = good(&w);
      const struct judge any = {0, QUIRE_OK};
      if (dice() % 8 == 0) a.machine = dice() % 2 ? w.other_machine : w.bad[dice() % bad_handles];
      if (dice() % 4 == 0) a.space = dice() % 2 ? w.other_space : w.bad[dice() % bad_handles];
      if (dice() % 4 == 0) a.state = dice() % 2 ? w.other_state : w.bad[dice() % bad_handles];
      if (dice() % 2 == 0) a.range = (quire_range){number(), number()};
      if (dice() % 2 == 0) a.hfn = number();
      if (dice() % 4 == 0) a.attributes = (quire_attributes){(uint8_t)dice(), (uint8_t)dice(), (uint16_t)dice()};
      a.word = (uint32_t)number();
      a.cpu = (unsigned)(dice() % 8 ? dice() % cpus : number());
      a.destroy = i + 1 == 60;
      if (dice() % 2) enter(w.machine, 0, w.space);
      call_all(&a, &any);
    }
    close_world(&w);
  }
}

int main(void) {
  check_cases();
  one_at_a_time();
  mixed();
  printf("%u failures\n", failures());
  return failures() != 0;
}
