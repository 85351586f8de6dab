// The formats and options that contract tests run over: a format is added here.
#pragma once

#include <string>
#include <variant>
#include <vector>

#include "arch/arm64/stage2_flush.h"
#include "arch/example_format.h"
#include "arch/s390/dat_flush.h"
#include "arch/x86/ept_flush.h"
#include "arch/x86/npt.h"
#include "runtime/platform.h"

namespace quire::tests {

/// A format with options fixed by its type, as test templates want it.
struct ept4 : arch::ept {};
struct ept5_ad : arch::ept {
  constexpr ept5_ad() { five_levels = access_dirty = true; }
};
struct stage2_dbm : arch::stage2_4k {
  constexpr stage2_dbm() { dbm = true; }
};
struct dat_iep : arch::dat {
  constexpr dat_iep() {
    iep = true;
    edat = 1;
  }
};
struct example : arch::example_format {};

/// The formats that the rules of lazy sections are tested on, for TEST_CASE_TEMPLATE: pages of 4 KiB, and leaves of
/// levels 0 and 1 at least.
#define QUIRE_FORMATS ept5_ad, stage2_dbm, dat_iep, example

using any_format = std::variant<arch::ept, arch::stage2_4k, arch::stage2_16k, arch::stage2_64k, arch::dat, arch::npt,
                                arch::example_format>;

/// A format with options, for tests that hold whatever its sizes are.
struct format_case {
  std::string name;
  any_format format;
};
/// All that the contract is tested on.
const std::vector<format_case>& format_cases();

/// True if `format` breaks all entries, or invalidates them by instruction, before it makes them anew.
bool breaks_first(const any_format& format);
/// True if executing the plan drops what a CPU caches of page `g`.
bool covers(const any_format& format, const runtime::flush_plan& plan, arch::gfn g);

}  // namespace quire::tests
