// tests/perf/scale_test.cc: `quire scale`: what it measures, prints and refuses.
#include "tests/perf/measured_command.h"

namespace quire::tests {
namespace {

/// For a moment unless told otherwise.
struct measurement : measured_command {
  explicit measurement(const words& more, const std::string& seconds = "0.02", const std::string& repeat = "1")
      : measured_command(words{"scale", "--seconds", seconds, "--repeat", repeat} + more) {}
};

/// Processors that a command may use here, as `quire scale` counts them.
unsigned processors() {
  static const unsigned n = measurement({"--cpus", "1"}).j["processors"];
  return n;
}
std::string two_cpus() { return processors() > 1 ? "2" : "1"; }

void check_point(const json& p) {
  for (const char* rate : {"updates_per_s", "speedup"}) CHECK_MESSAGE(p.at(rate) > 0, rate);
  REQUIRE(p.at("spread").size() == 2);
  CHECK(p["spread"][0] <= p["updates_per_s"]);
  CHECK(p["spread"][1] >= p["updates_per_s"]);
  for (const char* count : {"cpus", "remote_requests", "wait_p50_ns", "wait_p99_ns", "updates", "sections",
                            "flushes", "flush_commands", "waits", "forced_commits"}) {
    CHECK_MESSAGE(p.at(count).is_number_unsigned(), count);
  }
  CHECK(p["wait_p50_ns"] <= p["wait_p99_ns"]);
  CHECK(p["per_cpu_updates_per_s"].size() == p["cpus"]);
  CHECK(p["updates"] > 0);
  CHECK(p["sections"] > 0);
  CHECK(p["waits"] <= p["flushes"]);
}

const char* const ops[] = {"map", "unmap", "protect", "fault", "mixed"};
const char* const shares[] = {"private", "disjoint", "interleaved", "same"};

// Exit status 0 says that tables and counters were as they should be.
void sweep(const std::string& format, const words& more) {
  for (const char* op : ops) {
    for (const char* share : shares) {
      CAPTURE(op);
      CAPTURE(share);
      words arguments = {"--format", format, "--op", op, "--share", share, "--cpus", two_cpus()};
      arguments.insert(arguments.end(), more.begin(), more.end());
      const measurement m(arguments);
      CHECK(m.j["op"] == op);
      CHECK(m.j["share"] == share);
      CHECK(m.j["format"] == format);
      REQUIRE(m.j["points"].size() == (processors() > 1 ? 2 : 1));
      for (const json& p : m.j["points"]) check_point(p);
      CHECK(m.j["points"][0]["cpus"] == 1);
      CHECK(m.j["points"][0]["speedup"] == 1);
      const std::string one = share;
      if (one == "private") CHECK(m.j["points"].back()["remote_requests"] == 0);
    }
  }
}

TEST_SUITE("threads") {
TEST_CASE("each operation on pages shared in each way leaves the tables that it should: x86-ept") {
  sweep("x86-ept", {});
}
TEST_CASE("each operation on pages shared in each way leaves the tables that it should: arm64-s2") {
  sweep("arm64-s2", {"--batch", "64"});
}
TEST_CASE("each operation on pages shared in each way leaves the tables that it should: s390-dat") {
  sweep("s390-dat", {"--batch", "100"});
}

TEST_CASE("drains go on meanwhile, and are measured") {
  for (const char* share : shares) {
    for (const std::string& cpus : {std::string("1"), two_cpus()}) {
      CAPTURE(share);
      CAPTURE(cpus);
      const measurement m({"--share", share, "--cpus", cpus, "--drain-every", "50", "--op", "mixed"}, "0.05");
      for (const char* ns : {"p50_ns", "p99_ns", "max_ns", "drains"})
        CHECK(m.j["drain"].at(ns).is_number_unsigned());
      CHECK(m.j["drain"]["drains"] > 0);
      CHECK(m.j["drain"]["p50_ns"] <= m.j["drain"]["p99_ns"]);
      CHECK(m.j["drain"]["pending"] >= 0);
      for (const json& p : m.j["points"]) CHECK(p["drain"]["drains"] > 0);
      CHECK(m.says("\ndrain of "));
    }
  }
}
}

TEST_CASE("sizes of pages and guests that the formats offer") {
  for (const char* settings : {"arm64-s2 granule=16k", "arm64-s2 granule=64k", "arm64-s2 contiguous=on",
                               "s390-dat asce=segment", "x86-ept levels=5"}) {
    CAPTURE(settings);
    const std::string text = settings;
    const auto space = text.find(' ');
    for (const char* share : {"private", "disjoint"}) {
      const measurement m(
          {"--format", text.substr(0, space), "--set", text.substr(space + 1), "--share", share});
      const auto equals = text.find('=');
      CHECK(m.j["settings"][text.substr(space + 1, equals - space - 1)] == text.substr(equals + 1));
    }
  }
}

TEST_CASE("batches of any size") {
  for (const char* batch : {"1", "3", "511", "513", "65536"}) {
    CAPTURE(batch);
    const measurement m({"--cpus", "1", "--batch", batch});
    CHECK(fmt::format("{}", m.j["batch"].get<unsigned>()) == batch);
    const json& p = m.j["points"][0];
    CHECK(p["updates"].get<std::uint64_t>() ==
          p["sections"].get<std::uint64_t>() * m.j["batch"].get<std::uint64_t>());
  }
}

TEST_CASE("the JSON begins with the promised keys, in their order") {
  const measurement m({"--cpus", "1"});
  const auto ordered = nlohmann::ordered_json::parse(m.read("a.json"));
  const auto begins = [](const nlohmann::ordered_json& object, const words& keys) {
    auto at = object.begin();
    for (const std::string& key : keys) {
      REQUIRE(at != object.end());
      CHECK(at.key() == key);
      ++at;
    }
  };
  begins(ordered, {"op", "share", "format", "points", "usl", "drain"});
  begins(ordered["points"][0],
         {"cpus", "updates_per_s", "speedup", "spread", "remote_requests", "wait_p50_ns", "wait_p99_ns"});
  begins(ordered["usl"], {"sigma", "kappa"});
  CHECK(m.j["op"] == "map");
  CHECK(m.j["share"] == "private");
  CHECK(m.j["format"] == "x86-ept");
  CHECK(m.j["batch"] == 512);
  CHECK(m.j["usl"]["sigma"].is_null());  // one number of cpus fits no law
  CHECK(m.j["drain"].is_null());         // not asked for
  CHECK(m.j["model"].is_null());
}

TEST_CASE("numbers of cpus: lists and ranges, 1 is always among them") {
  const auto cpus_of = [](const json& j) {
    std::vector<unsigned> all;
    for (const json& p : j["points"]) all.push_back(p["cpus"]);
    return all;
  };
  CHECK(cpus_of(measurement({"--cpus", "1,1,1-1"}).j) == std::vector<unsigned>{1});
  const auto by_default = cpus_of(measurement({}).j);
  CHECK(by_default.front() == 1);
  CHECK(by_default.back() == processors());
  if (processors() == 1) return;
  CHECK(cpus_of(measurement({"--cpus", "2"}).j) == std::vector<unsigned>{1, 2});
  CHECK(cpus_of(measurement({"--cpus", "1-2"}).j) == std::vector<unsigned>{1, 2});
}

TEST_CASE("what is printed: a row for each number of cpus, the law, nothing about drains or models") {
  const measurement m({"--op", "protect", "--share", "disjoint", "--cpus", two_cpus()}, "0.01", "3");
  CHECK(
      m.says("op protect, share disjoint, format x86-ept, sections of 512 updates, 3 repetitions of 0.01 s"));
  CHECK(m.says("\n   1 "));
  CHECK(m.says("\nusl: "));
  CHECK_FALSE(m.says("drain"));
  CHECK_FALSE(m.says("MODEL"));
  if (processors() == 1) return;
  CHECK(m.says("\n   2 "));
  CHECK(m.says("\n2 cpus, updates/s of each: "));
  CHECK(m.says("usl: lambda "));
  CHECK(m.j["usl"]["sigma"] >= 0);
  CHECK(m.j["usl"]["kappa"] == 0);
}

TEST_CASE("a model is called one, in text and JSON, and starts from one cpu") {
  for (const char* share : shares) {
    if (processors() == 1 && std::string(share) != "private") continue;
    CAPTURE(share);
    const measurement m({"--model", "12", "--share", share, "--cpus", "1", "--batch", "64"});
    CHECK(m.says(
        "MODEL, not measured: discrete-event simulation of up to 12 cpus with costs measured in this run"));
    const json& model = m.j["model"];
    CHECK(model["kind"].get<std::string>().find("simulation") != std::string::npos);
    CHECK(model["kind"].get<std::string>().find("not a measurement") != std::string::npos);
    CHECK(model["cpus"] == 12);
    for (const char* cost : {"append_ns", "commit_ns", "request_ns", "acknowledge_ns", "latency_ns"}) {
      CHECK_MESSAGE(model["costs"].at(cost) >= 0, cost);
    }
    CHECK(model["costs"]["append_ns"] > 0);
    CHECK(model["costs"]["commit_ns"] > 0);
    std::vector<unsigned> cpus;
    for (const json& p : model["points"]) {
      cpus.push_back(p["cpus"]);
      CHECK(p["updates_per_s"] > 0);
    }
    CHECK(cpus == std::vector<unsigned>{1, 2, 4, 8, 12});
    CHECK(model["points"][0]["speedup"] == 1);
    CHECK(m.j["points"].size() == 1);  // those measured stay apart
    if (std::string(share) == "private") {
      // 12, but for which of the measured sections each cpu draws: some were interrupted.
      CHECK(model["points"][4]["speedup"] > 9);
      CHECK(model["points"][4]["speedup"] < 15);
      CHECK(model["points"][4]["remote_requests"] == 0);
    } else {
      CHECK(model["points"][4]["remote_requests"] > 0);
    }
  }
}

TEST_CASE("arguments that cannot be used are refused, with value and range, before anything is measured") {
  const std::string many = fmt::format("{}", processors() + 1);
  const std::string range = fmt::format("1 to {}", processors());
  check_refused("scale", {
      {{"--cpus", many}, {"--cpus " + many, range, "--model"}},
      {{"--cpus", "1-" + many}, {"--cpus 1-" + many, range, "--model"}},
      {{"--cpus", "0"}, {"--cpus 0", "'0'", range}},
      {{"--cpus", "-1"}, {"--cpus"}},
      {{"--cpus", "1,"}, {"--cpus 1,", "''", range}},
      {{"--cpus", "1,,1"}, {"--cpus 1,,1", range}},
      {{"--cpus", "1-"}, {"--cpus 1-", range}},
      {{"--cpus", "2-1"}, {"--cpus 2-1", range}},
      {{"--cpus", "1 1"}, {"--cpus 1 1", range}},
      {{"--cpus", "all"}, {"--cpus all", range}},
      {{"--cpus", "99999999999999999999999"}, {"99999999999999999999999", range}},
      {{"--cpus", ""}, {"--cpus", range}},
      {{"--op", "nap"}, {"--op nap", "map, unmap, protect, fault, mixed"}},
      {{"--share", "all"}, {"--share all", "private, disjoint, interleaved, same"}},
      {{"--batch", "0"}, {"--batch", "'0'", "1 to 65536"}},
      {{"--batch", "65537"}, {"--batch", "'65537'", "1 to 65536"}},
      {{"--batch", "-1"}, {"--batch", "'-1'", "1 to 65536"}},
      {{"--drain-every", "0"}, {"--drain-every", "'0'", "1 to 10000000"}},
      {{"--drain-every", "1.5"}, {"--drain-every", "'1.5'", "1 to 10000000"}},
      {{"--repeat", "0"}, {"--repeat", "'0'", "1 to 1000"}},
      {{"--seconds", "0"}, {"--seconds 0", "0.001 to 3600"}},
      {{"--seconds", "-1"}, {"--seconds -1", "0.001 to 3600"}},
      {{"--seconds", "nan"}, {"--seconds nan", "0.001 to 3600"}},
      {{"--seconds", "inf"}, {"--seconds inf", "0.001 to 3600"}},
      {{"--seconds", "0x1"}, {"--seconds 0x1", "0.001 to 3600"}},
      {{"--seconds", "1s"}, {"--seconds 1s", "0.001 to 3600"}},
      {{"--seconds", ""}, {"--seconds", "0.001 to 3600"}},
      {{"--model", "1"}, {"--model", "'1'", "2 to 1024"}},
      {{"--model", "1025"}, {"--model", "'1025'", "2 to 1024"}},
      {{"--format", "nope"}, {"--format nope", "x86-ept"}},
      {{"--set", "levels=7"}, {"levels=7", "4 or 5"}},
      {{"--json", ""}, {"--json", "not the name of a file"}},
      {{"words"}, {"words"}},
  });
}

TEST_CASE("a result that cannot be written is refused") {
  const scratch_folder folder;
  for (const char* path : {"missing/x.json", "/dev/full"}) {
    const command_result r = run_quire(
        {"scale", "--seconds", "0.001", "--repeat", "1", "--cpus", "1", "--json", path}, folder.path());
    CHECK(r.status == 2);
    CHECK(r.out.empty());
    CHECK(r.err.find(fmt::format("{}: cannot write: ", path)) != std::string::npos);
  }
}

TEST_CASE("--help explains what is shared, what counts as an update and what is printed") {
  check_help("scale", {"private", "disjoint", "interleaved", "same", "map", "unmap", "protect", "fault",
                           "mixed", "usl", "drain", "--model", "--cpus", "--repeat", "Exit status"});
}

}  // namespace
}  // namespace quire::tests
