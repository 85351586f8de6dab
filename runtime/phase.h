// Commit phases: when a cpu may be inside tables, and which tables it alone may change.
#pragma once

#include <atomic>

#include "arch/format.h"
#include "runtime/invariant.h"
#include "runtime/spin_lock.h"

namespace quire::runtime {

/// Orders all earlier stores before all later loads, which no acquire or release does.
inline void full_fence() {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpragmas"
#pragma GCC diagnostic ignored "-Wunknown-warning-option"  // Clang has no such warning as the next
#pragma GCC diagnostic ignored \
    "-Wtsan"  // the thread sanitizer sees no fences; what they guard here is atomic anyway
  std::atomic_thread_fence(std::memory_order_seq_cst);
#pragma GCC diagnostic pop
}

/// Odd while its cpu is in a commit phase: between the fence of raise() and lower() it may walk tables that
/// others take out, and change tables that are biased to it without telling anybody.
///
///                  raise, lower  wait_until_moved  raised
///   own cpu             X          outside only     any
///   other cpus          -              any          any
class phase_word {
 public:
  void raise() {
    const std::uint64_t now = word_.load(std::memory_order_relaxed);  // relaxed: only the own cpu writes it
    // release: whoever waits for the phase before may read this one, and sees what that one wrote all the
    // same.
    word_.store(now + 1, std::memory_order_release);
    // Store, fence, load on both sides: whoever takes a bias or a table away sees this phase, or this phase
    // sees that it has been taken away. Without the fence both could miss each other.
    full_fence();
  }
  void lower() {
    const std::uint64_t now = word_.load(std::memory_order_relaxed);  // relaxed: as above
    word_.store(now + 1,
                std::memory_order_release);  // release: what the phase wrote is seen by who waited for it
  }
  /// True if the phase that the caller's full_fence() may have missed is in progress. Any cpu.
  bool raised() const { return word_.load(std::memory_order_acquire) & 1; }  // acquire: see lower()
  /// Returns once a phase that is in progress now is over. The caller has passed a full_fence() after what it
  /// took away.
  void wait_until_moved(const platform& p) const {
    const std::uint64_t seen = word_.load(std::memory_order_acquire);  // acquire: see lower()
    if (!(seen & 1)) return;
    while (word_.load(std::memory_order_acquire) == seen) relax(p);  // acquire: see lower()
  }

 private:
  std::atomic<std::uint64_t> word_{0};
};

/// Who may change a table. Tables are found by their address in a fixed number of words, so that two may
/// share one: then they are held together, which costs speed alone.
///
/// A word is biased to the first cpu that changes a table: that one needs a plain load from then on. Another
/// cpu that meets it takes the bias away, waits for the phase that may still rely on it, and from then on the
/// table is locked once per phase. A cpu waits only while it is in no phase and so holds nothing.
///
/// A word is biased at most once: so a mark of `revoking` that a slow waiter has seen is still the same one.
///
///                    acquire  release  take_idle_bias  wait_for
///   in a phase          X        X          any           -
///   outside of any      -        -          any          any
class owner_words {
 public:
  using word = std::atomic<std::uint32_t>;
  static constexpr std::uint32_t count = 1u << 15;  // 128 KiB; tables beyond as many share words

  /// Tells of tables whether acquire() would answer `held` at once: held from earlier in the phase, or never another cpu's.
  /// Then a table may be reached by any link that was read in this phase, since nobody else can have taken it out
  /// meanwhile. Cost: one load.
  struct held_by {
    held_by(const owner_words& o, unsigned cpu) : words(o.words_), biased(make(state::biased, cpu)), locked(make(state::locked, cpu)) {}
    [[gnu::always_inline]] bool operator()(arch::table_address t, unsigned frame_shift) const {
      // acquire: as in acquire()
      const std::uint32_t seen = words[(t.byte >> frame_shift) & (count - 1)].load(std::memory_order_acquire);
      return seen == biased || seen == locked;
    }

    const word* words;             ///< `count` of them: that of a table is found by its address, in frames
    std::uint32_t biased, locked;  ///< what they are then
  };

  void start(word* words) { words_ = words; }
  word* all() const { return words_; }

  /// @param frame_bytes  of the table's pool: neighbours get words of their own
  word& of(arch::table_address t, std::size_t frame_bytes) const {
    const unsigned shift = static_cast<unsigned>(__builtin_ctzll(frame_bytes));
    return words_[(t.byte >> shift) & (count - 1)];
  }

