// Access to one entry in table memory, in the byte order of its format.
#pragma once

#include <atomic>

#include "arch/format.h"

namespace quire::arch {

/// The place an entry sits in. Hardware and other CPUs may read it, and set A and D in it, at any time.
template <entry_format F>
class slot {
 public:
  using word = typename F::word;
  constexpr slot() = default;
  constexpr explicit slot(word* at) : at_(at) {}
  constexpr slot operator[](std::uint32_t i) const { return slot(at_ + i); }
  constexpr explicit operator bool() const { return at_ != nullptr; }
  constexpr word* address() const { return at_; }

  word load() const {
    // acquire: pairs with store(); a table is filled before it is linked.
    return swapped(ref().load(std::memory_order_acquire));
  }
  void store(word e) const {
    ref().store(swapped(e), std::memory_order_release);  // release: publishes the table that `e` may link
  }
  word exchange(word e) const {
    // acq_rel: as load() and store(); what hardware sets in between is in the result, not lost.
    return swapped(ref().exchange(swapped(e), std::memory_order_acq_rel));
  }
  /// Puts `to` in place if the entry still equals `from`; otherwise reads it into `from`.
  bool replace(word& from, word to) const {
    word expected = swapped(from);
    // acq_rel, acquire: as exchange() and load().
    const bool done = ref().compare_exchange_strong(expected, swapped(to), std::memory_order_acq_rel,
                                                    std::memory_order_acquire);
    from = swapped(expected);
    return done;
  }

 private:
  static constexpr word swapped(word e) { return F::byte_order == std::endian::native ? e : __builtin_bswap64(e); }
  std::atomic_ref<word> ref() const { return std::atomic_ref<word>(*at_); }

  word* at_ = nullptr;
};

}  // namespace quire::arch
