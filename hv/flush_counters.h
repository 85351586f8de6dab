// What flushes cost: counters of one cpu, by cause, with how long it waited for others.
#pragma once

#include "hv/latency.h"
#include "runtime/platform.h"

namespace quire::hv {

/// Why a cpu flushed: the reasons that the runtime gives, then those of the microhypervisor. An index of
/// flush_counters::by_cause.
enum class flush_cause : std::uint8_t {
  /// VM entry of another space, on a CPU that does not tag translations.
  space_switch = runtime::flush_reasons,
  id_rollover,   ///< first VM entry after ids were handed out anew
  mailbox_full,  ///< more spaces asked for a flush at once than a mailbox holds
};
inline constexpr unsigned flush_causes = runtime::flush_reasons + 3;

/// The name of a cause, as an identifier. `cause` is below flush_causes.
constexpr const char* cause_name(unsigned cause) {
  constexpr const char* names[] = {"immediate",  "leave",        "flush",       "pause",       "full_queue",
                                   "no_tables",  "overflow",     "destroy",     "drain",       "hand_over",
                                   "contention", "space_switch", "id_rollover", "mailbox_full"};
  static_assert(sizeof names / sizeof *names == flush_causes, "each cause has a name");
  static_assert(static_cast<unsigned>(runtime::flush_reason::contention) == 10);
  return names[cause];
}

/// Written by that cpu alone: read it there, or while it is quiet.
struct flush_counters {
  std::uint64_t commands = 0;  ///< invalidations that the cpu executed for itself, dropped ones included
  std::uint64_t remote_requests = 0;   ///< requests that it posted to cpus in guest mode
  std::uint64_t acknowledgements = 0;  ///< requests that others posted to it and that it has dealt with
  /// Other cpus that its flushes left alone, since they could hold nothing of the space.
  std::uint64_t elided_targets = 0;
  std::uint64_t deferred = 0;                 ///< commands that it executed at VM entry
  std::uint64_t dropped = 0;                  ///< commands that fault injection left out
  std::uint64_t by_cause[flush_causes] = {};  ///< flushes that it began, by cause
  latency_histogram waits;                    ///< for other cpus, of those flushes that had to

  flush_counters& operator+=(const flush_counters& o) {
    commands += o.commands;
    remote_requests += o.remote_requests;
    acknowledgements += o.acknowledgements;
    elided_targets += o.elided_targets;
    deferred += o.deferred;
    dropped += o.dropped;
    for (unsigned i = 0; i < flush_causes; ++i) by_cause[i] += o.by_cause[i];
    waits += o.waits;
    return *this;
  }
};

}  // namespace quire::hv
