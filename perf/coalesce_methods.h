// Single methods of coalescing pages, to measure runtime::coalesce_pages() against.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "arch/address.h"
#include "perf/coalesce_shapes.h"

namespace quire::perf {

struct coalesce_method {
  const char* name;
  /// As runtime::coalesce_pages(): `pages` may be destroyed, `out` and `scratch` have the room that it asks
  /// for.
  std::size_t (*run)(std::span<std::uint64_t> pages, std::span<arch::gfn_range> out,
                     std::span<std::byte> scratch);
  /// Whether it is a method for N pages of the shape at all, and does not take forever.
  bool (*applies)(coalesce_shape s, std::size_t n);
};

/// All that this build and this CPU can run; std::sort + scan is the first.
std::span<const coalesce_method> coalesce_methods();

}  // namespace quire::perf
