// Memory for page tables that is there before anything is measured.
#pragma once

#include <cstddef>
#include <cstdint>

namespace quire::perf {

/// A block of zeros, aligned to 2 MiB. Every page of it is touched already.
class present_memory {
 public:
  /// Errors: throws std::bad_alloc if the system has not so much.
  explicit present_memory(std::size_t bytes);
  ~present_memory();
  present_memory(const present_memory&) = delete;
  present_memory& operator=(const present_memory&) = delete;

  std::byte* data() const { return start_; }
  std::size_t size() const { return bytes_; }
  std::uint64_t* words() const { return reinterpret_cast<std::uint64_t*>(start_); }

 private:
  std::byte* mapped_;
  std::byte* start_;
  std::size_t bytes_;
};

}  // namespace quire::perf
