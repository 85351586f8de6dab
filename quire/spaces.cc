// The C ABI: spaces of every format, their options, facts, guards and counters.
#include "arch/arm64/stage2_flush.h"
#include "arch/s390/dat_flush.h"
#include "arch/x86/ept_flush.h"
#include "arch/x86/npt.h"
#include "quire/convert.h"
#include "quire/registry.h"

namespace quire::abi {

namespace {

arch::ept native(const quire_ept_options& o) {
  return {.five_levels = o.five_levels != 0,
          .access_dirty = o.access_dirty != 0,
          .mode_based_execute = o.mode_based_execute != 0,
          .execute_only = o.execute_only != 0,
          .shadow_stack = o.shadow_stack != 0,
          .hyperv = o.hyperv != 0};
}

template <unsigned granule>
arch::stage2<granule> native(const quire_stage2_options& o) {
  return {{.ipa_bits = o.ipa_bits,
           .oa_bits = o.oa_bits,
           .vmid = o.vmid,
           .lpa2 = o.lpa2 != 0,
           .fwb = o.fwb != 0,
           .dbm = o.dbm != 0,
           .contiguous = o.contiguous != 0,
           .xnx = o.xnx != 0,
           .tlbi_ranges = o.tlbi_ranges != 0}};
}

arch::dat native(const quire_dat_options& o) {
  return {.asce = static_cast<arch::dat::top>(o.asce),
          .edat = o.edat,
          .iep = o.iep != 0,
          .common_segments = o.common_segments != 0,
          .ipte_ranges = o.ipte_ranges != 0};
}

arch::npt native(const quire_npt_options& o) { return {.asid = o.asid}; }

runtime::status create(embedded_machine& m, unsigned cpu, const quire_space_options& o, embedded_space& place,
                       runtime::space*& made) {
  const runtime::space_options options = {o.max_leaf_level, observer_of(place)};
  switch (o.format) {
    case QUIRE_EPT:
      return m.machine.create_space(cpu, native(o.ept), options, made);
    case QUIRE_STAGE2_4K:
      return m.machine.create_space(cpu, native<12>(o.stage2), options, made);
    case QUIRE_STAGE2_16K:
      return m.machine.create_space(cpu, native<14>(o.stage2), options, made);
    case QUIRE_STAGE2_64K:
      return m.machine.create_space(cpu, native<16>(o.stage2), options, made);
    case QUIRE_DAT:
      return m.machine.create_space(cpu, native(o.dat), options, made);
    case QUIRE_NPT:
      return m.machine.create_space(cpu, native(o.npt), options, made);
    default:
      return runtime::status::bad_format;
  }
}

std::uint64_t control_register(const runtime::space& s, quire_format format) {
  switch (format) {
    case QUIRE_STAGE2_4K:
      return s.format<arch::stage2_4k>().control_register();
    case QUIRE_STAGE2_16K:
      return s.format<arch::stage2_16k>().control_register();
    case QUIRE_STAGE2_64K:
      return s.format<arch::stage2_64k>().control_register();
    default:
      return 0;
  }
}

void copy(const runtime::counters& from, quire_counters& to) {
  to.updates = from.updates;
  to.runs = from.runs;
  to.commits = from.commits;
  to.forced_commits = from.forced_commits;
  to.drained_runs = from.drained_runs;
  to.cancelled_updates = from.cancelled_updates;
  to.contentions = from.contentions;
  to.walks = from.walks;
  to.entries_written = from.entries_written;
  to.tables_taken = from.tables_taken;
  to.tables_freed = from.tables_freed;
  to.splits = from.splits;
  to.kept_pages = from.kept_pages;
  to.flush_requested = from.flush_requested;
  to.flush_elided = from.flush_elided;
  to.flush_full = from.flush_full;
  for (unsigned i = 0; i < QUIRE_REASONS; ++i) to.flush_plans[i] = from.flush_plans[i];
}

bool has_guard(std::uint32_t index) { return index > 0 && index < QUIRE_GUARDS; }
static_assert(QUIRE_GUARDS == runtime::guard::count);

}  // namespace

}  // namespace quire::abi

using namespace quire;
using namespace quire::abi;

quire_status quire_default_options(uint32_t format, quire_space_options* options) noexcept {
  if (const quire_status bad = check_struct(options); bad != QUIRE_OK) return bad;
  if (format > QUIRE_NPT) return QUIRE_BAD_FORMAT;
  constexpr arch::ept ept;
  constexpr arch::stage2_options stage2;
  constexpr arch::dat dat;
  constexpr arch::npt npt;
  *options = {
      .size = sizeof *options,
      .format = format,
      .max_leaf_level = QUIRE_ANY_LEVEL,
      .context = nullptr,
      .report = nullptr,
      .ept = {ept.five_levels, ept.access_dirty, ept.mode_based_execute, ept.execute_only, ept.shadow_stack,
              ept.hyperv},
      .stage2 = {stage2.ipa_bits, stage2.oa_bits, stage2.vmid, stage2.lpa2, stage2.fwb, stage2.dbm,
                 stage2.contiguous, stage2.xnx, stage2.tlbi_ranges},
      .dat = {static_cast<std::uint8_t>(dat.asce), dat.edat, dat.iep, dat.common_segments, dat.ipte_ranges},
      .npt = {npt.asid},
  };
  return QUIRE_OK;
}

