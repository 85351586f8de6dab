// A table pool on a platform whose memory and requests can be looked at.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <vector>

#include "runtime/host/hosted.h"
#include "runtime/table_pool.h"

namespace quire::tests {

using runtime::pool_options;
using runtime::status;
using runtime::table_pool;

inline constexpr std::uint64_t frame_bytes = 128;
inline constexpr std::uint64_t base = 0x40000000;
inline constexpr unsigned char untouched = 0xa5;

/// A pool on a platform that has `frames` frames, whose memory and requests can be looked at.
class rig {
 public:
  rig(std::uint64_t frames, pool_options options, unsigned cpus = 3, bool cleared = false, std::uint64_t bytes_each = frame_bytes)
      : each(bytes_each), left_(frames), memory_(frames * each, cleared ? 0 : untouched) {
    host_ = runtime::host::hosted_platform();
    host_.context = this;
    host_.table_offset = reinterpret_cast<std::uintptr_t>(memory_.data()) - base;
    host_.allocate_tables = [](void* context, std::size_t bytes, std::size_t align, std::uint64_t* physical) {
      return static_cast<rig*>(context)->allocate(bytes, align, physical);
    };
    host_.tables_zeroed = cleared;
    REQUIRE(pool.start(host_, each, cpus, options) == status::ok);
  }
  ~rig() { pool.stop(); }
  rig(const rig&) = delete;
  rig& operator=(const rig&) = delete;

  std::uint64_t take(unsigned cpu) { return (pool.take(cpu).table.byte - base) / each; }
  std::vector<std::uint64_t> take(unsigned cpu, unsigned n) {
    std::vector<std::uint64_t> frames;
    while (n-- > 0) frames.push_back(take(cpu));
    return frames;
  }
  void give(unsigned cpu, std::uint64_t frame) { pool.give(cpu, {base + frame * each}); }
  unsigned char* bytes(const table_pool::frame& f) { return bytes((f.table.byte - base) / each); }
  bool all_zero(const table_pool::frame& f) {
    return std::all_of(bytes(f), bytes(f) + each, [](unsigned char b) { return b == 0; });
  }
  unsigned char* bytes(std::uint64_t frame) { return memory_.data() + frame * each; }
  std::uint64_t touched() const {
    std::uint64_t n = 0;
    for (auto at = memory_.begin(); at != memory_.end(); at += each) {
      n += std::any_of(at, at + each, [](unsigned char b) { return b != untouched; });
    }
    return n;
  }

  const std::uint64_t each;  ///< bytes of a frame
  table_pool pool;
  std::vector<std::uint64_t> requests;  ///< frames asked of the platform, refused ones included

 private:
  bool allocate(std::size_t size, std::size_t align, std::uint64_t* physical) {
    CHECK(align == each);
    requests.push_back(size / each);
    if (requests.back() > left_) return false;
    *physical = base + memory_.size() - left_ * each;
    left_ -= requests.back();
    return true;
  }

  std::uint64_t left_;
  std::vector<unsigned char> memory_;
  runtime::platform host_;
};

}  // namespace quire::tests
