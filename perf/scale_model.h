// A model of more cpus than the machine has: a discrete-event simulation with measured costs.
#pragma once

#include "hv/latency.h"
#include "perf/scale_costs.h"

namespace quire::perf {

struct model_costs {
  section_costs alone;   ///< of the only cpu
  section_costs shared;  ///< of cpus whose tables others work on too, as far as --share lets them
  request_costs requests;
};

struct model_point {
  unsigned cpus = 0;
  double updates_per_s = 0;
  double speedup = 0;
  std::uint64_t sections = 0;
  std::uint64_t remote_requests = 0;
  hv::latency_histogram waits;
};

/// Simulates each number of cpus. A cpu appends and commits one section after the other, each with costs
/// drawn from the measured ones. What it contends for is up to --share:
///   private      nothing
///   disjoint     acknowledgements: after a commit that flushes, a cpu posts a request to every other cpu
///   that ran the
///                space since it was last asked, one after the other, and waits for all
///   interleaved  that, and leaf tables: a commit holds its table until its flush is done, the others wait in
///   turn same         likewise
/// A cpu takes requests at any time but during a commit. Memory bandwidth, and locks other than those of
/// tables, are not modelled; a section that spans several leaf tables holds the first of them only.
/// @param cpus  ascending, 1 first
std::vector<model_point> simulate(const scale_options& o, const model_costs& costs,
                                  const std::vector<unsigned>& cpus);

}  // namespace quire::perf
