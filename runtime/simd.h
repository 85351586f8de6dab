// Vector variants of the runtime's hot loops: which this CPU can run, and which one is in use.
#pragma once

#include <atomic>
#include <cstdint>
#include <string_view>

namespace quire::runtime {

/// Each loop has a scalar function, the specification, and variants of the same signature. meson.build says
/// which instructions the sources of a variant are compiled for.
enum class simd : std::uint8_t {
  scalar,
  avx2,    ///< x86-64-v3
  avx512,  ///< x86-64-v4: F, BW, CD, DQ and VL
  neon     ///< any arm64
};
inline constexpr unsigned simd_variants = 4;

/// What the sources of variants are compiled for; both false: there is scalar only.
#if defined(__x86_64__)
inline constexpr bool simd_for_x86 = true, simd_for_arm64 = false;
#elif defined(__aarch64__)
inline constexpr bool simd_for_x86 = false, simd_for_arm64 = true;
#else
inline constexpr bool simd_for_x86 = false, simd_for_arm64 = false;
#endif

constexpr const char* simd_text(simd v) {
  switch (v) {
    case simd::scalar:
      return "scalar";
    case simd::avx2:
      return "avx2";
    case simd::avx512:
      return "avx512";
    case simd::neon:
      return "neon";
  }
  return "unknown variant";
}

/// The inverse of simd_text(). False, and `v` as it was, if no variant has this name.
constexpr bool simd_named(std::string_view name, simd& v) {
  for (unsigned i = 0; i < simd_variants; ++i) {
    if (name == simd_text(static_cast<simd>(i))) {
      v = static_cast<simd>(i);
      return true;
    }
  }
  return false;
}

/// True if this build has the variant, and the CPU and its operating system (XCR0) can run it.
/// Context: any CPU; all of the machine are taken to be alike. Cost: some CPUID instructions, which trap in a
/// guest.
bool simd_available(simd v);
/// The widest variant that is available. Context and cost: as simd_available().
simd best_simd();

namespace detail {
// A variant + 1; 0 until the first question.
extern constinit std::atomic<std::uint8_t> simd_in_use;
simd choose_default_simd();
}  // namespace detail

/// The variant that the whole process uses: what choose_simd() said last, by default the best. In the library for bare
/// metal it is scalar by default, since a hypervisor may keep a guest's values in the vector registers; under the thread
/// sanitizer too, since the language takes vector accesses to entries for data races. Context: any.
/// Cost: a load, after the first call.
inline simd chosen_simd() {
  // relaxed: whatever is read, every variant gives the same results.
  const std::uint8_t v = detail::simd_in_use.load(std::memory_order_relaxed);
  return v ? static_cast<simd>(v - 1) : detail::choose_default_simd();
}

/// Makes the whole process use `v`. False, and nothing has changed, if it is not available. Whoever is called with a
/// guest's values in the vector registers saves them, or leaves it at scalar. Context: any CPU, at any time; calls in progress go on with the variant that they began with.
bool choose_simd(simd v);

}  // namespace quire::runtime
