// tests/perf/usl_test.cc: the fit of the universal scalability law on points whose law is known.
#include <doctest/doctest.h>

#include <cmath>
#include <random>
#include <vector>

#include "perf/scale_usl.h"

namespace quire::tests {
namespace {

using perf::fit_usl;
using perf::usl_law;
using perf::usl_point;

std::vector<usl_point> points_of(const usl_law& law, const std::vector<double>& cpus) {
  std::vector<usl_point> points;
  points.reserve(cpus.size());
  for (const double n : cpus) points.push_back({n, law.at(n)});
  return points;
}

double squares(const usl_law& law, const std::vector<usl_point>& points) {
  double sum = 0;
  for (const usl_point& p : points) sum += std::pow(law.at(p.cpus) - p.throughput, 2);
  return sum;
}

TEST_CASE("the law is lambda n / (1 + sigma (n - 1) + kappa n (n - 1))") {
  CHECK(usl_law{100, 0, 0}.at(8) == 800);
  CHECK(usl_law{100, 1, 0}.at(8) == 100);
  CHECK(usl_law{60, 0.5, 0.25}.at(2) == 60);
  CHECK(usl_law{7, 0.3, 0.1}.at(1) == 7);
}

TEST_CASE("exact points give back their law") {
  for (const double lambda : {1e-3, 1.0, 4.2e7}) {
    for (const double sigma : {0.0, 0.001, 0.05, 0.5, 1.0}) {
      for (const double kappa : {0.0, 1e-5, 0.01, 0.3}) {
        for (const auto& cpus :
             std::vector<std::vector<double>>{{1, 2, 4}, {1, 2, 3, 4}, {1, 2, 4, 8, 16, 32, 64}, {3, 5, 9}}) {
          CAPTURE(sigma);
          CAPTURE(kappa);
          CAPTURE(cpus.size());
          const auto law = fit_usl(points_of({lambda, sigma, kappa}, cpus));
          REQUIRE(law.has_value());
          CHECK(law->kappa_fitted);
          CHECK(law->lambda == doctest::Approx(lambda).epsilon(1e-6));
          CHECK(std::abs(law->sigma - sigma) < 1e-6);
          CHECK(std::abs(law->kappa - kappa) < 1e-6);
        }
      }
    }
  }
}

TEST_CASE("two numbers of cpus give sigma, with kappa 0") {
  const auto law = fit_usl(points_of({1000, 0.2, 0}, {1, 2}));
  REQUIRE(law.has_value());
  CHECK_FALSE(law->kappa_fitted);
  CHECK(law->lambda == doctest::Approx(1000));
  CHECK(law->sigma == doctest::Approx(0.2));
  CHECK(law->kappa == 0);
}

TEST_CASE("fewer than two numbers of cpus give no law") {
  CHECK_FALSE(fit_usl({}).has_value());
  CHECK_FALSE(fit_usl(std::vector<usl_point>{{1, 10}}).has_value());
  CHECK_FALSE(fit_usl(std::vector<usl_point>{{4, 10}, {4, 11}}).has_value());
}

TEST_CASE("throughput that grows faster than the cpus gives no negative coefficient") {
  const std::vector<usl_point> points = {{1, 100}, {2, 220}, {4, 480}, {8, 1000}};
  const auto law = fit_usl(points);
  REQUIRE(law.has_value());
  CHECK(law->sigma == 0);
  CHECK(law->kappa == 0);
  // Least squares of X = lambda n: sum of n X over sum of n n.
  CHECK(law->lambda == doctest::Approx((100 + 2 * 220 + 4 * 480 + 8 * 1000) / 85.0));
}

TEST_CASE("with one coefficient at its bound the other one is the best for that") {
  // Falls as if kappa were all there is, but sigma alone would be below 0.
  const std::vector<usl_point> points = {{1, 100}, {2, 199}, {4, 380}, {8, 600}, {16, 700}};
  const auto law = fit_usl(points);
  REQUIRE(law.has_value());
  CHECK(law->sigma >= 0);
  CHECK(law->kappa > 0);
  const double best = squares(*law, points);
  for (const double change : {0.999, 1.001}) {
    CHECK(best <= squares({law->lambda * change, law->sigma, law->kappa}, points));
    CHECK(best <= squares({law->lambda, law->sigma, law->kappa * change}, points));
  }
  CHECK(best <= squares({law->lambda, law->sigma + 0.0001, law->kappa}, points));
}

TEST_CASE("points with noise: nothing nearby is better") {
  for (unsigned seed = 1; seed <= 50; ++seed) {
    CAPTURE(seed);
    std::mt19937_64 random(seed);
    std::uniform_real_distribution<double> noise(0.95, 1.05);
    auto points = points_of({3e7, 0.04, 0.002}, {1, 2, 4, 8, 16, 32});
    for (usl_point& p : points) p.throughput *= noise(random);
    const auto law = fit_usl(points);
    REQUIRE(law.has_value());
    CHECK(law->sigma >= 0);
    CHECK(law->kappa >= 0);
    const double best = squares(*law, points) * (1 - 1e-9);
    for (const double up : {-1e-3, 0.0, 1e-3}) {
      for (const double right : {-1e-4, 0.0, 1e-4}) {
        for (const double deep : {-1e-5, 0.0, 1e-5}) {
          const usl_law near{law->lambda * (1 + up), law->sigma + right, law->kappa + deep};
          if (near.sigma >= 0 && near.kappa >= 0) CHECK(best <= squares(near, points));
        }
      }
    }
  }
}

}  // namespace
}  // namespace quire::tests
