// Faults, harvest and ageing of vm.h: the same call sites, lazily or eagerly.
#include "hv/vm.h"

#include <chrono>

#include "hv/digest.h"
#include "runtime/host/hosted.h"
#include "runtime/invariant.h"

namespace quire::hv {

using runtime::harvest;
using runtime::lazy_state;
using runtime::mapping;
using runtime::status;
using runtime::walk_flags;

/// Adds the time of its life to a counter.
class vm::update_timer {
 public:
  explicit update_timer(std::uint64_t& ns) : ns_(ns), start_(std::chrono::steady_clock::now()) {}
  ~update_timer() {
    const auto spent = std::chrono::steady_clock::now() - start_;
    ns_ += static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(spent).count());
  }
  update_timer(const update_timer&) = delete;
  update_timer& operator=(const update_timer&) = delete;

 private:
  std::uint64_t& ns_;
  std::chrono::steady_clock::time_point start_;
};

vm::vm(const vm_options& o)
    : options_(o),
      platform_(runtime::host::hosted_platform()),
      shootdown_(o.cpus, o.drop_flush, o.seed),
      random_(o.seed),
      cpus_(o.cpus) {
  platform_.context = this;
  platform_.allocate_tables = &vm::allocate_tables;
  platform_.table_offset = table_memory_.table_offset();
  platform_.flush = &vm::flush;
  runtime::machine_options m{o.cpus, {}};
  if (o.table_oom > 0) m.pool = {0, 1};  // every frame is an allocation of its own, so that any may fail
  started_ = machine_.start(platform_, m);
}

vm::~vm() {
  for (unsigned i = 0; i < options_.cpus; ++i) exit_guest(i);  // or the last flush would wait for its guest
  if (space_) (void)machine_.destroy_space(0, space_);  // no section is open between the calls of a vm
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
    // relaxed: called under the pool's lock; serve() may clear the mark a moment early or late.
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

void vm::hear(void* context, unsigned cpu, const runtime::report& r) {
  vm& self = *static_cast<vm*>(context);
  vm_counters& count = self.cpus_[cpu].count;
  if (r.what == runtime::report::kind::removed) {
    count.reclaimed_pages += r.range.pages;
    if (r.dirty) count.reclaimed_dirty_pages += r.range.pages;
    const memory_slot* slot = self.keyed_ ? self.slot_of(r.range.first) : nullptr;
    for (gfn g = r.range.first; slot && g < r.range.end(); g = self.page_of(g).end()) {
      const bool dirty = self.take_keys(*slot, self.page_of(g), storage_keys::reference | storage_keys::change) & storage_keys::change;
      if (dirty) count.reclaimed_dirty_pages += self.page_of(g).pages;
    }
  } else {
    if (r.dirty) count.harvested_pages += r.range.pages;
    if (r.accessed) count.aged_pages += r.range.pages;
  }
}

void vm::add_slot(const memory_slot& s) {
  slots_.push_back(s);
  keys_.emplace_back(s.backing, keyed_ ? s.pages.pages : 0);
}

gfn_range vm::page_of(gfn g) const { return {space_->shape.slot_first(g, 0), space_->shape.slot_pages(0)}; }

void vm::touch_key(gfn g, access_kind kind) {
  const memory_slot& s = *slot_of(g);
  keys_[static_cast<std::size_t>(&s - slots_.data())].touch(s.backing + (g - s.pages.first), kind == access_kind::write);
}

std::uint8_t vm::take_keys(const memory_slot& s, gfn_range r, std::uint8_t which) {
  storage_keys& keys = keys_[static_cast<std::size_t>(&s - slots_.data())];
  std::uint8_t found = 0;
  for (gfn g = r.first; g < r.end(); g = g + 1) found |= keys.take(s.backing + (g - s.pages.first), which);
  return found;
}

const memory_slot* vm::slot_of(gfn g) const {
  for (const memory_slot& s : slots_) {
    if (s.pages.contains(g)) return &s;
  }
  return nullptr;
}

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
      shootdown_.enter_guest(cpu, *space_);
      c.in_guest = true;
    }
    shootdown_.poll(cpu, *space_);
    const access_result r = shootdown_.cache(cpu).access(platform_, *space_, g, kind, narrowing_);
    if (r == access_result::done) {
      if (keyed_) touch_key(g, kind);
      return true;
    }
    exit_guest(cpu);
    ++c.count.faults;
    if (!slot_of(g)) return false;
    serve(cpu, g, kind, r);
  }
}

void vm::exit_guest(unsigned cpu) {
  if (cpus_[cpu].in_guest) shootdown_.leave_guest(cpu);
  cpus_[cpu].in_guest = false;
}

