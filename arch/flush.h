// What a flush planner takes and gives: ranges that went stale, commands that make them so everywhere.
#pragma once

#include <span>

#include "arch/address.h"
#include "arch/format.h"
#include "arch/text.h"

namespace quire::arch {

/// Neighbouring entries of one table, all changed, in a format whose valid entries change by instruction only.
struct entry_run {
  table_address table;
  gfn first{};  ///< first page of the first entry
  std::uint32_t entries = 0;
  std::uint8_t level = 0;  ///< of the table
  /// One entry whose valid word becomes another at once (transition::replace_by_instruction).
  bool replace = false;
  std::uint64_t from = 0, to = 0;  ///< meaningful if `replace`
};

/// What a batch made stale in one space.
struct flush_request {
  /// Sorted and disjoint. Unspecified if `whole`.
  std::span<const gfn_range> ranges;
  /// The whole space: more went stale than `ranges` can hold, or the space goes away.
  bool whole = false;
  /// A table was taken out: what CPUs cache of the walk itself is stale too.
  bool tables_removed = false;
  /// Bit l: leaves of level l went stale.
  std::uint8_t levels = 0;
  /// Only the CPU that executes the commands can hold translations of the space.
  bool local = false;
  /// For formats with `by_instruction`: all that has to be invalidated, unless nothing but the space goes away.
  std::span<const entry_run> entries = {};
};

/// One instruction or one hypercall word. `op` is an enumerator of the format that planned it.
struct flush_command {
  std::uint16_t op = 0;
  std::uint64_t operand[4] = {};
  friend constexpr bool operator==(const flush_command&, const flush_command&) = default;
};

/// Commands of one flush, in order.
class command_list {
 public:
  static constexpr std::size_t capacity = 512;

  constexpr void clear() { size_ = 0; }
  /// False if the list is full; the planner then starts over with a command for the whole space.
  constexpr bool add(flush_command c) {
    if (size_ == capacity) return false;
    commands_[size_++] = c;
    return true;
  }
  constexpr std::span<const flush_command> all() const { return {commands_, size_}; }

 private:
  flush_command commands_[capacity] = {};
  std::size_t size_ = 0;
};

/// A format that plans its flushes: plan_flush() covers at least what the request names, describe() prints.
template <class F>
concept flushing_format =
    entry_format<F> && requires(const F f, std::uint64_t root, const flush_request& r, command_list& out,
                                const flush_command& c) {
      { plan_flush(f, root, r, out) } -> std::same_as<void>;
      { describe(f, c) } -> std::same_as<text_line>;
    };

}  // namespace quire::arch
