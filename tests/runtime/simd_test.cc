// Which vector variants there are, and how one is chosen.
#include "runtime/simd.h"

#include <doctest/doctest.h>

#include <cstdlib>
#include <string>

#include "runtime/host/simd_choice.h"

namespace quire::tests {

using namespace quire::runtime;

namespace {

/// Puts the choice, and QUIRE_SIMD, back.
class choice_guard {
 public:
  choice_guard() {
    const char* text = std::getenv("QUIRE_SIMD");
    if (text) named_ = text;
  }
  ~choice_guard() {
    choose_simd(chosen_);
    if (named_.empty()) {
      unsetenv("QUIRE_SIMD");
    } else {
      setenv("QUIRE_SIMD", named_.c_str(), 1);
    }
  }
  choice_guard(const choice_guard&) = delete;
  choice_guard& operator=(const choice_guard&) = delete;

 private:
  simd chosen_ = chosen_simd();
  std::string named_;
};

std::string choose_named(const char* name) {
  setenv("QUIRE_SIMD", name, 1);
  return host::choose_simd_by_environment();
}

}  // namespace

TEST_SUITE("simd") {
TEST_CASE("every variant has a name, and only those names are known") {
  for (unsigned i = 0; i < simd_variants; ++i) {
    simd v = simd::scalar;
    CHECK(simd_named(simd_text(static_cast<simd>(i)), v));
    CHECK(v == static_cast<simd>(i));
  }
  simd v = simd::avx2;
  for (const char* name : {"", "AVX2", "avx", "avx5122", "best"}) CHECK(!simd_named(name, v));
  CHECK(v == simd::avx2);
  CHECK(std::string(simd_text(simd::avx512)) == "avx512");
}

TEST_CASE("scalar is available everywhere, the best one too, and a wider variant implies the narrower") {
  CHECK(simd_available(simd::scalar));
  CHECK(simd_available(best_simd()));
  CHECK((!simd_available(simd::avx512) || simd_available(simd::avx2)));
  CHECK(!(simd_available(simd::neon) && simd_available(simd::avx2)));
#if defined(__x86_64__)
  CHECK(simd_available(simd::avx2) == (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2")));
  CHECK(simd_available(simd::avx512) ==
        (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq")));
#elif defined(__aarch64__)
  CHECK(best_simd() == simd::neon);
#else
  CHECK(best_simd() == simd::scalar);
#endif
}

TEST_CASE("a variant that is available can be chosen; another one changes nothing") {
  const choice_guard keep;
  CHECK(simd_available(chosen_simd()));
  for (unsigned i = 0; i < simd_variants; ++i) {
    const auto v = static_cast<simd>(i);
    const simd before = chosen_simd();
    CHECK(choose_simd(v) == simd_available(v));
    CHECK(chosen_simd() == (simd_available(v) ? v : before));
  }
}

TEST_CASE("QUIRE_SIMD names the variant; what it may be is in the message if it is wrong") {
  const choice_guard keep;
  CHECK(choose_named("scalar").empty());
  CHECK(chosen_simd() == simd::scalar);
  CHECK(choose_named("").empty());
  CHECK(chosen_simd() == simd::scalar);
  CHECK(choose_named(simd_text(best_simd())).empty());
  CHECK(chosen_simd() == best_simd());
  const std::string unknown = choose_named("sse9");
  CHECK(unknown.find("QUIRE_SIMD='sse9': there is no such variant") == 0);
  CHECK(unknown.find("scalar") != std::string::npos);
  CHECK(unknown.find(simd_text(best_simd())) != std::string::npos);
  const std::string lacking = choose_named(simd_for_arm64 ? "avx512" : "neon");
  CHECK(lacking.find("this CPU cannot run it; here it is one of: scalar") != std::string::npos);
  CHECK(chosen_simd() == best_simd());
}
}

}  // namespace quire::tests
