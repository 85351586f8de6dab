// tests/perf/walk_test.cc: what `quire walk` prints for images that are known word by word.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "tests/support/command.h"

namespace quire::tests {
namespace {

using nlohmann::json;

/// An image of whole tables from 0x1000000 on, all zero but for the words that are set, by address.
struct known_image {
  unsigned tables;
  std::map<std::uint64_t, std::uint64_t> words;
  std::string eptp = "0x100001e";

  std::string bytes() const {
    std::string all(tables * std::size_t{4096}, '\0');
    for (const auto& [at, value] : words) {
      for (unsigned i = 0; i < 8; ++i) all[at - 0x1000000 + i] = static_cast<char>(value >> (8 * i));
    }
    return all;
  }
  json root() const { return {{"format", "x86-ept"}, {"registers", {{"eptp", eptp}}}}; }
};

struct walked {
  std::string out;
  json file;
};

walked walk(const known_image& image, const std::vector<std::string>& addresses, int status = 0) {
  const scratch_folder folder;
  folder.write("a.bin", image.bytes());
  folder.write("a.json", image.root().dump());
  std::vector<std::string> arguments = {"walk",      "--format", "x86-ept", "--image", "a.bin",    "--base",
                                        "0x1000000", "--root",   "a.json",  "--json",  "walk.json"};
  arguments.insert(arguments.end(), addresses.begin(), addresses.end());
  const command_result r = run_quire(arguments, folder.path());
  CAPTURE(r.err);
  REQUIRE(r.status == status);
  CHECK_FALSE(r.crashed);
  if (status != 0) return {r.out, {}};
  CHECK(r.err.empty());
  return {r.out, json::parse(folder.read("walk.json"))};
}

/// PML4, PDPT, PD, PT: one leaf of each size, every type, narrower rights on the way, accessed and dirty.
known_image four_levels() {
  return {4,
          {
              {0x1000000, 0x1001007},           // PML4[0]: PDPT
              {0x1000008, 0x1001001},           // PML4[1]: the same PDPT, read alone
              {0x1001000, 0x1002107},           // PDPT[0]: PD, accessed
              {0x1001008, 0x80000000000000b5},  // PDPT[1]: 1 GiB at 0, r-x, wb, suppress #VE
              {0x1001ff8, 0xfffffc00000a5},     // PDPT[511]: 1 GiB at 0xfffffc0000000, r-x, wt
              {0x1002000, 0x1003005},           // PD[0]: PT, without w
              {0x1002008, 0xfffffffe003af},  // PD[1]: 2 MiB at 0xfffffffe00000, rwx, wp, accessed and dirty
              {0x1002ff8, 0x20008c},         // PD[511]: 2 MiB at 0x200000, --x, wc
              {0x1003000, 0x100337},         // PT[0]: 0x100000, rwx, wb, accessed and dirty
              {0x1003008, 0x101003},         // PT[1]: 0x101000, rw-, uc
              {0x1003010, 0xdead000},        // PT[2]: an address without rights is not present
              {0x1003ff8, 0x5},              // PT[511]: frame 0, r-x, uc
          }};
}

TEST_CASE("quire walk prints each step, decoded, and where it ends") {
  const walked w = walk(four_levels(), {"0x123"});
  CHECK(w.out ==
        "GPA 0x123\n"
        "  PML4 [  0] at 0x1000000: 0x0000000001001007  table at 0x1001000, rwx\n"
        "  PDPT [  0] at 0x1001000: 0x0000000001002107  table at 0x1002000, rwx\n"
        "  PD   [  0] at 0x1002000: 0x0000000001003005  table at 0x1003000, r-x\n"
        "  PT   [  0] at 0x1003000: 0x0000000000100337  leaf of 4k at 0x100000, rwx, wb\n"
        "  -> HPA 0x100123, r-x, wb\n");
  CHECK(w.file == json::parse(R"({"format": "x86-ept", "walks": [{"gpa": "0x123", "steps": [
    {"table": "PML4", "index": 0, "at": "0x1000000", "entry": "0x0000000001001007", "next": "0x1001000",
     "decoded": "table at 0x1001000, rwx"},
    {"table": "PDPT", "index": 0, "at": "0x1001000", "entry": "0x0000000001002107", "next": "0x1002000",
     "decoded": "table at 0x1002000, rwx"},
    {"table": "PD", "index": 0, "at": "0x1002000", "entry": "0x0000000001003005", "next": "0x1003000",
     "decoded": "table at 0x1003000, r-x"},
    {"table": "PT", "index": 0, "at": "0x1003000", "entry": "0x0000000000100337",
     "decoded": "leaf of 4k at 0x100000, rwx, wb"}],
    "result": {"present": true, "hpa": "0x100123", "access": "r-x", "type": "wb", "page": "4k"}}]})"));
}

