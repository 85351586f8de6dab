// Lanes for the column `limit`: what the machine itself needs for the memory accesses of an operation.
#pragma once

#include "perf/compare/table_contest.h"

namespace quire::perf {

/// Adds the limits that operation `o` has: one for all rows, or one for those with and one for those without
/// A and D.
void add_limits(const table_operation& o, const std::vector<row_format>& formats, contest& c);

}  // namespace quire::perf
