// Recording for guest.h.
#include "tests/support/guest.h"

#include <doctest/doctest.h>

namespace quire::tests {

namespace {

constexpr std::size_t largest_table = std::size_t{1} << 20;  // 16 tables of 64 KiB

std::span<std::byte> aligned(std::byte* memory, std::size_t bytes) {
  const auto at = reinterpret_cast<std::uintptr_t>(memory);
  return {memory + (largest_table - at % largest_table) % largest_table, bytes};
}

guest_base& self(void* context) { return *static_cast<guest_base*>(context); }

}  // namespace

guest_base::guest_base(const options& o)
    : memory_(new std::byte[o.table_bytes + largest_table]()),
      table_memory_(aligned(memory_.get(), o.table_bytes)),
      source_(table_memory_, o.base) {
  host_ = runtime::host::hosted_platform();
  host_.context = this;
  host_.table_offset = source_.table_offset();
  host_.sink_writes_entries = o.sink_writes_entries;
  host_.allocate = [](void* context, std::size_t bytes, std::size_t align) {
    ++self(context).record_allocations;
    return runtime::host::hosted_platform().allocate(nullptr, bytes, align);
  };
  host_.allocate_tables = [](void* context, std::size_t bytes, std::size_t align, std::uint64_t* physical) {
    guest_base& g = self(context);
    ++g.table_allocations;
    g.allocated_closed |= g.space_ && g.key_register != 0;
    if (g.allocations_left && (*g.allocations_left)-- == 0) {
      g.allocations_left = 0;
      return false;
    }
    const std::uint64_t frames = bytes / align;
    if (g.frames_left && *g.frames_left < frames) return false;
    if (g.frames_left) *g.frames_left -= frames;
    return g.source_.allocate(bytes, align, physical);
  };
  host_.flush = [](void* context, unsigned /*cpu*/, const runtime::flush_plan& plan) {
    guest_base& g = self(context);
    if (g.recording) {
      recorded_flush f{plan.reason, plan.whole, {}, plan.space};
      for (const auto& c : plan.commands)
        f.commands.emplace_back(g.space_->backend->describe(*g.space_, c).c_str());
      g.flushes.push_back(f);
    }
    if (g.on_flush) g.on_flush(plan);
  };
  host_.open_tables = [](void* context, unsigned /*cpu*/) {
    guest_base& g = self(context);
    const std::uint64_t saved = g.key_register;
    if (g.recording) g.hooks.push_back("open " + std::to_string(saved));
    g.key_register = 0;
    return saved;
  };
  host_.close_tables = [](void* context, unsigned /*cpu*/, std::uint64_t saved) {
    guest_base& g = self(context);
    if (g.recording) g.hooks.push_back("close " + std::to_string(saved));
    g.key_register = saved;
  };
  host_.barrier = [](void* context, unsigned /*cpu*/) {
    if (self(context).recording) self(context).hooks.emplace_back("barrier");
  };
  if (!o.hooks) {
    host_.open_tables = nullptr;
    host_.close_tables = nullptr;
    host_.barrier = nullptr;
  }
  host_.tables_zeroed = o.tables_zeroed;
  if (o.checks_cpu) host_.current_cpu = [](void* context) { return self(context).on_cpu; };
  const status started = machine_.start(host_, {o.cpus, o.pool, o.max_cpus});
  REQUIRE(started == status::ok);
}

void guest_base::hear(void* context, unsigned /*cpu*/, std::span<const runtime::report> reports) {
  guest_base& g = self(context);
  if (g.recording) ++g.calls_with_reports;
  for (const runtime::report& r : reports) {
    if (g.recording) g.reports.push_back(r);
    if (g.on_report) g.on_report(r);
  }
}

std::optional<mapping> guest_base::in_tables(gfn g) {
  runtime::piece p = space_->backend->find(host_, *space_, g);
  if (!p.present || !p.settled) return {};
  p.what.out = p.what.out + (g - p.what.range.first);
  p.what.range = {g, 1};
  return p.what;
}

std::optional<mapping> guest_base::look(gfn g, unsigned cpu) {
  mapping m;
  bool found = false;
  const status done = machine_.lookup(state(cpu), g, m, found);
  REQUIRE(done == status::ok);
  return found ? std::optional(m) : std::nullopt;
}

bool guest_base::touch(gfn g, perm need) {
  const auto t = space_->backend->walk(host_, *space_, {g, need, true, false, {}});
  return t.present && includes(t.access, need);
}

std::unique_ptr<guest_base> make_guest(const any_format& format, const guest_base::options& o) {
  const auto make = [&o]<class F>(const F& f) -> std::unique_ptr<guest_base> {
    auto made = std::make_unique<guest<F>>(f, o);
    return made->made == status::ok ? std::move(made) : nullptr;
  };
  return std::visit(make, format);
}

}  // namespace quire::tests
