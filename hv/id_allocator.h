// Identities of guests in hardware, such as VMID, VPID and ASID: fewer than guests, handed out in
// generations.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

namespace quire::hv {

/// The identity of one space: an id and the generation that it is good in. 0 until the space first runs.
/// Belongs to the allocator; whoever owns the space keeps it and calls release() when the space goes away.
class space_identity {
 private:
  friend class id_allocator;
  std::atomic<std::uint64_t> word_{0};
};

/// Gives ids of `bits` bits to the guests that cpus enter. Id 0 is the host's.
///
/// Each generation hands each id out once. When none is left, the next generation begins: ids that some cpu
/// entered last stay with their spaces, all others are free again, and every cpu is told to drop all
/// translations at its next VM entry, before it may meet an id that has changed hands. A cpu that is inside a
/// guest all the time needs no interrupt: it keeps its id, and uses no other until that entry.
///
/// Why entry needs no lock. A cpu publishes the identity that it runs in `active`, and a new generation takes
/// all of them out by exchange. So the compare-exchange of an entry either comes first, and then the exchange
/// sees what it published and keeps the id with its space; or it finds 0, and the entry takes the lock.
///
///                      enter  release  generation
///   own cpu index        X       X        any
///   other cpu indices   any     any       any      (release: while no cpu is inside the guest)
class id_allocator {
 public:
  static constexpr unsigned max_bits = 16;

  struct entry {
    std::uint32_t id = 0;
    /// Before the guest runs, everything that this cpu has cached is to be dropped, of all ids.
    bool flush_all = false;
  };

  /// True if there are enough ids: each cpu may hold one while another is wanted.
  static constexpr bool enough(unsigned cpus, unsigned bits) {
    return bits >= 1 && bits <= max_bits && cpus < (1u << bits) - 1;
  }
  /// `enough(cpus, bits)`.
  id_allocator(unsigned cpus, unsigned bits);

  /// VM entry of `cpu` into the guest of a space: the id to run it under, until the cpu's next call.
  /// Cost: one load and one compare if the cpu ran the same guest before, one compare-exchange on a line of
  /// its own if it ran another one; else a lock. A generation that ends costs O(ids) under the lock.
  entry enter(unsigned cpu, space_identity& who) {
    // relaxed: a word that equals what this cpu published is kept for the space, whenever it was stored.
    const std::uint64_t wanted = who.word_.load(std::memory_order_relaxed);
    std::atomic<std::uint64_t>& active = cpus_[cpu].active;
    // relaxed: only a new generation stores there, 0.
    std::uint64_t running = active.load(std::memory_order_relaxed);
    if (running == wanted && wanted != 0) return {id_of(wanted), false};
    // acquire: pairs with begin_generation(); the value itself may be old, as the exchange decides.
    if (running != 0 && generation_of(wanted) == generation_.load(std::memory_order_acquire) &&
        // acq_rel: see above; 0 there means that this cpu has to flush.
        active.compare_exchange_strong(running, wanted, std::memory_order_acq_rel,
                                       std::memory_order_relaxed)) {
      return {id_of(wanted), false};
    }
    return enter_slowly(cpu, who);
  }

  /// The space goes away; its id is free from the next generation on.
  void release(space_identity& who) {
    who.word_.store(0, std::memory_order_relaxed);  // relaxed: nobody enters it
  }

  /// Counts from 1.
  std::uint64_t generation() const {
    return generation_.load(std::memory_order_relaxed);  // relaxed: a statistic
  }

 private:
  struct alignas(64) cpu_state {
    /// Identity that the cpu entered last; 0 after a new generation began.
    std::atomic<std::uint64_t> active{0};
    /// Identity that a new generation found active here, if the cpu has not entered since. Under lock_.
    std::uint64_t kept = 0;
    bool flush = false;  // at the next entry; under lock_
  };

  std::uint32_t id_of(std::uint64_t word) const { return static_cast<std::uint32_t>(word & (ids_ - 1)); }
  std::uint64_t generation_of(std::uint64_t word) const { return word >> bits_; }
  entry enter_slowly(unsigned cpu, space_identity& who);
  std::uint64_t renew(std::uint64_t old);
  bool keep(std::uint64_t old, std::uint64_t renewed);
  std::uint32_t take_free();
  void begin_generation();

  const unsigned bits_;
  const std::uint64_t ids_;  // a power of two, id 0 included
  const unsigned cpu_count_;
  std::unique_ptr<cpu_state[]> cpus_;
  std::atomic<std::uint64_t> generation_{1};
  std::mutex lock_;
  std::vector<bool> used_;  // in this generation; under lock_
  std::uint32_t next_ = 1;  // where to look for a free one; under lock_
};

}  // namespace quire::hv
