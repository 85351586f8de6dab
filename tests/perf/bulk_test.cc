// tests/perf/bulk_test.cc: `quire bulk`: what it measures, prints and refuses.
#include "tests/perf/measured_command.h"

namespace quire::tests {
namespace {

/// Of a small guest, once. Exit status 0 says that all checks of the tables passed.
struct measurement : measured_command {
  explicit measurement(const words& more, const std::string& size = "8g", const std::string& small = "64m")
      : measured_command(words{"bulk", "--repeats", "1", "--size", size, "--small", small} + more) {}
};

/// Processors that a command may use here, as `quire bulk` counts them.
unsigned processors() {
  static const unsigned n = measurement({"--threads", "1"}).j["processors"];
  return n;
}

const char* const operations[] = {"populate", "harvest", "protect", "tear_down", "limit_fill", "limit_read"};

TEST_CASE("a guest of each format has the leaves and tables of its layout, and each operation a time") {
  const std::vector<words> choices = {{"x86-ept"},
                                      {"x86-ept", "--set", "levels=5", "ad=off"},
                                      {"arm64-s2"},
                                      {"arm64-s2", "--set", "granule=16k", "contiguous=on"},
                                      {"arm64-s2", "--set", "granule=64k"},
                                      {"s390-dat"},
                                      {"s390-dat", "--set", "asce=region1", "edat=1"}};
  for (const words& choice : choices) {
    const measurement m(words{"--format"} + choice);
    CHECK(m.j["format"] == choice.front());
    CHECK(m.j["size_bytes"] == 8ull << 30);
    CHECK(m.j["small_bytes"] >= 64ull << 20);
    CHECK(m.j["tables"]["counted"] == m.j["tables"]["budget"]);
    CHECK(m.j["tables"]["counted_bytes"] == m.j["tables"]["budget_bytes"]);
    CHECK(m.j["harvested_pages"] >= m.j["touched_pages"]);
    CHECK(m.j["points"][0]["threads"] == 1);
    CHECK(m.j["points"].back()["threads"] == processors());
    for (const json& p : m.j["points"]) {
      CHECK(p["numa_nodes"] >= 1);
      for (const char* operation : operations) {
        CAPTURE(operation);
        const json& x = p["operations"].at(operation);
        CHECK(x["ms"] > 0);
        CHECK(x["ms_spread"][0] <= x["ms"]);
        CHECK(x["ms_spread"][1] >= x["ms"]);
        CHECK(x["pages_per_s"] > 0);
        CHECK(x["leaves_per_s"] > 0);
        CHECK(x["speedup"] > 0);
        CHECK(x["speedup_spread"].size() == 2);
        CHECK(x["path_ms"] > 0);
        CHECK(x["path_speedup"] > 0);
      }
    }
    for (const char* operation : operations) CHECK(m.j["points"][0]["operations"][operation]["speedup"] == 1);
  }
}

TEST_CASE("the sizes of leaves and the tables are those that can be counted by hand") {
  // 8 stretches of 1 GiB; 32 pieces of 2 MiB in stretches 0 and 4, the other six in one leaf each.
  const measurement m({"--threads", "1"});
  CHECK(m.j["leaves"] == json{{"4k", 32 * 512}, {"2m", 2 * 512 - 32}, {"1g", 6}});
  CHECK(m.j["tables"]["budget"] == 32 + 2 + 1 + 1);
  CHECK(m.j["tables"]["budget_bytes"] == 36 * 4096);
  CHECK(m.j["pieces"] == 32);
  CHECK(m.says("guest of 8g, format x86-ept, 1 repetitions"));
  CHECK(m.says(
      "leaves: 16,384 of 4k, 992 of 2m, 6 of 1g; small ones in 32 pieces of 2m, in 2 of 8 stretches of 1g"));
  CHECK(m.says("tables: 36 in 144 KiB, as computed from the layout;"));
  for (const char* operation : operations) CHECK(m.says(fmt::format("      1  {}", operation)));
  CHECK_FALSE(m.says("\n      2  "));
}

TEST_CASE("more small pages take more of the stretches; all of the guest may be small") {
  CHECK(measurement({}, "8g", "2g").says("in 4 of 8 stretches"));
  CHECK(measurement({}, "8g", "4g").says("in 8 of 8 stretches"));
  CHECK(measurement({}, "1g", "1g").j["leaves"]["4k"] == 1u << 18);
  CHECK(measurement({}, "2g", "0").j["tables"]["budget"] == 2);
}

TEST_CASE("what the guest wrote to is harvested; nothing where it did not or tables have no A and D") {
  CHECK(measurement({"--touched", "100"}).j["harvested_pages"] == 16384);
  for (const words& more :
       {words{"--touched", "0"}, words{"--set", "ad=off"}, words{"--format", "s390-dat"}}) {
    const measurement m(more);
    CHECK(m.j["harvested_pages"] == 0);
    CHECK(m.says("harvested: nothing"));
  }
  const measurement some({"--touched", "25"});
  CHECK(some.j["harvested_pages"] > 3500);
  CHECK(some.j["harvested_pages"] < 4700);
  CHECK(some.says("harvested: A and D of 4,"));
}

TEST_CASE("arguments that cannot be used are refused, with value and range, before anything is made") {
  const std::string many = fmt::format("{}", processors() + 1);
  const std::string range = fmt::format("1 to {}", processors());
  check_refused("bulk", {
                            {{"--threads", many}, {"--threads " + many, range}},
                            {{"--threads", "0"}, {"--threads 0", "'0'", range}},
                            {{"--threads", "1,,1"}, {"--threads 1,,1", range}},
                            {{"--threads", ""}, {"--threads", range}},
                            {{"--size", "0"}, {"--size 0", "1g to"}},
                            {{"--size", "1000m"}, {"--size 1000m", "steps of 1g"}},
                            {{"--size", "2p"}, {"--size 2p", "1g to"}},
                            {{"--size", "-1g"}, {"--size", "1g to"}},
                            {{"--size", "1048576t"}, {"--size 1048576t", "1g to"}},
                            {{"--format", "arm64-s2", "--size", "2t"}, {"--size 2t", "1g to 1024g"}},
                            {{"--small", "2t"}, {"--small 2t", "0 to the guest's 1t"}},
                            {{"--small", "1k"}, {"--small 1k", "multiple of 4k"}},
                            {{"--small", "much"}, {"--small much", "multiple of 4k"}},
                            {{"--touched", "101"}, {"--touched", "'101'", "0 to 100"}},
                            {{"--repeats", "0"}, {"--repeats", "'0'", "1 to 1000"}},
                            {{"--format", "nope"}, {"--format nope", "x86-ept"}},
                            {{"--set", "levels=7"}, {"levels=7", "4 or 5"}},
                            {{"--json", ""}, {"--json", "not the name of a file"}},
                            {{"words"}, {"words"}},
                        });
}

TEST_CASE("--help explains the layout of the guest, the operations and what is checked") {
  check_help("bulk", {"stretch", "pieces", "populate", "harvest", "protect", "tear_down", "limit_fill", "--small",
                      "--threads", "speed-up", "digest", "Exit status"});
}

}  // namespace
}  // namespace quire::tests
