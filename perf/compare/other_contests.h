// Operations that are no calls on page tables of peers: appending to a queue, empty sections, harvest of A
// and D.
#pragma once

#include "perf/compare/table_contest.h"

namespace quire::perf {

/// Queues updates that merge with nothing, against pushing records of the same size to a vector.
contest make_append(const std::vector<row_format>& formats, std::uint64_t pages, const injection& inject);
/// Opens and closes a section in which nothing happens.
contest make_enter_leave(const std::vector<row_format>& formats, std::uint64_t pages);
/// Harvests a mapped range of which 1 % of the pages were written to.
contest make_harvest(const std::vector<row_format>& formats, std::uint64_t pages, const injection& inject);

}  // namespace quire::perf
