// The C ABI: machines and cpus, made and unmade.
#include <new>

#include "quire/convert.h"
#include "quire/registry.h"

namespace quire::abi {

constinit machine_place machines[max_machines] = {{vacant(0)}};

namespace {

bool complete(const quire_platform& p) { return p.allocate && p.release && p.allocate_tables && p.flush; }

template <class T>
void* allocate(const quire_platform& p, std::size_t count) {
  void* memory = p.allocate(p.context, sizeof(T) * count, alignof(T));
  if (reinterpret_cast<std::uintptr_t>(memory) % alignof(T) == 0) return memory;
  p.release(p.context, memory, sizeof(T) * count);
  return nullptr;
}

void release(embedded_machine* m) {
  const quire_platform host = m->host;
  embedded_cpu* cpus = m->cpus;
  const unsigned limit = m->cpu_limit;
  m->~embedded_machine();  // stops the machine, which needs the cpus
  host.release(host.context, cpus, sizeof(embedded_cpu) * limit);
  host.release(host.context, m, sizeof(embedded_machine));
}

// Null without memory.
embedded_machine* make(const quire_platform& p, unsigned cpu_limit) {
  void* cpus = allocate<embedded_cpu>(p, cpu_limit);
  if (!cpus) return nullptr;
  void* memory = allocate<embedded_machine>(p, 1);
  if (!memory) {
    p.release(p.context, cpus, sizeof(embedded_cpu) * cpu_limit);
    return nullptr;
  }
  auto* m = new (memory) embedded_machine;
  m->host = p;
  m->cpu_limit = cpu_limit;
  m->cpus = static_cast<embedded_cpu*>(cpus);
  for (unsigned i = 0; i < cpu_limit; ++i) new (&m->cpus[i]) embedded_cpu;
  return m;
}

quire_status start(const quire_platform& p, const quire_machine_options& o, embedded_machine*& made) {
  const unsigned cpus = o.cpus ? o.cpus : 1;
  const unsigned limit = o.max_cpus ? o.max_cpus : cpus;
  if (cpus > limit || limit > runtime::machine::max_cpus) return QUIRE_TOO_MANY;
  embedded_machine* m = make(p, limit);
  if (!m) return QUIRE_NO_MEMORY;
  runtime::machine_options options{.cpus = cpus, .pool = {.cache_frames = o.cache_frames}, .max_cpus = limit};
  if (o.refill_frames) options.pool.refill_frames = o.refill_frames;
  const runtime::status done = m->machine.start(platform_of(*m), options);
  if (done != runtime::status::ok) {
    release(m);
    return code(done);
  }
  for (unsigned i = 0; i < cpus; ++i)
    m->cpus[i].registered.store(true, std::memory_order_relaxed);  // relaxed: not published
  made = m;
  return QUIRE_OK;
}

}  // namespace

}  // namespace quire::abi

using namespace quire;
using namespace quire::abi;

quire_status quire_start(const quire_platform* platform, const quire_machine_options* options,
                         quire_machine** made) noexcept {
  constexpr quire_machine_options defaults = {sizeof defaults, 1, 0, runtime::pool_options{}.cache_frames, 0};
  if (!options) options = &defaults;
  for (const quire_status bad : {check_struct(platform), check_struct(options)}) {
    if (bad != QUIRE_OK) return bad;
  }
  if (unusable(made) || !complete(*platform)) return QUIRE_BAD_POINTER;
  machine_place* place = claim_place(machines);
  if (!place) return QUIRE_TOO_MANY;
  const auto index = static_cast<unsigned>(place - machines);
  embedded_machine* m = nullptr;
  if (const quire_status failed = start(*platform, *options, m); failed != QUIRE_OK) {
    publish(*place, vacant(index));
    return failed;
  }
  const std::uint64_t value = handle::make(handle::kind::machine, index, handle::next_number());
  place->at.store(m, std::memory_order_relaxed);  // relaxed: the handle publishes it
  publish(*place, value);
  *made = reinterpret_cast<quire_machine*>(static_cast<std::uintptr_t>(value));
  return QUIRE_OK;
}

quire_status quire_stop(quire_machine* machine) noexcept {
  embedded_machine* m = find(machine);
  if (!m) return QUIRE_BAD_MACHINE;
  if (m->machine.walking()) return QUIRE_IN_SECTION;
  const auto value = reinterpret_cast<std::uintptr_t>(machine);
  machine_place& place = machines[handle::index(value)];
  if (!retract(place, value)) return QUIRE_BAD_MACHINE;
  release(m);
  publish(place, vacant(handle::index(value)));
  return QUIRE_OK;
}

quire_status quire_add_cpu(quire_machine* machine, unsigned* cpu) noexcept {
  embedded_machine* m = find(machine);
  if (!m) return QUIRE_BAD_MACHINE;
  if (unusable(cpu)) return QUIRE_BAD_POINTER;
  unsigned added = 0;
  if (const runtime::status failed = m->machine.add_cpu(added); failed != runtime::status::ok)
    return code(failed);
  m->cpus[added].registered.store(true, std::memory_order_relaxed);  // relaxed: the cpu's own thread reads it
  *cpu = added;
  return QUIRE_OK;
}

quire_status quire_remove_cpu(quire_machine* machine, unsigned cpu) noexcept {
  embedded_machine* m = find(machine);
  if (!m) return QUIRE_BAD_MACHINE;
  if (!m->registered(cpu)) return QUIRE_BAD_CPU;
  // relaxed: the cpu's own thread reads it. Before the index can be given to another thread.
  m->cpus[cpu].registered.store(false, std::memory_order_relaxed);
  const runtime::status done = m->machine.remove_cpu(cpu);
  if (done != runtime::status::ok)
    m->cpus[cpu].registered.store(true, std::memory_order_relaxed);  // relaxed: likewise
  return code(done);
}

quire_status quire_count_tables(quire_machine* machine, quire_table_counts* counts) noexcept {
  embedded_machine* m = find(machine);
  if (!m) return QUIRE_BAD_MACHINE;
  if (const quire_status bad = check_struct(counts); bad != QUIRE_OK) return bad;
  counts->in_use = m->machine.tables_in_use();
  counts->allocated = m->machine.tables_allocated();
  return QUIRE_OK;
}

quire_status quire_enter_interrupt(quire_machine* machine, unsigned cpu) noexcept {
  embedded_machine* m = find(machine);
  if (!m) return QUIRE_BAD_MACHINE;
  if (!m->registered(cpu)) return QUIRE_BAD_CPU;
  m->machine.enter_interrupt(cpu);
  return QUIRE_OK;
}

quire_status quire_leave_interrupt(quire_machine* machine, unsigned cpu) noexcept {
  embedded_machine* m = find(machine);
  if (!m) return QUIRE_BAD_MACHINE;
  if (!m->registered(cpu)) return QUIRE_BAD_CPU;
  if (!m->machine.in_interrupt(cpu)) return QUIRE_NOT_IN_INTERRUPT;
  m->machine.leave_interrupt(cpu);
  return QUIRE_OK;
}

quire_status quire_in_interrupt(quire_machine* machine, unsigned cpu, bool* answer) noexcept {
  embedded_machine* m = find(machine);
  if (!m) return QUIRE_BAD_MACHINE;
  if (!m->registered(cpu)) return QUIRE_BAD_CPU;
  if (unusable(answer)) return QUIRE_BAD_POINTER;
  *answer = m->machine.in_interrupt(cpu);
  return QUIRE_OK;
}
