// tests/perf/replay_test.cc: `quire replay` against a model of a guest and its hypervisor, page by page.
#include <doctest/doctest.h>
#include <fmt/format.h>
#include <zstd.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "tests/perf/tables_test.h"
#include "tests/support/command.h"
#include "tests/support/trace_file.h"

namespace quire::tests {
namespace {

using nlohmann::json;

constexpr std::uint8_t read = 1, write = 2, fetch = 4, marker = 128, loader = 255;

struct scenario {
  bool precopy = false, reclaim = false;
  std::uint64_t window = 16;
  std::optional<std::uint64_t> precopy_from = {};

  std::string names() const {
    return std::string("boot") + (precopy ? ",precopy" : "") + (reclaim ? ",reclaim" : "");
  }
};

/// What the guest has mapped at the end. Pages that are not there are not mapped.
class guest_model {
 public:
  struct page {
    bool writable = true, accessed = false, dirty = false;
  };

  guest_model(const trace_file& t, const scenario& s) : t_(t), s_(s) {
    const std::uint64_t step = t.header.instructions_per_epoch;
    const std::uint64_t epochs = t.records.empty() ? 0 : t.records.back().time / step + 1;
    auto r = t.records.begin();
    for (std::uint64_t epoch = 0; epoch < epochs; ++epoch) {
      const auto end = std::find_if(r, t.records.end(), [&](const auto& x) { return x.time / step > epoch; });
      run_epoch({r, end});
      if (s.precopy && (s.precopy_from ? epoch >= *s.precopy_from : marked_)) harvest();
      if (s.reclaim && epoch % 8 == 7) age();
      r = end;
    }
  }

  std::string digest() const {
    std::vector<page_run> runs;
    for (const auto& [gfn, p] : pages_) append(runs, {gfn, 1, gfn + (1u << 20), p.writable ? 7u : 5u, 0});
    return digest_of(runs);
  }
  std::uint64_t harvested() const { return harvested_; }
  std::uint64_t reclaimed() const { return reclaimed_; }

 private:
  void run_epoch(const std::vector<trace_file_record>& records) {
    for (const auto& r : records) {
      if (r.kind == marker) {
        marked_ |= r.page == 1;
      } else if (r.vcpu == loader) {
        pages_.try_emplace(r.page);
      }
    }
    for (const auto& r : records) {
      if (r.kind != marker && r.vcpu != loader) access(r.page, r.kind == write);
    }
  }
  void access(std::uint64_t gfn, bool writes) {
    if (!pages_.contains(gfn)) map_window(gfn);
    page& p = pages_[gfn];
    p.accessed = true;
    if (writes) p.dirty = p.writable = true;
  }
  void map_window(std::uint64_t gfn) {
    const std::uint64_t first = gfn / s_.window * s_.window;
    for (const auto& [at, bytes] : t_.header.ram) {
      if (gfn - at / 4096 >= bytes / 4096) continue;  // below the first page this wraps
      for (std::uint64_t g = std::max(first, at / 4096); g < std::min(first + s_.window, (at + bytes) / 4096);
           ++g) {
        pages_.try_emplace(g);
      }
    }
  }
  void harvest() {
    for (auto& [gfn, p] : pages_) {
      if (!p.dirty) continue;
      ++harvested_;
      p.dirty = p.writable = false;
    }
  }
  void age() {
    reclaimed_ += std::erase_if(pages_, [](const auto& p) { return !p.second.accessed; });
    for (auto& [gfn, p] : pages_) p.accessed = false;
  }

