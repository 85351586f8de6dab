// What stands behind the handles of the C ABI: places for machines and for their spaces, found and checked by
// value.
#pragma once

#include "quire/quire.h"
#include "runtime/machine.h"

namespace quire::abi {

/// The value of a quire_machine* or quire_space*: a kind, the index of a place, and a number that no other
/// handle ever has. Never null. Bit 0 is clear, unlike in a quire_lazy_state*.
class handle {
 public:
  enum class kind : std::uint8_t { machine = 2, space = 4 };
  static constexpr unsigned index_bits = 8;

  static constexpr std::uint64_t make(kind k, unsigned index, std::uint64_t number) {
    return static_cast<std::uint64_t>(k) | in_index::make(index) | in_number::make(number);
  }
  /// Below 2^index_bits, whatever `value` is.
  static constexpr unsigned index(std::uint64_t value) { return static_cast<unsigned>(in_index::get(value)); }
  /// Spread over all bits, so that a guess or a damaged handle hardly hits another one.
  static std::uint64_t next_number() {
    static constinit std::atomic<std::uint64_t> used{0};
    return (used.fetch_add(1, std::memory_order_relaxed) + 1) *
           0x9e3779b97f4a7c15u;  // relaxed: it only has to differ
  }

 private:
  static constexpr unsigned index_shift = 6;  // log2 of the size of a place: an index in place is an offset
  using in_index = arch::field<index_shift + index_bits - 1, index_shift>;
  using in_number = arch::field<63, index_shift + index_bits>;
};

/// What the place `index` holds instead of a handle. As a handle it would belong to another place, so that
/// nothing that is taken for a handle ever equals it, null neither.
constexpr std::uint64_t vacant(std::size_t index) { return handle::make({}, index == 0, 0); }
constexpr std::uint64_t in_transition(std::size_t index) { return vacant(index) | 1; }

/// A space and what its callbacks need. All but `handle` is constant while it is neither vacant nor in
/// transition.
struct alignas(64) embedded_space {
  std::atomic<std::uint64_t> handle{vacant(1)};  // the place 0 is told apart
  std::atomic<runtime::space*> at{nullptr};
  quire_space* name = nullptr;  ///< what `handle` is or, while the space is being destroyed, was
  quire_format format{};
  void* context = nullptr;
  void (*report)(void* context, unsigned cpu, const quire_report* r) = nullptr;
};

/// One per cpu index that may be registered.
struct embedded_cpu {
  std::atomic<bool> registered{false};
  embedded_space* leaving = nullptr;  ///< that the cpu destroys now; the cpu alone uses this
};

struct embedded_machine {
  quire_platform host{};
  unsigned cpu_limit = 0;
  embedded_cpu* cpus = nullptr;  ///< by index, cpu_limit of them
  runtime::machine machine;
  embedded_space spaces[runtime::machine::max_spaces] = {{vacant(0)}};
  /// The space with a space::id, while it is in no transition: a flush names it so.
  std::atomic<embedded_space*> by_id[runtime::machine::max_spaces] = {};

  bool registered(unsigned cpu) const {
    return cpu < cpu_limit &&
           cpus[cpu].registered.load(std::memory_order_relaxed);  // relaxed: the cpu's own thread set it
  }
};

struct alignas(64) machine_place {
  std::atomic<std::uint64_t> handle{vacant(1)};
  std::atomic<embedded_machine*> at{nullptr};
};
inline constexpr unsigned max_machines = 64;
[[gnu::visibility("hidden")]] extern constinit machine_place machines[max_machines];

static_assert(max_machines <= 1u << handle::index_bits &&
              runtime::machine::max_spaces == 1u << handle::index_bits);
static_assert(sizeof(void*) == sizeof(std::uint64_t));

/// What is kept at a place whose handle is `value`, or null. Callers test for null once: it is known here
/// that what a handle leads to is not.
template <class T, class Place>
T* kept(const Place& place, std::uint64_t value) {
  if (place.handle.load(std::memory_order_acquire) != value) return nullptr;  // acquire: pairs with publish()
  T* at = place.at.load(std::memory_order_relaxed);  // relaxed: constant while the handle is there
  if (!at) __builtin_unreachable();
  return at;
}

/// The machine that `m` names, or null. Cost: two loads of one cache line.
inline embedded_machine* find(const quire_machine* m) {
  const auto value = reinterpret_cast<std::uintptr_t>(m);
  return kept<embedded_machine>(machines[handle::index(value) % max_machines], value);
}

/// The place of the space that `s` names, or null.
inline embedded_space* find(embedded_machine& m, const quire_space* s) {
  const auto value = reinterpret_cast<std::uintptr_t>(s);
  embedded_space& place = m.spaces[handle::index(value)];
  return kept<runtime::space>(place, value) ? &place : nullptr;
}

/// The space that `s` names, or null.
inline runtime::space* find_space(embedded_machine& m, const quire_space* s) {
  const auto value = reinterpret_cast<std::uintptr_t>(s);
  return kept<runtime::space>(m.spaces[handle::index(value)], value);
}

/// Takes the first vacant place of `places`; null if there is none.
template <class Place, std::size_t n>
Place* claim_place(Place (&places)[n]) {
  for (std::size_t i = 0; i < n; ++i) {
    std::uint64_t expected = vacant(i);
    // acquire: what the last user did with the place is over. relaxed: then it is not used.
    if (places[i].handle.compare_exchange_strong(expected, in_transition(i), std::memory_order_acquire,
                                                 std::memory_order_relaxed)) {
      return &places[i];
    }
  }
  return nullptr;
}

/// Takes the place that holds `value` away from everybody; false if somebody else was first.
template <class Place>
bool retract(Place& place, std::uint64_t value) {
  // acquire: no call on it is in progress. relaxed: then it is not used.
  return place.handle.compare_exchange_strong(value, in_transition(handle::index(value)),
                                              std::memory_order_acquire, std::memory_order_relaxed);
}

/// Ends a transition: from now on the place is found by `value`, or vacant.
template <class Place>
void publish(Place& place, std::uint64_t value) {
  place.handle.store(value,
                     std::memory_order_release);  // release: pairs with kept(), claim_place() and retract()
}

/// The platform that the runtime calls; its context is `m`, whose `host` it passes the calls on to.
runtime::platform platform_of(embedded_machine& m);
/// The observer that passes reports on to the callback of `s`.
runtime::observer observer_of(embedded_space& s);

}  // namespace quire::abi
