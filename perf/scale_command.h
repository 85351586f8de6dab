// `quire scale`: updates by more and more cpus.
#pragma once

#include "perf/scale_options.h"

namespace quire::perf {

/// Runs it. Returns an exit_status.
int run_scale(const scale_arguments& a);

}  // namespace quire::perf
