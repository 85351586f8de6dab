// Merging of page numbers into ranges: Quire's choice among methods against each method alone.
#pragma once

#include "perf/coalesce_shapes.h"
#include "perf/compare/contest.h"

namespace quire::perf {

/// coalesce_N_SHAPE
std::string coalesce_operation(coalesce_shape s, std::size_t n);
/// `limit` is the method whose median is the least; each is a column of its own too, std::sort as std_sort.
contest make_coalesce(coalesce_shape s, std::size_t n, const injection& inject);

}  // namespace quire::perf
