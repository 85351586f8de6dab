// What `quire compare` is asked for, and the check of each argument.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "perf/compare/contest.h"
#include "perf/compare/table_contest.h"

namespace quire::perf {

/// As the command line gives them.
struct compare_arguments {
  std::optional<std::string> ops;  ///< names and beginnings of names, with commas; else all
  std::string format;              ///< empty: all
  std::uint64_t pages = std::uint64_t{1} << 18;
  std::uint64_t repeats = 9;
  std::string inject;
  std::string json_path;
};
int run_compare(const compare_arguments& a);
/// What --help says behind the options.
std::string compare_explanation();

struct compare_options {
  static constexpr std::uint64_t min_pages = 512, max_pages = std::uint64_t{1} << 22;  ///< multiples of 512
  static constexpr std::uint64_t min_repeats = 9, max_repeats = 1000;

  std::vector<std::string> operations;  ///< names, in the order of the list of all
  std::vector<row_format> formats;
  std::uint64_t pages = 0;
  std::uint64_t repeats = 0;
  injection inject;

  bool wants(std::string_view operation) const;
};

/// All names that --ops takes, in order.
std::vector<std::string> operation_names();

/// Returns what is wrong, or nothing.
std::string to_options(const compare_arguments& a, compare_options& o);

}  // namespace quire::perf
