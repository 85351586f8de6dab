// tests/perf/compare_test.cc: `quire compare` and `quire bench`: what they measure, check, print and refuse.
#include <doctest/doctest.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <set>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "tests/support/command.h"

namespace quire::tests {
namespace {

using nlohmann::json;
using words = std::vector<std::string>;

words command_line(words first, const words& more) {
  first.insert(first.end(), more.begin(), more.end());
  return first;
}

struct comparison : scratch_folder {
  command_result result;
  nlohmann::ordered_json j;

  /// Runs it with few pages; it must go well.
  explicit comparison(const words& more) {
    result = run_quire(command_line({"compare", "--json", "a.json", "--pages", "512"}, more), path());
    CAPTURE(fmt::format("{}", fmt::join(more, " ")));
    CAPTURE(result.out);
    CAPTURE(result.err);
    REQUIRE(result.status == 0);
    CHECK_FALSE(result.crashed);
    CHECK(result.err.empty());
    j = nlohmann::ordered_json::parse(read("a.json"));
  }
  json row(const std::string& operation, const std::string& format) const {
    for (const json row : j["rows"]) {
      if (row["operation"] == operation && row["format"] == format) return row;
    }
    FAIL("no row ", operation, " ", format);
    return {};
  }
};

const words columns = {"kvm", "io_pgtable", "lazy", "eager", "limit"};
const words plain_formats = {"x86-ept", "arm64-s2", "s390-dat"};
const words status_formats = {"x86-ept+ad", "arm64-s2+ad"};

words keys_of(const nlohmann::ordered_json& object) {
  words keys;
  for (const auto& [key, value] : object.items()) keys.push_back(key);
  return keys;
}

void check_row(const nlohmann::ordered_json& row) {
  const std::string operation = row["operation"];
  const std::string format = row["format"];
  CAPTURE(operation);
  CAPTURE(format);
  words keys = keys_of(row);
  REQUIRE(keys.size() >= 6);
  keys.resize(6);
  CHECK(keys == words{"operation", "format", "pages", "ns", "spread", "commands"});
  for (const char* member : {"ns", "spread", "commands"}) {
    words first = keys_of(row[member]);
    first.resize(columns.size());
    CHECK(first == columns);
  }
  for (const auto& [column, ns] : row["ns"].items()) {
    CAPTURE(column);
    const auto& spread = row["spread"][column];
    CHECK(spread.is_null() == ns.is_null());
    if (ns.is_null()) continue;
    REQUIRE(spread.size() == 2);
    CHECK(spread[0] >= 0);
    CHECK(spread[0] <= ns);
    CHECK(ns <= spread[1]);
  }
  CHECK(row["ns"]["lazy"] > 0);
}

TEST_CASE("one row per operation and format, with the promised keys in their order") {
  const comparison c({"--ops", "map,protect,unmap,lookup,append,enter,harvest"});
  CHECK(keys_of(c.j) == words{"machine", "rows"});
  std::set<std::pair<std::string, std::string>> wanted, found;
  for (const char* operation :
       {"map_single_seq", "map_range", "map_random_1g", "map_random_64g", "protect_range", "unmap_range",
        "unmap_tables", "unmap_single_seq", "lookup_1g", "lookup_64g", "append", "enter_leave"}) {
    for (const std::string& format : plain_formats) wanted.emplace(operation, format);
  }
  for (const char* operation : {"protect_range", "unmap_range", "unmap_single_seq", "harvest_1pct"}) {
    for (const std::string& format : status_formats) wanted.emplace(operation, format);
  }
  for (const auto& row : c.j["rows"]) {
    check_row(row);
    CHECK(row["pages"] == 512);
    CHECK(found.emplace(row["operation"], row["format"]).second);
  }
  CHECK(found == wanted);
}

TEST_CASE("null where somebody has no such operation") {
  const comparison c({"--format", "x86-ept", "--ops", "protect_range,unmap_tables,append,lookup_1g,harvest"});
  for (const auto& row : c.j["rows"]) {
    const bool peers = !c.row("lookup_1g", "x86-ept")["ns"]["kvm"].is_null();
    const std::string operation = row["operation"];
    CAPTURE(operation);
    const bool alone = operation == "append" || operation == "harvest_1pct";
    CHECK(row["ns"]["kvm"].is_null() == (!peers || alone || operation == "unmap_tables"));
    CHECK(row["ns"]["io_pgtable"].is_null() == (!peers || alone || operation == "protect_range"));
    CHECK(row["ns"]["eager"].is_null() == (operation == "append"));
    CHECK(row["ns"]["limit"].is_null() == (operation == "unmap_tables"));
  }
  CHECK(c.row("harvest_1pct", "x86-ept+ad")["ns"]["scalar"] > 0);
  const bool says = c.result.out.find("perf/run compare") != std::string::npos;
  CHECK(says == c.row("lookup_1g", "x86-ept")["ns"]["kvm"].is_null());
}

TEST_CASE(
    "commands that were asked for: none for new mappings, one a section or one a call for those taken away") {
  const comparison c({"--format", "x86-ept", "--ops", "map_single,unmap_single"});
  CHECK(c.row("map_single_seq", "x86-ept")["commands"]["lazy"] == 0);
  CHECK(c.row("map_single_seq", "x86-ept")["commands"]["eager"] == 0);
  CHECK(c.row("unmap_single_seq", "x86-ept")["commands"]["lazy"] == 1);
  CHECK(c.row("unmap_single_seq", "x86-ept")["commands"]["eager"] == 512);
}

TEST_CASE("a wrong result is found before anything is timed") {
  for (const char* operation :
       {"map_single", "map_range", "map_random_1g", "map_random_64g", "protect", "unmap_range",
        "unmap_tables", "unmap_single", "lookup_1g", "lookup_64g", "harvest"}) {
    for (const char* column : {"lazy", "eager"}) {
      CAPTURE(operation);
      CAPTURE(column);
      const scratch_folder folder;
      const command_result r =
          run_quire({"compare", "--pages", "512", "--ops", operation, "--inject", column, "--json", "a.json"},
                    folder.path());
      CHECK(r.status == 1);
      CHECK(r.out.starts_with(fmt::format("FAILED: {}", operation)));
      CHECK(folder.snapshot().empty());
    }
  }
  CHECK(run_quire({"compare", "--pages", "512", "--ops", "append", "--inject", "lazy"}).status == 1);
}

TEST_CASE("coalescing is compared with each method alone; the best of them is the limit") {
  const comparison c({"--ops", "coalesce_16,coalesce_512"});
  REQUIRE(c.j["rows"].size() == 12);
  for (const auto& row : c.j["rows"]) {
    check_row(row);
    CHECK(row["format"] == "any");
    CHECK(row["ns"]["kvm"].is_null());
    CHECK(row["ns"]["eager"].is_null());
    CHECK(row["ns"]["limit"] <= row["ns"]["std_sort"]);
    const std::string method = row["limit_method"];
    CHECK(row["ns"][method] == row["ns"]["limit"]);
  }
  CHECK(c.row("coalesce_512_dense", "any")["pages"] == 512);
  CHECK(run_quire({"compare", "--ops", "coalesce_64_runs", "--inject", "lazy"}).status == 1);
}

TEST_CASE("table memory is the exact budget, and the records of a (cpu, space) take no more than 64 KiB") {
  const comparison c({"--ops", "memory"});
  REQUIRE(c.j["memory"].size() == plain_formats.size());
  for (const auto& m : c.j["memory"]) {
    CHECK(m["table_bytes"] == m["budget_bytes"]);
    CHECK(m["cpu_space_bytes"] <= 65536);
    CHECK(m["cpu_space_bytes"] > 0);
  }
  CHECK(c.j["rows"].empty());
}

struct bad_line {
  words line;
  words says;
};

TEST_CASE("arguments that cannot be used are refused, with value and range, before anything is measured") {
  const std::vector<bad_line> lines = {
      {{"--ops", "nap"}, {"--ops 'nap': ", "'nap'", "map_single_seq, map_range", "memory"}},
      {{"--ops", "map_range,nap"}, {"--ops 'map_range,nap': ", "'nap'"}},
      {{"--ops", ""}, {"--ops '': "}},
      {{"--ops", "map_range,"}, {"--ops 'map_range,': ", "''"}},
      {{"--format", "nope"}, {"--format nope", "x86-ept", "arm64-s2+ad"}},
      {{"--pages", "0"}, {"'0'", "512 to 4194304"}},
      {{"--pages", "4194305"}, {"'4194305'", "512 to 4194304"}},
      {{"--pages", "513"}, {"--pages 513", "multiples of 512", "512 to 4194304"}},
      {{"--pages", "-1"}, {"'-1'"}},
      {{"--repeats", "8"}, {"'8'", "9 to 1000"}},
      {{"--repeats", "1001"}, {"'1001'", "9 to 1000"}},
      {{"--inject", "limit"}, {"--inject limit", "kvm, io_pgtable, lazy"}},
      {{"--json", ""}, {"not the name of a file"}},
      {{"words"}, {"words"}},
  };
  const scratch_folder folder;
  for (const bad_line& b : lines) {
    CAPTURE(fmt::format("{}", fmt::join(b.line, " ")));
    const command_result r = run_quire(command_line({"compare"}, b.line), folder.path());
    CAPTURE(r.err);
    CHECK(r.status == 2);
    CHECK(r.out.empty());
    CHECK(r.err.starts_with("quire: "));
    for (const std::string& text : b.says) CHECK_MESSAGE(r.err.find(text) != std::string::npos, text);
  }
  CHECK(folder.snapshot().empty());
}

TEST_CASE("a result that cannot be written is refused") {
  const command_result r = run_quire({"compare", "--pages", "512", "--ops", "enter", "--json", "/dev/full"});
  CHECK(r.status == 2);
  CHECK(r.out.empty());
  CHECK(r.err.find("/dev/full: cannot write: ") != std::string::npos);
}

TEST_CASE("--help explains contestants, operations and columns") {
  const command_result r = run_quire({"compare", "--help"});
  CHECK(r.status == 0);
  for (const char* word : {"kvm", "io-pgt", "lazy", "eager", "limit", "map_random_64g", "unmap_tables",
                           "harvest_1pct", "linear", "memory", "x86-ept+ad", "Exit status"}) {
    CHECK_MESSAGE(r.out.find(word) != std::string::npos, word);
  }
}

TEST_CASE("benchmarks are named by paths that end in a variant, and a filter chooses among them") {
  const command_result all = run_quire({"bench", "--benchmark_list_tests=true"});
  CHECK(all.status == 0);
  for (const char* name :
       {"append/scalar\n", "enter_leave/scalar\n", "commit/map/random/space=64g/batch=512/scalar\n",
        "commit/unmap/seq/space=1g/batch=64/scalar\n", "commit/protect/range/space=1g/batch=1/scalar\n",
        "lookup/random/space=64g/batch=64/scalar\n"}) {
    CHECK_MESSAGE(all.out.find(name) != std::string::npos, name);
  }
  const scratch_folder folder;
  const command_result one =
      run_quire({"bench", "--benchmark_filter=^append/scalar$", "--benchmark_min_time=0.001",
                 "--benchmark_out=b.json", "--benchmark_out_format=json"},
                folder.path());
  CHECK(one.status == 0);
  CHECK_FALSE(one.crashed);
  const json j = json::parse(folder.read("b.json"));
  REQUIRE(j["benchmarks"].size() == 1);
  CHECK(j["benchmarks"][0]["name"] == "append/scalar");
  CHECK(j["benchmarks"][0]["ns_per_page"] > 0);
}

TEST_CASE("flags that Google Benchmark has not, and filters that take nothing, are refused") {
  const command_result flag = run_quire({"bench", "--benchmark_nap=1"});
  CHECK(flag.status == 2);
  CHECK(flag.err.find("--benchmark_nap=1") != std::string::npos);
  const command_result nothing = run_quire({"bench", "--benchmark_filter=^nap$"});
  CHECK(nothing.status == 2);
  CHECK(nothing.err.find("--benchmark_list_tests") != std::string::npos);
  CHECK(run_quire({"bench", "--help"}).out.find("--benchmark_filter") != std::string::npos);
}

}  // namespace
}  // namespace quire::tests
