// tests/perf/formats_test.cc: scripts on every format by way of `quire tables` and `quire walk`, and settings that are
// refused.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <cstdint>
#include <map>
#include <random>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "tests/support/command.h"

namespace quire::tests {
namespace {

using nlohmann::json;

/// A format as the command line has it, and what its scripts may say.
struct format_line {
  std::string name;
  std::vector<std::string> settings;
  unsigned page_bits;
  unsigned guest_bits;
  std::vector<std::string> perms;
  std::vector<std::string> types;  // empty: none
};

const std::vector<std::string> readable = {"r", "rw", "rx", "rwx"};
const std::vector<std::string> any = {"r", "w", "rw", "x", "rx", "wx", "rwx"};
const std::vector<std::string> arm = {"", "normal", "nc", "device"};

const std::vector<format_line> lines = {
    {"x86-ept", {"levels=5"}, 12, 52, {"r", "rw", "x", "rx", "rwx"}, {"", "wb", "uc"}},
    {"arm64-s2", {}, 12, 40, any, arm},
    {"arm64-s2", {"ipa_bits=48", "contiguous=on", "dbm=on", "vmid=65535"}, 12, 48, any, arm},
    {"arm64-s2", {"ipa_bits=52", "oa_bits=52", "lpa2=on", "fwb=on"}, 12, 52, any, arm},
    {"arm64-s2", {"granule=16k"}, 14, 40, any, arm},
    {"arm64-s2", {"granule=16k", "lpa2=on", "ipa_bits=51", "oa_bits=52", "contiguous=on"}, 14, 51, any, arm},
    {"arm64-s2", {"granule=64k", "ipa_bits=33"}, 16, 33, any, arm},
    {"arm64-s2", {"granule=64k", "ipa_bits=52", "oa_bits=52", "contiguous=on"}, 16, 52, any, arm},
    {"s390-dat", {}, 12, 42, {"rx", "rwx"}, {}},
    {"s390-dat", {"asce=segment", "edat=1"}, 12, 31, {"rx", "rwx"}, {}},
    {"s390-dat", {"asce=region2", "edat=2", "iep=on"}, 12, 53, readable, {}},
    {"s390-dat", {"asce=region1", "iep=on"}, 12, 64, readable, {}},
};

struct page {
  std::uint64_t out = 0;
  std::string perm, type;
};

/// A random script and what a naive reader makes of it, page by page.
class script_maker {
 public:
  script_maker(const format_line& f, std::uint64_t seed) : f_(f), random_(seed) {
    for (unsigned i = 0; i < 40; ++i) add();
  }
  std::string text;
  std::map<std::uint64_t, page> pages;  // by page number in the format's size
  std::vector<std::uint64_t> seen;      // page numbers on and next to the ends of operations

 private:
  std::uint64_t below(std::uint64_t n) { return random_() % n; }
  std::string one_of(const std::vector<std::string>& all) { return all[below(all.size())]; }

  void add() {
    const std::uint64_t last = (~std::uint64_t{0} >> (64 - f_.guest_bits)) >> f_.page_bits;
    // Few places, so that operations meet: the first pages, across a table, the last pages.
    const std::uint64_t places[] = {below(40), 2040 + below(16), 8180 + below(20), last - 40 + below(20)};
    const std::uint64_t first = places[below(4)];
    const std::uint64_t n = 1 + below(last - first < 20 ? last - first + 1 : 20);
    const std::string range = fmt::format("{:#x}", first << f_.page_bits);
    const std::string size = fmt::format("{}k", n << (f_.page_bits - 10));
    for (const std::uint64_t at : {first, first + n - 1, first ? first - 1 : 0, first + n <= last ? first + n : last}) seen.push_back(at);
    switch (below(4)) {
      case 0: {
        text += fmt::format("unmap {} {}\n", range, size);
        for (std::uint64_t i = first; i < first + n; ++i) pages.erase(i);
        break;
      }
      case 1: {
        const std::string perm = one_of(f_.perms);
        text += fmt::format("protect {} {} {}\n", range, size, perm);
        for (std::uint64_t i = first; i < first + n; ++i) {
          if (const auto at = pages.find(i); at != pages.end()) at->second.perm = perm;
        }
        break;
      }
      default: add_map(first, n, range, size);
    }
  }
  void add_map(std::uint64_t first, std::uint64_t n, const std::string& range, const std::string& size) {
    const std::uint64_t out = below(2) ? first % 4096 : below(4096);
    const std::string perm = one_of(f_.perms);
    const std::string type = f_.types.empty() ? "" : one_of(f_.types);
    text += fmt::format("map {} {:#x} {} {} {}\n", range, out << f_.page_bits, size, perm, type);
    const std::string told = !type.empty() || f_.types.empty() ? type : f_.types[1];
    for (std::uint64_t i = 0; i < n; ++i) pages[first + i] = {(out + i) << f_.page_bits, perm, told};
  }

