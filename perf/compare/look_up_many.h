// Lookups of many pages through the runtime.
#pragma once

#include <span>

#include "runtime/machine.h"

namespace quire::perf {

/// One call per page. False if a page is not mapped.
inline bool look_up_one_by_one(runtime::machine& machine, runtime::lazy_state* l,
                               std::span<const std::uint64_t> pages, std::span<std::uint64_t> frames) {
  bool all = true;
  for (std::size_t i = 0; i < pages.size(); ++i) {
    runtime::mapping m;
    bool found = false;
    all &= machine.lookup(l, runtime::gfn{pages[i]}, m, found) == runtime::status::ok && found;
    frames[i] = m.out.value;
  }
  return all;
}

/// Numbers as the runtime's calls take them.
template <class Number, class Value>
std::span<Number> numbers(std::span<Value> values) {
  static_assert(sizeof(Number) == sizeof(Value));
  return {reinterpret_cast<Number*>(values.data()), values.size()};
}

/// One call for all. Whether they are mapped is for whoever looks at the frames: as with io-pgtable, holes have a number too.
inline bool look_up_many(runtime::machine& machine, runtime::lazy_state* l,
                         std::span<const std::uint64_t> pages, std::span<std::uint64_t> frames) {
  return machine.lookup_many(l, numbers<const runtime::gfn>(pages), numbers<runtime::hfn>(frames)) == runtime::status::ok;
}

}  // namespace quire::perf
