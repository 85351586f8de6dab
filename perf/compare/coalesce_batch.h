// Inputs for coalescing, enough of one shape for a time that can be measured.
#pragma once

#include <algorithm>
#include <memory>
#include <new>
#include <span>
#include <vector>

#include "perf/coalesce_shapes.h"
#include "runtime/coalesce.h"

namespace quire::perf {

/// Several inputs of N pages, which differ, and so many that no branch predictor learns them: of 4,096 pages it does, and
/// std::sort takes a third of the time. Methods destroy them; restore() mends.
class coalesce_batch {
 public:
  coalesce_batch(coalesce_shape s, std::size_t n)
      : n_(n), out_(n), scratch_(new (std::align_val_t{64}) std::byte[runtime::coalesce_scratch_bytes(n)]) {
    for (std::uint64_t seed = 1; originals_.size() < std::max<std::size_t>(n, 65536); ++seed) {
      const std::vector<std::uint64_t> one = coalesce_input(s, n, seed);
      originals_.insert(originals_.end(), one.begin(), one.end());
    }
    pages_ = originals_;
  }

  std::size_t pages() const { return originals_.size(); }
  void restore() { std::copy(originals_.begin(), originals_.end(), pages_.begin()); }
  /// Calls `method(pages, out, scratch)` for each input. Returns the ranges of the last one.
  template <class Method>
  std::span<const arch::gfn_range> run(Method method) {
    std::size_t ranges = 0;
    for (std::size_t at = 0; at < pages_.size(); at += n_) {
      ranges = method(std::span(pages_).subspan(at, n_), std::span(out_),
                      std::span(scratch_.get(), runtime::coalesce_scratch_bytes(n_)));
    }
    return std::span(out_).first(ranges);
  }

 private:
  struct release {
    void operator()(std::byte* memory) const { operator delete[](memory, std::align_val_t{64}); }
  };

  const std::size_t n_;
  std::vector<std::uint64_t> originals_, pages_;
  std::vector<arch::gfn_range> out_;
  std::unique_ptr<std::byte[], release> scratch_;
};

}  // namespace quire::perf
