// What the table memory of a guest costs by itself, for as many threads as work on the guest.
#pragma once

#include "perf/bulk_guest.h"

namespace quire::perf {

/// Fills as many bytes as the tables of the layout take, by the runtime's own vector stores, and reads them again: what the
/// machine needs for populating, and at least for everything else. Each thread has its share, and a processor to itself; the
/// clock starts when all are there. No machine uses the memory.
/// @param made  gets the times of limit_fill and limit_read
/// Returns what is wrong, or nothing. Errors: throws std::system_error if a thread cannot be had.
std::string measure_bulk_limits(const bulk_layout& l, bulk_memory& memory, unsigned threads, bulk_run& made);

}  // namespace quire::perf
