// `quire walk`: walks an image of tables as hardware would and prints each step, decoded.
#include <cstring>
#include <memory>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include "arch/walk.h"
#include "perf/command.h"
#include "perf/formats.h"
#include "perf/json_file.h"
#include "perf/numbers.h"

namespace quire::perf {

namespace {

constexpr std::size_t image_limit = std::size_t{4} << 30;
constexpr std::size_t root_limit = std::size_t{64} << 20;

/// One walk as text and as JSON, and what is wrong with the image, or nothing.
struct walk_output {
  std::string text;
  json steps = json::array();
  json result;
  std::string wrong;
};

/// Walks an untrusted image: every table is checked to lie inside before it is read.
template <class F>
class image_walker {
 public:
  using word = typename F::word;

  image_walker(const chosen_format& chosen, const F& f, std::string_view image, std::uint64_t base, arch::table_address root)
      : choice_(*chosen.choice), page_sizes_(chosen.page_sizes()), f_(f), shape_(chosen.shape()), image_(image), base_(base), root_(root) {}

  const arch::geometry& shape() const { return shape_; }

  walk_output walk(std::uint64_t gpa) const {
    walk_output out;
    out.text = fmt::format("GPA {:#x}\n", gpa);
    const arch::gfn g{gpa >> arch::page_shift};
    arch::table_address table = root_;
    unsigned rights = arch::perm_values - 1;
    for (unsigned level = shape_.top();; --level) {
      word e = 0;
      if (!read(table, level, shape_.index(g, level), e)) {
        out.wrong = fmt::format("GPA {:#x}: {} at {:#x} lies outside the image, {:#x} to {:#x}", gpa, choice_.tables[level], table.byte,
                                base_, base_ + image_.size());
        return out;
      }
      step(out, level, table, shape_.index(g, level), e);
      if (const char* bad = f_.malformed(e, level)) {
        out.wrong = fmt::format("GPA {:#x}: {} entry {:#x} is misconfigured: {}", gpa, choice_.tables[level], e, bad);
        return out;
      }
      const auto kind = f_.kind(e, level);
      if (kind == arch::entry_kind::empty) return finish(out, fmt::format("not present in {}", choice_.tables[level]));
      rights &= static_cast<unsigned>(f_.attributes_of(e, level).access);
      if (kind == arch::entry_kind::leaf) return finish_leaf(out, e, level, gpa, static_cast<arch::perm>(rights));
      table = f_.table(e, level);
    }
  }

 private:
  bool read(arch::table_address table, unsigned level, std::uint32_t index, word& e) const {
    const std::uint64_t bytes = shape_.table_bytes[level];
    if (table.byte < base_ || table.byte - base_ > image_.size() || image_.size() - (table.byte - base_) < bytes) return false;
    alignas(word) word raw = 0;
    std::memcpy(&raw, image_.data() + (table.byte - base_) + index * sizeof(word), sizeof raw);
    e = arch::slot<F>(&raw).load();
    return true;
  }

  void step(walk_output& out, unsigned level, arch::table_address table, std::uint32_t index, word e) const {
    const auto kind = f_.kind(e, level);
    const std::uint64_t at = table.byte + index * sizeof(word);
    json j{{"table", choice_.tables[level]}, {"index", index}, {"at", fmt::format("{:#x}", at)}, {"entry", fmt::format("{:#018x}", e)}};
    std::string decoded = "empty";
    if (kind == arch::entry_kind::table) {
      decoded = fmt::format("table at {:#x}", f_.table(e, level).byte);
      j["next"] = fmt::format("{:#x}", f_.table(e, level).byte);
    } else if (kind == arch::entry_kind::leaf) {
      decoded = fmt::format("leaf of {} at {:#x}", page_sizes_[level], f_.output(e, level).byte());
    }
    if (kind != arch::entry_kind::empty) {
      const auto a = f_.attributes_of(e, level);
      decoded += fmt::format(", {}", perm_text(a.access));
      if (kind == arch::entry_kind::leaf && !choice_.memory_types.empty()) decoded += fmt::format(", {}", choice_.memory_types[a.type]);
      if (f_.accessed(e)) decoded += ", accessed";
      if (kind == arch::entry_kind::leaf && f_.dirty(e)) decoded += ", dirty";
    }
    j["decoded"] = decoded;
    out.steps.push_back(j);
    out.text += fmt::format("  {:<5}[{:>3}] at {:#x}: {:#018x}  {}\n", choice_.tables[level], index, at, e, decoded);
  }

