// Whether tables hold what the updates of `quire scale` left there.
#pragma once

#include <string>

#include "perf/scale_work.h"

namespace quire::perf {

/// Where the generator of `cpu` starts.
std::uint64_t check_seed(unsigned cpu);

/// Looks up pages of a quiet cpu, and compares them with what it did last. Where cpus work on the same pages,
/// any of them may have been last. Returns the first difference, or nothing.
std::string check_pages(runtime::machine& m, const scale_layout& layout, scale_op op, const scale_worker& w);

}  // namespace quire::perf