void vm::serve(unsigned cpu, gfn g, access_kind kind, access_result why) {
  vm_counters& count = cpus_[cpu].count;
  const memory_slot& slot = *slot_of(g);
  const update_timer timer(count.update_ns);
  status done = status::ok;
  if (why == access_result::denied) {
    count.write_faults += kind == access_kind::write;
    lazy_state* l = enter(cpu, {g, 1});
    done = machine_.protect(l, page_of(g), perm::rwx);
    leave(l);
  } else if (!mapped(cpu, g)) {  // else its entry was invalid for the time of another cpu's commit

    const gfn first{g.value - g.value % options_.fault_around_pages};
    const gfn end = page_of(first + (options_.fault_around_pages - 1)).end();
    const gfn from = page_of(first).first < slot.pages.first ? slot.pages.first : page_of(first).first;
    done = map_window(cpu, slot, {from, (end > slot.pages.end() ? slot.pages.end() : end) - from});
  }
  // Whatever was mapped before memory ran out stays; the vCPU tries again and faults again if it must.
  if (done == status::no_tables) ++count.oom_retries;
  memory_short_.store(false, std::memory_order_relaxed);  // relaxed: see allocate_tables()
}

bool vm::mapped(unsigned cpu, gfn g) {
  mapping m;
  bool found = false;
  [[maybe_unused]] const status looked = machine_.lookup(cpus_[cpu].outside, g, m, found);
  QUIRE_INVARIANT(looked == status::ok, "slots lie inside the guest's address size");
  return found;
}

// Maps what is not mapped yet, page by page as a handler that checks each page would; a window that large leaves
// fit, as one range.
status vm::map_window(unsigned cpu, const memory_slot& slot, gfn_range window) {
  const runtime::attributes rwx{perm::rwx, 0, 0};
  const hfn out = slot.backing + (window.first - slot.pages.first);
  const bool large = runtime::largest_leaf(space_->shape, window, out, options_.max_leaf_level) > 0;
  const std::uint64_t step = large ? window.pages : space_->shape.slot_pages(0);
  lazy_state* l = enter(cpu, window);
  status done = status::ok;
  for (gfn g = window.first; g < window.end() && done == status::ok; g = g + step) {
    done = machine_.map_keep_present(l, {g, step}, out + (g - window.first), rwx);
  }
  leave(l);
  return done;
}

bool vm::populate(unsigned cpu, gfn g) {
  const memory_slot* slot = slot_of(g);
  if (!slot) return false;
  const update_timer timer(cpus_[cpu].count.update_ns);
  while (map_window(cpu, *slot, page_of(g)) == status::no_tables) {
    ++cpus_[cpu].count.oom_retries;
    memory_short_.store(false, std::memory_order_relaxed);  // relaxed: see allocate_tables()
  }
  return true;
}

// Visits every mapping of the guest; the callback's updates are lazy or eager as the VM is. One section spans all
// slots, since leaving a nested one would flush.
void vm::walk_all(unsigned cpu, runtime::machine::range_visitor visit, void* context) {
  const narrowing_watch::scope narrowing(narrowing_);
  const update_timer timer(cpus_[cpu].count.update_ns);
  lazy_state* l = enter(cpu, {});
  for (const memory_slot& slot : slots_) {
    [[maybe_unused]] const status walked = machine_.apply_to_range(l, slot.pages, walk_flags::no_lazy, visit, context);
    QUIRE_INVARIANT(walked == status::ok, "slots lie inside the guest's address size");
  }
  leave(l);
}

void vm::harvest_dirty(unsigned cpu) {
  const auto visit = [](void* context, lazy_state* l, bool /*present*/, const mapping& m) {
    auto& self = *static_cast<vm*>(context);
    if (self.keyed_) return self.harvest_keys(l, m);
    if (!m.dirty) return true;
    return self.machine_.harvest_status(l, m.range, harvest::dirty | harvest::write_protect) == status::ok;
  };
  walk_all(cpu, visit, this);
}

void vm::age(unsigned cpu) {
  const auto visit = [](void* context, lazy_state* l, bool /*present*/, const mapping& m) {
    auto& self = *static_cast<vm*>(context);
    if (self.keyed_) return self.age_keys(l, m);
    runtime::machine& machine = self.machine_;
    const status done = m.accessed ? machine.harvest_status(l, m.range, harvest::accessed) : machine.unmap(l, m.range);
    return done == status::ok;
  };
  walk_all(cpu, visit, this);
}

// A page written after its key was read and before the protection takes effect is found by the next harvest.
bool vm::harvest_keys(lazy_state* l, const mapping& m) {
  const memory_slot& slot = *slot_of(m.range.first);
  for (gfn g = m.range.first; g < m.range.end(); g = page_of(g).end()) {
    if (take_keys(slot, page_of(g), storage_keys::change) == 0) continue;
    if (machine_.protect(l, page_of(g), perm::rx) != status::ok) return false;
    cpus_[runtime::state_handle(l).cpu()].count.harvested_pages += page_of(g).pages;
  }
  return true;
}

bool vm::age_keys(lazy_state* l, const mapping& m) {
  if (take_keys(*slot_of(m.range.first), m.range, storage_keys::reference) == 0) {
    return machine_.unmap(l, m.range) == status::ok;
  }
  cpus_[runtime::state_handle(l).cpu()].count.aged_pages += m.range.pages;
  return true;
}

std::string vm::digest(unsigned cpu) { return digest_of(machine_, cpus_[cpu].outside, *space_); }

}  // namespace quire::hv