  walk_output finish(walk_output& out, const std::string& what) const {
    out.text += fmt::format("  -> {}\n", what);
    out.result = {{"present", false}, {"reason", what}};
    return out;
  }

  walk_output finish_leaf(walk_output& out, word e, unsigned level, std::uint64_t gpa, arch::perm rights) const {
    const std::uint64_t inside = gpa & ((shape_.slot_pages(level) << arch::page_shift) - 1);
    const std::uint64_t hpa = f_.output(e, level).byte() + inside;
    out.text += fmt::format("  -> HPA {:#x}, {}", hpa, perm_text(rights));
    out.result = {{"present", true}, {"hpa", fmt::format("{:#x}", hpa)}, {"access", perm_text(rights)}, {"page", page_sizes_[level]}};
    if (!choice_.memory_types.empty()) {
      const std::string& type = choice_.memory_types[f_.attributes_of(e, level).type];
      out.text += ", " + type;
      out.result["type"] = type;
    }
    out.text += "\n";
    return out;
  }

  const format_choice& choice_;
  const std::vector<std::string> page_sizes_;
  const F& f_;
  const arch::geometry shape_;
  const std::string_view image_;
  const std::uint64_t base_;
  const arch::table_address root_;
};

// A field as a message can show it: short, and never nested.
std::string shown(const nlohmann::json& object, const std::string& name) {
  if (!object.contains(name)) return "missing";
  const nlohmann::json& field = object[name];
  if (field.is_structured()) return fmt::format("of type {}", field.type_name());
  const std::string text = field.dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
  return text.size() <= 60 ? text : text.substr(0, 60) + "...";
}

// Settings as `quire tables` recorded them; a file that was not written by it need not have them.
std::vector<std::string> recorded_settings(const nlohmann::json& j) {
  std::vector<std::string> all;
  if (!j.contains("settings") || !j["settings"].is_object()) return all;
  for (const auto& [name, value] : j["settings"].items()) {
    if (value.is_string()) all.push_back(name + "=" + value.get<std::string>());
  }
  return all;
}

// Reads the format's settings and root from the JSON that `quire tables` wrote; --set adds to it, and may not
// contradict the registers.
std::string read_root(const walk_arguments& a, chosen_format& chosen, arch::table_address& root) {
  std::string text;
  if (std::string wrong = read_file(a.root, root_limit, text); !wrong.empty()) return wrong;
  // Deeper values are dropped unread: nothing here needs them, and a hostile file may nest without end.
  const auto shallow = [](int depth, auto /*event*/, auto& /*value*/) { return depth <= 2; };
  const auto j = nlohmann::json::parse(text, shallow, false);
  if (!j.is_object()) return fmt::format("{}: not a JSON object as `quire tables` writes it", a.root);
  if (!j.contains("format") || j["format"] != a.format) {
    return fmt::format("{}: field \"format\" is {}, not \"{}\"", a.root, shown(j, "format"), a.format);
  }
  const auto read = [&](const std::string& name, std::uint64_t& value) -> std::string {
    const nlohmann::json* registers = j.contains("registers") ? &j["registers"] : nullptr;
    const bool there = registers && registers->is_object() && registers->contains(name) && (*registers)[name].is_string();
    const auto number = there ? parse_number((*registers)[name].get<std::string>()) : std::nullopt;
    if (!number) {
      const std::string found = registers && registers->is_object() ? shown(*registers, name) : "missing";
      return fmt::format("{}: field \"{}\" of \"registers\" is {}, not a number as text: \"0x...\", below 2^64", a.root, name, found);
    }
    value = *number;
    return {};
  };
  const auto recorded = recorded_settings(j);
  chosen = choose_format(a.format, {}, recorded);
  if (!chosen.error.empty()) return fmt::format("{}: field \"settings\": {}", a.root, chosen.error);
  chosen = choose_format(a.format, a.settings, recorded);
  if (!chosen.error.empty()) return chosen.error;
  const any_format asked = chosen.format;
  const std::string wrong = chosen.choice->from_registers(chosen.format, read, root);
  if (!wrong.empty()) return wrong.starts_with(a.root) ? wrong : fmt::format("{}: {}", a.root, wrong);
  for (const std::string& setting : a.settings) {
    const std::string name = setting.substr(0, setting.find('='));
    const auto value_in = [&](const any_format& f) {
      for (const auto& [known, value] : chosen.choice->values(f)) {
        if (known == name) return value;
      }
      return std::string();
    };
    if (value_in(asked) != value_in(chosen.format)) {
      return fmt::format("--set {}: the registers in {} say {}={}", setting, a.root, name, value_in(chosen.format));
    }
  }
  return {};
}

template <class F>
int walk_all(const walk_arguments& a, const image_walker<F>& walker) {
  json j{{"format", a.format}, {"walks", json::array()}};
  std::vector<std::uint64_t> addresses;
  for (const std::string& text : a.addresses) {
    const auto gpa = parse_number(text);
    const std::uint64_t last = (walker.shape().input_pages << arch::page_shift) - 1;
    if (!gpa || *gpa > last) {
      return refuse(last + 1 ? fmt::format("GPA {}: not a number below {:#x}", text, last + 1) : fmt::format("GPA {}: not a number below 2^64", text));
    }
    addresses.push_back(*gpa);
  }
  std::vector<walk_output> walks;
  bool sound = true;
  for (const std::uint64_t gpa : addresses) {
    const walk_output& out = walks.emplace_back(walker.walk(gpa));
    sound = sound && out.wrong.empty();
    j["walks"].push_back({{"gpa", fmt::format("{:#x}", gpa)}, {"steps", out.steps}, {"result", out.result}});
  }
  if (sound && !a.json_path.empty()) {
    if (const std::string wrong = write_files({{a.json_path, to_text(j)}}); !wrong.empty()) return refuse(wrong);
  }
  for (const walk_output& out : walks) {
    fmt::print("{}", out.text);
    std::fflush(stdout);
    if (!out.wrong.empty()) refuse(fmt::format("{}: {}", a.image, out.wrong));
  }
  return sound ? success : bad_input;
}

}  // namespace

int run_walk(const walk_arguments& a) {
  chosen_format chosen = choose_format(a.format, a.settings);
  if (!chosen.error.empty()) return refuse(chosen.error);
  const std::string twice = same_file_twice({{"--image", a.image}, {"--root", a.root}, {"--json", a.json_path}});
  if (!twice.empty()) return refuse(twice);
  const auto base = parse_number(a.base);
  if (!base) return refuse(fmt::format("--base {}: not a number; numbers are decimal or 0x and hexadecimal, below 2^64", a.base));
  arch::table_address root;
  if (const std::string wrong = read_root(a, chosen, root); !wrong.empty()) return refuse(wrong);
  std::string image;
  if (const std::string wrong = read_file(a.image, image_limit, image); !wrong.empty()) return refuse(wrong);
  if (*base > ~std::uint64_t{0} - image.size()) return refuse(fmt::format("--base {}: the image would end beyond 2^64", a.base));
  const auto walk = [&]<class F>(const F& f) { return walk_all(a, image_walker<F>(chosen, f, image, *base, root)); };
  return std::visit(walk, chosen.format);
}

}  // namespace quire::perf
