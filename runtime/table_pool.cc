// Stocking and emptying the per-cpu lists of table_pool.h.
#include "runtime/table_pool.h"

#include <new>

#include "runtime/invariant.h"

namespace quire::runtime {

namespace {
constexpr std::uint64_t no_frame = ~std::uint64_t{0};
// Frames moved between a cpu and the centre under one hold of the lock.
constexpr std::uint64_t batch_frames = 32;

void bump(std::atomic<std::uint64_t>& own, std::uint64_t n) {
  // relaxed: only the cpu itself writes its counter, others read it as a statistic.
  own.store(own.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
}
}  // namespace

status table_pool::start(const platform& p, std::size_t bytes, unsigned cpus, const pool_options& options) {
  void* memory = p.allocate(p.context, sizeof(cpu_stock) * cpus, alignof(cpu_stock));
  if (!memory) return status::no_memory;
  platform_ = &p;
  frame_bytes_ = bytes;
  cpus_ = cpus;
  options_ = options;
  if (options_.refill_frames == 0) options_.refill_frames = 1;
  stocks_ = static_cast<cpu_stock*>(memory);
  list_ = no_frame;
  for (unsigned i = 0; i < cpus; ++i) (new (&stocks_[i]) cpu_stock)->list = no_frame;
  return status::ok;
}

void table_pool::stop() {
  if (stocks_) platform_->release(platform_->context, stocks_, sizeof(cpu_stock) * cpus_);
  stocks_ = nullptr;
  fresh_left_ = free_ = claimed_ = 0;
  allocated_.store(0, std::memory_order_relaxed);  // relaxed: no call is in progress
}

// Gets at least `least` frames from the platform, as many as refill_frames if it has them. Under lock_.
bool table_pool::grow(std::uint64_t least) {
  std::uint64_t frames = least > options_.refill_frames ? least : options_.refill_frames;
  for (;;) {
    std::uint64_t physical = 0;
    if (!platform_->allocate_tables(platform_->context, frames * frame_bytes_, frame_bytes_, &physical)) {
      if (frames == 1) return false;
      frames = frames > least && frames / 2 < least ? least : frames / 2;
      continue;
    }
    while (fresh_left_) {  // an earlier remainder joins the list, its lowest frame first
      const std::uint64_t name = name_of({{fresh_ + --fresh_left_ * frame_bytes_}, platform_->tables_zeroed});
      set_next(name, list_);
      list_ = name;
    }
    fresh_ = physical;
    fresh_left_ = frames;
    free_ += frames;
    bump(allocated_, frames);
    if (frames >= least) return true;
    least -= frames;
  }
}

status table_pool::claim(cpu_stock& own, std::uint64_t frames, bool may_grow) {
  const std::uint64_t least = frames > own.slack ? frames - own.slack : 0;
  const lock_guard hold(lock_, *platform_);
  if (free_ - claimed_ < least && (!may_grow || !grow(least - (free_ - claimed_)))) return status::no_tables;
  const std::uint64_t more = least + options_.cache_frames;
  const std::uint64_t got = free_ - claimed_ < more ? free_ - claimed_ : more;
  claimed_ += got;
  own.claims += got;
  own.slack += got - frames;
  return status::ok;
}

void table_pool::unreserve(unsigned cpu, std::uint64_t frames) {
  cpu_stock& own = stocks_[cpu];
  QUIRE_INVARIANT(frames <= own.reserved(), "only what was reserved is given back");
  own.slack += frames;
  if (own.slack > 2 * std::uint64_t{options_.cache_frames}) trim(own, options_.cache_frames);
}

std::uint64_t table_pool::pop_central() {
  if (list_ != no_frame) {
    const std::uint64_t name = list_;
    list_ = next_of(name);
    return name;
  }
  QUIRE_INVARIANT(fresh_left_ > 0, "a claim on the centre is backed by a free frame");
  const std::uint64_t name = name_of({{fresh_}, platform_->tables_zeroed});
  fresh_ += frame_bytes_;
  --fresh_left_;
  return name;
}

// Moves claimed frames from the centre into the list, so that take() seldom needs the lock. They are linked in
// reverse, so that take() hands them out in ascending order.
void table_pool::fetch(cpu_stock& own) {
  std::uint64_t frames[batch_frames];
  std::uint64_t n = 0;
  {
    const lock_guard hold(lock_, *platform_);
    const std::uint64_t wanted = own.reserved() < batch_frames ? own.reserved() : batch_frames;
    for (; n < wanted && n < own.claims; ++n) frames[n] = pop_central();
    free_ -= n;
    claimed_ -= n;
  }
  own.claims -= n;
  own.listed += n;
  while (n) {
    set_next(frames[--n], own.list);
    own.list = frames[n];
  }
}

table_pool::frame table_pool::pop(std::uint64_t& list) const {
  const std::uint64_t name = list;
  list = next_of(name);
  if (list != no_frame) __builtin_prefetch(&link_word(list), 1);  // it will be asked for next
  if (name & zeroed_bit) set_next(name, 0);
  return {{name & ~zeroed_bit}, (name & zeroed_bit) != 0};
}

table_pool::frame table_pool::take(unsigned cpu) {
  cpu_stock& own = stocks_[cpu];
  QUIRE_INVARIANT(own.reserved() > 0, "a commit takes only what was reserved");
  if (own.listed == 0) fetch(own);
  --own.listed;
  bump(own.taken, 1);
  return pop(own.list);
}

void table_pool::put_back(unsigned cpu, const frame& f) {
  cpu_stock& own = stocks_[cpu];
  set_next(f.table.byte, own.list);
  own.list = name_of(f);
  ++own.listed;
  bump(own.given, 1);
}

void table_pool::give(unsigned cpu, const frame& f) {
  cpu_stock& own = stocks_[cpu];
  set_next(f.table.byte, own.list);
  own.list = name_of(f);
  ++own.listed;
  ++own.slack;
  bump(own.given, 1);
  if (own.slack > 2 * std::uint64_t{options_.cache_frames}) trim(own, options_.cache_frames);
}

void table_pool::retire(unsigned cpu) {
  QUIRE_INVARIANT(stocks_[cpu].reserved() == 0, "a cpu that goes away has no update queued");
  trim(stocks_[cpu], 0);
}

// Returns what the cpu does not need, but for `keep`: claims first, they cost nothing to get again.
void table_pool::trim(cpu_stock& own, std::uint64_t keep) {
  std::uint64_t surplus = own.slack > keep ? own.slack - keep : 0;
  own.slack -= surplus;
  const lock_guard hold(lock_, *platform_);
  const std::uint64_t claims = surplus < own.claims ? surplus : own.claims;
  own.claims -= claims;
  claimed_ -= claims;
  surplus -= claims;
  while (surplus) {
    std::uint64_t frames[batch_frames];
    std::uint64_t n = 0;
    for (; n < batch_frames && n < surplus; ++n) {
      frames[n] = own.list;
      own.list = next_of(own.list);
    }
    own.listed -= n;
    free_ += n;
    surplus -= n;
    while (n) {  // in the same order as they were listed
      set_next(frames[--n], list_);
      list_ = frames[n];
    }
  }
}

std::uint64_t table_pool::in_use() const {
  std::uint64_t taken = 0;
  std::uint64_t given = 0;
  for (unsigned i = 0; i < cpus_; ++i) {
    given += stocks_[i].given.load(std::memory_order_relaxed);  // relaxed: statistics, see the head comment
    taken += stocks_[i].taken.load(std::memory_order_relaxed);
  }
  return taken - given;
}

}  // namespace quire::runtime
