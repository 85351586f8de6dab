// What `quire bulk` is asked for, and the check of each argument.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "perf/formats.h"

namespace quire::perf {

/// As the command line gives them.
struct bulk_arguments {
  std::string format = arch::ept::name;
  std::vector<std::string> settings;
  std::string size = "1t";
  std::string small = "16g";
  std::optional<std::string> threads;  ///< else powers of two up to the number of processors, and that number
  std::uint64_t touched = 10;
  std::uint64_t repeats = 9;
  std::string json_path;
};

struct bulk_options {
  static constexpr std::uint64_t max_repeats = 1000;

  chosen_format format;
  std::uint64_t pages = 0;        ///< of the guest, 4 KiB each
  std::uint64_t small_pages = 0;  ///< of them, mapped by the smallest leaves
  std::vector<unsigned> threads;  ///< ascending, distinct, 1 first
  std::uint64_t touched = 0;      ///< per cent of the small pages that the guest writes to
  std::uint64_t repeats = 0;
};

/// Reads `a` for a process that may use this many processors. Returns what is wrong, or nothing.
std::string to_options(const bulk_arguments& a, unsigned processors, bulk_options& o);

}  // namespace quire::perf
