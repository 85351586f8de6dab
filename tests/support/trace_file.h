// tests/support/trace_file.h: guest page access traces made for tests, sound or damaged on purpose.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace quire::tests {

using byte_string = std::vector<std::uint8_t>;

/// The stored fields of a record; no value is refused.
struct trace_file_record {
  std::uint64_t time = 0, page = 0;  // page: 40 bits
  std::uint8_t vcpu = 0, kind = 1, flags = 0;
};

/// The stored fields of a header; no value is refused. An unset count takes the sound value.
struct trace_file_header {
  std::string magic = "GPATRACE";
  std::uint16_t version = 1, header_bytes = 256, record_bytes = 16;
  std::uint8_t architecture = 1, page_shift = 12;
  std::uint16_t vcpus = 2;
  std::optional<std::uint16_t> ram_regions;  // those before the first region of 0 bytes
  std::uint32_t flags = 1;
  std::uint64_t instructions_per_epoch = 100;
  std::optional<std::uint64_t> instructions;                            // the time of the last record
  std::optional<std::uint64_t> records;                                 // those in the list
  std::optional<std::uint64_t> epochs;                                  // by the last record
  std::optional<std::uint64_t> distinct_pages;                          // those in the list but markers
  std::array<std::array<std::uint64_t, 2>, 4> ram = {{{0, 0x100000}}};  // first byte, bytes
  std::string note = "made by a test";
};

/// A trace in memory. Use: fill in the fields, then take content() or file().
struct trace_file {
  trace_file_header header;
  std::vector<trace_file_record> records;
  std::function<void(byte_string&)> damage_content;  // before compression
  std::function<void(byte_string&)> damage_file;     // after compression

  /// Header and records as the format stores them, damaged if asked for.
  byte_string content() const;

  /// content() as a zstd frame with checksum, damaged if asked for.
  byte_string file() const;
};

/// One zstd frame with checksum.
byte_string zstd_frame(std::span<const std::uint8_t> content);

/// One zstd frame that holds `content` as it is, up to 128 KiB, without checksum.
///
/// @param window  the frame's window byte: (log2(bytes) - 10) << 3, 0x38 for 128 KiB
byte_string stored_frame(std::span<const std::uint8_t> content, std::uint8_t window = 0x38);

/// A file below the build folder (MESON_BUILD_ROOT, else the current one), removed with the object.
class scratch_file {
 public:
  explicit scratch_file(std::span<const std::uint8_t> bytes);
  ~scratch_file();
  scratch_file(const scratch_file&) = delete;
  scratch_file& operator=(const scratch_file&) = delete;

  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

}  // namespace quire::tests
