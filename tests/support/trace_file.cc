// tests/support/trace_file.cc: the encoder of guest page access traces.
#include "tests/support/trace_file.h"

#include <fmt/format.h>
#include <unistd.h>
#include <zstd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <memory>
#include <set>
#include <stdexcept>
#include <system_error>

namespace quire::tests {
namespace {

constexpr std::size_t header_end = 256, note_offset = 128;
constexpr std::uint8_t marker = 128;

void put(byte_string& to, std::uint64_t value, unsigned bytes) {
  for (unsigned i = 0; i < bytes; ++i) to.push_back(static_cast<std::uint8_t>(value >> (8 * i)));
}

std::uint64_t last_time(const trace_file& t) { return t.records.empty() ? 0 : t.records.back().time; }

std::uint64_t epochs(const trace_file& t) {
  if (t.records.empty() || t.header.instructions_per_epoch == 0) return 0;
  return last_time(t) / t.header.instructions_per_epoch + 1;
}

std::uint64_t distinct_pages(const trace_file& t) {
  std::set<std::uint64_t> pages;
  for (const auto& r : t.records)
    if (r.kind != marker) pages.insert(r.page);
  return pages.size();
}

std::uint16_t ram_regions(const trace_file_header& h) {
  const auto end = std::find_if(h.ram.begin(), h.ram.end(), [](const auto& r) { return r[1] == 0; });
  return static_cast<std::uint16_t>(end - h.ram.begin());
}

void put_header(byte_string& to, const trace_file& t) {
  const trace_file_header& h = t.header;
  to.assign(h.magic.begin(), h.magic.end());
  to.resize(8);
  put(to, h.version, 2);
  put(to, h.header_bytes, 2);
  put(to, h.record_bytes, 2);
  put(to, h.architecture, 1);
  put(to, h.page_shift, 1);
  put(to, h.vcpus, 2);
  put(to, h.ram_regions.value_or(ram_regions(h)), 2);
  put(to, h.flags, 4);
  put(to, h.instructions_per_epoch, 8);
  put(to, h.instructions.value_or(last_time(t)), 8);
  put(to, h.records.value_or(t.records.size()), 8);
  put(to, h.epochs.value_or(epochs(t)), 8);
  put(to, h.distinct_pages.value_or(distinct_pages(t)), 8);
  for (const auto& r : h.ram) {
    put(to, r[0], 8);
    put(to, r[1], 8);
  }
  to.resize(note_offset);
  to.insert(to.end(), h.note.begin(), h.note.end());
  to.resize(header_end);
}

}  // namespace

byte_string trace_file::content() const {
  byte_string to;
  put_header(to, *this);
  for (const auto& r : records) {
    put(to, r.time, 8);
    put(to, r.page, 5);
    put(to, r.vcpu, 1);
    put(to, r.kind, 1);
    put(to, r.flags, 1);
  }
  if (damage_content) damage_content(to);
  return to;
}

byte_string trace_file::file() const {
  byte_string to = zstd_frame(content());
  if (damage_file) damage_file(to);
  return to;
}

byte_string zstd_frame(std::span<const std::uint8_t> content) {
  const std::unique_ptr<ZSTD_CCtx, decltype(&ZSTD_freeCCtx)> encoder(ZSTD_createCCtx(), &ZSTD_freeCCtx);
  ZSTD_CCtx_setParameter(encoder.get(), ZSTD_c_checksumFlag, 1);
  byte_string to(ZSTD_compressBound(content.size()));
  const auto bytes = ZSTD_compress2(encoder.get(), to.data(), to.size(), content.data(), content.size());
  if (ZSTD_isError(bytes)) throw std::runtime_error(fmt::format("zstd_frame: {}", ZSTD_getErrorName(bytes)));
  to.resize(bytes);
  return to;
}

byte_string stored_frame(std::span<const std::uint8_t> content, std::uint8_t window) {
  byte_string to = {0x28, 0xb5, 0x2f, 0xfd, 0, window};  // 0: no checksum, no content size
  put(to, content.size() << 3 | 1, 3);                   // a raw block, the last
  to.insert(to.end(), content.begin(), content.end());
  return to;
}

scratch_file::scratch_file(std::span<const std::uint8_t> bytes) {
  // NOLINTNEXTLINE(concurrency-mt-unsafe): no test changes the environment
  const char* folder = std::getenv("MESON_BUILD_ROOT");
  path_ = fmt::format("{}/trace_XXXXXX.gpt.zst", folder != nullptr && *folder != 0 ? folder : ".");
  const int file = mkstemps(path_.data(), 8);
  if (file < 0) throw std::system_error(errno, std::generic_category(), path_);
  const ssize_t written = ::write(file, bytes.data(), bytes.size());
  ::close(file);
  if (written == static_cast<ssize_t>(bytes.size())) return;
  ::unlink(path_.c_str());  // the destructor does not run for an object whose constructor throws
  throw std::runtime_error(fmt::format("{}: wrote {} of {} bytes", path_, written, bytes.size()));
}

scratch_file::~scratch_file() { ::unlink(path_.c_str()); }

}  // namespace quire::tests
