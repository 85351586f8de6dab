// The platform of the runtime in terms of the one that a C embedder gave.
#include <cstddef>

#include "quire/convert.h"
#include "quire/registry.h"

namespace quire::abi {

namespace {

// Sinks read the planner's commands in place.
static_assert(sizeof(quire_command) == 40 && sizeof(arch::flush_command) == 40 &&
              offsetof(quire_command, operand) == offsetof(arch::flush_command, operand));
static_assert(QUIRE_REASONS == runtime::flush_reasons &&
              QUIRE_REASON_CONTENTION == static_cast<int>(runtime::flush_reason::contention) &&
              QUIRE_REASON_DESTROY == static_cast<int>(runtime::flush_reason::destroy));

const embedded_machine& machine_of(void* context) { return *static_cast<const embedded_machine*>(context); }
const quire_platform& host_of(void* context) { return machine_of(context).host; }

// Memory that is not aligned as it was asked for is none: the runtime would break on it.
void* allocate(void* context, std::size_t bytes, std::size_t align) {
  const quire_platform& host = host_of(context);
  void* memory = host.allocate(host.context, bytes, align);
  if (reinterpret_cast<std::uintptr_t>(memory) % align == 0) return memory;
  host.release(host.context, memory, bytes);
  return nullptr;
}

void release(void* context, void* memory, std::size_t bytes) {
  const quire_platform& host = host_of(context);
  host.release(host.context, memory, bytes);
}

bool allocate_tables(void* context, std::size_t bytes, std::size_t align, std::uint64_t* physical) {
  const quire_platform& host = host_of(context);
  return host.allocate_tables(host.context, bytes, align, physical) && *physical % align == 0;
}

void flush(void* context, unsigned cpu, const runtime::flush_plan& plan) {
  const embedded_machine& m = machine_of(context);
  // relaxed: stored before anybody could update the space.
  const embedded_space* s =
      m.cpus[cpu].leaving ? m.cpus[cpu].leaving : m.by_id[plan.space].load(std::memory_order_relaxed);
  const quire_flush_plan out = {
      .size = sizeof out,
      .space = s->name,
      .space_context = s->context,
      .root_register = plan.root_register,
      .commands = reinterpret_cast<const quire_command*>(plan.commands.data()),
      .command_count = plan.commands.size(),
      .format = s->format,
      .reason = static_cast<std::uint32_t>(plan.reason),
      .whole = plan.whole,
  };
  m.host.flush(m.host.context, cpu, &out);
}

std::uint64_t open_tables(void* context, unsigned cpu) {
  const quire_platform& host = host_of(context);
  return host.open_tables(host.context, cpu);
}

void close_tables(void* context, unsigned cpu, std::uint64_t saved) {
  const quire_platform& host = host_of(context);
  host.close_tables(host.context, cpu, saved);
}

void barrier(void* context, unsigned cpu) {
  const quire_platform& host = host_of(context);
  host.barrier(host.context, cpu);
}

void relax(void* context) {
  const quire_platform& host = host_of(context);
  host.relax(host.context);
}

unsigned current_cpu(void* context) {
  const quire_platform& host = host_of(context);
  return host.current_cpu(host.context);
}

void receive(void* context, unsigned cpu, std::span<const runtime::report> reports) {
  const embedded_space& s = *static_cast<embedded_space*>(context);
  for (const runtime::report& r : reports) {
    const quire_report out = {
        .size = sizeof out,
        .range = foreign(r.range),
        .hfn = r.out.value,
        .attributes = foreign(r.attr),
        .harvested = r.what == runtime::report::kind::harvested,
        .accessed = r.accessed,
        .dirty = r.dirty,
    };
    s.report(s.context, cpu, &out);
  }
}

}  // namespace

runtime::platform platform_of(embedded_machine& m) {
  runtime::platform p;
  p.context = &m;
  p.allocate = allocate;
  p.release = release;
  p.allocate_tables = allocate_tables;
  p.table_offset = m.host.table_offset;
  p.flush = flush;
  p.sink_writes_entries = m.host.sink_writes_entries != 0;
  if (m.host.open_tables) p.open_tables = open_tables;
  if (m.host.close_tables) p.close_tables = close_tables;
  if (m.host.barrier) p.barrier = barrier;
  if (m.host.relax) p.relax = relax;
  if (m.host.current_cpu) p.current_cpu = current_cpu;
  return p;
}

runtime::observer observer_of(embedded_space& s) {
  return s.report ? runtime::observer{&s, receive} : runtime::observer{};
}

}  // namespace quire::abi
