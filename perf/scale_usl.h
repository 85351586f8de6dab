// The universal scalability law, fitted to measured throughputs.
#pragma once

#include <optional>
#include <span>

namespace quire::perf {

struct usl_point {
  double cpus = 1;
  double throughput = 0;  ///< above 0
};

/// X(n) = lambda n / (1 + sigma (n - 1) + kappa n (n - 1)).
struct usl_law {
  double lambda = 0;  ///< throughput of one cpu
  double sigma = 0;   ///< share of the work that cpus wait for each other with
  double kappa = 0;   ///< what each pair of cpus costs to keep in agreement
  bool kappa_fitted = true;

  double at(double cpus) const;
};

/// Least squares over lambda, sigma >= 0 and kappa >= 0. Two numbers of cpus cannot tell sigma from kappa:
/// then kappa is 0. Nothing if there are fewer. O(points).
std::optional<usl_law> fit_usl(std::span<const usl_point> points);

}  // namespace quire::perf
