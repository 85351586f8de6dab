// Cpus, pools and spaces: making and unmaking them.
#include "runtime/machine.h"

namespace quire::runtime {

namespace {

/// Spreads the bits of an address and a count, so that states of one machine look forged to another, to one that
/// comes to its place, and to itself when it starts again.
std::uint64_t salt(const void* p) {
  static constinit std::atomic<std::uint64_t> starts{0};
  const std::uint64_t n = starts.fetch_add(1, std::memory_order_relaxed);  // relaxed: it only has to differ
  auto v = (static_cast<std::uint64_t>(reinterpret_cast<std::uintptr_t>(p)) + (n << 40)) * 0x9e3779b97f4a7c15u;
  v ^= v >> 29;
  return (v * 0xbf58476d1ce4e5b9u) >> (64 - state_handle::generation_bits);
}

}  // namespace

status machine::start(const platform& p, const machine_options& o) {
  const unsigned capacity = o.max_cpus ? o.max_cpus : o.cpus;
  if (o.cpus == 0 || o.cpus > capacity || capacity > max_cpus) return status::too_many;
  host_ = p;
  const std::size_t places = cpu_list::places(capacity);
  void* memory = p.allocate(p.context, sizeof(cpu_context) * places, alignof(cpu_context));
  if (!memory) return status::no_memory;
  cpus_ = {static_cast<cpu_context*>(memory), capacity};
  for (unsigned i = 0; i < places; ++i) new (&cpus_[i]) cpu_context(i);
  using word = owner_words::word;
  void* words = p.allocate(p.context, sizeof(word) * owner_words::count, 64);  // vectors read pairs
  if (words) {
    owners_.start(static_cast<word*>(words));
    for (std::uint32_t i = 0; i < owner_words::count; ++i) new (owners_.all() + i) word(0);
  }
  pool_options_ = o.pool;
  next_generation_ = salt(this);
  status done = words ? status::ok : status::no_memory;
  for (unsigned i = 0; i < o.cpus && done == status::ok; ++i) done = register_cpu(i);
  if (done != status::ok) release_cpu_memory();
  return done;
}

bool machine::walking() const {
  for (const auto& slot : spaces_) {
    const space* where = slot.load(std::memory_order_relaxed);  // relaxed: no other call is in progress
    for (unsigned i = 0; where && i < cpus_.count; ++i) {
      const section* s = where->sections[i].load(std::memory_order_relaxed);  // relaxed: likewise
      if (s && s->walks > 0) return true;
    }
  }
  return false;
}

void machine::stop() {
  if (cpus_.count == 0) return;
  for (auto& slot : spaces_) {
    space* s = slot.exchange(nullptr, std::memory_order_relaxed);  // relaxed: no call is in progress
    if (s) free_space(*s);
  }
  for (unsigned i = 0; i < pool_count_; ++i) pools_[i].stop();
  pool_count_ = 0;
  release_cpu_memory();
}

void machine::release_cpu_memory() {
  for (unsigned i = 0; i < cpus_.count; ++i) {
    if (cpus_[i].memory) host_.release(host_.context, cpus_[i].memory, sizeof(commit_memory));
  }
  if (owners_.all()) host_.release(host_.context, owners_.all(), sizeof(owner_words::word) * owner_words::count);
  owners_.start(nullptr);
  host_.release(host_.context, cpus_.all, sizeof(cpu_context) * cpu_list::places(cpus_.count));
  cpus_ = {};
}

// Under lock_, or in start().
status machine::register_cpu(unsigned cpu) {
  cpu_context& c = cpus_[cpu];
  if (!c.memory) {
    void* memory = host_.allocate(host_.context, sizeof(commit_memory), alignof(commit_memory));
    if (!memory) return status::no_memory;
    c.memory = new (memory) commit_memory;
  }
  c.interrupts = 0;
  c.forget();
  c.registered = true;
  return status::ok;
}

status machine::add_cpu(unsigned& cpu) {
  const lock_guard hold(lock_, host_);
  for (unsigned i = 0; i < cpus_.count; ++i) {
    if (cpus_[i].registered) continue;
    const status done = register_cpu(i);
    if (done == status::ok) cpu = i;
    return done;
  }
  return status::too_many;
}

// Under lock_, on the cpu.
bool machine::has_open_section(unsigned cpu) const {
  for (const auto& slot : spaces_) {
    const space* where = slot.load(std::memory_order_relaxed);  // relaxed: slots change under lock_
    section* s = where ? where->sections[cpu].load(std::memory_order_relaxed) : nullptr;  // relaxed: made on this cpu
    if (!s) continue;
    const lock_guard hold(s->drain_lock, host_);
    if (s->in_use()) return true;
  }
  return false;
}

status machine::remove_cpu(unsigned cpu) {
  const lock_guard hold(lock_, host_);
  if (cpu >= cpus_.count || !cpus_[cpu].registered) return status::bad_cpu;
  if (has_open_section(cpu)) return status::in_section;
  for (auto& slot : spaces_) {
    space* where = slot.load(std::memory_order_relaxed);  // relaxed: slots change under lock_
    section* s = where ? where->sections[cpu].load(std::memory_order_relaxed) : nullptr;  // relaxed: made on this cpu
    if (s) s->outside = nullptr;  // names nothing until state() is asked again
    cpus_[cpu].forget();
  }
  const std::uint64_t saved = host_.open_tables ? host_.open_tables(host_.context, cpu) : 0;
  for (unsigned i = 0; i < pool_count_; ++i) pools_[i].retire(cpu);
  if (host_.close_tables) host_.close_tables(host_.context, cpu, saved);
  cpus_[cpu].registered = false;
  return status::ok;
}

// The pool of tables of this size, made at need, then with cleared frames for tables of such empty entries. Null without memory. Under lock_.
table_pool* machine::pool_of(std::size_t bytes, std::uint64_t empty) {
  for (unsigned i = 0; i < pool_count_; ++i) {
    if (pools_[i].frame_bytes() == bytes) return &pools_[i];
  }
  if (pool_count_ == max_table_sizes) return nullptr;
  table_pool& pool = pools_[pool_count_];
  if (pool.start(host_, bytes, cpus_.count, pool_options_, empty) != status::ok) return nullptr;
  ++pool_count_;
  return &pool;
}

status machine::allocate_space(const space_options& o, const geometry& shape, space*& made) {
  space_options options = o;
  if (options.max_leaf_level > shape.top()) options.max_leaf_level = shape.top();
  while (options.max_leaf_level > 0 && !shape.leaf[options.max_leaf_level]) --options.max_leaf_level;
  void* memory = host_.allocate(host_.context, sizeof(space), alignof(space));
  if (!memory) return status::no_memory;
  made = new (memory) space;
  made->shape = shape;
  made->options = options;
  using slot = std::atomic<section*>;
  void* sections = host_.allocate(host_.context, sizeof(slot) * cpus_.count, alignof(slot));
  if (!sections) {
    host_.release(host_.context, made, sizeof(space));
    return status::no_memory;
  }
  made->sections = static_cast<slot*>(sections);
  for (unsigned i = 0; i < cpus_.count; ++i) new (&made->sections[i]) slot(nullptr);
  return status::ok;
}

// Gives the space its pools, root and number; frees it if that fails.
status machine::finish_space(unsigned cpu, space& s) {
  status failed = status::ok;
  {
    const lock_guard hold(lock_, host_);
    for (unsigned level = 0; level < s.shape.levels; ++level) {
      const std::uint64_t empty = s.walk.level[level].empty;
      s.pools[level] = pool_of(s.shape.table_bytes[level], s.walk.swapped ? __builtin_bswap64(empty) : empty);
      if (!s.pools[level]) failed = status::no_memory;
    }
    std::uint32_t id = 0;
    // relaxed: slots change under lock_
    while (id < max_spaces && spaces_[id].load(std::memory_order_relaxed)) ++id;
    if (id == max_spaces) failed = status::too_many;
    table_pool* roots = s.pools[s.shape.top()];
    if (failed == status::ok) failed = roots->reserve(cpu, 1);
    if (failed == status::ok) {
      s.id = id;
      s.first_generation = next_generation_;
      s.root = roots->take(cpu).table;
      s.backend->clear(host_, s, s.root, s.shape.top());
      s.count_tables(1, static_cast<std::int64_t>(roots->frame_bytes()));
      spaces_[id].store(&s, std::memory_order_release);  // release: find() sees a complete space
    }
  }
  if (failed != status::ok) free_space(s);
  return failed;
}

status machine::destroy_space(unsigned cpu, space* s) {
  for (unsigned i = 0; i < cpus_.count; ++i) {
    const section* open = s->sections[i].load(std::memory_order_acquire);  // acquire: pairs with make_section()
    if (open && open->in_use()) return status::in_section;
  }
  {
    const lock_guard hold(lock_, host_);
    spaces_[s->id].store(nullptr, std::memory_order_relaxed);  // relaxed: no call on the space is in progress
    for (unsigned i = 0; i < cpus_.count; ++i) {
      const section* used = s->sections[i].load(std::memory_order_relaxed);  // relaxed: likewise
      if (used) cpus_[i].forget(*used);
      const std::uint64_t newest = used ? used->generation : s->first_generation;
      if (newest >= next_generation_) next_generation_ = newest + 1;
    }
  }
  counters unused;
  table_need none{};
  s->backend->destroy({host_, *s, owners_, cpus_, cpus_[cpu], unused, none, flush_reason::destroy});
  free_space(*s);
  return status::ok;
}

void machine::free_space(space& s) {
  for (unsigned i = 0; i < cpus_.count; ++i) {
    section* used = s.sections[i].load(std::memory_order_relaxed);  // relaxed: no call on the space is in progress
    if (used) host_.release(host_.context, used, sizeof(section));
  }
  host_.release(host_.context, s.sections, sizeof(std::atomic<section*>) * cpus_.count);
  host_.release(host_.context, &s, sizeof(space));
}

counters machine::counts(unsigned cpu, const space& s) const {
  const section* used = s.sections[cpu].load(std::memory_order_acquire);  // acquire: pairs with make_section()
  if (!used) return {};
  counters c = used->count;
  c.updates += used->queue.calls();
  for (std::uint64_t* each : {&c.updates, &c.runs, &c.commits, &c.entries_written}) *each += used->direct;
  return c;
}

std::uint64_t machine::clear_frames(unsigned cpu, std::uint64_t most) {
  if (cpu >= cpus_.count || !cpus_[cpu].registered) return 0;
  unsigned pools = 0;
  {
    const lock_guard hold(lock_, host_);
    pools = pool_count_;  // pools stay as they are until stop()
  }
  const std::uint64_t saved = host_.open_tables ? host_.open_tables(host_.context, cpu) : 0;
  std::uint64_t done = 0;
  for (unsigned i = 0; i < pools; ++i) done += pools_[i].clear(cpu, most - done, table_ops_for(chosen_simd(), false));
  if (host_.close_tables) host_.close_tables(host_.context, cpu, saved);
  return done;
}

std::uint64_t machine::tables_in_use() const {
  const lock_guard hold(lock_, host_);
  std::uint64_t frames = 0;
  for (unsigned i = 0; i < pool_count_; ++i) frames += pools_[i].in_use();
  return frames;
}

std::uint64_t machine::tables_allocated() const {
  const lock_guard hold(lock_, host_);
  std::uint64_t frames = 0;
  for (unsigned i = 0; i < pool_count_; ++i) frames += pools_[i].allocated();
  return frames;
}

}  // namespace quire::runtime
