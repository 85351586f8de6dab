// Table memory of a hosted machine, from a mimalloc arena.
#pragma once

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <vector>

#include "runtime/platform.h"

namespace quire::runtime::host {

/// Table memory from one mimalloc arena that all instances share, 64 GiB of address space reserved at first use.
/// Its physical addresses start at arena_base. Any thread may call anything.
class arena_tables {
 public:
  static constexpr std::uint64_t arena_base = std::uint64_t{1} << 32;
  static constexpr std::size_t arena_bytes = std::size_t{64} << 30;

  arena_tables() = default;
  arena_tables(const arena_tables&) = delete;
  arena_tables& operator=(const arena_tables&) = delete;
  /// Frees what was allocated through this instance.
  ~arena_tables();

  /// False if the arena is exhausted or could not be reserved. `align` is a power of two.
  bool allocate(std::size_t bytes, std::size_t align, std::uint64_t* physical);
  /// platform::table_offset. 0 if the arena could not be reserved.
  static std::uint64_t table_offset();

 private:
  std::mutex lock_;
  std::vector<void*> blocks_;
};

}  // namespace quire::runtime::host
