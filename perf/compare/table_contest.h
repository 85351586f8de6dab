// Operations on page tables: from which state to which, and what is timed in between.
#pragma once

#include "perf/compare/contest.h"
#include "perf/compare/pages.h"
#include "perf/formats.h"

namespace quire::perf {

/// A format as a row shows it.
struct row_format {
  std::string name;
  any_format format;
  bool tracks_status = false;  ///< hardware sets A and D: a row of its own, with a limit of its own
};

struct table_operation {
  std::string_view name;
  std::string_view text;  ///< for --help
  layout pages;
  bool starts_full;
  /// What the pages are afterwards.
  enum class result : std::uint8_t { mapped, read_only, removed, looked_up } leaves;
  bool (*run)(contestant& c, const working_set& w, page_list& frames);
  bool reports;      ///< the space is asked for reports of what is removed
  bool with_status;  ///< rows with A and D too
  bool (*offered)(const contestant& c);
  bool lists = false;  ///< Quire takes lists of pages; a lane `one_a_call` shows what it takes without
};

const std::vector<table_operation>& table_operations();

/// The lanes of all who offer the operation, with the limits.
contest make_contest(const table_operation& o, const std::vector<row_format>& formats, std::uint64_t pages,
                     const injection& inject);

}  // namespace quire::perf
