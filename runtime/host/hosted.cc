// Memory and threads by POSIX and the C++ library, see host/hosted.h.
#include "runtime/host/hosted.h"

#include <sched.h>

#include <new>

namespace quire::runtime::host {

namespace {

// The runtime's records need no more; release() must name the same alignment.
constexpr std::size_t record_align = 64;

void* allocate(void* /*context*/, std::size_t bytes, std::size_t align) {
  if (align > record_align) return nullptr;
  return ::operator new(bytes, std::align_val_t{record_align}, std::nothrow);
}

void release(void* /*context*/, void* memory, std::size_t /*bytes*/) {
  ::operator delete(memory, std::align_val_t{record_align});
}

void yield(void* /*context*/) { sched_yield(); }

// The processors of the process: asked once, since a thread that is bound would see only its own.
const cpu_set_t& allowed() {
  static const cpu_set_t all = [] {
    cpu_set_t set;
    CPU_ZERO(&set);
    sched_getaffinity(0, sizeof set, &set);
    return set;
  }();
  return all;
}

}  // namespace

platform hosted_platform() {
  platform p;
  p.allocate = allocate;
  p.release = release;
  p.relax = yield;
  return p;
}

unsigned processors() {
  const int n = CPU_COUNT(&allowed());
  return n > 0 ? static_cast<unsigned>(n) : 1;
}

bool pin_thread(unsigned n) {
  unsigned left = n % processors();
  for (std::size_t i = 0; i < CPU_SETSIZE; ++i) {
    if (!CPU_ISSET(i, &allowed()) || left-- > 0) continue;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(i, &one);
    return sched_setaffinity(0, sizeof one, &one) == 0;
  }
  return false;
}

}  // namespace quire::runtime::host
