// Memory slots of a guest: which host frames are behind its pages. A list that cpus read while one of them
// changes it.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <vector>

#include "hv/storage_keys.h"

namespace quire::hv {

using arch::gfn;
using arch::gfn_range;
using arch::hfn;

/// Guest pages backed by host frames, one after the other.
struct memory_slot {
  gfn_range pages;
  hfn backing;
};

/// A slot in a list.
struct placed_slot : memory_slot {
  unsigned guard = 0;     ///< its runtime::guard::index
  bool changing = false;  ///< what was resolved through it is being cancelled: nobody may resolve anything
  std::shared_ptr<storage_keys> keys;  ///< of its frames; null if the format records nothing there
};

/// A list of disjoint slots that never changes.
class slot_list {
 public:
  /// Null if no slot has the page.
  const placed_slot* of(gfn g) const {
    for (const placed_slot& s : slots_) {
      if (s.pages.contains(g)) return &s;
    }
    return nullptr;
  }
  /// Null if no slot is backed by the frame. Of several, the first.
  const placed_slot* backed_by(hfn frame) const {
    for (const placed_slot& s : slots_) {
      if (frame.value - s.backing.value < s.pages.pages) return &s;  // below the first frame this wraps
    }
    return nullptr;
  }
  bool overlaps(gfn_range r) const;
  auto begin() const { return slots_.begin(); }
  auto end() const { return slots_.end(); }
  std::size_t size() const { return slots_.size(); }

 private:
  friend class slot_set;
  std::vector<placed_slot> slots_;
};

/// The list that is valid now. Each cpu keeps the one it has seen last and asks for a newer one by comparing
/// a number, so reading costs one load while nothing changes, and an old list lives until the last cpu has
/// moved on: at most one for each cpu.
///
///                add, replace, remove  see    version
///   one reader           any            X       any
///   other readers        any           any      any
/// Changes are serialized by the caller.
class slot_set {
 public:
  /// What one cpu has seen.
  class reader {
    friend class slot_set;
    std::shared_ptr<const slot_list> list_ = std::make_shared<slot_list>();
    std::uint64_t version_ = 0;
  };

  /// The valid list. It lives until the reader's next call.
  const slot_list& see(reader& r) const {
    if (r.version_ != version()) refresh(r);
    return *r.list_;
  }
  /// The list that see() gave last, whatever has changed since.
  const slot_list& seen(const reader& r) const { return *r.list_; }
  /// As see(), for longer: the list lives while it is held.
  std::shared_ptr<const slot_list> hold(reader& r) const {
    see(r);
    return r.list_;
  }
  /// Of the list that see() gave last.
  std::uint64_t version_seen(const reader& r) const { return r.version_; }
  /// Goes up with every change.
  std::uint64_t version() const {
    return version_.load(std::memory_order_acquire);
  }  // acquire: pairs with publish()

  /// Adds a slot that overlaps no other, and gives it a guard.
  void add(const memory_slot& s, std::shared_ptr<storage_keys> keys);
  /// Puts `s` in the place of the slot that begins at the same page, which is there.
  void replace(const placed_slot& s);
  /// Takes out the slot that begins at `first`, which is there.
  void remove(gfn first);
  /// The list that changes start from: for who serializes them.
  const slot_list& latest() const { return *list_; }

 private:
  void refresh(reader& r) const;
  void publish(slot_list next);

  mutable std::mutex lock_;  // over list_ and version_ together
  std::shared_ptr<const slot_list> list_ = std::make_shared<slot_list>();
  std::atomic<std::uint64_t> version_{0};
  unsigned added_ = 0;
};

}  // namespace quire::hv