  const trace_file& t_;
  const scenario s_;
  bool marked_ = false;
  std::map<std::uint64_t, page> pages_;
  std::uint64_t harvested_ = 0, reclaimed_ = 0;
};

/// A trace on disk and the folder in which `quire` replays it.
struct recording : scratch_folder {
  explicit recording(const trace_file& t) : trace(t) {
    const byte_string bytes = t.file();
    write("a.gpt.zst", {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  }
  command_result replay(const scenario& s, const std::vector<std::string>& more = {}) const {
    std::vector<std::string> arguments = {
        "replay", "a.gpt.zst", "--scenario",     s.names(),
        "--json", "a.json",    "--fault-around", fmt::format("{}", s.window)};
    if (s.precopy_from)
      arguments.insert(arguments.end(), {"--precopy-from", fmt::format("{}", *s.precopy_from)});
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run_quire(arguments, path());
  }
  /// A replay that must go well, as JSON.
  json sound(const scenario& s, const std::vector<std::string>& more = {}) const {
    const command_result r = replay(s, more);
    CAPTURE(r.out);
    CAPTURE(r.err);
    REQUIRE(r.status == 0);
    CHECK_FALSE(r.crashed);
    CHECK(r.err.empty());
    return json::parse(read("a.json"));
  }
  trace_file trace;
};

/// Two regions, four vCPUs and a loader, which touch few pages again and again; marker 1 in epoch 5.
trace_file random_trace(std::uint64_t seed, std::uint64_t epochs = 40) {
  std::mt19937_64 random(seed);
  const auto below = [&random](std::uint64_t n) {
    return std::uniform_int_distribution<std::uint64_t>(0, n - 1)(random);
  };
  trace_file t;
  t.header.vcpus = 4;
  t.header.ram = {{{0x3000, 0x200000}, {0x40000000, 0x41000}}};
  for (std::uint64_t epoch = 0; epoch < epochs; ++epoch) {
    const std::uint64_t records = below(8) ? 20 + below(100) : below(3);
    for (std::uint64_t i = 0; i < records; ++i) {
      const bool low = below(3) > 0;
      const std::uint64_t page = low ? 3 + below(below(4) ? 40 : 512) : 0x40000 + below(0x41);
      const std::uint8_t vcpu = below(20) ? static_cast<std::uint8_t>(below(4)) : loader;
      const std::uint8_t kind = vcpu == loader ? write : std::array{read, write, fetch}[below(3)];
      t.records.push_back({epoch * 100 + i * 99 / records, page, vcpu, kind, 0});
    }
    if (epoch == 5) t.records.push_back({epoch * 100 + 99, 1, 0, marker, 0});
  }
  t.records.push_back({epochs * 100 - 1, 3, 0, read, 0});
  return t;
}

/// Page 5 is written by two vCPUs in each of 40 epochs; marker 1 comes first.
trace_file hot_page() {
  trace_file t;
  t.records.push_back({0, 1, 0, marker, 0});
  for (std::uint64_t epoch = 0; epoch < 40; ++epoch) {
    for (std::uint8_t vcpu = 0; vcpu < 2; ++vcpu)
      t.records.push_back({epoch * 100 + vcpu, 5, vcpu, write, 0});
  }
  return t;
}

/// The bundled boot of an amd64 guest, decoded without the reader under test.
trace_file bundled_boot() {
  const std::string file = file_content(QUIRE_TRACES "/amd64-boot.gpt.zst");
  std::string raw(std::size_t{16} << 20, '\0');
  const std::size_t size = ZSTD_decompress(raw.data(), raw.size(), file.data(), file.size());
  REQUIRE_FALSE(ZSTD_isError(size));
  const auto number = [&raw](std::size_t at, unsigned bytes) {
    std::uint64_t value = 0;
    while (bytes-- > 0) value = value << 8 | static_cast<unsigned char>(raw[at + bytes]);
    return value;
  };
  const auto byte = [&number](std::size_t at) { return static_cast<std::uint8_t>(number(at, 1)); };
  trace_file t;
  t.header.vcpus = byte(16);
  t.header.instructions_per_epoch = number(24, 8);
  t.header.instructions = number(32, 8);
  for (std::size_t i = 0; i < 4; ++i) t.header.ram[i] = {number(64 + 16 * i, 8), number(72 + 16 * i, 8)};
  for (std::size_t at = 256; at < size; at += 16) {
    t.records.push_back({number(at, 8), number(at + 8, 5), byte(at + 13), byte(at + 14), byte(at + 15)});
  }
  REQUIRE(t.records.size() == 313213);
  return t;
}

const json& run_of(const json& j, const char* mode) {
  for (const json& run : j.at("runs")) {
    if (run.at("mode") == mode) return run;
  }
  throw std::runtime_error(fmt::format("no run in mode {}", mode));
}

void check_digests(const json& j, const guest_model& model) {
  CHECK(j["equal"] == true);
  for (const json& run : j["runs"]) {
    CAPTURE(run["mode"]);
    CHECK(run["digest"] == model.digest());
    CHECK(run["stale_uses"] == 0);
    CHECK(run["harvested_pages"] == model.harvested());
    CHECK(run["reclaimed_pages"] == model.reclaimed());
  }
}

const scenario scenarios[] = {{},
                              {.window = 1},
                              {.window = 5},
                              {.window = 1024},
                              {.precopy = true},
                              {.reclaim = true, .window = 3},
                              {.precopy = true, .reclaim = true},
                              {.precopy = true, .reclaim = true, .window = 64, .precopy_from = 0},
                              {.precopy = true, .precopy_from = 20},
                              {.precopy = true, .precopy_from = 1000}};

TEST_SUITE("threads") {
TEST_CASE("random guests end as a model says, on 1, 2 and 4 cpus, in both modes") {
  for (std::uint64_t seed = 1; seed <= 4; ++seed) {
    const recording r(random_trace(seed));
    for (const scenario& s : scenarios) {
      CAPTURE(seed);
      CAPTURE(s.names());
      CAPTURE(s.window);
      const guest_model model(r.trace, s);
      for (const char* cpus : {"1", "2", "4"}) {
        CAPTURE(cpus);
        const json j = r.sound(s, {"--cpus", cpus});
        CHECK(j["runs"].size() == 2);
        check_digests(j, model);
      }
    }
  }
}

TEST_CASE("ten replays in a row end alike") {
  const recording r(random_trace(7));
  const scenario all{.precopy = true, .reclaim = true};
  const guest_model model(r.trace, all);
  for (unsigned i = 0; i < 10; ++i) check_digests(r.sound(all, {"--cpus", i % 2 ? "4" : "2"}), model);
}
}

TEST_CASE("the bundled boot ends as a model says, on 1, 2 and 4 cpus, in both modes") {
  const recording r(bundled_boot());
  for (const scenario& s : {scenario{}, scenario{.precopy = true, .reclaim = true}}) {
    const guest_model model(r.trace, s);
    for (const char* cpus : {"1", "2", "4"}) check_digests(r.sound(s, {"--cpus", cpus}), model);
  }
}

TEST_CASE("boot alone issues no flush: empty to present needs none") {
  const recording r(random_trace(11));
  for (const char* cpus : {"1", "4"}) {
    const json j = r.sound({.window = 4}, {"--cpus", cpus});
    for (const json& run : j["runs"]) {
      for (const char* none : {"flush_requested", "flush_commands", "flush_full", "remote_requests"})
        CHECK(run[none] == 0);
    }
  }
}

TEST_CASE(
    "precopy: lazily one flush command per epoch and cpu and forced commit, eagerly one per harvested page") {
  for (const auto& t : {random_trace(12), bundled_boot()}) {
    const recording r(t);
    for (const std::uint64_t cpus : {1, 2, 4}) {
      const json j = r.sound({.precopy = true, .precopy_from = 1}, {"--cpus", fmt::format("{}", cpus)});
      const auto number = [&j](const char* mode, const char* name) {
        return run_of(j, mode)[name].get<std::uint64_t>();
      };
      REQUIRE(number("eager", "harvested_pages") > 0);
      CHECK(number("lazy", "flush_commands") <=
            number("lazy", "epochs") * cpus + number("lazy", "forced_commits"));
      CHECK(number("eager", "flush_commands") >= number("eager", "harvested_pages"));
      CHECK(number("lazy", "entries_written") <= number("eager", "entries_written"));
    }
  }
}

TEST_CASE("flushes that are left out are seen as stale uses") {
  const recording r(hot_page());
  for (const char* inject : {"drop-flush=1", "drop-flush=0.5"}) {
    for (const char* mode : {"eager", "lazy"}) {
      for (const char* cpus : {"1", "2"}) {
        CAPTURE(inject);
        CAPTURE(mode);
        CAPTURE(cpus);
        const command_result c =
            r.replay({.precopy = true}, {"--inject", inject, "--mode", mode, "--cpus", cpus});
        CHECK(c.status == 1);
        CHECK_FALSE(c.crashed);
        CHECK(c.out.find("FAILED: ") != std::string::npos);
        const json j = json::parse(r.read("a.json"));
        CHECK(run_of(j, mode)["stale_uses"] > 0);
        CHECK(run_of(j, mode)["flush_dropped"] > 0);
      }
    }
  }
  CHECK(r.sound({.precopy = true}, {"--inject", "drop-flush=0"})["equal"] == true);
}

TEST_CASE("the bundled boot: flushes that are left out are seen as stale uses") {
  const recording r(bundled_boot());
  const command_result c = r.replay({.precopy = true, .reclaim = true}, {"--inject", "drop-flush=1"});
  CHECK(c.status == 1);
  const json j = json::parse(r.read("a.json"));
  for (const json& run : j["runs"]) CHECK(run["stale_uses"] > 0);
}

TEST_CASE("table allocations that fail delay a guest and change nothing else") {
  const recording r(random_trace(13));
  const scenario all{.precopy = true, .reclaim = true, .window = 8};
  const guest_model model(r.trace, all);
  for (const char* inject : {"table-oom=0.3", "table-oom=0.9"}) {
    for (const char* seed : {"1", "2"}) {
      const json j = r.sound(all, {"--inject", inject, "--seed", seed});
      check_digests(j, model);
      for (const json& run : j["runs"]) CHECK(run["failed_allocations"] > 0);
    }
  }
}

TEST_CASE("the JSON of a replay has the promised fields, by their types") {
  const recording r(random_trace(14, 8));
  const json both = r.sound({.reclaim = true}, {"--format", "x86-ept"});
  CHECK(both["trace"] == "a.gpt.zst");
  CHECK(both["format"] == "x86-ept");
  CHECK(both["scenario"] == "boot,reclaim");
  CHECK(both["equal"].is_boolean());
  REQUIRE(both["runs"].size() == 2);
  CHECK(both["runs"][0]["mode"] == "eager");
  CHECK(both["runs"][1]["mode"] == "lazy");
  for (const json& run : both["runs"]) {
    for (const char* count : {"records", "faults", "updates", "runs", "walks", "entries_written",
                              "tables_taken", "tables_allocated", "peak_table_bytes", "flush_requested",
                              "flush_commands", "flush_full", "remote_requests", "stale_uses"}) {
      CHECK_MESSAGE(run.at(count).is_number_unsigned(), count);
    }
    for (const char* measure : {"updates_per_s", "ns_per_update", "wall_s"}) {
      CHECK_MESSAGE(run.at(measure).is_number(), measure);
      CHECK_MESSAGE(run.at(measure) > 0, measure);
    }
    CHECK(run["digest"].get<std::string>().find_first_not_of("0123456789abcdef") == std::string::npos);
    CHECK(run["digest"].get<std::string>().size() == 32);
    CHECK(run["records"] == r.trace.records.size());
    CHECK(run["peak_table_bytes"] >= 4096);
  }
  for (const char* mode : {"eager", "lazy"}) {
    const json one = r.sound({}, {"--mode", mode});
    REQUIRE(one["runs"].size() == 1);
    CHECK(one["runs"][0]["mode"] == mode);
    CHECK(one["equal"] == true);
  }
}

TEST_CASE("what is printed names each field and both digests") {
  const recording r(random_trace(15, 8));
  const command_result c = r.replay({});
  const json j = json::parse(r.read("a.json"));
  for (const auto& [name, value] : j["runs"][0].items()) {
    if (name != "mode" && name != "pinned") CHECK_MESSAGE(c.out.find("\n" + name) != std::string::npos, name);
  }
  CHECK(c.out.find("digest eager  " + j["runs"][0]["digest"].get<std::string>()) != std::string::npos);
  CHECK(c.out.find("digest lazy   " + j["runs"][1]["digest"].get<std::string>()) != std::string::npos);
  CHECK(c.out.ends_with("digests are equal\n"));
  CHECK(r.replay({}, {"--json", "b.json"}).status == 2);  // given twice
}

TEST_CASE("precopy that never starts is told, and changes nothing") {
  trace_file t = random_trace(16, 10);
  std::erase_if(t.records, [](const auto& x) { return x.kind == marker; });
  const recording r(t);
  const guest_model boot(t, {});
  const scenario precopy{.precopy = true};
  check_digests(r.sound(precopy), boot);
  CHECK(r.replay(precopy).out.find("note: precopy never started: the trace has no marker 1\n") !=
        std::string::npos);
  const scenario late{.precopy = true, .precopy_from = 10};
  check_digests(r.sound(late), boot);
  CHECK(r.replay(late).out.find("note: precopy never started: the trace has no epoch 10\n") !=
        std::string::npos);
  CHECK(r.replay({.precopy = true, .precopy_from = 9}).out.find("note:") == std::string::npos);
}

TEST_CASE("a trace without records replays to an empty mapping") {
  const recording r{trace_file{}};
  const json j = r.sound({.precopy = true, .reclaim = true});
  for (const json& run : j["runs"]) {
    CHECK(run["records"] == 0);
    CHECK(run["digest"] == "99aa06d3014798d86001c324468d497f");
  }
}

TEST_CASE("a trace that is damaged at its end: status 2, and no JSON") {
  trace_file t = random_trace(17);
  t.damage_file = [](byte_string& b) { b.back() ^= 0x80; };
  const recording r(t);
  const command_result c = r.replay({});
  CHECK(c.status == 2);
  CHECK(c.out.empty());
  CHECK(c.err.starts_with("quire: a.gpt.zst: zstd: "));
  CHECK(r.snapshot().size() == 1);
}

}  // namespace
}  // namespace quire::tests
