// What `quire scale` is asked for, and the check of each argument.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "perf/formats.h"

namespace quire::perf {

/// As the command line gives them.
struct scale_arguments {
  std::string format = arch::ept::name;
  std::vector<std::string> settings;
  std::optional<std::string> cpus;  ///< else powers of two up to the number of processors, and that number
  std::string op = "map";
  std::string share = "private";
  std::uint64_t batch = 512;
  std::uint64_t drain_every_us = 0;  ///< 0 = no drains
  std::string seconds = "0.5";
  std::uint64_t repeat = 9;
  std::string json_path;
  unsigned model_cpus = 0;  ///< 0 = no model
};

/// What each cpu does, again and again, on one block of pages after the other.
enum class scale_op : std::uint8_t { map, unmap, protect, fault, mixed };
inline constexpr std::string_view scale_op_names[] = {"map", "unmap", "protect", "fault", "mixed"};

/// What the cpus have in common.
enum class scale_share : std::uint8_t {
  nothing,      ///< "private": each cpu has a space of its own
  disjoint,     ///< one space; each cpu has leaf tables of its own
  interleaved,  ///< one space; the cpus take blocks of the same leaf tables in turn
  same,         ///< one space; all cpus work on the same pages
};
inline constexpr std::string_view scale_share_names[] = {"private", "disjoint", "interleaved", "same"};

struct scale_options {
  static constexpr std::uint64_t max_batch = 65536, max_drain_every_us = 10'000'000, max_repeat = 1000;
  static constexpr unsigned max_model_cpus = 1024;
  static constexpr double min_seconds = 0.001, max_seconds = 3600;

  chosen_format format;
  std::vector<unsigned> cpus;  ///< ascending, distinct, 1 first
  scale_op op = scale_op::map;
  scale_share share = scale_share::nothing;
  std::uint64_t batch = 0;
  std::uint64_t drain_every_us = 0;
  double seconds = 0;  ///< of one repetition
  std::uint64_t repeat = 0;
  unsigned model_cpus = 0;

  std::string_view op_name() const { return scale_op_names[static_cast<unsigned>(op)]; }
  std::string_view share_name() const { return scale_share_names[static_cast<unsigned>(share)]; }
  bool one_space() const { return share != scale_share::nothing; }
};

/// Reads `a` for a process that may use this many processors. Returns what is wrong, or nothing.
std::string to_options(const scale_arguments& a, unsigned processors, scale_options& o);

}  // namespace quire::perf
