// Life and faults of vm.h: the same call sites, lazily or eagerly.
#include "hv/vm.h"

#include "hv/digest.h"
#include "hv/update_timer.h"
#include "runtime/host/hosted.h"
#include "runtime/invariant.h"
#include "runtime/spin_lock.h"

namespace quire::hv {

using runtime::lazy_state;
using runtime::mapping;
using runtime::status;

namespace {

std::uint64_t next_serial() {
  static std::atomic<std::uint64_t> made{0};
  return made.fetch_add(1, std::memory_order_relaxed) + 1;  // relaxed: it only has to differ
}

/// The cpu that this thread drives, as far as it has entered a guest: relax() is not told who calls.
struct driven_cpu {
  std::uint64_t serial = 0;  // of its vm
  unsigned cpu = 0;
};
thread_local driven_cpu driven;

shootdown_options flushing(const vm_options& o) {
  const bool enough = o.id_bits == 0 || id_allocator::enough(o.cpus, o.id_bits);
  return {o.cpus, enough ? o.id_bits : 0, o.drop_flush, false, o.seed};
}

}  // namespace

vm::vm(const vm_options& o)
    : options_(o),
      serial_(next_serial()),
      platform_(runtime::host::hosted_platform()),
      shootdown_(flushing(o)),
      random_(o.seed),
      cpus_(o.cpus) {
  yield_ = platform_.relax;
  platform_.context = this;
  platform_.allocate_tables = &vm::allocate_tables;
  platform_.table_offset = table_memory_.table_offset();
  platform_.flush = &vm::flush;
  platform_.relax = &vm::relax;
  runtime::machine_options m{o.cpus, {}};
  if (o.table_oom > 0) m.pool = {0, 1};  // every frame is an allocation of its own, so that any may fail
  const bool ids = o.id_bits == 0 || id_allocator::enough(o.cpus, o.id_bits);
  started_ = ids ? machine_.start(platform_, m) : status::too_many;
}

vm::~vm() {
  for (unsigned i = 0; i < options_.cpus; ++i) exit_guest(i);  // or the last flush would wait for its guest
  if (space_) (void)machine_.destroy_space(0, space_);         // no section is open between the calls of a vm
}

status vm::attach_cpus() {
  for (unsigned i = 0; i < options_.cpus; ++i) {
    cpus_[i].outside = machine_.state(i, *space_);
    if (!cpus_[i].outside) return status::no_memory;
  }
  return status::ok;
}

bool vm::allocate_tables(void* context, std::size_t bytes, std::size_t align, std::uint64_t* physical) {
  vm& self = *static_cast<vm*>(context);
  if (self.options_.table_oom > 0 && self.space_) {
    const std::lock_guard hold(self.random_lock_);
    // relaxed: written under the lock; a fault may clear the mark a moment early or late.
    bool fails = self.memory_short_.load(std::memory_order_relaxed);
    fails = fails || std::uniform_real_distribution<double>(0, 1)(self.random_) < self.options_.table_oom;
    self.memory_short_.store(fails, std::memory_order_relaxed);
    self.failed_allocations_ += fails;
    if (fails) return false;
  }
  return self.table_memory_.allocate(bytes, align, physical);
}

void vm::flush(void* context, unsigned cpu, const runtime::flush_plan& plan) {
  vm& self = *static_cast<vm*>(context);
  self.shootdown_.flush(cpu, plan, self.platform_);
}

// While the runtime spins, the cpu that it waits for may be waiting for this one to serve a request. In the
// guest, which a caller may be that uses machine() itself, only this serves it.
void vm::relax(void* context) {
  vm& self = *static_cast<vm*>(context);
  if (driven.serial == self.serial_ && self.cpus_[driven.cpu].in_guest) self.shootdown_.poll(driven.cpu);
  self.yield_(context);
}

gfn_range vm::page_of(gfn g) const { return {space_->shape.slot_first(g, 0), space_->shape.slot_pages(0)}; }

// Lazily, opens a section; eagerly, names the (cpu, space) outside of any.
lazy_state* vm::enter(unsigned cpu, gfn_range hint) {
  return options_.lazy ? machine_.enter(cpu, *space_, hint) : cpus_[cpu].outside;
}

void vm::leave(lazy_state* l) {
  if (!options_.lazy) return;
  [[maybe_unused]] const status left = machine_.leave(l);
  QUIRE_INVARIANT(left == status::ok, "a section that was entered can be left");
}

bool vm::access(unsigned cpu, gfn g, access_kind kind) {
  vcpu_context& c = cpus_[cpu];
  for (;;) {
    if (!c.in_guest) {
      driven = {serial_, cpu};
      shootdown_.enter_guest(cpu, *space_);
      c.in_guest = true;
    }
    shootdown_.poll(cpu);
    tlb& cache = shootdown_.cache(cpu);
    const access_result r = cache.access(platform_, *space_, shootdown_.running_id(cpu), g, kind, narrowing_);
    if (r == access_result::done) {
      if (keyed_) touch_key(cpu, cache.last_frame(), kind);
      return true;
    }
    exit_guest(cpu);
    ++c.count.faults;
    if (!serve(cpu, g, kind, r)) return false;
  }
}

void vm::exit_guest(unsigned cpu) {
  if (cpus_[cpu].in_guest) shootdown_.leave_guest(cpu);
  cpus_[cpu].in_guest = false;
}

// The slot of a page, and the guard that cancels what is mapped through it once it changes.
vm::resolution vm::resolve(unsigned cpu, gfn g) {
  slot_set::reader& seen = cpus_[cpu].slots;
  for (;;) {
    const placed_slot* s = slots_.see(seen).of(g);
    if (!s) return {};
    if (s->changing) return {resolution::kind::changing, *s, {}};
    const runtime::guard now{static_cast<std::uint8_t>(s->guard), space_->guard_sequence(s->guard)};
    // The guard may be that of a later list: then this one is not the newest any more.
    if (slots_.version() == slots_.version_seen(seen)) return {resolution::kind::found, *s, now};
  }
}

// False if no slot has the page.
bool vm::serve(unsigned cpu, gfn g, access_kind kind, access_result why) {
  vm_counters& count = cpus_[cpu].count;
  const resolution to = resolve(cpu, g);
  if (to.what == resolution::kind::none) return false;
  if (to.what == resolution::kind::changing) {
    ++count.slot_waits;
    runtime::relax(platform_);
    return true;
  }
  const update_timer timer(count.update_ns);
  status done = status::ok;
  if (why == access_result::denied) {
    count.write_faults += kind == access_kind::write;
    lazy_state* l = enter(cpu, {g, 1});
    done = machine_.protect(l, page_of(g), perm::rwx);
    leave(l);
  } else if (!mapped(cpu, g)) {  // else its entry was invalid for the time of another cpu's commit
    done = map_window(cpu, to, window_of(to.slot, g));
  }
  // Whatever was mapped before memory ran out stays; the vCPU tries again and faults again if it must.
  if (done == status::no_tables) count_oom(cpu);
  memory_short_.store(false, std::memory_order_relaxed);  // relaxed: see allocate_tables()
  return true;
}

void vm::count_oom(unsigned cpu) {
  ++cpus_[cpu].count.oom_retries;
  memory_short_.store(false, std::memory_order_relaxed);  // relaxed: see allocate_tables()
}

// The pages that a fault at `g` maps: the aligned window around it, as far as it lies in the slot.
gfn_range vm::window_of(const memory_slot& s, gfn g) const {
  const gfn first{g.value - g.value % options_.fault_around_pages};
  const gfn end = page_of(first + (options_.fault_around_pages - 1)).end();
  const gfn from = page_of(first).first < s.pages.first ? s.pages.first : page_of(first).first;
  return {from, (end > s.pages.end() ? s.pages.end() : end) - from};
}

bool vm::mapped(unsigned cpu, gfn g) {
  mapping m;
  bool found = false;
  [[maybe_unused]] const status looked = machine_.lookup(cpus_[cpu].outside, g, m, found);
  QUIRE_INVARIANT(looked == status::ok, "slots lie inside the guest's address size");
  return found;
}

// Maps what is not mapped yet, page by page as a handler that checks each page would; a window that large
// leaves fit, as one range.
status vm::map_window(unsigned cpu, const resolution& to, gfn_range window) {
  const runtime::attributes rwx{perm::rwx, 0, 0};
  const hfn out = to.slot.backing + (window.first - to.slot.pages.first);
  const bool large = runtime::largest_leaf(space_->shape, window, out, options_.max_leaf_level) > 0;
  const std::uint64_t step = large ? window.pages : space_->shape.slot_pages(0);
  lazy_state* l = enter(cpu, window);
  status done = status::ok;
  for (gfn g = window.first; g < window.end() && done == status::ok; g = g + step) {
    done = machine_.map_keep_present(l, {g, step}, out + (g - window.first), rwx, arch::level_limit - 1,
                                     to.guard);
  }
  leave(l);
  return done;
}

bool vm::populate(unsigned cpu, gfn g) {
  exit_guest(cpu);
  const update_timer timer(cpus_[cpu].count.update_ns);
  for (;;) {
    const resolution to = resolve(cpu, g);
    if (to.what == resolution::kind::none) return false;
    if (to.what == resolution::kind::changing) {
      runtime::relax(platform_);
    } else if (map_window(cpu, to, page_of(g)) == status::no_tables) {
      count_oom(cpu);
    } else if (slots_.version() == slots_.version_seen(cpus_[cpu].slots) || mapped(cpu, g)) {
      return true;  // else it may have been cancelled
    }
  }
}

std::string vm::digest(unsigned cpu) { return digest_of(machine_, cpus_[cpu].outside, *space_); }

}  // namespace quire::hv
