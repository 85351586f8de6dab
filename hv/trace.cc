// hv/trace.cc: the decoder of guest page access traces; it trusts nothing that the file says.
#include "hv/trace.h"

#include <fmt/format.h>
#include <zstd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <limits>
#include <span>
#include <string_view>
#include <system_error>

namespace quire::hv {
namespace {

constexpr std::size_t header_bytes = 256, record_bytes = 16, batch_records = 4096;
constexpr std::size_t ram_offset = 64, ram_regions = 4, note_offset = 128;
constexpr unsigned page_shift = 12;
constexpr std::uint64_t page_bytes = std::uint64_t{1} << page_shift;
constexpr std::uint64_t address_limit = std::uint64_t{1} << 52;  // a record has 40 bits of page number
constexpr std::uint64_t page_mask = (std::uint64_t{1} << 40) - 1;
constexpr std::string_view magic = "GPATRACE";
constexpr std::array<std::uint8_t, 4> frame_magic = {0x28, 0xb5, 0x2f, 0xfd};
constexpr int window_log_max = 27;  // 128 MiB: bounds what a file can make libzstd allocate

using header_content = std::span<const std::uint8_t, header_bytes>;

std::uint64_t load(const std::uint8_t* from, std::size_t bytes) {
  std::uint64_t value = 0;
  for (std::size_t i = bytes; i-- > 0;) value = value << 8 | from[i];
  return value;
}

std::uint64_t load64(const std::uint8_t* from) {
  std::uint64_t value;
  std::memcpy(&value, from, sizeof value);
  return std::endian::native == std::endian::little ? value : __builtin_bswap64(value);
}

std::string errno_text() { return std::generic_category().message(errno); }

template <class Bytes>
std::string hex(const Bytes& bytes) {
  std::string text;
  for (const auto b : bytes) text += fmt::format(" {:02x}", static_cast<unsigned>(b));
  return text;
}

std::string field_problem(std::size_t offset, std::string_view field, std::uint64_t value,
                          std::string_view allowed) {
  return fmt::format("header byte {}: {} is {}; allowed: {}", offset, field, value, allowed);
}

// A header field whose allowed values need no other field.
struct plain_field {
  std::size_t offset, bytes;
  std::uint64_t least, most;
  std::string_view name;
};

constexpr std::uint64_t any = std::numeric_limits<std::uint64_t>::max();
constexpr std::array<plain_field, 9> plain_fields = {{
    {8, 2, 1, 1, "version"},
    {10, 2, header_bytes, header_bytes, "header bytes"},
    {12, 2, record_bytes, record_bytes, "record bytes"},
    {14, 1, 1, 3, "architecture"},
    {15, 1, page_shift, page_shift, "page shift"},
    {16, 2, 1, 254, "number of vCPUs"},
    {18, 2, 1, ram_regions, "number of RAM regions"},
    {20, 4, 0, 1, "flags"},
    {24, 8, 1, any, "instructions per epoch"},
}};

// These functions return what is wrong; empty when nothing is.

std::string plain_problem(const header_content& raw) {
  if (!std::equal(magic.begin(), magic.end(), raw.begin()))
    return fmt::format("header byte 0: magic is{}; allowed:{} (\"{}\")", hex(raw.first(magic.size())),
                       hex(magic), magic);
  for (const plain_field& f : plain_fields) {
    const std::uint64_t value = load(&raw[f.offset], f.bytes);
    if (value < f.least || value > f.most)
      return field_problem(
          f.offset, f.name, value,
          f.least == f.most ? fmt::to_string(f.least) : fmt::format("{}..{}", f.least, f.most));
  }
  return {};
}

std::string region_problem(const ram_region& r, std::span<const ram_region> earlier) {
  if (r.bytes == 0) return "is empty";
  if ((r.first_byte | r.bytes) % page_bytes != 0)
    return fmt::format("is not in units of {} bytes", page_bytes);
  if (r.first_byte >= address_limit || r.bytes > address_limit - r.first_byte)
    return fmt::format("ends after the last allowed byte, {:#x}", address_limit - 1);
  for (std::size_t i = 0; i < earlier.size(); ++i) {
    const ram_region& e = earlier[i];
    if (r.first_byte < e.first_byte + e.bytes && e.first_byte < r.first_byte + r.bytes)
      return fmt::format("overlaps RAM region {}, {:#x} bytes at {:#x}", i, e.bytes, e.first_byte);
  }
  return {};
}

std::string ram_problem(const header_content& raw, trace_header& h) {
  const std::uint64_t used = load(&raw[18], 2);
  for (std::size_t i = 0; i < ram_regions; ++i) {
    const std::size_t offset = ram_offset + 16 * i;
    const ram_region r{load64(&raw[offset]), load64(&raw[offset + 8])};
    std::string problem;
    if (i < used)
      problem = region_problem(r, h.ram);
    else if (r != ram_region{0, 0})
      problem = fmt::format("is not zero, with {} in use", used);
    if (!problem.empty())
      return fmt::format("header byte {}: RAM region {}, {:#x} bytes at {:#x}, {}", offset, i, r.bytes,
                         r.first_byte, problem);
    if (i < used) h.ram.push_back(r);
  }
  return {};
}

std::string count_problem(const trace_header& h) {
  std::uint64_t ram_pages = 0;
  for (const ram_region& r : h.ram) ram_pages += r.bytes >> page_shift;
  if (h.distinct_pages > ram_pages)
    return field_problem(56, "number of distinct pages", h.distinct_pages,
                         fmt::format("0..{}, the pages of RAM", ram_pages));
  if (h.records == 0 && h.epochs != 0)
    return field_problem(48, "number of epochs", h.epochs, "0, as there are no records");
  const std::uint64_t last = h.instructions / h.instructions_per_epoch;
  if (h.records != 0 && (h.epochs == 0 || h.epochs - 1 > last))
    return field_problem(48, "number of epochs", h.epochs,
                         fmt::format("1 to 1 + {}, the epoch of instruction {}", last, h.instructions));
  return {};
}

std::string read_header(const header_content& raw, trace_header& h) {
  if (std::string problem = plain_problem(raw); !problem.empty()) return problem;
  h.architecture = raw[14];
  h.vcpus = static_cast<unsigned>(load(&raw[16], 2));
  h.host_side = raw[20] != 0;
  h.instructions_per_epoch = load64(&raw[24]);
  h.instructions = load64(&raw[32]);
  h.records = load64(&raw[40]);
  h.epochs = load64(&raw[48]);
  h.distinct_pages = load64(&raw[56]);
  h.note.assign(raw.begin() + note_offset, std::find(raw.begin() + note_offset, raw.end(), 0));
  if (std::string problem = ram_problem(raw, h); !problem.empty()) return problem;
  return count_problem(h);
}

bool known(access_kind k) {
  using enum access_kind;
  return k == read || k == write || k == fetch || k == marker;
}

// The last instruction that both the instruction count and the epochs allow.
std::uint64_t time_limit(const trace_header& h) {
  if (h.epochs == 0) return 0;
  const std::uint64_t last_epoch_begins = (h.epochs - 1) * h.instructions_per_epoch;  // <= h.instructions
  return last_epoch_begins + std::min(h.instructions - last_epoch_begins, h.instructions_per_epoch - 1);
}

std::uint64_t byte_of(std::uint64_t record) { return header_bytes + record * record_bytes; }

std::string ram_text(std::span<const ram_region> ram) {
  std::string text;
  for (const ram_region& r : ram)
    text += fmt::format(" {:#x}..{:#x}", r.first_byte >> page_shift,
                        ((r.first_byte + r.bytes) >> page_shift) - 1);
  return text;
}

}  // namespace

// The decompressed bytes of a file that holds one zstd frame, which nothing follows.
class trace_reader::input {
 public:
  explicit input(const std::string& path) : file_(std::fopen(path.c_str(), "rb")) {
    if (!file_)
      problem_ = fmt::format("cannot open: {}", errno_text());
    else if (!decoder_ ||
             ZSTD_isError(ZSTD_DCtx_setParameter(decoder_.get(), ZSTD_d_windowLogMax, window_log_max)))
      problem_ = "cannot set up a zstd decoder";
    else if (pull())
      check_start();
  }