  enum class result : std::uint8_t { held, locked, contended };
  /// `held`: until the phase ends. `locked`: likewise, and to be given to release() then.
  /// Cost: one load where the bias is the cpu's own.
  static result acquire(word& w, unsigned cpu) {
    std::uint32_t seen = w.load(std::memory_order_acquire);  // acquire: what the last holder wrote
    if (seen == make(state::biased, cpu) || seen == make(state::locked, cpu)) return result::held;
    const bool fresh = state_of(seen) == state::fresh;
    if (!fresh && state_of(seen) != state::shared) return result::contended;
    const std::uint32_t mine = make(fresh ? state::biased : state::locked, cpu);
    // acq_rel, relaxed: as the load above; a loser waits, and looks again.
    if (!w.compare_exchange_strong(seen, mine, std::memory_order_acq_rel, std::memory_order_relaxed))
      return result::contended;
    return fresh ? result::held : result::locked;
  }
  /// Takes the bias of another cpu away if that cpu is in no phase, so that nobody has to be waited for. In a
  /// phase or not.
  template <class Cpus>
  static void take_idle_bias(word& w, const Cpus& cpus) {
    std::uint32_t seen = w.load(std::memory_order_relaxed);  // relaxed: decides whether to try
    if (state_of(seen) != state::biased && state_of(seen) != state::revoking) return;
    const unsigned owner = seen >> state_bits;
    // acq_rel, relaxed: a loser lets the winner go on.
    if (state_of(seen) == state::biased &&
        !w.compare_exchange_strong(seen, make(state::revoking, owner), std::memory_order_acq_rel,
                                   std::memory_order_relaxed))
      return;
    full_fence();  // as in wait_for()
    if (cpus[owner].phase.raised()) return;
    std::uint32_t mark = make(state::revoking, owner);
    // acq_rel, relaxed: another one may have been faster.
    w.compare_exchange_strong(mark, make(state::shared, 0), std::memory_order_acq_rel,
                              std::memory_order_relaxed);
  }
  static void release(word& w) {
    w.store(make(state::shared, 0), std::memory_order_release);  // release: what the phase wrote
  }

  /// Returns when the word may be free. Takes a bias of another cpu away.
  template <class Cpus>
  static void wait_for(word& w, unsigned cpu, const Cpus& cpus, const platform& p) {
    for (;;) {
      std::uint32_t seen = w.load(std::memory_order_acquire);  // acquire: see acquire()
      const unsigned owner = seen >> state_bits;
      switch (state_of(seen)) {
        case state::fresh:
        case state::shared:
          return;
        case state::locked:
          relax(p);
          break;
        case state::biased:
          if (owner == cpu) return;
          // acq_rel, relaxed: a loser looks again.
          w.compare_exchange_strong(seen, make(state::revoking, owner), std::memory_order_acq_rel,
                                    std::memory_order_relaxed);
          break;
        case state::revoking:
          full_fence();  // the mark is out before the owner's phase is looked at, see phase_word::raise()
          if (owner != cpu) cpus[owner].phase.wait_until_moved(p);
          // acq_rel, relaxed: another waiter may have been faster.
          w.compare_exchange_strong(seen, make(state::shared, 0), std::memory_order_acq_rel,
                                    std::memory_order_relaxed);
          break;
      }
    }
  }

 private:
  enum class state : std::uint32_t { fresh, biased, revoking, shared, locked };
  static constexpr unsigned state_bits = 3;
  static constexpr std::uint32_t make(state s, unsigned cpu) {
    return cpu << state_bits | static_cast<std::uint32_t>(s);
  }
  static constexpr state state_of(std::uint32_t w) {
    return static_cast<state>(w & ((1u << state_bits) - 1));
  }

  word* words_ = nullptr;
};

/// Words that a phase has locked. One cpu uses it, inside one phase.
class locked_words {
 public:
  static constexpr std::size_t capacity = 1024;

  std::size_t left() const { return capacity - size_; }
  void add(owner_words::word& w) { words_[size_++] = &w; }
  void release_all() {
    while (size_) owner_words::release(*words_[--size_]);
  }

 private:
  std::size_t size_ = 0;
  owner_words::word* words_[capacity];
};

}  // namespace quire::runtime
