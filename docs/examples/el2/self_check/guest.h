// Between the files of the self-check: hypercalls, output, what the second vCPU does meanwhile.
#pragma once

#include <atomic>

#include "../console.h"
#include "../hypercall.h"
#include "../registers.h"

namespace self_check {

using el2::hypercall;
using el2::u64;

extern "C" u64 call_hypervisor(u64 number, u64 x1, u64 x2, u64 x3);
extern "C" u64 call_firmware(u64 number, u64 x1, u64 x2, u64 x3);
extern "C" bool try_read(const void* address);
extern "C" void start_second();

inline u64 ask(hypercall number, u64 x1 = 0, u64 x2 = 0, u64 x3 = 0) {
  return call_hypervisor(static_cast<u64>(number), x1, x2, x3);
}
inline u64 faults(u64 address, u64 pages = 1) { return ask(hypercall::faults, address, pages); }

constexpr u64 page_bytes = 4096, block_bytes = 512 * page_bytes;
inline std::atomic_ref<u64> word(u64 address) { return std::atomic_ref(*reinterpret_cast<u64*>(address)); }
inline u64 load(u64 address) {
  return word(address).load(std::memory_order_acquire);
}  // acquire: reads stay in order
inline void store(u64 address, u64 value) {
  word(address).store(value, std::memory_order_release);
}  // release: so do writes

/// True as soon as `condition` is; false if it is not within two seconds.
template <class Condition>
bool within_two_seconds(Condition condition) {
  const u64 end = EL2_READ(cntvct_el0) + 2 * EL2_READ(cntfrq_el0);
  while (!condition())
    if (EL2_READ(cntvct_el0) > end) return condition();
  return true;
}

/// What the second vCPU does until it is told otherwise. It counts laps, so that the first one knows that an
/// access has begun after a change.
class second_cpu {
 public:
  enum class job : u64 {
    idle,
    read,   ///< reads the word at `address`, into seen()
    write,  ///< increments the word at `address`
    sweep,  ///< increments the first word of each page from `address` on, and looks whether it held the last
            ///< value
  };
  void start(job what, u64 address, u64 pages = 1);
  void stop() { start(job::idle, 0); }
  /// Waits until two laps are over: then one of them has begun after the call. False if the vCPU makes no
  /// progress.
  bool next_lap();
  u64 seen() const { return seen_.load(std::memory_order_acquire); }      // acquire: goes with the lap
  u64 errors() const { return errors_.load(std::memory_order_relaxed); }  // relaxed: looked at after a lap

  [[noreturn]] void run();

 private:
  void lap(job what, u64 address, u64 pages);
  std::atomic<u64> job_{0}, address_{0}, pages_{0}, request_{0}, accepted_{0};
  std::atomic<u64> laps_{0}, seen_{0}, errors_{0};
  u64 expected_ = 0;  // sweep: what the last lap has left
};
extern second_cpu second;

/// Notes the result of a check and prints its line.
void note(const char* check, bool passed, const char* detail = "");

// checks.cc
void check_faults();
void check_write_protection();
void check_remap();
void check_unmap();
void check_split_and_collapse();

}  // namespace self_check
