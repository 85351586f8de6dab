// Where table memory of a hosted machine comes from: a mimalloc arena, or a block that somebody supplies.
#pragma once

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <span>
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

/// Table memory carved in ascending order from a block that the caller owns. One thread at a time.
class block_tables {
 public:
  /// @param memory    aligned to the largest table that will be allocated
  /// @param physical  address of its first byte
  block_tables(std::span<std::byte> memory, std::uint64_t physical) : memory_(memory), base_(physical) {}

  /// False if too little is left.
  bool allocate(std::size_t bytes, std::size_t align, std::uint64_t* physical);
  std::uint64_t table_offset() const { return reinterpret_cast<std::uintptr_t>(memory_.data()) - base_; }
  /// Bytes carved so far.
  std::size_t used() const { return used_; }

 private:
  std::span<std::byte> memory_;
  std::uint64_t base_;
  std::size_t used_ = 0;
};

}  // namespace quire::runtime::host
