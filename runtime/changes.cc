// The order in which changes are completed. Outside of the header, so that the sort is nobody's symbol but this file's.
#include "runtime/changes.h"

namespace quire::runtime {

namespace {

struct by_address {
  const entry_change* changes;
  const entry_span* spans;
  std::size_t change_count;

  const std::uint64_t* at(std::uint16_t i) const { return i < change_count ? changes[i].at : spans[i - change_count].at; }
  bool operator()(std::uint16_t a, std::uint16_t b) const { return at(a) < at(b); }
};

}  // namespace

std::span<const std::uint16_t> entry_changes::by_slot() {
  const std::span<std::uint16_t> order{bucket_, size_ + spans_size_};
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = static_cast<std::uint16_t>(i);
  const by_address before{changes_, spans_, size_};
  if (!std::is_sorted(order.begin(), order.end(), before)) std::sort(order.begin(), order.end(), before);
  return order;
}

}  // namespace quire::runtime