TEST_CASE("quire walk: a hole says in which table, and is no failure") {
  const walked w = walk(four_levels(), {"0x10000000000", "0x80000000", "0x400000", "0x2fff"});
  CHECK(w.out ==
        "GPA 0x10000000000\n"
        "  PML4 [  2] at 0x1000010: 0x0000000000000000  empty\n"
        "  -> not present in PML4\n"
        "GPA 0x80000000\n"
        "  PML4 [  0] at 0x1000000: 0x0000000001001007  table at 0x1001000, rwx\n"
        "  PDPT [  2] at 0x1001010: 0x0000000000000000  empty\n"
        "  -> not present in PDPT\n"
        "GPA 0x400000\n"
        "  PML4 [  0] at 0x1000000: 0x0000000001001007  table at 0x1001000, rwx\n"
        "  PDPT [  0] at 0x1001000: 0x0000000001002107  table at 0x1002000, rwx\n"
        "  PD   [  2] at 0x1002010: 0x0000000000000000  empty\n"
        "  -> not present in PD\n"
        "GPA 0x2fff\n"
        "  PML4 [  0] at 0x1000000: 0x0000000001001007  table at 0x1001000, rwx\n"
        "  PDPT [  0] at 0x1001000: 0x0000000001002107  table at 0x1002000, rwx\n"
        "  PD   [  0] at 0x1002000: 0x0000000001003005  table at 0x1003000, r-x\n"
        "  PT   [  2] at 0x1003010: 0x000000000dead000  empty\n"
        "  -> not present in PT\n");
  REQUIRE(w.file["walks"].size() == 4);
  for (const auto& [index, table] :
       std::vector<std::pair<int, std::string>>{{0, "PML4"}, {1, "PDPT"}, {2, "PD"}, {3, "PT"}}) {
    CHECK((w.file["walks"][index]["result"] ==
           json{{"present", false}, {"reason", "not present in " + table}}));
  }
}

struct landing {
  std::string gpa, end;
};

TEST_CASE("quire walk: rights are those of the whole path, addresses those of the leaf's size") {
  const landing landings[] = {
      {"0x1000", "HPA 0x101000, r--, uc"},
      {"0x1ff800", "HPA 0x800, r-x, uc"},
      {"2097152", "HPA 0xfffffffe00000, rwx, wp"},
      {"0x3fffff", "HPA 0xfffffffffffff, rwx, wp"},
      {"0x3fe00000", "HPA 0x200000, --x, wc"},
      {"0x40000000", "HPA 0x0, r-x, wb"},
      {"0x7fffffff", "HPA 0x3fffffff, r-x, wb"},
      {"0x7fc0000000", "HPA 0xfffffc0000000, r-x, wt"},
      {"0x8000000123", "HPA 0x100123, r--, wb"},
      {"0x803fe00000", "HPA 0x200000, ---, wc"},  // execute-only below read-only: nothing is left
  };
  for (const landing& l : landings) {
    CAPTURE(l.gpa);
    const walked w = walk(four_levels(), {l.gpa});
    CAPTURE(w.out);
    CHECK(w.out.ends_with("  -> " + l.end + "\n"));
    const json& result = w.file["walks"][0]["result"];
    CHECK(l.end == fmt::format("HPA {}, {}, {}", result["hpa"].get<std::string>(),
                               result["access"].get<std::string>(), result["type"].get<std::string>()));
  }
}

