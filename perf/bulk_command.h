// `quire bulk`: populates, harvests, protects and tears down a guest of terabytes by more and more threads.
#pragma once

#include "perf/bulk_options.h"

namespace quire::perf {

/// Runs it. Returns an exit_status.
int run_bulk(const bulk_arguments& a);

}  // namespace quire::perf
