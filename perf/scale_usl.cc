// Gauss-Newton for scale_usl.h. With a = 1 / lambda, b = sigma / lambda and c = kappa / lambda the law is
// X(n) = n / (a + b (n - 1) + c n (n - 1)), whose denominator is linear in what is sought.
#include "perf/scale_usl.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <set>
#include <vector>

namespace quire::perf {

namespace {

constexpr unsigned parameters = 3;
using vector = std::array<double, parameters>;

vector columns(double n) { return {1, n - 1, n * (n - 1)}; }

double denominator(const vector& p, double n) {
  const vector c = columns(n);
  return p[0] * c[0] + p[1] * c[1] + p[2] * c[2];
}

double squares(std::span<const usl_point> points, const vector& p) {
  double sum = 0;
  for (const usl_point& x : points) {
    const double g = denominator(p, x.cpus);
    if (g <= 0) return std::numeric_limits<double>::infinity();
    sum += (x.throughput - x.cpus / g) * (x.throughput - x.cpus / g);
  }
  return sum;
}

// The vectors of least squares, columns as rows, made orthogonal one after the other; those not in `used`
// stay 0.
struct weighted_rows {
  std::vector<std::array<double, parameters>> row;
  std::vector<double> target;
};

vector solve(const weighted_rows& s, unsigned used) {
  const std::size_t m = s.row.size();
  std::array<std::vector<double>, parameters> q;
  std::array<vector, parameters> r{};
  vector rhs{}, p{};
  for (unsigned j = 0; j < parameters; ++j) {
    if (!(used >> j & 1)) continue;
    q[j].resize(m);
    for (std::size_t i = 0; i < m; ++i) q[j][i] = s.row[i][j];
    for (unsigned k = 0; k < j; ++k) {
      if (!(used >> k & 1)) continue;
      for (std::size_t i = 0; i < m; ++i) r[k][j] += q[k][i] * q[j][i];
      for (std::size_t i = 0; i < m; ++i) q[j][i] -= r[k][j] * q[k][i];
    }
    for (const double x : q[j]) r[j][j] += x * x;
    r[j][j] = std::sqrt(r[j][j]);
    if (r[j][j] == 0) continue;
    for (std::size_t i = 0; i < m; ++i) rhs[j] += (q[j][i] /= r[j][j]) * s.target[i];
  }
  for (unsigned j = parameters; j-- > 0;) {
    if (!(used >> j & 1) || r[j][j] == 0) continue;
    p[j] = rhs[j];
    for (unsigned k = j + 1; k < parameters; ++k) p[j] -= r[j][k] * p[k];
    p[j] /= r[j][j];
  }
  return p;
}

// One step from `p`: the linear problem that the law is close to it.
vector step(std::span<const usl_point> points, const vector& p, unsigned used) {
  weighted_rows s;
  for (const usl_point& x : points) {
    const double g = denominator(p, x.cpus);
    const double weight = x.cpus / (g * g);
    vector row = columns(x.cpus);
    for (double& v : row) v *= weight;
    s.row.push_back(row);
    s.target.push_back(weight * g - (x.throughput - x.cpus / g));
  }
  return solve(s, used);
}

// The best law whose parameters outside `used` are 0; some of the others may come out below 0.
vector descend(std::span<const usl_point> points, unsigned used) {
  weighted_rows first;  // the law turned around: n / X is linear, and exact points fit at once
  for (const usl_point& x : points) {
    const double weight = x.throughput * x.throughput / x.cpus;
    vector row = columns(x.cpus);
    for (double& v : row) v *= weight;
    first.row.push_back(row);
    first.target.push_back(weight * x.cpus / x.throughput);
  }
  vector p = solve(first, used);
  if (squares(points, p) == std::numeric_limits<double>::infinity())
    p = {points[0].cpus / points[0].throughput, 0, 0};
  for (unsigned round = 0; round < 100; ++round) {
    const vector next = step(points, p, used);
    const double before = squares(points, p);
    double share = 1;
    vector tried = next;
    while (squares(points, tried) > before && share > 1e-6) {
      share /= 2;
      for (unsigned j = 0; j < parameters; ++j) tried[j] = p[j] + share * (next[j] - p[j]);
    }
    const double after = squares(points, tried);
    if (after > before) break;
    p = tried;
    if (before - after <= 1e-15 * before) break;
  }
  return p;
}

}  // namespace

double usl_law::at(double cpus) const {
  return lambda * cpus / (1 + sigma * (cpus - 1) + kappa * cpus * (cpus - 1));
}

std::optional<usl_law> fit_usl(std::span<const usl_point> points) {
  std::set<double> distinct;
  for (const usl_point& x : points) distinct.insert(x.cpus);
  if (distinct.size() < 2) return {};
  const bool kappa = distinct.size() > 2;
  double most = 0;
  for (const usl_point& x : points) most = std::max(most, x.throughput);
  std::vector<usl_point> scaled(points.begin(), points.end());  // so that all parameters are near 1
  for (usl_point& x : scaled) x.throughput /= most;
  // A bound that matters makes its parameter 0: of all choices of such, the best that keeps the others in
  // bounds.
  std::optional<vector> best;
  for (unsigned used : {7u, 3u, 5u, 1u}) {
    if (!kappa && used > 3) continue;
    const vector p = descend(scaled, used);
    const bool inside = p[0] > 0 && p[1] >= 0 && p[2] >= 0;
    if (inside && (!best || squares(scaled, p) < squares(scaled, *best))) best = p;
  }
  if (!best) return {};
  const vector& p = *best;
  return usl_law{most / p[0], p[1] / p[0], p[2] / p[0], kappa};
}

}  // namespace quire::perf