TEST_CASE("quire walk shows accessed and dirty where bit 6 of the EPTP is set") {
  known_image image = four_levels();
  image.eptp = "0x100005e";
  const walked w = walk(image, {"0"});
  CHECK(w.out ==
        "GPA 0x0\n"
        "  PML4 [  0] at 0x1000000: 0x0000000001001007  table at 0x1001000, rwx\n"
        "  PDPT [  0] at 0x1001000: 0x0000000001002107  table at 0x1002000, rwx, accessed\n"
        "  PD   [  0] at 0x1002000: 0x0000000001003005  table at 0x1003000, r-x\n"
        "  PT   [  0] at 0x1003000: 0x0000000000100337  leaf of 4k at 0x100000, rwx, wb, accessed, dirty\n"
        "  -> HPA 0x100000, r-x, wb\n");
}

TEST_CASE("quire walk starts at a fifth level where the EPTP says so") {
  known_image image = {5,
                       {{0x1004000, 0x1000007},    // PML5[0]
                        {0x1004078, 0x1000007},    // PML5[15], the last
                        {0x1000ff8, 0x1001007},    // PML4[511]
                        {0x1001ff8, 0xc00000b7}},  // PDPT[511]
                       "0x1004026"};
  const walked w = walk(image, {"0xfffffffffffff", "4503599627370495", "0"});
  const std::string top =
      "GPA 0xfffffffffffff\n"
      "  PML5 [ 15] at 0x1004078: 0x0000000001000007  table at 0x1000000, rwx\n"
      "  PML4 [511] at 0x1000ff8: 0x0000000001001007  table at 0x1001000, rwx\n"
      "  PDPT [511] at 0x1001ff8: 0x00000000c00000b7  leaf of 1g at 0xc0000000, rwx, wb\n"
      "  -> HPA 0xffffffff, rwx, wb\n";
  CHECK(w.out == top + top +
                     "GPA 0x0\n"
                     "  PML5 [  0] at 0x1004000: 0x0000000001000007  table at 0x1000000, rwx\n"
                     "  PML4 [  0] at 0x1000000: 0x0000000000000000  empty\n"
                     "  -> not present in PML4\n");
}

TEST_CASE("quire walk: a bad entry ends its walk; the others are printed all the same") {
  known_image image = four_levels();
  image.words[0x1002000] = 0x1003006;  // write without read
  const walked w = walk(image, {"0", "0x40000000"}, 2);
  CHECK(w.out ==
        "GPA 0x0\n"
        "  PML4 [  0] at 0x1000000: 0x0000000001001007  table at 0x1001000, rwx\n"
        "  PDPT [  0] at 0x1001000: 0x0000000001002107  table at 0x1002000, rwx\n"
        "  PD   [  0] at 0x1002000: 0x0000000001003006  table at 0x1003000, -wx\n"
        "GPA 0x40000000\n"
        "  PML4 [  0] at 0x1000000: 0x0000000001001007  table at 0x1001000, rwx\n"
        "  PDPT [  1] at 0x1001008: 0x80000000000000b5  leaf of 1g at 0x0, r-x, wb\n"
        "  -> HPA 0x0, r-x, wb\n");
}

TEST_CASE("quire walk reads what quire tables wrote") {
  const scratch_folder folder;
  folder.write("a.ops", "map 0xfffffffff000 0x123456789000 4k rx wc\nmap 0x200000 0 2m rw\n");
  REQUIRE(run_quire(
              {"tables", "--base", "0x7000000000", "--ops", "a.ops", "--image", "a.bin", "--root", "a.json"},
              folder.path())
              .status == 0);
  const command_result r = run_quire({"walk", "--image", "a.bin", "--base", "0x7000000000", "--root",
                                      "a.json", "0xfffffffffabc", "0x3fffff", "0x400000"},
                                     folder.path());
  CHECK(r.status == 0);
  CHECK(r.out.find("  -> HPA 0x123456789abc, r-x, wc\n") != std::string::npos);
  CHECK(r.out.find("  -> HPA 0x1fffff, rw-, uc\n") == std::string::npos);
  CHECK(r.out.find("  -> HPA 0x1fffff, rw-, wb\n") != std::string::npos);
  CHECK(r.out.ends_with("  -> not present in PD\n"));
  CHECK(folder.snapshot().size() == 3);  // without --json nothing is written
}

}  // namespace
}  // namespace quire::tests
