// tests/perf/tables_test.cc: `quire tables` against a model of its script language and a walker of its
// images.
#include "tests/perf/tables_test.h"

#include <algorithm>
#include <random>

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

#include "tests/support/command.h"

namespace quire::tests {
namespace {

using nlohmann::json;

struct settings {
  unsigned levels = 4;
  bool ad = false;
  std::uint64_t base = 0x1000000;

  std::uint64_t eptp() const { return base | 6 | (levels - 1) << 3 | (ad ? 0x40 : 0); }
  std::vector<std::string> arguments() const {
    std::vector<std::string> all = {"tables", "--base", fmt::format("{:#x}", base),
                                    "--ops",  "a.ops",  "--image",
                                    "a.bin",  "--root", "a.json"};
    if (levels != 4) all.insert(all.end(), {"--set", fmt::format("levels={}", levels)});
    if (ad) all.insert(all.end(), {"--set", "ad=on"});
    return all;
  }
};

struct built {
  json root;
  std::string image;
  std::vector<std::string> flushes;
};

built build(const std::string& script, const settings& s = {}) {
  const scratch_folder folder;
  folder.write("a.ops", script);
  const command_result r = run_quire(s.arguments(), folder.path());
  CAPTURE(r.err);
  REQUIRE(r.status == 0);
  CHECK_FALSE(r.crashed);
  CHECK(r.err.empty());
  CHECK(r.out.find("a.bin: ") == 0);
  CHECK(folder.snapshot().size() == 3);
  built b{json::parse(folder.read("a.json")), folder.read("a.bin"), {}};
  for (const json& f : b.root.at("flushes")) b.flushes.push_back(f);
  return b;
}

/// The fields that follow from the image and the settings alone.
void check_root(const built& b, const settings& s, const ept_image& image) {
  std::vector<std::string> names;
  for (const auto& [name, value] : b.root.items()) names.push_back(name);
  CHECK((names == std::vector<std::string>{"base", "bytes", "digest", "flushes", "format", "leaves",
                                           "registers", "settings", "tables"}));
  CHECK(b.root["format"] == "x86-ept");
  CHECK(b.root["base"] == fmt::format("{:#x}", s.base));
  CHECK(b.root["bytes"] == b.image.size());
  CHECK((b.root["registers"] == json{{"eptp", fmt::format("{:#x}", s.eptp())}}));
  CHECK(b.root["tables"] == image.tables().size());
  CHECK(b.root["leaves"] == image.leaves().size());
  CHECK(b.root["digest"] == digest_of(image.runs()));
  CHECK(b.image.size() == *image.tables().rbegin() + 4096 - s.base);
  for (const std::string& f : b.flushes)
    CHECK(f == fmt::format("invept single-context eptp={:#x}", s.eptp()));
  for (std::size_t at = 0; at < b.image.size(); at += 4096) {
    if (image.tables().contains(s.base + at)) continue;
    CHECK(b.image.find_first_not_of('\0', at) >= at + 4096);  // no longer linked, and so without content
  }
}

/// Every edge of every run, seen by single walks.
void check_edges(const ept_image& image, const std::vector<page_run>& runs, std::uint64_t input_pages) {
  for (const page_run& r : runs) {
    for (const std::uint64_t i : {std::uint64_t{0}, r.pages / 2, r.pages - 1}) {
      const auto found = image.translate(r.gfn + i);
      REQUIRE(found);
      CHECK((found->run == page_run{r.gfn + i, 1, r.hfn + i, r.access, r.type}));
    }
    for (const std::uint64_t outside : {r.gfn - 1, r.gfn + r.pages}) {
      if (outside >= input_pages) continue;
      const auto in = [outside](const page_run& o) { return o.gfn <= outside && outside < o.gfn + o.pages; };
      CHECK(image.translate(outside).has_value() == std::any_of(runs.begin(), runs.end(), in));
    }
  }
}

std::string first_difference(const std::vector<page_run>& a, const std::vector<page_run>& b) {
  for (std::size_t i = 0; i < std::max(a.size(), b.size()); ++i) {
    if (i < a.size() && i < b.size() && a[i] == b[i]) continue;
    return fmt::format("run {}: {} and {}", i, i < a.size() ? a[i].text() : "none",
                       i < b.size() ? b[i].text() : "none");
  }
  return "";
}

/// @param merged  neighbouring lines may have become one update, so that auto may find larger leaves
void check_leaves(const ept_image& image, const script_model& model, bool merged) {
  for (const ept_image::leaf& l : image.leaves()) {
    const auto next = model.pieces().upper_bound(l.run.gfn);
    REQUIRE(next != model.pieces().begin());
    const mapped_piece& p = std::prev(next)->second;
    const unsigned expected = p.leaf_level(l.run.gfn);
    CAPTURE(l.run.text());
    CAPTURE(p.run.text());
    if (p.exact || !merged) {
      CHECK(l.level == expected);
    } else {
      CHECK(l.level >= expected);
    }
  }
}

void check_against(const script_model& model, const std::string& script, const settings& s, bool sections) {
  const built b = build(script, s);
  const ept_image image(b.image, s.base, s.eptp());
  check_root(b, s, image);
  const auto runs = model.runs();
  CHECK(first_difference(image.runs(), runs).empty());
  CHECK(b.root["digest"] == digest_of(runs));
  check_edges(image, runs, std::uint64_t{1} << (s.levels == 4 ? 36 : 40));
  check_leaves(image, model, sections);
  if (model.narrowed()) CHECK_FALSE(b.flushes.empty());
  if (model.calm()) CHECK(b.flushes.empty());
}

/// Random scripts whose lines meet often: few places, sizes around those of leaves.
class script_writer {
 public:
  script_writer(std::uint64_t seed, const settings& s, bool sections) : random_(seed), sections_(sections) {
    const std::uint64_t end = std::uint64_t{1} << (s.levels == 4 ? 36 : 40);
    const std::uint64_t starts[] = {0, (std::uint64_t{1} << 27) - 0x80000,
                                    end - 0x100000};  // 0; around 512 GiB; the top
    first_ = starts[below(3)];
    const std::uint64_t lines = 4 + below(36);
    for (std::uint64_t i = 0; i < lines; ++i) add(next());
    while (model_.paused() > 0) add({operation::kind::resume});
    while (model_.depth() > 0) add({operation::kind::leave});
  }
  const std::string& text() const { return text_; }
  /// The same lines but those of sections.
  const std::string& plain() const { return plain_; }
  const script_model& model() const { return model_; }

