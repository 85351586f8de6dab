// A histogram of durations in log-linear buckets: small, and its percentiles are right to within a sixteenth.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>

namespace quire::hv {

/// Durations in nanoseconds. Below 16 ns each has a bucket; from there on each power of two has 16 of them,
/// up to 2^40 ns, which is 18 minutes. Longer ones share the last bucket.
///
///               record, +=   the rest
///   own thread      X           X
///   others          -      while it is quiet
class latency_histogram {
 public:
  /// O(1); neither allocates nor locks.
  void record(std::uint64_t ns) {
    ++buckets_[index_of(ns)];
    ++count_;
    max_ = std::max(max_, ns);
  }
  latency_histogram& operator+=(const latency_histogram& o) {
    for (std::size_t i = 0; i < buckets; ++i) buckets_[i] += o.buckets_[i];
    count_ += o.count_;
    max_ = std::max(max_, o.max_);
    return *this;
  }

  std::uint64_t count() const { return count_; }
  /// The longest one, exactly; 0 if there is none.
  std::uint64_t max() const { return max_; }
  /// The smallest value that at least `share` of the durations do not exceed, rounded up to the end of its
  /// bucket, at most a sixteenth above it; never above max(). 0 if there is none.
  /// @param share  0 < share <= 1; 0.99 for p99
  std::uint64_t percentile(double share) const {
    const double wanted = share * static_cast<double>(count_);
    std::uint64_t seen = 0;
    for (std::size_t i = 0; i < buckets; ++i) {
      seen += buckets_[i];
      if (seen > 0 && static_cast<double>(seen) >= wanted)
        return i + 1 == buckets ? max_ : std::min(last_of(i), max_);
    }
    return max_;
  }

 private:
  static constexpr unsigned fine_bits = 4, top_bits = 40;
  static constexpr std::uint64_t fine = 1u << fine_bits;
  static constexpr std::size_t buckets = (top_bits - fine_bits + 1) * fine;

  static constexpr std::size_t index_of(std::uint64_t ns) {
    if (ns < fine) return static_cast<std::size_t>(ns);
    if (ns >> top_bits != 0) return buckets - 1;
    const auto shift = static_cast<unsigned>(std::bit_width(ns)) - 1 - fine_bits;
    return static_cast<std::size_t>((shift + 1) * fine + ((ns >> shift) & (fine - 1)));
  }
  /// The longest duration of a bucket.
  static constexpr std::uint64_t last_of(std::size_t i) {
    if (i < fine) return i;
    const std::uint64_t shift = i / fine - 1;
    return ((fine + i % fine + 1) << shift) - 1;
  }

  std::array<std::uint64_t, buckets> buckets_{};
  std::uint64_t count_ = 0;
  std::uint64_t max_ = 0;
};

}  // namespace quire::hv
