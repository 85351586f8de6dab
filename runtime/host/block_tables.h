// Table memory from a block that somebody supplies.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace quire::runtime::host {

/// Table memory carved in ascending order from a block that the caller owns. One thread at a time.
class block_tables {
 public:
  /// @param memory    aligned to the largest table that will be allocated
  /// @param physical  address of its first byte
  block_tables(std::span<std::byte> memory, std::uint64_t physical) : memory_(memory), base_(physical) {}

  /// False if too little is left.
  bool allocate(std::size_t bytes, std::size_t align, std::uint64_t* physical) {
    const std::size_t start = (used_ + align - 1) / align * align;
    if (start > memory_.size() || bytes > memory_.size() - start) return false;
    used_ = start + bytes;
    *physical = base_ + start;
    return true;
  }
  std::uint64_t table_offset() const { return reinterpret_cast<std::uintptr_t>(memory_.data()) - base_; }
  /// Bytes carved so far.
  std::size_t used() const { return used_; }

 private:
  std::span<std::byte> memory_;
  std::uint64_t base_;
  std::size_t used_ = 0;
};

}  // namespace quire::runtime::host