 private:
  using kind = operation::kind;

  std::uint64_t below(std::uint64_t n) {
    return std::uniform_int_distribution<std::uint64_t>(0, n - 1)(random_);
  }
  bool chance(unsigned percent) { return below(100) < percent; }

  operation next() {
    const auto dice = below(100);
    if (sections_ && dice < 25) return section_command();
    if (dice < 65) return map();
    operation o{dice < 80 ? kind::unmap : kind::protect};
    o.run.pages = chance(50) ? 1 + below(1500) : 512 * (1 + below(1024));
    o.run.gfn = place(chance(60) ? 1 : 512, o.run.pages);
    o.run.access = access();
    return o;
  }
  operation section_command() {
    const bool active = model_.paused() == 0;
    switch (below(6)) {
      case 0:
      case 1:
        return {kind::enter};
      case 2:
        return {active && model_.depth() == 0 ? kind::enter : kind::leave};
      case 3:
        return {kind::pause};
      case 4:
        return {!active ? kind::resume : model_.depth() > 0 ? kind::leave : kind::enter};
      default:
        return {kind::flush};
    }
  }
  operation map() {
    const auto size = std::array{0u, 0u, 0u, 1u, 1u, 2u}[below(6)];
    const std::uint64_t unit = std::uint64_t{1} << (9 * size);
    operation o{kind::map};
    o.run.pages = size == 0 ? 1 + below(chance(70) ? 700 : 3000) : unit * (1 + below(size == 1 ? 5 : 2));
    if (chance(40)) o.exact = size;
    const bool loose = !o.exact && size < 2 && chance(30);
    o.run.gfn = place(loose ? 1 : unit, o.run.pages);
    const std::uint64_t host_unit = loose || (!o.exact && size == 1 && chance(20)) ? 1 : unit;
    o.run.hfn =
        (chance(30) ? (std::uint64_t{1} << 40) - (4u << 18) : 0) + below((2u << 18) / host_unit) * host_unit;
    o.run.access = access();
    o.run.type = chance(60) ? 0 : static_cast<unsigned>(below(5));
    if (o.exact && chance(30)) stay_in_place(o.run, unit);
    return o;
  }
  /// Takes over what is mapped already, so that only the size of leaves may differ.
  void stay_in_place(page_run& r, std::uint64_t unit) const {
    const auto next = model_.pieces().upper_bound(r.gfn);
    if (next == model_.pieces().begin()) return;
    const page_run& there = std::prev(next)->second.run;
    const std::uint64_t hfn = there.hfn + (r.gfn - there.gfn);
    if (r.gfn < there.gfn + there.pages && hfn % unit == 0)
      r = {r.gfn, r.pages, hfn, there.access, there.type};
  }
  std::uint64_t place(std::uint64_t unit, std::uint64_t pages) {
    const std::uint64_t spread = chance(60) ? 2048 : 0x100000 - pages;
    return first_ + below(spread / unit + 1) * unit;
  }
  unsigned access() { return std::array{1u, 3u, 4u, 5u, 7u}[below(5)]; }

