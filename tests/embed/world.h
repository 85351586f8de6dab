// What the C tests share: a machine with two spaces on memory that is limited and can fail, and a check that
// counts.
#ifndef TESTS_EMBED_WORLD_H
#define TESTS_EMBED_WORLD_H

#include "quire/quire.h"

/// Prints what failed and counts it; never ends the program.
#define CHECK(condition) check_that((condition), #condition, __FILE__, __LINE__)
void check_that(bool condition, const char* text, const char* file, int line);
/// Failures so far.
unsigned failures(void);

/// Memory and counts of one embedder.
struct embedder {
  size_t record_bytes;     ///< allocated and not released
  unsigned allocations;    ///< so far
  unsigned fail_at;        ///< the allocation that finds no memory, from 1; 0 = none
  bool misaligned;         ///< allocations are aligned to 8 bytes more than what was asked for
  bool tables_misaligned;  ///< table memory is 8 bytes off
  unsigned char* tables;
  size_t tables_used;
  unsigned flushes;
  unsigned commands;
  quire_flush_plan last;
  unsigned reported_pages;
};

enum { table_bytes = 16 << 20, physical_base = 1 << 30, cpus = 2, cpu_limit = 4 };

void open_embedder(struct embedder* e);
/// Everything that the library took must have come back.
void close_embedder(struct embedder* e);
quire_platform platform_of(struct embedder* e);
quire_machine_options small_machine(void);
/// Starts a machine of `cpus` cpus, of `cpu_limit` at most.
quire_machine* start(struct embedder* e);
/// A space with small leaves that both cpus have run; reports go to `e`.
quire_space* make_space(quire_machine* machine, struct embedder* e, quire_format format);
quire_lazy_state* state_of(quire_machine* machine, unsigned cpu, quire_space* space);
quire_lazy_state* enter(quire_machine* machine, unsigned cpu, quire_space* space);

/// Misuse case by case; in abuse_cases.c.
void check_cases(void);

#endif  // TESTS_EMBED_WORLD_H
