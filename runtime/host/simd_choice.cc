// The vector variant that the environment asks for, see simd_choice.h.
#include "runtime/host/simd_choice.h"

#include <cstdlib>

#include "runtime/simd.h"

namespace quire::runtime::host {

std::string choose_simd_by_environment() {
  const char* text = std::getenv("QUIRE_SIMD");  // NOLINT(concurrency-mt-unsafe): before other threads start
  if (!text || !*text) return {};
  simd wanted = simd::scalar;
  const bool known = simd_named(text, wanted);
  if (known && choose_simd(wanted)) return {};
  std::string allowed;
  for (unsigned i = 0; i < simd_variants; ++i) {
    const auto v = static_cast<simd>(i);
    if (simd_available(v)) allowed += (allowed.empty() ? "" : ", ") + std::string(simd_text(v));
  }
  const char* problem = known ? "this CPU cannot run it" : "there is no such variant";
  return "QUIRE_SIMD='" + std::string(text) + "': " + problem + "; here it is one of: " + allowed;
}

}  // namespace quire::runtime::host
