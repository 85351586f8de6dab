// Reference and change bits of host frames, for formats whose entries do not hold A and D.
#pragma once

#include <atomic>
#include <vector>

#include "arch/address.h"

namespace quire::hv {

/// The storage keys of the frames behind one memory slot, as far as hardware sets them. [pop] "Storage Key",
/// "Reference Recording", "Change Recording".
///
///            touch  take
///   any cpu   any   any
class storage_keys {
 public:
  enum bits : std::uint8_t { reference = 1, change = 2 };

  storage_keys(arch::hfn first, std::uint64_t frames) : first_(first), keys_(frames) {}

  /// An access of a CPU to the frame. Cost: one load, once the bits are set.
  void touch(arch::hfn frame, bool write) {
    const auto wanted = static_cast<std::uint8_t>(reference | (write ? change : 0));
    std::atomic<std::uint8_t>& key = keys_[frame - first_];
    if ((key.load(std::memory_order_relaxed) & wanted) == wanted) return;  // relaxed: a statistic that orders nothing
    key.fetch_or(wanted, std::memory_order_relaxed);                      // relaxed: likewise
  }
  /// Clears `which` and returns those that were set.
  std::uint8_t take(arch::hfn frame, std::uint8_t which) {
    const auto kept = static_cast<std::uint8_t>(~which);
    return keys_[frame - first_].fetch_and(kept, std::memory_order_relaxed) & which;  // relaxed: as in touch()
  }

 private:
  arch::hfn first_;
  std::vector<std::atomic<std::uint8_t>> keys_;
};

}  // namespace quire::hv
