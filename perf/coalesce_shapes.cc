// Inputs of the coalescing benchmarks, see coalesce_shapes.h.
#include "perf/coalesce_shapes.h"

#include <algorithm>
#include <numeric>
#include <random>
#include <unordered_set>

namespace quire::perf {

namespace {

using numbers = std::vector<std::uint64_t>;
using engine = std::mt19937_64;

// Not std::shuffle and distributions: what those do is up to the library.
std::uint64_t below(engine& random, std::uint64_t end) { return random() % end; }

void shuffle(numbers& v, engine& random) {
  for (std::size_t i = v.size(); i > 1; --i) std::swap(v[i - 1], v[below(random, i)]);
}

numbers distinct(std::size_t n, std::uint64_t end, engine& random) {
  if (end <= 4 * n) {
    numbers all(end);
    std::iota(all.begin(), all.end(), 0);
    shuffle(all, random);
    all.resize(n);
    return all;
  }
  numbers some;
  std::unordered_set<std::uint64_t> seen;
  while (some.size() < n) {
    const std::uint64_t x = below(random, end);
    if (seen.insert(x).second) some.push_back(x);
  }
  return some;
}

numbers runs(std::size_t n, engine& random) {
  constexpr std::uint64_t length = 16, slot = 32;  // pages
  numbers pages;
  for (const std::uint64_t s : distinct((n + length - 1) / length, (1u << 24) / slot, random)) {
    const std::uint64_t first = s * slot + below(random, slot - length);
    for (std::uint64_t i = 0; i < length && pages.size() < n; ++i) pages.push_back(first + i);
  }
  return pages;
}

}  // namespace

const char* coalesce_shape_text(coalesce_shape s) {
  switch (s) {
    case coalesce_shape::contiguous:
      return "contiguous";
    case coalesce_shape::reversed:
      return "reversed";
    case coalesce_shape::dense:
      return "dense";
    case coalesce_shape::sparse:
      return "sparse";
    case coalesce_shape::runs:
      return "runs";
    case coalesce_shape::duplicates:
      return "duplicates";
  }
  return "unknown shape";
}

numbers coalesce_input(coalesce_shape s, std::size_t n, std::uint64_t seed) {
  engine random(seed);
  numbers pages(n);
  switch (s) {
    case coalesce_shape::contiguous:
      std::iota(pages.begin(), pages.end(), 0);
      break;
    case coalesce_shape::reversed:
      std::iota(pages.rbegin(), pages.rend(), 0);
      break;
    case coalesce_shape::dense:
      pages = distinct(n, 2 * n, random);
      break;
    case coalesce_shape::sparse:
      pages = distinct(n, 1u << 24, random);
      break;
    case coalesce_shape::runs:
      pages = runs(n, random);
      break;
    case coalesce_shape::duplicates:
      for (std::uint64_t& p : pages) p = below(random, n < 4 ? 1 : n / 4);
      break;
  }
  const std::uint64_t base = below(random, 1u << 20) << 16 | below(random, 1u << 16);
  for (std::uint64_t& p : pages) p += base;
  return pages;
}

}  // namespace quire::perf
