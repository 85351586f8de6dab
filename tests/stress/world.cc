// Making the machine of world.h, and hearing its reports.
#include "tests/stress/world.h"

#include <unistd.h>

#include <random>
#include <stdexcept>

#include "runtime/host/hosted.h"

namespace quire::tests {

namespace {

constexpr std::size_t table_bytes = std::size_t{48} << 20;
constexpr std::size_t largest_table = std::size_t{1} << 20;

world& self(void* context) { return *static_cast<world*>(context); }

}  // namespace

world::place& world::here() {
  thread_local place p;
  return p;
}

world::world(const stress_format& format, std::uint64_t run_seed, bool long_runs)
    : seed(run_seed),
      long_run(long_runs),
      memory_(new std::byte[table_bytes + largest_table]),
      bus_(format, cpus) {
  prepare_platform();
  hardware_ = std::visit(
      [this]<class F>(const F& f) -> std::unique_ptr<hardware> {
        return std::make_unique<hardware_of<F>>(f, host_.table_offset);
      },
      format);
  if (machine_.start(host_,
                     {.cpus = cpus, .pool = {.cache_frames = 8, .refill_frames = 16}, .max_cpus = 0}) !=
      status::ok) {
    throw std::runtime_error("the machine does not start");
  }
  for (unsigned i = 0; i < spaces; ++i) {
    const runtime::space_options o{.reports = {this, i == 0 ? &world::hear : nullptr}};
    if (hardware_->make_space(machine_, 0, o, spaces_[i]) != status::ok) throw std::runtime_error("no space");
    for (unsigned cpu = 0; cpu < cpus; ++cpu) spaces_[i]->note_run(cpu);
  }
  l1_ = shape().slot_pages(1);
  l2_ = shape().slot_pages(2);
  for (unsigned i = 0; i < workers; ++i) {
    track(own(i));
    track(beside(i));
  }
  track(interleaved());
  track(shared());
  track(slot());
  marks_ = std::vector<page_marks>(tracked_.back().base + tracked_.back().range.pages);
}

world::~world() { machine_.stop(); }

void world::track(gfn_range r) {
  tracked_.push_back({r, tracked_.empty() ? 0 : tracked_.back().base + tracked_.back().range.pages});
}

page_marks* world::marks(gfn g) {
  for (const tracked& t : tracked_) {
    if (t.range.contains(g)) return &marks_[t.base + (g - t.range.first)];
  }
  return nullptr;
}

void world::prepare_platform() {
  const auto at = reinterpret_cast<std::uintptr_t>(memory_.get());
  std::byte* aligned = memory_.get() + (largest_table - at % largest_table) % largest_table;
  source_ = std::make_unique<runtime::host::block_tables>(std::span(aligned, table_bytes), 0x40000000);
  host_ = runtime::host::hosted_platform();
  host_.context = this;
  host_.table_offset = source_->table_offset();
  host_.allocate_tables = [](void* context, std::size_t bytes, std::size_t align, std::uint64_t* physical) {
    const std::lock_guard hold(self(context).source_lock_);
    return self(context).source_->allocate(bytes, align, physical);
  };
  host_.flush = [](void* context, unsigned cpu, const runtime::flush_plan& plan) {
    world& w = self(context);
    if (cpu != here().cpu) w.fail({}, "a flush on another cpu than the caller's");
    thread_local std::minstd_rand dice;
    if (dice() % 8 == 0) usleep(static_cast<useconds_t>(dice() % 200));  // others meet tables that are held
    // The other spaces run no guest, so nothing of theirs is cached.
    if (plan.space == w.spaces_[0]->id) w.bus_.flush(here().vcpu, plan);
  };
  host_.relax = [](void* context) {
    if (here().is_vcpu) self(context).bus_.serve(here().vcpu);
    runtime::host::hosted_platform().relax(nullptr);
  };
  // States are checked against it; without, updates find their section faster, and single ones go at once.
  if (seed % 2 == 0) host_.current_cpu = [](void* /*context*/) { return here().cpu; };
}

void world::hear(void* context, unsigned /*cpu*/, std::span<const runtime::report> reports) {
  for (const runtime::report& r : reports) self(context).note_reported(r);
}

void world::note_reported(const runtime::report& r) {
  if (!r.dirty) return;
  const std::uint64_t now = tick();
  for (std::uint64_t i = 0; i < r.range.pages; ++i) {
    page_marks* p = marks(r.range.first + i);
    if (!p) continue;
    raise_to(p->reported, now);
    p->times_reported.fetch_add(1, std::memory_order_relaxed);  // relaxed: read when all threads have ended
  }
}

void world::post(const parcel& p) {
  const std::lock_guard hold(parcel_lock_);
  parcels_.push_back(p);
}

bool world::fetch(parcel& p) {
  const std::lock_guard hold(parcel_lock_);
  if (parcels_.empty()) return false;
  p = parcels_.front();
  parcels_.pop_front();
  return true;
}

void world::fail(gfn page, const std::string& what) {
  const std::lock_guard hold(problem_lock_);
  if (failed()) return;
  problem_ = what;
  problem_page_ = page;
  failed_.store(true, std::memory_order_release);  // release: the text is there
}

}  // namespace quire::tests
