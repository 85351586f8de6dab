// hv/trace.h: reads guest page access traces, format version 1.
//
// A file is one zstd frame; inside are a header of 256 bytes, then records of 16 bytes, all little-endian.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace quire::hv {

/// vCPU index of a record that no vCPU made: a loader or a device.
inline constexpr std::uint8_t no_vcpu = 255;

enum class access_kind : std::uint8_t { read = 1, write = 2, fetch = 4, marker = 128 };

struct trace_record {
  std::uint64_t time;  // guest instructions executed so far, all vCPUs together
  std::uint64_t page;  // guest-physical address / 4096; of a marker, its number
  std::uint8_t vcpu;   // index, or no_vcpu
  access_kind kind;
  bool host_side;  // seen by page protection on the host, not by the instrumented guest instructions

  friend bool operator==(const trace_record&, const trace_record&) = default;
};

struct ram_region {
  std::uint64_t first_byte, bytes;  // whole pages

  friend bool operator==(const ram_region&, const ram_region&) = default;
};

struct trace_header {
  std::uint8_t architecture = 0;  // 1 x86_64, 2 arm64, 3 s390x
  unsigned vcpus = 0;
  std::uint64_t instructions_per_epoch = 0;
  std::uint64_t instructions = 0;    // executed, all vCPUs together
  std::uint64_t records = 0;         // a claim until next() has returned step::end
  std::uint64_t epochs = 0;          // epoch of the last record + 1; every record lies below it
  std::uint64_t distinct_pages = 0;  // at most the pages of RAM; not counted against the records
  std::vector<ram_region> ram;       // 1 to 4, disjoint, in file order
  bool host_side = false;            // records that are host-side may occur
  std::string note;                  // any bytes but zero: escape it before printing

  /// The epoch of a record of this trace.
  std::uint64_t epoch_of(const trace_record& r) const { return r.time / instructions_per_epoch; }
};

/// Reads one trace from front to back in memory that does not grow with the file.
///
/// Errors: open() false and step::damaged, with the reason in error(). Running out of memory for the fixed
///         buffers ends the process.
/// Context: one thread at a time per reader; blocks on the file.
class trace_reader {
 public:
  enum class step : std::uint8_t { record, end, damaged };

  trace_reader();
  ~trace_reader();
  trace_reader(const trace_reader&) = delete;
  trace_reader& operator=(const trace_reader&) = delete;

  /// Opens a file and checks its header; closes what was open before.
  ///
  /// @return true: header() is valid, next() gives the first record
  /// Errors: false when the file cannot be read, is not a zstd frame, or the header breaks the format.
  [[nodiscard]] bool open(const std::string& path) noexcept;

  /// Gives the next record.
  ///
  /// @param r  written for step::record only
  /// @return end: the file is complete, its checksum right, and the header told the truth about it;
  ///         damaged: the records before the damage have been given, or, when libzstd finds it, most of them.
  ///         Both are final until open().
  /// Errors: step::damaged.
  [[nodiscard]] step next(trace_record& r) noexcept {
    if (next_ == batch_.size()) {
      if (const step s = refill(); s != step::record) return s;
    }
    r = batch_[next_++];
    return step::record;
  }

  /// Valid from open() returning true until the next open().
  const trace_header& header() const noexcept { return header_; }

  /// What is wrong, beginning with the path. Valid after open() returned false or next() step::damaged.
  const std::string& error() const noexcept { return error_; }

 private:
  class input;

  step refill() noexcept;
  step decode(std::span<const std::uint8_t> raw);
  step finish();
  step fail(const std::string& problem);
  bool accept(const trace_record& r, std::uint8_t flags);
  bool in_ram(std::uint64_t page) const;
  std::uint64_t records_taken() const { return taken_before_batch_ + batch_.size(); }

  std::string path_, error_;
  trace_header header_;
  std::unique_ptr<input> input_;
  std::vector<trace_record> batch_;  // accepted records, [next_, size) not yet given
  std::size_t next_ = 0;
  std::uint64_t taken_before_batch_ = 0;
  std::uint64_t last_time_ = 0;       // of the newest accepted record
  std::uint64_t time_limit_ = 0;      // the last time that the header allows
  step after_batch_ = step::damaged;  // what follows the batch; record: more to read
};

}  // namespace quire::hv
