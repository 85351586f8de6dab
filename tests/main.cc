// The main function of every doctest program.
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include <cstdio>

#include "runtime/host/simd_choice.h"

int main(int argc, char** argv) {
  // Tests run with the vector variant that QUIRE_SIMD names, see runtime/simd.h.
  if (const std::string wrong = quire::runtime::host::choose_simd_by_environment(); !wrong.empty()) {
    std::fprintf(stderr, "%s\n", wrong.c_str());
    return 2;
  }
  return doctest::Context(argc, argv).run();
}
