// One operation of `quire compare`: the lanes that run it, and what they took.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace quire::perf {

/// The columns that every row has.
inline constexpr std::string_view columns[] = {"kvm", "io_pgtable", "lazy", "eager", "limit"};

/// One way to do an operation.
struct lane {
  std::string column;  ///< one of `columns`, or an extra one
  std::string format;  ///< of the row that shows it; empty: all rows
  /// Does the operation once and looks at the result; sets what the lane it gets found. Returns what is
  /// wrong, or nothing.
  std::function<std::string(lane&)> check;
  /// Does the operation once. Returns nanoseconds per page.
  std::function<double()> run;

  // What check() found, where the lane has such.
  std::optional<std::uint64_t> commands, barriers;
  std::vector<double> ns;  ///< by repetition
  std::string method;      ///< which one a limit is, where there are several

  double median() const;
};

struct contest {
  std::string operation;
  std::uint64_t pages = 0;
  std::vector<std::string> formats;  ///< one row for each
  std::vector<lane> lanes;
  bool limit_is_best_method = false;  ///< the extra columns are methods; the best of them is the limit
};

/// Everyone is checked first; then all take turns, so that what drifts meets all alike. Returns what is
/// wrong, or nothing.
std::string measure(contest& c, std::uint64_t repeats);

/// A wrong result to inject: one page that the lanes of a column have got right is changed behind their back.
struct injection {
  std::string column;  ///< empty: none
};

}  // namespace quire::perf