  // Returns the next bytes, as many as asked for; fewer at the end and when problem() is set.
  std::span<const std::uint8_t> read(std::size_t bytes) {
    ZSTD_outBuffer out{content_.data(), std::min(bytes, content_.size()), 0};
    while (out.pos < out.size && !ended_ && problem_.empty()) decompress(out);
    content_offset_ += out.pos;
    return {content_.data(), out.pos};
  }

  const std::string& problem() const { return problem_; }
  std::string problem_or(const std::string& other) const { return problem_.empty() ? other : problem_; }

 private:
  // Refills the compressed buffer, which is used up; leaves it empty at the end of the file.
  bool pull() {
    file_offset_ += in_.size;
    in_ = {compressed_.data(), std::fread(compressed_.data(), 1, compressed_.size(), file_.get()), 0};
    if (std::ferror(file_.get())) problem_ = fmt::format("cannot read: {}", errno_text());
    return problem_.empty();
  }

  void check_start() {
    const auto start = std::span(compressed_).first(std::min(in_.size, frame_magic.size()));
    if (start.empty())
      problem_ = "is empty";
    else if (!std::equal(start.begin(), start.end(), frame_magic.begin()))
      problem_ = fmt::format("not a zstd frame: it starts with{}, not{}", hex(start), hex(frame_magic));
  }

