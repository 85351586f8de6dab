// What `quire scale` prints and writes as JSON.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "perf/scale_model.h"
#include "perf/scale_usl.h"

namespace quire::perf {

struct scale_report {
  scale_options options;
  unsigned processors = 0, cores = 0;
  std::vector<scale_point> points;  ///< ascending, 1 cpu first
  std::optional<usl_law> law;
  model_costs costs;               ///< if there is a model
  std::vector<model_point> model;  ///< empty if none was asked for

  std::string text() const;
  std::string json_text() const;
  /// What is measured and printed, for --help.
  static std::string explanation();
};

/// Median, least and greatest.
struct spread {
  double median = 0, least = 0, most = 0;
};
spread spread_of(std::vector<double> values);
/// By repetition, against the repetition of the first point next to it.
spread speedup_of(const scale_point& p, const scale_point& one);

}  // namespace quire::perf
