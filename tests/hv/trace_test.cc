// tests/hv/trace_test.cc: what the trace reader makes of sound and damaged files.
#include "hv/trace.h"

#include <doctest/doctest.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "tests/support/trace_file.h"

namespace quire::hv {
namespace {

using tests::byte_string;
using tests::scratch_file;
using tests::trace_file;
using step = trace_reader::step;

constexpr std::uint64_t top = std::uint64_t{1} << 52;  // the first byte that no page number reaches

struct outcome {
  bool opened = false;
  step last = step::damaged;
  std::vector<trace_record> records;
  trace_header header;
  std::string error;  // without the path that it begins with
};

outcome read_path(const std::string& path) {
  outcome o;
  trace_reader reader;
  o.opened = reader.open(path);
  trace_record r{};
  while ((o.last = reader.next(r)) == step::record) o.records.push_back(r);
  CHECK(reader.next(r) == o.last);
  o.header = reader.header();
  if (o.last != step::damaged) return o;
  REQUIRE(reader.error().substr(0, path.size() + 2) == path + ": ");
  o.error = reader.error().substr(path.size() + 2);
  return o;
}

outcome read_bytes(const byte_string& bytes) { return read_path(scratch_file(bytes).path()); }

// Two regions, four records: bytes 256, 272, 288, 304; epochs of 100 instructions.
trace_file small() {
  trace_file t;
  t.header.ram = {{{0, 0x4000}, {0x100000, 0x2000}}};
  t.records = {{0, 0x100, 255, 2, 1}, {50, 3, 0, 1, 0}, {250, 7, 1, 128, 0}, {399, 0x101, 1, 4, 0}};
  return t;
}

byte_string twice(const byte_string& b) {
  byte_string both = b;
  both.insert(both.end(), b.begin(), b.end());
  return both;
}

trace_file counted(std::size_t records) {
  trace_file t;
  for (std::size_t i = 0; i < records; ++i) t.records.push_back({.time = i, .page = i % 256, .kind = 2});
  return t;
}

struct damage {
  std::function<void(trace_file&)> make;
  std::string error;  // its beginning
};

std::function<void(trace_file&)> ram_region_is(std::size_t index, std::uint64_t first_byte,
                                               std::uint64_t bytes) {
  return [=](trace_file& t) { t.header.ram[index] = {first_byte, bytes}; };
}

std::function<void(trace_file&)> page_is(std::uint64_t page) {
  return [=](trace_file& t) { t.records[2] = {250, page, 0, 2, 0}; };
}

const damage header_damage[] = {
    {[](auto& t) { t.header.magic = "GPATRACF"; },
     "header byte 0: magic is 47 50 41 54 52 41 43 46; allowed: 47 50 41 54 52 41 43 45 (\"GPATRACE\")"},
    {[](auto& t) { t.header.version = 2; }, "header byte 8: version is 2; allowed: 1"},
    {[](auto& t) { t.header.header_bytes = 255; }, "header byte 10: header bytes is 255; allowed: 256"},
    {[](auto& t) { t.header.record_bytes = 32; }, "header byte 12: record bytes is 32; allowed: 16"},
    {[](auto& t) { t.header.architecture = 0; }, "header byte 14: architecture is 0; allowed: 1..3"},
    {[](auto& t) { t.header.architecture = 4; }, "header byte 14: architecture is 4; allowed: 1..3"},
    {[](auto& t) { t.header.page_shift = 16; }, "header byte 15: page shift is 16; allowed: 12"},
    {[](auto& t) { t.header.vcpus = 0; }, "header byte 16: number of vCPUs is 0; allowed: 1..254"},
    {[](auto& t) { t.header.vcpus = 255; }, "header byte 16: number of vCPUs is 255; allowed: 1..254"},
    {[](auto& t) { t.header.ram_regions = 0; }, "header byte 18: number of RAM regions is 0; allowed: 1..4"},
    {[](auto& t) { t.header.ram_regions = 5; }, "header byte 18: number of RAM regions is 5; allowed: 1..4"},
    {[](auto& t) { t.header.flags = 3; }, "header byte 20: flags is 3; allowed: 0..1"},
    {[](auto& t) { t.header.flags = 0x80000000; }, "header byte 20: flags is 2147483648; allowed: 0..1"},
    {[](auto& t) { t.header.instructions_per_epoch = 0; },
     "header byte 24: instructions per epoch is 0; allowed: 1..18446744073709551615"},
    {[](auto& t) { t.header.ram[1][1] = 0, t.header.ram_regions = 2; },
     "header byte 80: RAM region 1, 0x0 bytes at 0x100000, is empty"},
    {ram_region_is(0, 0x800, 0x4000),
     "header byte 64: RAM region 0, 0x4000 bytes at 0x800, is not in units of 4096 bytes"},
    {ram_region_is(0, 0, 0x4001),
     "header byte 64: RAM region 0, 0x4001 bytes at 0x0, is not in units of 4096 bytes"},
    {ram_region_is(1, top - 0x1000, 0x2000),
     "header byte 80: RAM region 1, 0x2000 bytes at 0xffffffffff000, "
     "ends after the last allowed byte, 0xfffffffffffff"},
    {ram_region_is(1, top, 0x1000),
     "header byte 80: RAM region 1, 0x1000 bytes at 0x10000000000000, ends after the last allowed byte"},
    {ram_region_is(1, top + 0x1000, 0x1000),
     "header byte 80: RAM region 1, 0x1000 bytes at 0x10000000001000, ends after the last allowed byte"},
    {ram_region_is(1, 0x1000, 0xfffffffffffff000),
     "header byte 80: RAM region 1, 0xfffffffffffff000 bytes at 0x1000, ends after the last allowed byte"},
    {ram_region_is(1, 0x3000, 0x1000),
     "header byte 80: RAM region 1, 0x1000 bytes at 0x3000, overlaps RAM region 0, 0x4000 bytes at 0x0"},
    {ram_region_is(2, 0xff000, 0x2000),
     "header byte 96: RAM region 2, 0x2000 bytes at 0xff000, overlaps RAM region 1"},
    {ram_region_is(3, 0, 1), "header byte 112: RAM region 3, 0x1 bytes at 0x0, is not zero, with 2 in use"},
    {ram_region_is(2, 1, 0), "header byte 96: RAM region 2, 0x0 bytes at 0x1, is not zero, with 2 in use"},
    {[](auto& t) { t.header.distinct_pages = 7; },
     "header byte 56: number of distinct pages is 7; allowed: 0..6, the pages of RAM"},
    {[](auto& t) { t.header.epochs = 0; }, "header byte 48: number of epochs is 0; allowed: 1 to 1 + 3"},
    {[](auto& t) { t.header.epochs = 5; },
     "header byte 48: number of epochs is 5; allowed: 1 to 1 + 3, the epoch of instruction 399"},
    {[](auto& t) { t.records.clear(), t.header.epochs = 1; },
     "header byte 48: number of epochs is 1; allowed: 0, as there are no records"},
    {[](auto& t) { t.damage_content = [](byte_string& b) { b.resize(255); }; },
     "content is 255 bytes; the header takes 256"},
    {[](auto& t) { t.damage_content = [](byte_string& b) { b.clear(); }; },
     "content is 0 bytes; the header takes 256"},
    {[](auto& t) { t.damage_file = [](byte_string& b) { b.clear(); }; }, "is empty"},
    {[](auto& t) { t.damage_file = [](byte_string& b) { b[3] = 0xfc; }; },
     "not a zstd frame: it starts with 28 b5 2f fc, not 28 b5 2f fd"},
    {[](auto& t) { t.damage_file = [](byte_string& b) { b.assign(2, 'x'); }; },
     "not a zstd frame: it starts with 78 78, not 28 b5 2f fd"},
};

// Each is in record 2, at byte 288, unless it is about the end.
const damage record_damage[] = {
    {[](auto& t) { t.records[2].time = 49; },
     "record 2 at byte 288: time is 49; allowed: 50, as in the record before, or later"},
    {[](auto& t) { t.records[2].time = 451, t.header.instructions = 450, t.header.epochs = 5; },
     "record 2 at byte 288: time is 451; allowed: up to 450, by the header's instructions (450) and epochs "
     "(5)"},
    {[](auto& t) { t.records[2].time = 200, t.header.epochs = 2; },
     "record 2 at byte 288: time is 200; allowed: up to 199, by the header's instructions (399) and epochs "
     "(2)"},
    {[](auto& t) { t.records[2].kind = 0; }, "record 2 at byte 288: kind is 0; allowed: 1, 2, 4 or 128"},
    {[](auto& t) { t.records[2].kind = 3; }, "record 2 at byte 288: kind is 3; allowed: 1, 2, 4 or 128"},
    {[](auto& t) { t.records[2].kind = 129; }, "record 2 at byte 288: kind is 129; allowed: 1, 2, 4 or 128"},
    {[](auto& t) { t.records[2].flags = 2; }, "record 2 at byte 288: flags is 2; allowed: 0..1"},
    {[](auto& t) { t.records[2].flags = 129; }, "record 2 at byte 288: flags is 129; allowed: 0..1"},
    {[](auto& t) { t.records[0].flags = 0, t.records[2].flags = 1, t.header.flags = 0; },
     "record 2 at byte 288: flags is 1; allowed: 0, by the header's flags"},
    {[](auto& t) { t.records[2].vcpu = 2; }, "record 2 at byte 288: vCPU is 2; allowed: 0..1 or 255"},
    {[](auto& t) { t.records[2].vcpu = 254; }, "record 2 at byte 288: vCPU is 254; allowed: 0..1 or 255"},
    {page_is(4), "record 2 at byte 288: page is 0x4; allowed: the pages of RAM, 0x0..0x3 0x100..0x101"},
    {page_is(0xff), "record 2 at byte 288: page is 0xff; allowed"},
    {page_is(0x102), "record 2 at byte 288: page is 0x102; allowed"},
    {page_is(0xffffffffff), "record 2 at byte 288: page is 0xffffffffff; allowed"},
    {[](auto& t) { t.header.records = 2; },
     "content goes on at byte 288, after the 2 records that the header says"},
    {[](auto& t) { t.damage_content = [](byte_string& b) { b.resize(288); }; },
     "record 2 at byte 288 has 0 of 16 bytes; the header says 4 records"},
    {[](auto& t) { t.damage_content = [](byte_string& b) { b.resize(303); }; },
     "record 2 at byte 288 has 15 of 16 bytes; the header says 4 records"},
};

// Each is told after the four sound records.
const damage end_damage[] = {
    {[](auto& t) { t.header.records = 5; },
     "record 4 at byte 320 has 0 of 16 bytes; the header says 5 records"},
    {[](auto& t) { t.header.records = ~std::uint64_t{0}; },
     "record 4 at byte 320 has 0 of 16 bytes; the header says 18446744073709551615 records"},
    {[](auto& t) { t.damage_content = [](byte_string& b) { b.push_back(0); }; },
     "content goes on at byte 320, after the 4 records that the header says"},
    {[](auto& t) { t.header.instructions = 500, t.header.epochs = 6; },
     "header byte 48: number of epochs is 6; allowed: 1 + 3, the epoch of record 3 at byte 304, the last, "
     "with time 399"},
    {[](auto& t) { t.damage_file = [](byte_string& b) { b.push_back(0); }; },
     "more follows the zstd frame, which ends at byte "},
    {[](auto& t) { t.damage_file = [](byte_string& b) { b = twice(b); }; },
     "more follows the zstd frame, which ends at byte "},
};

outcome read_damaged(const damage& d) {
  trace_file t = small();
  d.make(t);
  outcome o = read_bytes(t.file());
  CHECK_MESSAGE(o.last == step::damaged, d.error);
  CHECK_MESSAGE(o.error.starts_with(d.error), o.error, " instead of ", d.error);
  return o;
}

}  // namespace

TEST_SUITE("trace") {
TEST_CASE("a sound file gives its header, its records and the end") {
  trace_file t = small();
  t.header.instructions = 450;
  const outcome o = read_bytes(t.file());
  REQUIRE_MESSAGE(o.last == step::end, o.error);
  CHECK(o.header.architecture == 1);
  CHECK(o.header.vcpus == 2);
  CHECK(o.header.instructions_per_epoch == 100);
  CHECK(o.header.instructions == 450);
  CHECK(o.header.records == 4);
  CHECK(o.header.epochs == 4);
  CHECK(o.header.distinct_pages == 3);
  CHECK(o.header.ram == std::vector<ram_region>{{0, 0x4000}, {0x100000, 0x2000}});
  CHECK(o.header.host_side);
  CHECK(o.header.note == "made by a test");
  CHECK(o.records == std::vector<trace_record>{{0, 0x100, no_vcpu, access_kind::write, true},
                                               {50, 3, 0, access_kind::read, false},
                                               {250, 7, 1, access_kind::marker, false},
                                               {399, 0x101, 1, access_kind::fetch, false}});
  CHECK(o.header.epoch_of(o.records[1]) == 0);
  CHECK(o.header.epoch_of(o.records[2]) == 2);
}

TEST_CASE("a file without records has no epochs and ends at once") {
  const outcome o = read_bytes(trace_file{}.file());
  CHECK(o.last == step::end);
  CHECK(o.header.epochs == 0);
}

TEST_CASE("record counts around the reader's batch of 4096 all come back in order") {
  for (const unsigned n : {1u, 4095u, 4096u, 4097u, 8191u, 8192u, 8193u, 30000u}) {
    CAPTURE(n);
    const outcome o = read_bytes(counted(n).file());
    REQUIRE_MESSAGE(o.last == step::end, o.error);
    REQUIRE(o.records.size() == n);
    for (std::size_t i = 0; i < n; ++i) REQUIRE(o.records[i].time == i);
  }
}

TEST_CASE("the widest allowed values are sound") {
  trace_file t;
  const std::uint64_t most = ~std::uint64_t{0};
  t.header.ram = {{{top - 0x1000, 0x1000}, {0, 0x1000}, {0x2000, 0x1000}, {0x1000, 0x1000}}};
  t.header.architecture = 3;
  t.header.vcpus = 254;
  t.header.note = std::string(128, 'n');
  t.header.instructions_per_epoch = most;
  t.header.distinct_pages = 4;
  t.records = {{most - 1, (std::uint64_t{1} << 40) - 1, 253, 1, 0}, {most, 2, 253, 2, 1}};
  const outcome o = read_bytes(t.file());
  REQUIRE_MESSAGE(o.last == step::end, o.error);
  CHECK(o.header.note.size() == 128);
  CHECK(o.header.epochs == 2);
  CHECK(o.records[0].page == (std::uint64_t{1} << 40) - 1);
  CHECK(o.records[1].time == most);
}

TEST_CASE("a reader opens file after file, also after damage") {
  trace_file bad = small();
  bad.records[1].kind = 3;
  const scratch_file good_file(small().file()), bad_file(bad.file()), no_header(tests::zstd_frame({}));
  trace_reader reader;
  trace_record r{};
  CHECK(reader.next(r) == step::damaged);
  CHECK(reader.error() == "no trace is open");
  for (int round = 0; round < 2; ++round) {
    REQUIRE(reader.open(bad_file.path()));
    CHECK(reader.next(r) == step::record);
    CHECK(reader.next(r) == step::damaged);
    CHECK_FALSE(reader.open(no_header.path()));
    REQUIRE(reader.open(good_file.path()));
    for (int i = 0; i < 4; ++i) CHECK(reader.next(r) == step::record);
    CHECK(reader.next(r) == step::end);
  }
}

TEST_CASE("a path that cannot be read is named with the reason") {
  const scratch_file file(small().file());
  CHECK(read_path(file.path() + ".none").error == "cannot open: No such file or directory");
  CHECK(read_path(file.path() + "/below").error == "cannot open: Not a directory");
  const std::string folder = std::filesystem::path(file.path()).parent_path().string();
  CHECK(read_path(folder).error == "cannot read: Is a directory");
  REQUIRE(std::filesystem::exists(file.path()));
  std::filesystem::permissions(file.path(), std::filesystem::perms::none);
  if (::geteuid() != 0) CHECK(read_path(file.path()).error == "cannot open: Permission denied");
}

TEST_CASE("a damaged header is named by field, byte, value and allowed range; no record comes back") {
  for (const damage& d : header_damage) {
    const outcome o = read_damaged(d);
    CHECK_FALSE(o.opened);
    CHECK(o.records.empty());
  }
}

TEST_CASE("a damaged record is named by index, byte, value and allowed range, after the records before it") {
  for (const damage& d : record_damage) CHECK(read_damaged(d).records.size() == 2);
}

TEST_CASE("damage at the end is told after every record") {
  for (const damage& d : end_damage) CHECK(read_damaged(d).records.size() == 4);
}

TEST_CASE("a damaged record in a later batch has its index in the file") {
  trace_file t = counted(10000);
  t.records[9000].vcpu = 9;
  const outcome o = read_bytes(t.file());
  CHECK(o.records.size() == 9000);
  CHECK(o.error == "record 9000 at byte 144256: vCPU is 9; allowed: 0..1 or 255");
}

TEST_CASE("an epoch number that does not fit 64 bits is refused") {
  trace_file t;
  t.header.instructions_per_epoch = 1;
  t.header.epochs = 0;
  t.records = {{~std::uint64_t{0}, 0}};
  CHECK(read_bytes(t.file()).error.starts_with("header byte 48: number of epochs is 0; allowed: 1 to 1 + "));
}

TEST_CASE("a frame that asks for a window above 128 MiB is refused") {
  const byte_string content = small().content();
  CHECK(read_bytes(tests::stored_frame(content, (27 - 10) << 3)).last == step::end);
  const outcome o = read_bytes(tests::stored_frame(content, (28 - 10) << 3));
  CHECK_FALSE(o.opened);
  CHECK(o.error.starts_with("zstd: Frame requires too much memory for decoding, after byte "));
}

TEST_CASE("corrupt zstd data is named in libzstd's words, with the place in the file") {
  byte_string bytes = tests::stored_frame(small().content());
  bytes[6] |= 6;  // block type 3 is reserved
  outcome o = read_bytes(bytes);
  CHECK_FALSE(o.opened);
  CHECK_MESSAGE(o.error.starts_with("zstd: "), o.error);
  CHECK_MESSAGE(o.error.ends_with(", after byte 0 of the file and 0 of the content"), o.error);

  bytes = counted(10000).file();
  bytes.back() ^= 1;
  o = read_bytes(bytes);
  CHECK(o.records.size() >= 8192);
  CHECK_MESSAGE(o.error.starts_with("zstd: Restored data doesn't match checksum, after byte "), o.error);
}

TEST_CASE("a byte after a frame that ends with the reader's buffer of 131075 bytes is found") {
  byte_string bytes = tests::stored_frame(counted(8173).content());
  bytes.insert(bytes.begin() + 6, 42, 0);  // 14 empty blocks fill the gap
  REQUIRE(bytes.size() == 131075);
  CHECK(read_bytes(bytes).last == step::end);
  bytes.push_back(0);
  CHECK(read_bytes(bytes).error == "more follows the zstd frame, which ends at byte 131075 of the file");
}

TEST_CASE("every file cut short is an error, and says so") {
  const byte_string whole[] = {small().file(), tests::stored_frame(small().content())};
  for (const byte_string& all : whole) {
    for (std::size_t bytes = 1; bytes < all.size(); ++bytes) {
      const outcome o = read_bytes({all.begin(), all.begin() + static_cast<std::ptrdiff_t>(bytes)});
      CHECK(o.last == step::damaged);
      CHECK_MESSAGE(
          o.error.starts_with(fmt::format("the zstd frame is cut short: the file ends at byte {}, ", bytes)),
          o.error);
    }
  }
}

TEST_CASE("a byte changed below the checksum is an error or changes nothing") {
  const byte_string sound = small().file();
  const outcome expected = read_bytes(sound);
  for (std::size_t i = 0; i < sound.size(); ++i) {
    for (const unsigned flip : {0x01u, 0x02u, 0x04u, 0x08u, 0x10u, 0x20u, 0x40u, 0x80u, 0xffu}) {
      CAPTURE(i);
      CAPTURE(flip);
      byte_string bytes = sound;
      bytes[i] = static_cast<std::uint8_t>(bytes[i] ^ flip);
      const outcome o = read_bytes(bytes);
      if (o.last == step::end) CHECK(o.records == expected.records);
      if (o.last != step::end) CHECK_FALSE(o.error.empty());
    }
  }
}

TEST_CASE("a byte changed without a checksum gives an error or records that keep the format") {
  const byte_string sound = tests::stored_frame(small().content());
  for (std::size_t i = 0; i < sound.size(); ++i) {
    for (const unsigned flip : {0x01u, 0x10u, 0x80u, 0xffu}) {
      CAPTURE(i);
      CAPTURE(flip);
      byte_string bytes = sound;
      bytes[i] = static_cast<std::uint8_t>(bytes[i] ^ flip);
      const outcome o = read_bytes(bytes);
      for (const trace_record& r : o.records) {
        CHECK((r.vcpu < o.header.vcpus || r.vcpu == no_vcpu));
        CHECK(o.header.epoch_of(r) < o.header.epochs);
      }
    }
  }
}
}
}  // namespace quire::hv
