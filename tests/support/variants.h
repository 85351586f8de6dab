// The vector variants that tests run: all that this CPU has.
#pragma once

#include <vector>

#include "runtime/simd.h"

namespace quire::tests {

/// Scalar first. Under the thread sanitizer scalar alone, see runtime::chosen_simd().
inline std::vector<runtime::simd> variants() {
  std::vector<runtime::simd> all;
  for (unsigned i = 0; i < runtime::simd_variants; ++i) {
    const auto v = static_cast<runtime::simd>(i);
#if defined(__SANITIZE_THREAD__)
    if (v != runtime::simd::scalar) continue;
#endif
    if (runtime::simd_available(v)) all.push_back(v);
  }
  return all;
}

}  // namespace quire::tests
