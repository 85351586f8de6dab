// The slow path of id_allocator.h: ids that are free, kept or used up.
#include "hv/id_allocator.h"

#include <utility>

#include "runtime/invariant.h"

namespace quire::hv {

id_allocator::id_allocator(unsigned cpus, unsigned bits)
    : bits_(bits),
      ids_(std::uint64_t{1} << bits),
      cpu_count_(cpus),
      cpus_(std::make_unique<cpu_state[]>(cpus)),
      used_(ids_) {
  QUIRE_INVARIANT(enough(cpus, bits), "each cpu may hold an id while another is wanted");
  used_[0] = true;
}

id_allocator::entry id_allocator::enter_slowly(unsigned cpu, space_identity& who) {
  const std::lock_guard hold(lock_);
  // relaxed: both change under the lock.
  const std::uint64_t generation = generation_.load(std::memory_order_relaxed);
  std::uint64_t word = who.word_.load(std::memory_order_relaxed);  // relaxed: see above
  if (word == 0 || generation_of(word) != generation) {
    word = renew(word);
    who.word_.store(word, std::memory_order_relaxed);  // relaxed: one word, and `active` is what others trust
  }
  cpu_state& c = cpus_[cpu];
  c.kept = 0;  // the guest that it was found in has exited
  // relaxed: whoever begins a generation holds the lock.
  c.active.store(word, std::memory_order_relaxed);
  return {id_of(word), std::exchange(c.flush, false)};
}

// The identity, in this generation or the next one, of a space that had `old`; 0 if it had none.
std::uint64_t id_allocator::renew(std::uint64_t old) {
  // relaxed: it changes under the lock.
  const auto now = [this] { return generation_.load(std::memory_order_relaxed) << bits_; };
  const std::uint32_t same = id_of(old);
  if (old != 0) {
    if (keep(old, now() | same)) return now() | same;
    if (!used_[same]) {  // its own id again: what a cpu may have cached under it is dropped like any other's
      used_[same] = true;
      return now() | same;
    }
  }
  std::uint32_t id = take_free();
  if (id == 0) {
    begin_generation();
    if (old != 0 && keep(old, now() | same)) return now() | same;
    id = take_free();
  }
  return now() | id;
}

// True if some cpu runs the space that had `old`; then all of them hold the renewed identity from now on.
bool id_allocator::keep(std::uint64_t old, std::uint64_t renewed) {
  bool found = false;
  for (unsigned i = 0; i < cpu_count_; ++i) {
    if (cpus_[i].kept != old) continue;
    cpus_[i].kept = renewed;
    found = true;
  }
  return found;
}

// 0 if none is left.
std::uint32_t id_allocator::take_free() {
  while (next_ < ids_ && used_[next_]) ++next_;
  if (next_ == ids_) return 0;
  used_[next_] = true;
  return next_++;
}

void id_allocator::begin_generation() {
  // release: an entry that sees the number may go on, and then its exchange decides; see the head comment.
  generation_.fetch_add(1, std::memory_order_release);
  used_.assign(ids_, false);
  used_[0] = true;
  next_ = 1;
  for (unsigned i = 0; i < cpu_count_; ++i) {
    cpu_state& c = cpus_[i];
    // acq_rel: against the compare-exchange in enter().
    const std::uint64_t running = c.active.exchange(0, std::memory_order_acq_rel);
    if (running != 0) c.kept = running;  // else the cpu is where the generation before found it
    if (c.kept != 0) used_[id_of(c.kept)] = true;
    c.flush = true;
  }
}

}  // namespace quire::hv
