// The histogram of waits: counts, the exact maximum, and percentiles to within a bucket.
#include "hv/latency.h"

#include <random>
#include <vector>

#include <doctest/doctest.h>

namespace quire::tests {

using hv::latency_histogram;

TEST_SUITE("latency") {
TEST_CASE("an empty histogram answers zero") {
  const latency_histogram h;
  CHECK(h.count() == 0);
  CHECK(h.max() == 0);
  CHECK(h.percentile(0.5) == 0);
  CHECK(h.percentile(1) == 0);
}
TEST_CASE("durations below 32 ns are exact") {
  latency_histogram h;
  for (std::uint64_t ns = 0; ns < 32; ++ns) h.record(ns);
  CHECK(h.count() == 32);
  CHECK(h.percentile(1.0 / 32) == 0);
  CHECK(h.percentile(0.5) == 15);
  CHECK(h.percentile(31.0 / 32) == 30);
  CHECK(h.percentile(1) == 31);
}
TEST_CASE("a percentile is rounded up to the end of its bucket, and never exceeds the longest") {
  latency_histogram h;
  h.record(1000);
  CHECK(h.percentile(0.5) == 1000);
  h.record(5000);
  CHECK(h.percentile(0.5) == 1023);
  CHECK(h.percentile(0.99) == 5000);
  CHECK(h.max() == 5000);
}
TEST_CASE("durations beyond the last bucket count, and the longest stays exact") {
  latency_histogram h;
  h.record(~std::uint64_t{0});
  h.record(std::uint64_t{1} << 40);
  h.record((std::uint64_t{1} << 40) - 1);
  CHECK(h.percentile(0.1) == ~std::uint64_t{0});  // they share a bucket
  CHECK(h.max() == ~std::uint64_t{0});
  CHECK(h.count() == 3);
}
TEST_CASE("histograms add up") {
  latency_histogram a, b;
  for (int i = 0; i < 99; ++i) a.record(10);
  b.record(1'000'000);
  a += b;
  CHECK(a.count() == 100);
  CHECK(a.percentile(0.99) == 10);
  CHECK(a.percentile(1) == 1'000'000);
  CHECK(a.max() == 1'000'000);
}
TEST_CASE("percentiles of random durations lie at most a sixteenth above the exact ones") {
  std::mt19937_64 random(1);
  CAPTURE("seed 1");
  for (int round = 0; round < 50; ++round) {
    latency_histogram h;
    std::vector<std::uint64_t> all;
    for (int i = 0; i < 1000; ++i) {
      all.push_back(random() >> (random() % 63 + 1) >> 23);
      h.record(all.back());
    }
    std::sort(all.begin(), all.end());
    for (const std::size_t rank : {1u, 10u, 500u, 900u, 990u, 1000u}) {
      const std::uint64_t exact = all[rank - 1];
      const std::uint64_t got = h.percentile(static_cast<double>(rank) / 1000);
      CHECK(got >= exact);
      CHECK(got <= exact + exact / 16 + 1);
    }
  }
}
}

}  // namespace quire::tests