quire_status quire_create_space(quire_machine* machine, unsigned cpu, const quire_space_options* options,
                                quire_space** made) noexcept {
  embedded_machine* m = find(machine);
  if (!m) return QUIRE_BAD_MACHINE;
  if (!m->registered(cpu)) return QUIRE_BAD_CPU;
  if (const quire_status bad = check_struct(options); bad != QUIRE_OK) return bad;
  if (unusable(made)) return QUIRE_BAD_POINTER;
  embedded_space* place = claim_place(m->spaces);
  if (!place) return QUIRE_TOO_MANY;
  place->context = options->context;
  place->report = options->report;
  const auto index = static_cast<unsigned>(place - m->spaces);
  runtime::space* s = nullptr;
  if (const runtime::status failed = create(*m, cpu, *options, *place, s); failed != runtime::status::ok) {
    publish(*place, vacant(index));
    return code(failed);
  }
  const std::uint64_t value = handle::make(handle::kind::space, index, handle::next_number());
  place->name = reinterpret_cast<quire_space*>(static_cast<std::uintptr_t>(value));
  place->format = static_cast<quire_format>(options->format);
  place->at.store(s, std::memory_order_relaxed);            // relaxed: the handle publishes it
  m->by_id[s->id].store(place, std::memory_order_relaxed);  // relaxed: likewise
  publish(*place, value);
  *made = place->name;
  return QUIRE_OK;
}

quire_status quire_destroy_space(quire_machine* machine, unsigned cpu, quire_space* space) noexcept {
  embedded_machine* m = find(machine);
  if (!m) return QUIRE_BAD_MACHINE;
  if (!m->registered(cpu)) return QUIRE_BAD_CPU;
  embedded_space* place = find(*m, space);
  if (!place) return QUIRE_BAD_SPACE;
  const auto value = reinterpret_cast<std::uintptr_t>(space);
  if (!retract(*place, value)) return QUIRE_BAD_SPACE;
  m->cpus[cpu].leaving = place;
  const runtime::status done =
      m->machine.destroy_space(cpu, place->at.load(std::memory_order_relaxed));  // relaxed: constant
  m->cpus[cpu].leaving = nullptr;
  publish(*place, done == runtime::status::ok ? vacant(handle::index(value)) : value);
  return code(done);
}

quire_status quire_query_space(quire_machine* machine, quire_space* space, quire_space_info* info) noexcept {
  embedded_machine* m = find(machine);
  if (!m) return QUIRE_BAD_MACHINE;
  const embedded_space* place = find(*m, space);
  if (!place) return QUIRE_BAD_SPACE;
  if (const quire_status bad = check_struct(info); bad != QUIRE_OK) return bad;
  const runtime::space& s =
      *place->at.load(std::memory_order_relaxed);  // relaxed: constant while the handle is there
  *info = {
      .size = sizeof *info,
      .root_register = s.root_register,
      .control_register = control_register(s, place->format),
      .root_table = s.root.byte,
      .input_pages = s.shape.input_pages,
      .output_pages = s.shape.output_pages,
      .tables = s.tables(),
      .peak_table_bytes = s.peak_table_bytes(),
      .format = place->format,
      .levels = s.shape.levels,
      .max_leaf_level = s.options.max_leaf_level,
      .leaf_pages = static_cast<std::uint32_t>(s.shape.slot_pages(0)),
  };
  return QUIRE_OK;
}

quire_status quire_note_run(quire_machine* machine, quire_space* space, unsigned cpu) noexcept {
  embedded_machine* m = find(machine);
  if (!m) return QUIRE_BAD_MACHINE;
  runtime::space* s = find_space(*m, space);
  if (!s) return QUIRE_BAD_SPACE;
  if (!m->registered(cpu)) return QUIRE_BAD_CPU;
  s->note_run(cpu);
  return QUIRE_OK;
}

quire_status quire_counts(quire_machine* machine, unsigned cpu, quire_space* space,
                          quire_counters* counts) noexcept {
  embedded_machine* m = find(machine);
  if (!m) return QUIRE_BAD_MACHINE;
  const runtime::space* s = find_space(*m, space);
  if (!s) return QUIRE_BAD_SPACE;
  if (cpu >= m->cpu_limit) return QUIRE_BAD_CPU;
  if (const quire_status bad = check_struct(counts); bad != QUIRE_OK) return bad;
  copy(m->machine.counts(cpu, *s), *counts);
  return QUIRE_OK;
}

quire_status quire_guard_sequence(quire_machine* machine, quire_space* space, uint32_t index,
                                  uint32_t* sequence) noexcept {
  embedded_machine* m = find(machine);
  if (!m) return QUIRE_BAD_MACHINE;
  const runtime::space* s = find_space(*m, space);
  if (!s) return QUIRE_BAD_SPACE;
  if (!has_guard(index)) return QUIRE_BAD_OPTION;
  if (unusable(sequence)) return QUIRE_BAD_POINTER;
  *sequence = s->guard_sequence(index);
  return QUIRE_OK;
}

quire_status quire_bump_guard(quire_machine* machine, quire_space* space, uint32_t index) noexcept {
  embedded_machine* m = find(machine);
  if (!m) return QUIRE_BAD_MACHINE;
  runtime::space* s = find_space(*m, space);
  if (!s) return QUIRE_BAD_SPACE;
  if (!has_guard(index)) return QUIRE_BAD_OPTION;
  s->bump_guard(index);
  return QUIRE_OK;
}