  const format_line& f_;
  std::mt19937_64 random_;
};

std::vector<std::string> with_settings(std::vector<std::string> arguments, const format_line& f) {
  arguments.insert(arguments.end(), {"--format", f.name});
  for (const std::string& s : f.settings) arguments.insert(arguments.end(), {"--set", s});
  return arguments;
}

std::string letters(const std::string& access) {
  std::string all;
  for (const char c : access) {
    if (c != '-') all += c;
  }
  return all;
}

}  // namespace

TEST_CASE("random scripts on every format translate as a naive reader says, eagerly and in a section") {
  for (const format_line& f : lines) {
    for (std::uint64_t seed = 1; seed <= 6; ++seed) {
      CAPTURE(f.name);
      CAPTURE(fmt::format("{}", fmt::join(f.settings, " ")));
      CAPTURE(seed);
      const script_maker s(f, seed);
      const scratch_folder folder;
      folder.write("a.ops", seed % 2 ? s.text : "enter\n" + s.text + "leave\n");
      const std::string base = seed % 3 ? "0x40000000" : "0x7f000000";
      const auto built = run_quire(
          with_settings({"tables", "--base", base, "--ops", "a.ops", "--image", "a.bin", "--root", "a.json"}, f), folder.path());
      CAPTURE(built.err);
      REQUIRE(built.status == 0);
      std::vector<std::string> arguments =
          with_settings({"walk", "--base", base, "--image", "a.bin", "--root", "a.json", "--json", "w.json"}, f);
      for (const std::uint64_t at : s.seen) arguments.push_back(fmt::format("{:#x}", (at << f.page_bits) + 0x123));
      const auto walked = run_quire(arguments, folder.path());
      CAPTURE(walked.err);
      REQUIRE(walked.status == 0);
      const json walks = json::parse(folder.read("w.json"))["walks"];
      REQUIRE(walks.size() == s.seen.size());
      for (std::size_t i = 0; i < s.seen.size(); ++i) {
        const json& result = walks[i]["result"];
        const auto known = s.pages.find(s.seen[i]);
        REQUIRE(result["present"] == (known != s.pages.end()));
        if (known == s.pages.end()) continue;
        CHECK(result["hpa"] == fmt::format("{:#x}", known->second.out + 0x123));
        CHECK(letters(result["access"].get<std::string>()) == known->second.perm);
        CHECK(result.value("type", "") == known->second.type);
      }
    }
  }
}

TEST_CASE("leaf sizes are named by the format, and page=SIZE gives them") {
  const struct {
    format_line f;
    std::vector<std::string> sizes;
  } all[] = {{{"arm64-s2", {}, 12, 40, {}, {}}, {"4k", "2m", "1g"}},
             {{"arm64-s2", {"lpa2=on", "ipa_bits=48"}, 12, 48, {}, {}}, {"4k", "2m", "1g", "512g"}},
             {{"arm64-s2", {"granule=16k"}, 14, 40, {}, {}}, {"16k", "32m"}},
             {{"arm64-s2", {"granule=16k", "lpa2=on", "ipa_bits=48"}, 14, 48, {}, {}}, {"16k", "32m", "64g"}},
             {{"arm64-s2", {"granule=64k"}, 16, 40, {}, {}}, {"64k", "512m"}},
             {{"arm64-s2", {"granule=64k", "oa_bits=52", "ipa_bits=48"}, 16, 48, {}, {}}, {"64k", "512m", "4t"}},
             {{"s390-dat", {}, 12, 42, {}, {}}, {"4k"}},
             {{"s390-dat", {"edat=1"}, 12, 42, {}, {}}, {"4k", "1m"}},
             {{"s390-dat", {"edat=2"}, 12, 42, {}, {}}, {"4k", "1m", "2g"}}};
  for (const auto& [f, sizes] : all) {
    CAPTURE(f.settings);
    const scratch_folder folder;
    const auto build = [&, f = f](const std::string& script) {
      folder.write("a.ops", script);
      return run_quire(with_settings({"tables", "--base", "0", "--ops", "a.ops", "--image", "a.bin", "--root", "a.json"}, f),
                       folder.path());
    };
    for (const std::string& size : sizes) {
      REQUIRE(build(fmt::format("map 0 0 {} rwx page={}", size, size)).status == 0);
      CHECK(json::parse(folder.read("a.json"))["leaves"] == 1);
    }
    const auto refused = build("map 0 0 8t rwx page=8t");
    CHECK(refused.status == 2);
    CHECK(refused.err.find(fmt::format("it has {}, auto", fmt::join(sizes, ", "))) != std::string::npos);
  }
}

TEST_CASE("settings, permissions and types that a format does not have are refused with those that it has") {
  const struct {
    std::string options, script;
    std::vector<std::string> texts;
  } all[] = {
      {"--format arm64-s2 --set levels=4", "", {"no setting 'levels'", "granule=4k|16k|64k", "vmid=N"}},
      {"--format s390-dat --set granule=4k", "", {"no setting 'granule'", "asce=segment|region3|region2|region1", "iep=on|off"}},
      {"--format arm64-s2 --set granule=8k", "", {"granule=8k", "4k, 16k or 64k"}},
      {"--format arm64-s2 --set ipa_bits=31", "", {"ipa_bits=31", "from 32 to 52"}},
      {"--format arm64-s2 --set ipa_bits=49", "", {"ipa_bits=49", "at most 48", "lpa2=on"}},
      {"--format arm64-s2 --set oa_bits=52", "", {"oa_bits=52", "at most 48", "lpa2=on"}},
      {"--format arm64-s2 --set oa_bits=41", "", {"oa_bits=41", "32, 36, 40, 42, 44, 48 or 52"}},
      {"--format arm64-s2 --set granule=64k lpa2=on",
       "",
       {"granule=64k ipa_bits=40 oa_bits=48 lpa2=on", "granules 4k and 16k"}},
      {"--format arm64-s2 --set lpa2=on --set granule=64k --set ipa_bits=52",
       "",
       {"granule=64k ipa_bits=52", "go to 52 without it"}},
      {"--format arm64-s2 --set granule=16k --set oa_bits=52",
       "",
       {"granule=16k", "oa_bits=52", "at most 48 unless lpa2=on"}},
      {"--format arm64-s2 --set vmid=65536", "", {"vmid=65536", "from 0 to 65535"}},
      {"--format arm64-s2 --set dbm=yes", "", {"dbm=yes", "on or off"}},
      {"--format s390-dat --set asce=region4", "", {"asce=region4", "segment, region3, region2 or region1"}},
      {"--format s390-dat --set edat=3", "", {"edat=3", "0, 1 or 2"}},
      {"--format s390-dat", "map 0 0 4k r", {"PERM 'r'", "it has r-x, rwx", "without iep=on"}},
      {"--format s390-dat", "map 0 0 4k rw", {"PERM 'rw'", "it has r-x, rwx"}},
      {"--format s390-dat", "map 0 0 4k rwx normal", {"TYPE 'normal'", "has no memory types"}},
      {"--format s390-dat --set asce=segment", "map 0x80000000 0 4k rwx", {"0x80000000", "at most 0x80000000"}},
      {"--format arm64-s2", "map 0 0 4k rw wb", {"TYPE 'wb'", "it has normal, nc, device"}},
      {"--format arm64-s2", "map 0x10000000000 0 4k rw", {"at most 0x10000000000"}},
      {"--format arm64-s2 --set granule=16k", "map 0x1000 0 16k rw", {"0x1000 is not a multiple of 16k"}},
      {"--format x86-ept", "map 0 0 16k rw page=16k", {"page='16k'", "it has 4k, 2m, 1g, auto"}},
  };
  for (const auto& line : all) {
    CAPTURE(line.options);
    CAPTURE(line.script);
    const scratch_folder folder;
    folder.write("a.ops", line.script);
    std::vector<std::string> arguments = {"tables", "--base", "0", "--ops", "a.ops", "--image", "a.bin", "--root", "a.json"};
    for (std::size_t at = 0; at < line.options.size();) {
      const std::size_t end = std::min(line.options.find(' ', at), line.options.size());
      arguments.push_back(line.options.substr(at, end - at));
      at = end + 1;
    }
    const auto r = run_quire(arguments, folder.path());
    CAPTURE(r.err);
    CHECK(r.status == 2);
    CHECK_FALSE(r.crashed);
    for (const std::string& text : line.texts) CHECK(r.err.find(text) != std::string::npos);
    CHECK(folder.snapshot().size() == 1);
  }
}

TEST_CASE("quire walk reads the format's settings from registers and file, and refuses --set that contradicts them") {
  const scratch_folder folder;
  folder.write("a.ops", "map 0x80000000 0x40000000 64k r nc");
  REQUIRE(run_quire({"tables", "--format", "arm64-s2", "--set", "granule=64k", "--set", "fwb=on", "--base", "0x41000000", "--ops",
                     "a.ops", "--image", "a.bin", "--root", "a.json"},
                    folder.path())
              .status == 0);
  const json root = json::parse(folder.read("a.json"));
  CHECK(root["registers"]["vttbr_el2"] == "0x1000041000000");
  CHECK(root["registers"]["vtcr_el2"] == "0x80057558");
  std::vector<std::string> walk = {"walk",   "--format", "arm64-s2", "--base", "0x41000000", "--image",
                                   "a.bin", "--root",   "a.json",   "0x80000123"};
  CHECK(run_quire(walk, folder.path()).out.find("HPA 0x40000123, r--, nc") != std::string::npos);
  folder.write("b.json", R"({"format": "arm64-s2", "registers": {"vttbr_el2": "0x1000041000800", "vtcr_el2": "0x80057558"}})");
  const auto astray = run_quire({"walk", "--format", "arm64-s2", "--base", "0x41000000", "--image", "a.bin", "--root", "b.json", "0"},
                                folder.path());
  CHECK(astray.status == 2);
  CHECK(astray.err.find("the root at 0x41000800 is not aligned to its size, 0x4000") != std::string::npos);
  walk.insert(walk.end(), {"--set", "granule=4k"});
  const auto r = run_quire(walk, folder.path());
  CHECK(r.status == 2);
  CHECK(r.err.find("granule=64k") != std::string::npos);
}

}  // namespace quire::tests
