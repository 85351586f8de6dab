// Text through the PL011 that the guest uses too: the hypervisor seldom speaks.
#pragma once

#include "layout.h"

namespace el2 {

/// A number to be printed in base 16.
struct hex {
  u64 value;
};

void print_one(const char* text);
void print_one(u64 value);
void print_one(hex h);

template <class... Parts>
void print(const Parts&... parts) {
  (print_one(parts), ...);
}

/// Turns the machine off.
[[noreturn]] void stop();
/// The hypervisor cannot go on.
template <class... Parts>
[[noreturn]] void fatal(const Parts&... parts) {
  print("el2: fatal: ", parts..., "\n");
  stop();
}

}  // namespace el2
