// The formats and options that contract tests run over: add a format here, in one line.
#pragma once

#include "arch/example_format.h"
#include "arch/x86/ept_flush.h"

namespace quire::tests {

/// A format with options fixed by its type, as test templates want it.
struct ept4 : arch::ept {};
struct ept5_ad : arch::ept {
  constexpr ept5_ad() { five_levels = access_dirty = true; }
};
struct example : arch::example_format {};

/// The same list for TEST_CASE_TEMPLATE.
#define QUIRE_FORMATS ept4, ept5_ad, example

}  // namespace quire::tests
