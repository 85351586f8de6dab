// What single steps cost on this machine, measured for the model of `quire scale`.
#pragma once

#include <vector>

#include "perf/scale_world.h"

namespace quire::perf {

/// One section as it was measured: nobody waited for anybody.
struct section_cost {
  double append_ns = 0;  ///< from enter to before leave
  double commit_ns = 0;  ///< leave, without waiting for acknowledgements
  std::uint64_t updates = 0;
  bool flushes = false;
};

/// Means of the sections that a model draws from.
struct section_costs {
  std::vector<section_cost> sections;  ///< in the order in which they ran

  double append_ns_per_update() const;
  double commit_ns_per_update() const;
  double flushes_per_section() const;
};

struct request_costs {
  double request_ns = 0;      ///< to post one request
  double acknowledge_ns = 0;  ///< to take one and acknowledge it
  double latency_ns = 0;      ///< from one cpu to the other, each way
};

/// Sections of one cpu that has the tables for itself, and of two that take turns block by block in the same
/// way as `share` says, so that cache lines and tables change hands. Errors: as scale_world::prepare(); the
/// result is not empty otherwise.
std::string measure_sections(const scale_options& o, const processor_list& p, unsigned cpus,
                             section_costs& costs);
/// Requests between the first two processors, one of which polls all the time. Needs two.
request_costs measure_requests(const processor_list& p);

}  // namespace quire::perf
