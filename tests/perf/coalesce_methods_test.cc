// Inputs and single methods of the coalescing benchmarks: all give the same ranges.
#include "perf/coalesce_methods.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <set>
#include <string>
#include <vector>

#include "runtime/coalesce.h"

namespace quire::tests {

using arch::gfn_range;

namespace {

struct alignas(64) line {
  std::byte bytes[64] = {};
};

template <class Run>
std::vector<gfn_range> result(Run run, std::vector<std::uint64_t> pages) {
  std::vector<gfn_range> out(pages.size());
  std::vector<line> scratch(runtime::coalesce_scratch_bytes(pages.size()) / sizeof(line) + 1);
  out.resize(run(std::span(pages), std::span(out), std::as_writable_bytes(std::span(scratch))));
  return out;
}

}  // namespace

TEST_SUITE("coalesce_methods") {
TEST_CASE("inputs have as many pages as asked for, the same for the same seed") {
  for (const auto shape : perf::coalesce_shapes) {
    CAPTURE(std::string(perf::coalesce_shape_text(shape)));
    for (const std::size_t n : {1, 5, 16, 100, 4096}) {
      const auto pages = perf::coalesce_input(shape, n, 7);
      CHECK(pages.size() == n);
      CHECK(pages == perf::coalesce_input(shape, n, 7));
      const bool distinct = std::set<std::uint64_t>(pages.begin(), pages.end()).size() == n;
      CHECK(distinct == (shape != perf::coalesce_shape::duplicates || n == 1));
    }
  }
}
TEST_CASE("methods agree with the runtime on what they are for") {
  for (const auto shape : perf::coalesce_shapes) {
    for (const std::size_t n : perf::coalesce_sizes) {
      const auto pages = perf::coalesce_input(shape, n, n);
      const auto scalar = [](auto... a) { return runtime::coalesce_pages(runtime::simd::scalar, a...); };
      const auto wanted = result(scalar, pages);
      for (const auto& method : perf::coalesce_methods()) {
        if (!method.applies(shape, n)) continue;
        CAPTURE(std::string(method.name));
        CAPTURE(std::string(perf::coalesce_shape_text(shape)));
        CAPTURE(n);
        CHECK(result(method.run, pages) == wanted);
      }
    }
  }
}
}

}  // namespace quire::tests
