// A lock for a few hundred nanoseconds of work, without an operating system.
#pragma once

#include <atomic>

#include "runtime/platform.h"

namespace quire::runtime {

/// Tells the CPU, and the platform if it wants to know, that this is a spin loop.
inline void relax(const platform& p) {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
  if (p.relax) p.relax(p.context);
}

/// Not fair, not recursive. Any cpu may call anything at any time; unlock() only by who locked.
class spin_lock {
 public:
  void lock(const platform& p) {
    while (held_.exchange(true, std::memory_order_acquire)) {   // acquire: sees what the last holder wrote
      while (held_.load(std::memory_order_relaxed)) relax(p);  // relaxed: only decides whether to try again
    }
  }
  void unlock() { held_.store(false, std::memory_order_release); }  // release: pairs with lock()

 private:
  std::atomic<bool> held_{false};
};

/// Holds a spin_lock for a scope.
class lock_guard {
 public:
  lock_guard(spin_lock& l, const platform& p) : lock_(l) { lock_.lock(p); }
  ~lock_guard() { lock_.unlock(); }
  lock_guard(const lock_guard&) = delete;
  lock_guard& operator=(const lock_guard&) = delete;

 private:
  spin_lock& lock_;
};

}  // namespace quire::runtime
