// Whether cost grows linearly with the pages of a range, and what memory the runtime takes.
#pragma once

#include "perf/compare/options.h"
#include "perf/compare/report.h"

namespace quire::perf {

/// Times ranges of 2^10 to 2^24 pages, and adds a table to the report. Returns what is wrong, or nothing.
std::string measure_linear(const compare_options& o, compare_report& report);

/// Compares table memory with what the pages need, and counts the runtime's records. Errors as
/// measure_linear().
std::string measure_memory(const compare_options& o, compare_report& report);

}  // namespace quire::perf
