// The formats that stress tests run: those that the runtime itself compiles.
#pragma once

#include <variant>

#include "arch/arm64/stage2_flush.h"
#include "arch/s390/dat_flush.h"
#include "arch/x86/ept_flush.h"

namespace quire::tests {

using stress_format = std::variant<arch::ept, arch::stage2_4k, arch::dat>;

}  // namespace quire::tests
