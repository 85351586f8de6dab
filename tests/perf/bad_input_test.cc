// tests/perf/bad_input_test.cc: what `quire` makes of arguments, scripts, images, roots and traces that
// cannot be used.
#include "tests/perf/bad_input_test.h"

#include <doctest/doctest.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdint>
#include <functional>
#include <sstream>
#include <string>
#include <vector>

#include "tests/support/command.h"
#include "tests/support/trace_file.h"

namespace quire::tests {
namespace {

/// Words at blanks; '' is an empty word.
std::vector<std::string> words(const std::string& line) {
  std::istringstream text(line);
  std::vector<std::string> all;
  for (std::string word; text >> word;) all.push_back(word == "''" ? "" : word);
  return all;
}

std::string bytes_of(const byte_string& bytes) { return {bytes.begin(), bytes.end()}; }

std::string image_of(const std::vector<std::uint64_t>& entries) {
  std::string bytes(entries.size() * 8, '\0');
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<char>(entries[i / 8] >> (i % 8 * 8));
  return bytes;
}

/// PML4, PDPT, PD and PT from 0x1000000 on, which map GPA 0 to 0x100000.
std::vector<std::uint64_t> good_image() {
  std::vector<std::uint64_t> entries(4 * 512);
  entries[0] = 0x1001007;
  entries[512] = 0x1002007;
  entries[1024] = 0x1003007;
  entries[1536] = 0x100037;
  return entries;
}

trace_file good_trace() {
  trace_file t;
  t.records = {{0, 3, 0, 2, 0}, {50, 4, 1, 1, 0}, {150, 5, 0, 4, 0}};
  return t;
}

/// A folder with sound inputs, and outputs of an earlier day that nothing may touch.
struct desk : scratch_folder {
  desk() {
    write("good.ops", "map 0 0x100000 4k rwx\n");
    write("good.bin", image_of(good_image()));
    write("good.root", R"({"format": "x86-ept", "registers": {"eptp": "0x100001e"}})");
    write("good.gpt.zst", bytes_of(good_trace().file()));
    for (const char* kept : {"kept.bin", "kept.root", "kept.json"}) write(kept, "precious\n");
    write("empty", "");
    REQUIRE(::mkdir((*this / "folder").c_str(), 0777) == 0);
    REQUIRE(::symlink("kept.bin", (*this / "link").c_str()) == 0);
  }
};

/// Exit status 2, a message that says all of `says`, no result, and a folder as before.
void refuses(const desk& d, const std::string& line, const std::vector<std::string>& says) {
  CAPTURE(line);
  const auto before = d.snapshot();
  const command_result r = run_quire(words(line), d.path());
  CAPTURE(r.out);
  CAPTURE(r.err);
  CHECK(r.status == 2);
  CHECK_FALSE(r.crashed);
  CHECK(r.err.starts_with("quire: "));
  for (const std::string& text : says) CHECK_MESSAGE(r.err.find(text) != std::string::npos, text);
  if (line.starts_with("walk")) {
    CHECK(r.out.find("->") == std::string::npos);  // the steps before the bad one may be there
  } else {
    CHECK(r.out.empty());
  }
  CHECK((d.snapshot() == before));
}

const bad_line bad_roots[] = {
    {"", {"not a JSON object"}},
    {"format: x86-ept", {"not a JSON object"}},
    {"[]", {"not a JSON object"}},
    {"null", {"not a JSON object"}},
    {"\"x", {"not a JSON object"}},
    {R"({"format": "x86-ept", "registers": {"eptp": "0x100001e"})", {"not a JSON object"}},
    {R"({"format": "x86-ept", "registers": {"eptp": "0x100001e"}} more)", {"not a JSON object"}},
    {"\xff\xfe{\0}\0"s, {"not a JSON object"}},
    {"{}", {"\"format\" is missing, not \"x86-ept\""}},
    {R"({"format": 7})", {"\"format\" is 7, not \"x86-ept\""}},
    {R"({"format": ["x86-ept"]})", {"\"format\" is of type array, not \"x86-ept\""}},
    {R"({"format": "arm64"})", {"\"format\" is \"arm64\", not \"x86-ept\""}},
    {R"({"format": "x86-ept"})", {"\"eptp\" of \"registers\" is missing", "0x..."}},
    {R"({"format": "x86-ept", "registers": null})", {"\"eptp\" of \"registers\" is missing"}},
    {R"({"format": "x86-ept", "registers": ["0x1e"]})", {"\"eptp\" of \"registers\" is missing"}},
    {R"({"format": "x86-ept", "registers": {"EPTP": "0x1e"}})", {"\"eptp\" of \"registers\" is missing"}},
    {R"({"format": "x86-ept", "registers": {"eptp": 30}})",
     {"\"eptp\" of \"registers\" is 30", "number as text"}},
    {R"({"format": "x86-ept", "registers": {"eptp": "zz"}})", {"is \"zz\", not a number", "below 2^64"}},
    {R"({"format": "x86-ept", "registers": {"eptp": {}}})", {"is of type object, not a number"}},
    {R"({"format": "x86-ept", "registers": {"eptp": "0x1000000000000001e"}})",
     {"is \"0x1000000000000001e\""}},
    {R"({"format": "x86-ept", "registers": {"eptp": "0x1000016"}})",
     {"0x1000016", "page-walk length", "3 or 4"}},
    {R"({"format": "x86-ept", "registers": {"eptp": "0x100003e"}})",
     {"0x100003e", "page-walk length", "3 or 4"}},
    {R"({"format": "x86-ept", "registers": {"eptp": "0x100001d"}})",
     {"0x100001d", "memory type is 5", "6 or 0"}},
    {R"({"format": "x86-ept", "registers": {"eptp": "0x100011e"}})",
     {"0x100011e", "reserved bits 63:52 or 11:8"}},
    {R"({"format": "x86-ept", "registers": {"eptp": "0x801000000100001e"}})",
     {"0x801000000100001e", "reserved"}},
    {R"({"format": "x86-ept", "registers": {"eptp": "0x200001e"}})",
     {"PML4 at 0x2000000 lies outside the image, 0x1000000 to 0x1004000"}},
    {std::string(100000, '['), {"not a JSON object"}},
    {std::string(100000, '[') + std::string(100000, ']'), {"not a JSON object"}},
    {R"({"format": )" + std::string(100000, '[') + std::string(100000, ']') + "}",
     {"\"format\" is of type array"}},
};

struct bad_image {
  std::size_t index;
  std::uint64_t entry;
  std::vector<std::string> says;
};

const bad_image bad_images[] = {
    {0, 0x2000007, {"PDPT at 0x2000000 lies outside the image, 0x1000000 to 0x1004000"}},
    {0, 0xfff007, {"PDPT at 0xfff000 lies outside the image, 0x1000000 to 0x1004000"}},
    {0, 0xffffffffff007, {"PDPT at 0xffffffffff000 lies outside the image"}},
    {512, 0x1004007, {"PD at 0x1004000 lies outside the image"}},
    {1024, 0x7, {"PT at 0x0 lies outside the image"}},
    {0, 0x1001087, {"PML4 entry 0x1001087 is misconfigured: reserved bits 7:3"}},
    {0, 0x100100f, {"PML4 entry 0x100100f is misconfigured: reserved bits 7:3"}},
    {0, 0x1001002, {"PML4 entry 0x1001002 is misconfigured: write without read"}},
    {512, 0x1002006, {"PDPT entry 0x1002006 is misconfigured: write without read"}},
    {512, 0x2000b7, {"PDPT entry 0x2000b7 is misconfigured: reserved low address bits of a large page"}},
    {1024, 0x1000b7, {"PD entry 0x1000b7 is misconfigured: reserved low address bits of a large page"}},
    {1024, 0x100303f, {"PD entry 0x100303f is misconfigured: reserved bits 7:3"}},
    {1024, 0x200097, {"PD entry 0x200097 is misconfigured: reserved memory type"}},
    {1536, 0x100017, {"PT entry 0x100017 is misconfigured: reserved memory type"}},
    {1536, 0x10001f, {"PT entry 0x10001f is misconfigured: reserved memory type"}},
    {1536, 0x10003f, {"PT entry 0x10003f is misconfigured: reserved memory type"}},
    {1536, 0x100032, {"PT entry 0x100032 is misconfigured: write without read"}},
    {1536, ~std::uint64_t{0}, {"PT entry 0xffffffffffffffff is misconfigured: reserved memory type"}},
};

struct bad_trace {
  std::function<void(trace_file&)> damage;
  std::vector<std::string> says;
};

const bad_trace bad_traces[] = {
    {[](auto& t) { t.damage_file = [](auto& b) { b.clear(); }; }, {"is empty"}},
    {[](auto& t) { t.damage_file = [](auto& b) { b.assign(1, 0x29); }; },
     {"not a zstd frame", "28 b5 2f fd"}},
    {[](auto& t) { t.damage_file = [](auto& b) { b.assign(1000, 'x'); }; },
     {"not a zstd frame", "78 78 78 78"}},
    {[](auto& t) { t.damage_file = [](auto& b) { b.resize(b.size() / 2); }; }, {"cut short"}},
    {[](auto& t) { t.damage_file = [](auto& b) { b.pop_back(); }; }, {"cut short"}},
    {[](auto& t) { t.damage_file = [](auto& b) { b.back() ^= 1; }; }, {"zstd: ", "checksum"}},
    {[](auto& t) { t.damage_file = [](auto& b) { b.push_back(0); }; }, {"more follows the zstd frame"}},
    {[](auto& t) { t.damage_content = [](auto& b) { b.resize(255); }; }, {"content is 255 bytes", "256"}},
    {[](auto& t) { t.damage_content = [](auto& b) { b.pop_back(); }; },
     {"record 2 at byte 288 has 15 of 16"}},
    {[](auto& t) { t.damage_content = [](auto& b) { b.push_back(0); }; }, {"content goes on", "3 records"}},
    {[](auto& t) { t.header.magic = "GPATRACF"; }, {"header byte 0: magic", "GPATRACE"}},
    {[](auto& t) { t.header.version = 2; }, {"header byte 8: version is 2; allowed: 1"}},
    {[](auto& t) { t.header.page_shift = 16; }, {"page shift is 16; allowed: 12"}},
    {[](auto& t) { t.header.vcpus = 0; }, {"number of vCPUs is 0; allowed: 1..254"}},
    {[](auto& t) { t.header.vcpus = 65535; }, {"number of vCPUs is 65535; allowed: 1..254"}},
    {[](auto& t) { t.header.instructions_per_epoch = 0; }, {"instructions per epoch is 0"}},
    {[](auto& t) { t.header.records = std::uint64_t{1} << 60; }, {"record 3", "1152921504606846976 records"}},
    {[](auto& t) { t.header.records = 2; }, {"content goes on", "2 records"}},
    {[](auto& t) { t.header.epochs = 3; }, {"number of epochs is 3"}},
    {[](auto& t) { t.header.distinct_pages = 257; }, {"number of distinct pages is 257", "0..256"}},
    {[](auto& t) { t.header.ram[0][1] = 0x100001; }, {"RAM region 0", "units of 4096 bytes"}},
    {[](auto& t) {
       t.header.ram[0] = {std::uint64_t{1} << 48, 0x100000};
       t.records.resize(0);
     },
     {"RAM at 0x1000000000000", "x86-ept"}},
    {[](auto& t) { t.header.ram[0][1] = (std::uint64_t{1} << 48) + 0x1000; }, {"RAM at 0x0", "x86-ept"}},
    {[](auto& t) { t.records[1].time = 1000; }, {"record 1 at byte 272: time is 1000", "up to 150"}},
    {[](auto& t) { t.header.instructions = 150, t.header.epochs = 2, t.records[2].time = 49; },
     {"record 2 at byte 288: time is 49; allowed: 50"}},
    {[](auto& t) { t.records[1].page = 256; }, {"record 1 at byte 272: page is 0x100", "0x0..0xff"}},
    {[](auto& t) { t.records[1].vcpu = 2; }, {"record 1 at byte 272: vCPU is 2", "0..1 or 255"}},
    {[](auto& t) { t.records[1].kind = 3; }, {"record 1 at byte 272: kind is 3", "1, 2, 4 or 128"}},
    {[](auto& t) { t.records[1].flags = 2; }, {"record 1 at byte 272: flags is 2", "0..1"}},
};

TEST_CASE("quire refuses bad arguments and files") {
  const desk d;
  for (const bad_line& c : bad_commands) refuses(d, c.line, c.says);
}

TEST_CASE("quire tables refuses bad scripts, names the line and writes nothing") {
  const desk d;
  for (const bad_line& c : bad_scripts) {
    CAPTURE(c.line.substr(0, 100));
    d.write("bad.ops", c.line);
    refuses(d, "tables --base 0x1000000 --ops bad.ops" + outputs,
            {"bad.ops:" + c.says.front(), c.says.back()});
  }
}

TEST_CASE("quire tables refuses addresses beyond five levels") {
  const desk d;
  d.write("bad.ops", "map 0x10000000000000 0 4k r");
  refuses(d, "tables --base 0 --set levels=5 --ops bad.ops" + outputs,
          {"GPA 0x10000000000000", "at most 0x10000000000000"});
}

TEST_CASE("quire tables refuses a script beyond 256 MiB") {
  const desk d;
  const scratch_folder apart;
  apart.write("big.ops", "");
  REQUIRE(::truncate((apart / "big.ops").c_str(), (256 << 20) + 1) == 0);
  refuses(d, "tables --base 0 --ops " + apart / "big.ops" + outputs,
          {"big.ops: larger than the 268435456 bytes"});
}

TEST_CASE("quire walk refuses a root that is not one") {
  const desk d;
  for (const bad_line& c : bad_roots) {
    CAPTURE(c.line.substr(0, 100));
    d.write("bad.root", c.line);
    refuses(d, "walk --json kept.json --image good.bin --base 0x1000000 --root bad.root 0", c.says);
  }
}

TEST_CASE("quire walk refuses an image that leads astray") {
  const desk d;
  const std::string line = "walk --json kept.json --image bad.bin --base 0x1000000 --root good.root 0";
  for (const bad_image& c : bad_images) {
    auto entries = good_image();
    entries[c.index] = c.entry;
    d.write("bad.bin", image_of(entries));
    refuses(d, line, {"bad.bin: GPA 0x0: " + c.says.front()});
  }
  for (const std::size_t bytes : {0, 1, 4095}) {
    d.write("bad.bin", image_of(good_image()).substr(0, bytes));
    refuses(d, line,
            {"PML4 at 0x1000000 lies outside the image, 0x1000000 to " +
             fmt::format("{:#x}", 0x1000000 + bytes)});
  }
  d.write("bad.bin", image_of(good_image()).substr(0, 4096 * 4 - 1));
  refuses(d, line, {"PT at 0x1003000 lies outside the image, 0x1000000 to 0x1003fff"});
}

TEST_CASE("quire replay refuses traces that are not sound") {
  const desk d;
  for (const bad_trace& c : bad_traces) {
    trace_file t = good_trace();
    c.damage(t);
    d.write("bad.gpt.zst", bytes_of(t.file()));
    auto says = c.says;
    says.emplace_back("quire: bad.gpt.zst: ");
    refuses(d, "replay bad.gpt.zst --json kept.json", says);
  }
}

TEST_CASE("quirk: what looks odd but is sound is not refused") {
  const desk d;
  const auto accepts = [&d](const std::string& line) {
    const command_result r = run_quire(words(line), d.path());
    CAPTURE(line);
    CAPTURE(r.err);
    CHECK(r.status == 0);
    CHECK_FALSE(r.crashed);
    CHECK(r.err.empty());
  };
  const std::string comment = "#" + std::string(std::size_t{1} << 20, 'x') + "\0\xff"s;
  for (const std::string& text :
       {""s, "\n\n"s, "map 0 0 4k rwx"s, "enter\r\nmap 0 0 4k rwx # here\r\nleave\r\n"s,
        comment + "\nflush\n", "\tmap\t0x0 0X1000 0x4k xr page=auto wt\v\n"s,
        "pause\nleave\nenter\nresume\n"s, "pause"s}) {
    CAPTURE(text.substr(0, 100));
    d.write("odd.ops", text);
    accepts("tables --base 0 --ops odd.ops --image odd.bin --root odd.root");
  }
  d.write("odd.root", R"({"more": )" + std::string(100000, '[') + std::string(100000, ']') +
                          R"(, "format": "x86-ept", "registers": {"eptp": "16777246", "cr3": []}})");
  accepts("walk --image good.bin --base 0x1000000 --root odd.root 0");
  accepts("replay --scenario boot good.gpt.zst");  // the word behind the list is the trace
  accepts("replay good.gpt.zst --cpus 0x2 --fault-around 1048576 --inject table-oom=0 --inject drop-flush=0");
}

}  // namespace
}  // namespace quire::tests
