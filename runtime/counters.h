// What one cpu did in one space, counted.
#pragma once

#include <cstdint>

#include "runtime/platform.h"

namespace quire::runtime {

/// Written by the cpu that works, without atomics: read them on that cpu, or while it is quiet.
struct counters {
  std::uint64_t updates = 0;           ///< accepted calls of map, unmap, protect and harvest
  std::uint64_t runs = 0;              ///< records committed; updates that continue a record share it
  std::uint64_t commits = 0;           ///< batches committed, one per immediate update
  std::uint64_t forced_commits = 0;    ///< of these, because the queue was full or table memory ran short
  std::uint64_t drained_runs = 0;      ///< of `runs`, those that drain() found in the queue of any cpu
  std::uint64_t cancelled_updates = 0; ///< records left out, in part or whole, since their guard had moved on
  std::uint64_t contentions = 0;       ///< times that a commit waited for a table of another cpu
  std::uint64_t walks = 0;             ///< descents that a commit started above the lowest table of the one before
  std::uint64_t entries_written = 0;   ///< stores to table entries, those into tables not yet linked left out
  std::uint64_t tables_taken = 0;      ///< tables linked
  std::uint64_t tables_freed = 0;      ///< tables given back to the pool
  std::uint64_t splits = 0;            ///< large leaves turned into tables
  std::uint64_t kept_pages = 0;        ///< pages that a map with keep_present found mapped
  std::uint64_t flush_requested = 0;   ///< entry changes that left something stale
  std::uint64_t flush_elided = 0;      ///< flushes that no cpu needed: none ever ran the space, or all was changed back
  std::uint64_t flush_full = 0;        ///< plans for the whole space, since there were more ranges than remembered
  std::uint64_t flush_plans[flush_reasons] = {};  ///< plans handed to the sink, by reason

  counters& operator+=(const counters& o) {
    updates += o.updates;
    runs += o.runs;
    commits += o.commits;
    forced_commits += o.forced_commits;
    drained_runs += o.drained_runs;
    cancelled_updates += o.cancelled_updates;
    contentions += o.contentions;
    walks += o.walks;
    entries_written += o.entries_written;
    tables_taken += o.tables_taken;
    tables_freed += o.tables_freed;
    splits += o.splits;
    kept_pages += o.kept_pages;
    flush_requested += o.flush_requested;
    flush_elided += o.flush_elided;
    flush_full += o.flush_full;
    for (unsigned i = 0; i < flush_reasons; ++i) flush_plans[i] += o.flush_plans[i];
    return *this;
  }
};

}  // namespace quire::runtime
