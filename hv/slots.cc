// Making and publishing lists of slots.h.
#include "hv/slots.h"

#include <algorithm>

#include "runtime/update.h"

namespace quire::hv {

bool slot_list::overlaps(gfn_range r) const {
  return std::any_of(slots_.begin(), slots_.end(), [r](const placed_slot& s) {
    return s.pages.first < r.end() && r.first < s.pages.end();
  });
}

void slot_set::add(const memory_slot& s, std::shared_ptr<storage_keys> keys) {
  slot_list next = latest();
  // Slots beyond the number of guards share them: a change of one makes faults of the other come again.
  const unsigned guard = 1 + added_++ % (runtime::guard::count - 1);
  next.slots_.push_back({s, guard, false, std::move(keys)});
  publish(std::move(next));
}

void slot_set::replace(const placed_slot& s) {
  slot_list next = latest();
  for (placed_slot& old : next.slots_) {
    if (old.pages.first == s.pages.first) old = s;
  }
  publish(std::move(next));
}

void slot_set::remove(gfn first) {
  slot_list next = latest();
  std::erase_if(next.slots_, [first](const placed_slot& s) { return s.pages.first == first; });
  publish(std::move(next));
}

void slot_set::publish(slot_list next) {
  auto list = std::make_shared<const slot_list>(std::move(next));
  const std::lock_guard hold(lock_);
  list_.swap(list);  // the old one goes when the lock is free again, if no cpu holds it
  // release: whoever sees the number finds this list, or a later one.
  version_.store(version() + 1, std::memory_order_release);
}

void slot_set::refresh(reader& r) const {
  std::shared_ptr<const slot_list> old = std::move(r.list_);
  const std::lock_guard hold(lock_);
  r.list_ = list_;
  r.version_ = version();
}

}  // namespace quire::hv