  void add(const operation& o) {
    model_.apply(o);
    const bool section = o.what > kind::protect;
    const std::string line = written(o);
    text_ += line;
    if (!section) plain_ += line;
    if (chance(5)) text_ += "\n   # a comment\n";
  }
  std::string number(std::uint64_t v) { return fmt::format(fmt::runtime(chance(50) ? "{:#x}" : "{}"), v); }
  std::string size(std::uint64_t bytes) {
    const unsigned shifts[] = {40, 30, 20, 10};
    for (unsigned i = 0; i < 4; ++i) {
      if (bytes >> shifts[i] << shifts[i] == bytes && chance(70))
        return number(bytes >> shifts[i]) + "tgmk"[i];
    }
    return number(bytes);
  }
  std::string letters(unsigned a) {
    std::string text;
    for (unsigned i = 0; i < 3; ++i) {
      if (a >> i & 1) text += "rwx"[i];
    }
    std::shuffle(text.begin(), text.end(), random_);
    return text;
  }
  std::string written(const operation& o) {
    static constexpr const char* names[] = {"map",   "unmap", "protect", "enter",
                                            "leave", "pause", "resume",  "flush"};
    static constexpr const char* types[] = {"wb", "wt", "wp", "wc", "uc"};
    static constexpr const char* sizes[] = {"4k", "2m", "1g"};
    std::vector<std::string> w = {names[static_cast<unsigned>(o.what)]};
    if (o.what <= kind::protect) w.push_back(number(o.run.gfn << 12));
    if (o.what == kind::map) w.push_back(number(o.run.hfn << 12));
    if (o.what <= kind::protect) w.push_back(size(o.run.pages << 12));
    if (o.what == kind::map || o.what == kind::protect) w.push_back(letters(o.run.access));
    if (o.what == kind::map) {
      const auto behind = static_cast<std::ptrdiff_t>(w.size());
      if (o.run.type || chance(20)) w.emplace_back(types[o.run.type]);
      const auto at = w.begin() + (chance(50) ? behind : static_cast<std::ptrdiff_t>(w.size()));
      if (o.exact) {
        w.insert(at, fmt::format("page={}", sizes[*o.exact]));
      } else if (chance(20)) {
        w.insert(at, "page=auto");
      }
    }
    std::string line = chance(10) ? "  " : "";
    for (const std::string& word : w) line += word + (chance(10) ? "\t " : " ");
    return line + (chance(10) ? "# why\n" : chance(10) ? "\r\n" : "\n");
  }

