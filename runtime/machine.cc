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
  if (o.cpus == 0 || o.cpus > max_cpus) return status::too_many;
  void* memory = p.allocate(p.context, sizeof(cpu_context) * o.cpus, alignof(cpu_context));
  if (!memory) return status::no_memory;
  host_ = p;
  cpus_ = static_cast<cpu_context*>(memory);
  cpu_count_ = o.cpus;
  pool_options_ = o.pool;
  next_generation_ = salt(this);
  for (unsigned i = 0; i < cpu_count_; ++i) (new (&cpus_[i]) cpu_context)->index = i;
  return status::ok;
}

void machine::stop() {
  if (!cpus_) return;
  for (auto& slot : spaces_) {
    space* s = slot.exchange(nullptr, std::memory_order_relaxed);  // relaxed: no call is in progress
    if (s) free_space(*s);
  }
  for (unsigned i = 0; i < pool_count_; ++i) pools_[i].stop();
  pool_count_ = 0;
  host_.release(host_.context, cpus_, sizeof(cpu_context) * cpu_count_);
  cpus_ = nullptr;
}

// The pool of tables of this size, made at need. Null without memory. Under lock_.
table_pool* machine::pool_of(std::size_t bytes) {
  for (unsigned i = 0; i < pool_count_; ++i) {
    if (pools_[i].frame_bytes() == bytes) return &pools_[i];
  }
  if (pool_count_ == max_table_sizes) return nullptr;
  table_pool& pool = pools_[pool_count_];
  if (pool.start(host_, bytes, cpu_count_, pool_options_) != status::ok) return nullptr;
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
  void* sections = host_.allocate(host_.context, sizeof(slot) * cpu_count_, alignof(slot));
  if (!sections) {
    host_.release(host_.context, made, sizeof(space));
    return status::no_memory;
  }
  made->sections = static_cast<slot*>(sections);
  for (unsigned i = 0; i < cpu_count_; ++i) new (&made->sections[i]) slot(nullptr);
  return status::ok;
}

// Gives the space its pools, root and number; frees it if that fails.
status machine::finish_space(unsigned cpu, space& s) {
  status failed = status::ok;
  {
    const lock_guard hold(lock_, host_);
    for (unsigned level = 0; level < s.shape.levels; ++level) {
      s.pools[level] = pool_of(s.shape.table_bytes[level]);
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
      s.root = roots->take(cpu);
      s.backend->clear(host_, s, s.root, s.shape.top());
      s.count_tables(1, roots->frame_bytes());
      spaces_[id].store(&s, std::memory_order_release);  // release: find() sees a complete space
    }
  }
  if (failed != status::ok) free_space(s);
  return failed;
}

status machine::destroy_space(unsigned cpu, space* s) {
  for (unsigned i = 0; i < cpu_count_; ++i) {
    const section* open = s->sections[i].load(std::memory_order_acquire);  // acquire: pairs with make_section()
    if (open && (open->depth > 0 || open->paused > 0)) return status::in_section;
  }
  {
    const lock_guard hold(lock_, host_);
    spaces_[s->id].store(nullptr, std::memory_order_relaxed);  // relaxed: no call on the space is in progress
    for (unsigned i = 0; i < cpu_count_; ++i) {
      const section* used = s->sections[i].load(std::memory_order_relaxed);  // relaxed: likewise
      const std::uint64_t newest = used ? used->generation : s->first_generation;
      if (newest >= next_generation_) next_generation_ = newest + 1;
    }
  }
  counters unused;
  table_need none{};
  {
    const lock_guard hold(s->lock, host_);
    s->backend->destroy({host_, *s, cpus_[cpu], cpus_, cpu_count_, unused, none, flush_reason::destroy});
  }
  free_space(*s);
  return status::ok;
}

void machine::free_space(space& s) {
  for (unsigned i = 0; i < cpu_count_; ++i) {
    section* used = s.sections[i].load(std::memory_order_relaxed);  // relaxed: no call on the space is in progress
    if (used) host_.release(host_.context, used, sizeof(section));
  }
  host_.release(host_.context, s.sections, sizeof(std::atomic<section*>) * cpu_count_);
  host_.release(host_.context, &s, sizeof(space));
}

counters machine::counts(unsigned cpu, const space& s) const {
  const section* used = s.sections[cpu].load(std::memory_order_acquire);  // acquire: pairs with make_section()
  return used ? used->count : counters{};
}

std::uint64_t machine::tables_in_use() const {
  std::uint64_t frames = 0;
  for (unsigned i = 0; i < pool_count_; ++i) frames += pools_[i].in_use();
  return frames;
}

std::uint64_t machine::tables_allocated() const {
  std::uint64_t frames = 0;
  for (unsigned i = 0; i < pool_count_; ++i) frames += pools_[i].allocated();
  return frames;
}

}  // namespace quire::runtime
