// The vector variant that the environment asks for.
#pragma once

#include <string>

namespace quire::runtime::host {

/// Makes the process use the variant that the environment variable QUIRE_SIMD names: scalar, avx2, avx512 or
/// neon. Without it, or if it is empty, nothing changes. Returns what is wrong with it, naming the values
/// that are allowed, or an empty string. Call it before other threads start.
std::string choose_simd_by_environment();

}  // namespace quire::runtime::host