  void decompress(ZSTD_outBuffer& out) {
    if (in_.pos == in_.size && !pull()) return;
    const bool dry = in_.pos == in_.size;  // libzstd may still hold output
    const std::size_t before = out.pos;
    const std::size_t wanted = ZSTD_decompressStream(decoder_.get(), &out, &in_);
    if (ZSTD_isError(wanted))
      problem_ = fmt::format("zstd: {}, after byte {} of the file and {} of the content",
                             ZSTD_getErrorName(wanted), file_offset_ + in_.pos, content_offset_ + out.pos);
    else if (wanted == 0)
      end();
    else if (dry && out.pos == before)
      problem_ = fmt::format("the zstd frame is cut short: the file ends at byte {}, {} of the content",
                             file_offset_ + in_.pos, content_offset_ + out.pos);
  }

  void end() {
    ended_ = true;
    if (in_.pos == in_.size && !pull()) return;
    if (in_.pos < in_.size)
      problem_ = fmt::format("more follows the zstd frame, which ends at byte {} of the file",
                             file_offset_ + in_.pos);
  }

  struct release {
    void operator()(std::FILE* f) const { std::fclose(f); }
    void operator()(ZSTD_DStream* d) const { ZSTD_freeDStream(d); }
  };

  std::unique_ptr<std::FILE, release> file_;
  std::unique_ptr<ZSTD_DStream, release> decoder_{ZSTD_createDStream()};
  std::vector<std::uint8_t> compressed_ = std::vector<std::uint8_t>(ZSTD_DStreamInSize());
  std::vector<std::uint8_t> content_ = std::vector<std::uint8_t>(batch_records * record_bytes);
  ZSTD_inBuffer in_{nullptr, 0, 0};
  std::uint64_t file_offset_ = 0;     // of in_
  std::uint64_t content_offset_ = 0;  // of what read() gives next
  bool ended_ = false;                // the frame is complete
  std::string problem_;
};

trace_reader::trace_reader() : error_("no trace is open") {}
trace_reader::~trace_reader() = default;

bool trace_reader::open(const std::string& path) noexcept {
  path_ = path;
  error_.clear();
  header_ = {};
  batch_.clear();
  batch_.reserve(batch_records);
  next_ = 0;
  taken_before_batch_ = last_time_ = 0;
  input_ = std::make_unique<input>(path);

  const auto raw = input_->read(header_bytes);
  if (raw.size() < header_bytes) {
    after_batch_ = fail(input_->problem_or(
        fmt::format("content is {} bytes; the header takes {}", raw.size(), header_bytes)));
    return false;
  }
  const std::string problem = read_header(raw.first<header_bytes>(), header_);
  after_batch_ = problem.empty() ? step::record : fail(problem);
  if (problem.empty()) time_limit_ = time_limit(header_);
  return problem.empty();
}

trace_reader::step trace_reader::refill() noexcept {
  if (after_batch_ != step::record) return after_batch_;
  taken_before_batch_ += batch_.size();
  batch_.clear();
  next_ = 0;
  const std::uint64_t left = header_.records - taken_before_batch_;
  if (left == 0) return after_batch_ = finish();
  const std::size_t asked = record_bytes * std::min<std::uint64_t>(left, batch_records);
  const auto raw = input_->read(asked);
  after_batch_ = decode(raw);
  if (raw.size() < asked && after_batch_ == step::record)
    after_batch_ = fail(input_->problem_or(
        fmt::format("record {} at byte {} has {} of {} bytes; the header says {} records", records_taken(),
                    byte_of(records_taken()), raw.size() % record_bytes, record_bytes, header_.records)));
  return batch_.empty() ? after_batch_ : step::record;
}

// Fills the batch with the whole records of `raw` up to the first unsound one.
trace_reader::step trace_reader::decode(std::span<const std::uint8_t> raw) {
  for (; raw.size() >= record_bytes; raw = raw.subspan(record_bytes)) {
    const std::uint8_t flags = raw[15];
    const trace_record r{load64(raw.data()), load64(raw.data() + 8) & page_mask, raw[13],
                         static_cast<access_kind>(raw[14]), flags != 0};
    if (!accept(r, flags)) return step::damaged;
    batch_.push_back(r);
    last_time_ = r.time;
  }
  return step::record;
}

// Returns false, with the reason in error_, when `r` breaks the format as the next record.
bool trace_reader::accept(const trace_record& r, std::uint8_t flags) {
  const auto refuse = [this](std::string_view field, const auto& value, const std::string& allowed) {
    const std::uint64_t at = records_taken();
    fail(fmt::format("record {} at byte {}: {} is {}; allowed: {}", at, byte_of(at), field, value, allowed));
    return false;
  };
  if (r.time < last_time_)
    return refuse("time", r.time, fmt::format("{}, as in the record before, or later", last_time_));
  if (r.time > time_limit_)
    return refuse("time", r.time,
                  fmt::format("up to {}, by the header's instructions ({}) and epochs ({})", time_limit_,
                              header_.instructions, header_.epochs));
  if (!known(r.kind)) return refuse("kind", static_cast<unsigned>(r.kind), "1, 2, 4 or 128");
  if (flags > (header_.host_side ? 1 : 0))
    return refuse("flags", flags, header_.host_side ? "0..1" : "0, by the header's flags");
  if (r.vcpu >= header_.vcpus && r.vcpu != no_vcpu)
    return refuse("vCPU", r.vcpu, fmt::format("0..{} or {}", header_.vcpus - 1, no_vcpu));
  if (r.kind != access_kind::marker && !in_ram(r.page))
    return refuse("page", fmt::format("{:#x}", r.page), "the pages of RAM," + ram_text(header_.ram));
  return true;
}

bool trace_reader::in_ram(std::uint64_t page) const {
  return std::any_of(header_.ram.begin(), header_.ram.end(), [page](const ram_region& r) {
    return page - (r.first_byte >> page_shift) < r.bytes >> page_shift;  // below the first page this wraps
  });
}

trace_reader::step trace_reader::finish() {
  const std::uint64_t records = header_.records, last = last_time_ / header_.instructions_per_epoch;
  if (!input_->read(1).empty())
    return fail(fmt::format("content goes on at byte {}, after the {} records that the header says",
                            byte_of(records), records));
  if (!input_->problem().empty()) return fail(input_->problem());
  if (records != 0 && header_.epochs - 1 != last)
    return fail(field_problem(48, "number of epochs", header_.epochs,
                              fmt::format("1 + {}, the epoch of record {} at byte {}, the last, with time {}",
                                          last, records - 1, byte_of(records - 1), last_time_)));
  return step::end;
}

trace_reader::step trace_reader::fail(const std::string& problem) {
  error_ = fmt::format("{}: {}", path_, problem);
  return step::damaged;
}

}  // namespace quire::hv
