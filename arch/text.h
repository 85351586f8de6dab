// Text of flush commands without a C library: a bounded buffer.
#pragma once

#include <cstddef>
#include <cstdint>

namespace quire::arch {

/// A zero-terminated line; what does not fit is cut off.
class text_line {
 public:
  constexpr text_line& operator<<(const char* s) {
    while (*s) put(*s++);
    return *this;
  }
  /// Appends `value` as 0x and hexadecimal digits, without leading zeros.
  constexpr text_line& operator<<(std::uint64_t value) {
    *this << "0x";
    unsigned shift = 60;
    while (shift && !(value >> shift)) shift -= 4;
    for (;; shift -= 4) {
      put("0123456789abcdef"[(value >> shift) & 15]);
      if (!shift) return *this;
    }
  }
  constexpr const char* c_str() const { return text_; }

 private:
  constexpr void put(char c) {
    if (size_ + 1 < sizeof text_) text_[size_++] = c;
  }
  char text_[120] = {};
  std::size_t size_ = 0;
};

}  // namespace quire::arch
