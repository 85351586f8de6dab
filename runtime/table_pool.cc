// Stocking and emptying the per-cpu lists of table_pool.h.
#include "runtime/table_pool.h"

#include <new>

#include "runtime/invariant.h"

namespace quire::runtime {

namespace {
// Frames moved between a cpu and the centre under one hold of the lock.
constexpr std::uint64_t batch_frames = 32;

void bump(std::atomic<std::uint64_t>& own, std::uint64_t n) {
  // relaxed: only the cpu itself writes its counter, others read it as a statistic.
  own.store(own.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
}
}  // namespace

status table_pool::start(const platform& p, std::size_t bytes, unsigned cpus, const pool_options& options, std::uint64_t cleared_word) {
  void* memory = p.allocate(p.context, sizeof(cpu_stock) * cpus, alignof(cpu_stock));
  if (!memory) return status::no_memory;
  platform_ = &p;
  frame_bytes_ = bytes;
  cleared_word_ = cleared_word;
  cpus_ = cpus;
  options_ = options;
  if (options_.refill_frames == 0) options_.refill_frames = 1;
  stocks_ = static_cast<cpu_stock*>(memory);
  names_in_node_ = bytes / sizeof(std::uint64_t) - 1;
  const frame_list none = {no_frame, names_in_node_};
  lists_[0] = lists_[1] = none;
  for (unsigned i = 0; i < cpus; ++i) {
    auto* const made = new (&stocks_[i]) cpu_stock;
    made->lists[0] = made->lists[1] = none;
  }
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
      push(lists_, {{fresh_ + --fresh_left_ * frame_bytes_}, fresh_cleared()});
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
  trim_if_twice(own);
}

table_pool::frame table_pool::pop_central(content wanted) {
  const bool fresh_fits = fresh_cleared() == (wanted == content::cleared);
  const bool listed = !lists_[0].empty() || !lists_[1].empty();
  if (listed && (fresh_left_ == 0 || !fresh_fits || !lists_[wanted == content::cleared].empty())) return pop(lists_, wanted);
  QUIRE_INVARIANT(fresh_left_ > 0, "a claim on the centre is backed by a free frame");
  const frame f = {{fresh_}, fresh_cleared()};
  fresh_ += frame_bytes_;
  --fresh_left_;
  return f;
}

// Moves claimed frames from the centre into the lists, so that take() seldom needs the lock. They are listed in
// reverse, so that take() hands them out in ascending order.
void table_pool::fetch(cpu_stock& own, content wanted) {
  frame frames[batch_frames];
  std::uint64_t n = 0;
  {
    const lock_guard hold(lock_, *platform_);
    const std::uint64_t most = own.reserved() < batch_frames ? own.reserved() : batch_frames;
    for (; n < most && n < own.claims; ++n) frames[n] = pop_central(wanted);
    free_ -= n;
    claimed_ -= n;
  }
  own.claims -= n;
  own.listed += n;
  while (n) push(own.lists, frames[--n]);
}

table_pool::frame table_pool::take(unsigned cpu, content wanted) {
  cpu_stock& own = stocks_[cpu];
  QUIRE_INVARIANT(own.reserved() > 0, "a commit takes only what was reserved");
  if (own.listed == 0) fetch(own, wanted);
  --own.listed;
  bump(own.taken, 1);
  return pop(own.lists, wanted);
}

void table_pool::prefetch_next(unsigned cpu) const {
  const cpu_stock& own = stocks_[cpu];
  if (own.listed == 0) return;
  const frame_list& l = own.lists[chosen(own.lists, content::any)];
  const std::uint64_t name = l.names > 0 ? load(l.node, l.names) : l.node;
  const char* const first = reinterpret_cast<const char*>(words(name));
  constexpr std::size_t line = 64;
  for (std::size_t i = 0; i < frame_bytes_; i += line) __builtin_prefetch(first + i, 0, 2);
}

void table_pool::put_back(unsigned cpu, const frame& f) {
  cpu_stock& own = stocks_[cpu];
  push(own.lists, f);
  ++own.listed;
  bump(own.given, 1);
}

void table_pool::give(unsigned cpu, const frame& f) {
  put_back(cpu, f);
  ++stocks_[cpu].slack;
  trim_if_twice(stocks_[cpu]);
}

// The list is kept out of memory meanwhile, as each push would wait for the stores of the one before.
void table_pool::push(frame_list& l, std::span<const arch::table_address> tables) const {
  frame_list grown = l;
  for (const arch::table_address& t : tables) push(grown, t.byte);
  l = grown;
}

void table_pool::give(unsigned cpu, std::span<const arch::table_address> tables) {
  cpu_stock& own = stocks_[cpu];
  const std::uint64_t n = tables.size(), cached = options_.cache_frames;
  const std::uint64_t most = own.slack + n <= 2 * cached ? n : own.slack < cached ? cached - own.slack : 0;
  push(own.lists[0], tables.first(most));
  own.listed += most;
  own.slack += most;
  bump(own.given, n);
  if (most == n) return;
  const lock_guard hold(lock_, *platform_);
  push(lists_[0], tables.subspan(most));
  free_ += n - most;
}

std::uint64_t table_pool::clear(unsigned cpu, std::uint64_t most, const table_ops& ops) {
  const auto words_of_frame = static_cast<std::uint32_t>(frame_bytes_ / sizeof(std::uint64_t));
  cpu_stock& own = stocks_[cpu];
  std::uint64_t done = 0;
  for (; done < most && !own.lists[0].empty(); ++done) {
    const std::uint64_t name = pop(own.lists[0]);
    ops.fill(words(name), words_of_frame, cleared_word_, 0);
    push(own.lists[1], name);
  }
  for (std::uint64_t n = batch_frames; n == batch_frames && done < most; done += n) {
    std::uint64_t names[batch_frames];
    n = 0;
    {
      const lock_guard hold(lock_, *platform_);
      for (; n < batch_frames && n < most - done && free_ - claimed_ > n && !lists_[0].empty(); ++n) names[n] = pop(lists_[0]);
      free_ -= n;
    }
    for (std::uint64_t i = 0; i < n; ++i) ops.fill(words(names[i]), words_of_frame, cleared_word_, 0);
    const lock_guard hold(lock_, *platform_);
    for (std::uint64_t i = 0; i < n; ++i) push(lists_[1], names[i]);
    free_ += n;
  }
  return done;
}

void table_pool::trim_if_twice(cpu_stock& own) {
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
    frame frames[batch_frames];
    std::uint64_t n = 0;
    for (; n < batch_frames && n < surplus; ++n) frames[n] = pop(own.lists, content::any);
    own.listed -= n;
    free_ += n;
    surplus -= n;
    while (n) push(lists_, frames[--n]);  // in the same order as they were listed
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
