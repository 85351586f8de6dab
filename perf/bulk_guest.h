// One guest of `quire bulk` from its first table to its last, by so many threads.
#pragma once

#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "perf/bulk_layout.h"
#include "perf/bulk_memory.h"
#include "perf/bulk_options.h"
#include "runtime/counting_sink.h"

namespace quire::perf {

/// What is timed, in this order; the last two without a guest, see bulk_limits.h.
enum class bulk_operation : std::uint8_t { populate, harvest, protect, tear_down, limit_fill, limit_read };
inline constexpr std::string_view bulk_operation_names[] = {"populate",  "harvest",    "protect",
                                                            "tear_down", "limit_fill", "limit_read"};
inline constexpr std::size_t bulk_operations = std::size(bulk_operation_names);

/// What one guest gave.
struct bulk_run {
  std::array<std::uint64_t, bulk_operations> ns{};
  std::array<std::uint64_t, bulk_operations> path_ns{};  ///< bulk_result::path_ns
  std::uint64_t tables = 0;           ///< that the runtime counted when all was mapped
  std::uint64_t table_bytes = 0;      ///< of these
  std::uint64_t allocated_bytes = 0;  ///< that the pools had obtained by then
  std::uint64_t touched_pages = 0;
  std::uint64_t harvested_pages = 0;
  std::uint64_t removed_pages = 0;
  std::uint64_t contentions = 0;  ///< of the first three operations
  std::uint64_t flush_commands = 0;
  unsigned nodes = 0;
  // Of a guest that was looked at in full, else empty.
  std::string populated_digest, protected_digest;
  std::uint64_t leaves[arch::level_limit] = {};
};

/// How a guest is made.
enum class bulk_way : std::uint8_t {
  timed,    ///< by runtime::host::bulk
  checked,  ///< likewise, and all of it is looked at; the times mean nothing
  plain,    ///< by one thread that calls the machine, and looked at: what the others have to equal
};

/// Bytes of table memory that suffice for one guest and what its cpus keep or claim.
std::uint64_t table_memory_for(const bulk_options& o, const bulk_layout& l);

/// Makes the guest, works on it and tears it down. Returns what is wrong, or nothing.
std::string run_bulk_guest(const bulk_options& o, const bulk_layout& l, bulk_memory& memory, unsigned threads,
                           bulk_way way, bulk_run& made);

}  // namespace quire::perf