  std::mt19937_64 random_;
  bool sections_;
  std::uint64_t first_ = 0;
  script_model model_;
  std::string text_, plain_;
};

settings settings_of(std::uint64_t seed) {
  const std::uint64_t bases[] = {0, 0x1000, 0x1000000, 0x7ffffff000, 0xffffefffff000};
  return {seed % 2 ? 4u : 5u, seed / 2 % 2 == 1, bases[seed % 5]};
}

TEST_CASE("random scripts without sections: mapping, leaves, counts and digest are those of a model") {
  for (std::uint64_t seed = 1; seed <= 100; ++seed) {
    const settings s = settings_of(seed);
    const script_writer w(seed, s, false);
    CAPTURE(seed);
    CAPTURE(w.text());
    CHECK_NOTHROW(check_against(w.model(), w.text(), s, false));
  }
}

TEST_CASE("random scripts with sections: mapping, leaves, counts and digest are those of a model") {
  for (std::uint64_t seed = 1001; seed <= 1120; ++seed) {
    const settings s = settings_of(seed);
    const script_writer w(seed, s, true);
    CAPTURE(seed);
    CAPTURE(w.text());
    CHECK_NOTHROW(check_against(w.model(), w.text(), s, true));
    if (seed % 5 == 0) CHECK(build(w.text(), s).root["digest"] == build(w.plain(), s).root["digest"]);
  }
}

struct leaf_case {
  std::string script;
  std::array<std::size_t, 3> leaves;  // of 4k, 2m, 1g
};

const leaf_case leaf_cases[] = {
    {"", {0, 0, 0}},
    {"map 0 0x100000 4k rwx", {1, 0, 0}},
    {"map 0 0 2m rwx", {0, 1, 0}},
    {"map 0 0 2m rwx page=auto", {0, 1, 0}},
    {"map 0 0 2m rwx page=4k", {512, 0, 0}},
    {"map 0 0 1g r", {0, 0, 1}},
    {"map 0 0 1g r page=2m", {0, 512, 0}},
    {"map 0 0 4m r page=4k", {1024, 0, 0}},
    {"map 0x40000000 0x80000000 2g x page=1g", {0, 0, 2}},
    {"map 0x200000 0 1g r", {0, 512, 0}},                   // GPA and HPA differ by 2m
    {"map 0 0x1000 2m r", {512, 0, 0}},                     // by 4k
    {"map 0x1ff000 0x1ff000 0x202000 r", {2, 1, 0}},        // 4k, 2m, 4k
    {"map 0x3fe00000 0x3fe00000 0x40400000 r", {0, 2, 1}},  // 2m, 1g, 2m
    {"map 0 0 1g r\nunmap 0x1000 4k", {511, 511, 0}},       // one leaf of each size is split
    {"map 0 0 2m r\nprotect 0x1ff000 4k rw", {512, 0, 0}},
    {"map 0 0 2m r page=4k\nmap 0 0 2m r page=2m", {0, 1, 0}},
    {"map 0 0 2m r page=2m\nmap 0 0 2m r page=4k", {512, 0, 0}},
    {"map 0 0 2m r page=2m\nunmap 0 2m", {0, 0, 0}},
    {"map 0xfffffffff000 0xffffffffff000 4k rwx",
     {1, 0, 0}},  // the last page of four levels, and of all hosts
};

TEST_CASE("quire tables takes exact sizes with page=, the largest leaves that fit without") {
  for (const leaf_case& c : leaf_cases) {
    CAPTURE(c.script);
    const built b = build(c.script);
    const ept_image image(b.image, 0x1000000, 0x100001e);
    check_root(b, {}, image);
    std::array<std::size_t, 3> leaves{};
    for (const ept_image::leaf& l : image.leaves()) ++leaves[l.level];
    CHECK(leaves == c.leaves);
  }
}

struct flush_case {
  std::string script;  // behind two pages rwx at 0x1000 and 0x2000, one r at 0x10000, 2m r at 0x200000
  std::size_t flushes;
};

const flush_case flush_cases[] = {
    {"map 0x3000 0x3000 4k rwx", 0},
    {"unmap 0x4000 16k", 0},
    {"protect 0x4000 16k r", 0},
    {"protect 0x10000 4k rwx", 0},  // wider
    {"protect 0x1000 4k rwx", 0},   // the same
    {"map 0x1000 0x1000 4k rwx", 0},
    {"map 0x10000 0x10000 4k rw", 0},
    {"flush\nenter\nflush\nleave\npause\nresume", 0},
    {"enter\nmap 0x3000 0x3000 4k rwx\nprotect 0x10000 4k rx\nleave", 0},
    {"unmap 0x1000 4k", 1},
    {"unmap 0 1m", 1},
    {"protect 0x1000 4k rx", 1},
    {"protect 0 1m r", 1},
    {"map 0x1000 0x3000 4k rwx", 1},     // other memory
    {"map 0x1000 0x1000 4k rwx uc", 1},  // another type
    {"map 0x1000 0x1000 4k r", 1},
    {"protect 0x200000 4k rw", 1},  // splits a leaf, even if to widen
    {"unmap 0x1000 4k\nunmap 0x2000 4k", 2},
    {"enter\nunmap 0x1000 4k\nunmap 0x2000 4k\nprotect 0x200000 4k x\nleave", 1},
    {"enter\nunmap 0x1000 4k\nflush\nunmap 0x2000 4k\nleave", 2},
    {"enter\nunmap 0x1000 4k\nflush\nflush\nleave", 1},
    {"enter\nunmap 0x1000 4k\nenter\nunmap 0x2000 4k\nleave\nunmap 0x10000 4k\nleave", 2},
    {"enter\nunmap 0x1000 4k\npause\nunmap 0x2000 4k\nunmap 0x10000 4k\nresume\nunmap 0x200000 2m\nleave", 4},
    {"pause\nenter\nunmap 0x1000 4k\nunmap 0x2000 4k\nleave\nresume", 2},
};

TEST_CASE("quire tables flushes when something is narrowed, once for each commit, and only then") {
  for (const flush_case& c : flush_cases) {
    CAPTURE(c.script);
    const std::string before =
        "map 0x1000 0x1000 8k rwx\nmap 0x10000 0x10000 4k r\nmap 0x200000 0x200000 2m r\n";
    const built b = build(before + c.script);
    CHECK(b.flushes == std::vector<std::string>(c.flushes, "invept single-context eptp=0x100001e"));
  }
}

TEST_CASE("quire tables: registers, counts and digests that are known") {
  CHECK(build("").root == json::parse(R"({"format": "x86-ept", "base": "0x1000000", "bytes": 4096,
      "settings": {"levels": "4", "ad": "off"}, "registers": {"eptp": "0x100001e"}, "tables": 1, "leaves": 0, "digest": "99aa06d3014798d86001c324468d497f",
      "flushes": []})"));
  const built one = build("map 0 0x100000 4k rwx");
  CHECK(one.root["tables"] == 4);
  CHECK(one.root["bytes"] == 16384);
  CHECK(one.root["digest"] == "8a45e26005dd00b3317e70640fc718d2");
  CHECK(build("", {4, true, 0x1000000}).root["registers"]["eptp"] == "0x100005e");
  CHECK(build("", {5, false, 0x1000000}).root["registers"]["eptp"] == "0x1000026");
  CHECK(build("", {5, true, 0}).root["registers"]["eptp"] == "0x66");
  CHECK(build("map 0x8000000000000 0 4k r", {5, false, 0x1000}).root["tables"] == 5);
}

TEST_CASE("quire tables: the digest tells apart what a guest could tell apart, and nothing else") {
  const auto digest = [](const char* script) { return build(script).root["digest"].get<std::string>(); };
  const std::string two = digest("map 0 0x100000 2m rw");
  CHECK(digest("map 0 0x100000 2m rw wb page=4k") == two);
  CHECK(digest("map 0x1000 0x101000 0x1ff000 rw\nmap 0 0x100000 4k rw") == two);
  CHECK(digest("enter\nmap 0 0x100000 1m rw\nmap 0x100000 0x200000 1m rw\npause\nresume\nflush\nleave") ==
        two);
  CHECK(digest("map 0 0x100000 4m r\nunmap 0x200000 2m\nprotect 0 2m rw") == two);
  for (const char* other : {"map 0 0x100000 2m r", "map 0 0x101000 2m rw", "map 0x1000 0x100000 2m rw",
                            "map 0 0x100000 2m rw wt", "map 0 0x100000 1m rw", ""}) {
    CHECK(digest(other) != two);
  }
}

TEST_CASE("quire tables replaces its outputs, and --json gets the root too") {
  const scratch_folder folder;
  folder.write("a.ops", "map 0 0 4k r");
  for (const char* old : {"a.bin", "a.json", "b.json"}) folder.write(old, std::string(100000, 'x'));
  auto arguments = settings{}.arguments();
  arguments.insert(arguments.end(), {"--json", "b.json"});
  CHECK(run_quire(arguments, folder.path()).status == 0);
  CHECK(folder.read("a.bin").size() == 16384);
  CHECK(folder.read("b.json") == folder.read("a.json"));
  CHECK(folder.snapshot().size() == 4);
}

}  // namespace
}  // namespace quire::tests
