// A platform on top of an operating system: memory, yielding, pinning of threads.
#pragma once

#include "runtime/platform.h"

namespace quire::runtime::host {

/// Fills in what any hosted platform shares: `allocate` and `release` from the C++ heap, `relax` that yields.
/// Table memory and the flush sink are left to the caller.
platform hosted_platform();

/// Number of processors that this process may run on, as the thread saw it that first asked for them or was pinned.
unsigned processors();
/// Binds the calling thread to the n-th of them, counted round. False if the system refuses.
bool pin_thread(unsigned n);

}  // namespace quire::runtime::host
