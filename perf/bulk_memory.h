// Table memory of `quire bulk`: one block, touched before anything is timed, used by one guest after the
// other.
#pragma once

#include <mutex>
#include <optional>
#include <string>

#include "runtime/host/block_tables.h"
#include "runtime/platform.h"

namespace quire::perf {

/// In pages of 2 MiB if the system has them: a hypervisor sees its table memory through large pages too.
class bulk_memory {
 public:
  static constexpr std::uint64_t base = std::uint64_t{1} << 32;  ///< physical address of its first byte

  bulk_memory() = default;
  bulk_memory(const bulk_memory&) = delete;
  bulk_memory& operator=(const bulk_memory&) = delete;
  ~bulk_memory();

  /// Makes a block of so many bytes and touches all of it. Once. Returns what is wrong, or nothing.
  std::string start(std::uint64_t bytes);
  /// All of it is free again: no machine uses it any more.
  void clear();

  /// Makes `p` take its table memory from here. Any thread may allocate.
  void serve(runtime::platform& p) const { p.table_offset = offset_; }
  bool allocate(std::size_t bytes, std::size_t align, std::uint64_t* physical) {
    const std::lock_guard hold(lock_);
    return tables_->allocate(bytes, align, physical);
  }
  std::uint64_t used() const { return tables_->used(); }
  /// The first bytes, while no machine uses them.
  std::span<std::uint64_t> words(std::size_t bytes) const {
    return {reinterpret_cast<std::uint64_t*>(block_.data()), bytes / sizeof(std::uint64_t)};
  }

 private:
  std::mutex lock_;
  void* mapped_ = nullptr;
  std::size_t mapped_bytes_ = 0;
  std::span<std::byte> block_;
  std::uint64_t offset_ = 0;
  std::optional<runtime::host::block_tables> tables_;
};

}  // namespace quire::perf
