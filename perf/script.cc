// The parser of script.h: one line at a time, words split at blanks.
#include "perf/script.h"

#include <algorithm>
#include <optional>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "perf/numbers.h"

namespace quire::perf {

namespace {

using words = std::vector<std::string_view>;

struct verb_form {
  const char* name;
  verb what;
  std::size_t least, most;  // words behind the verb
  const char* form;
};

constexpr verb_form forms[] = {
    {"map", verb::map, 4, 6, "map GPA HPA SIZE PERM [TYPE] [page=SIZE|auto]"},
    {"unmap", verb::unmap, 2, 2, "unmap GPA SIZE"},
    {"protect", verb::protect, 3, 3, "protect GPA SIZE PERM"},
    {"enter", verb::enter, 0, 0, "enter"},
    {"leave", verb::leave, 0, 0, "leave"},
    {"pause", verb::pause, 0, 0, "pause"},
    {"resume", verb::resume, 0, 0, "resume"},
    {"flush", verb::flush, 0, 0, "flush"},
};

words split(std::string_view line) {
  line = line.substr(0, line.find('#'));
  constexpr std::string_view blanks = " \t\r\v\f";
  words all;
  for (;;) {
    const auto from = line.find_first_not_of(blanks);
    if (from == std::string_view::npos) return all;
    line.remove_prefix(from);
    all.push_back(line.substr(0, line.find_first_of(blanks)));
    line.remove_prefix(all.back().size());
  }
}

// A word as a message can show it: short and printable.
std::string quoted(std::string_view word) {
  std::string text;
  for (const char c : word.substr(0, 40)) text += c >= ' ' && c <= '~' ? c : '?';
  return fmt::format("'{}{}'", text, word.size() > 40 ? "..." : "");
}

class line_parser {
 public:
  explicit line_parser(const chosen_format& format)
      : format_(*format.choice), shape_(format.shape()), page_sizes_(format.page_sizes()) {}

  /// Returns what is wrong, or nothing.
  std::string parse(const words& w, script_line& line) {
    error_.clear();
    const auto* f = std::find_if(std::begin(forms), std::end(forms), [&](const verb_form& v) { return w[0] == v.name; });
    if (f == std::end(forms)) {
      std::vector<std::string> names;
      for (const verb_form& v : forms) names.emplace_back(v.name);
      return fmt::format("no such operation: {}; there is {}", quoted(w[0]), fmt::join(names, ", "));
    }
    if (w.size() - 1 < f->least || w.size() - 1 > f->most) {
      return fmt::format("{} words after '{}'; the form is: {}", w.size() - 1, f->name, f->form);
    }
    line.what = f->what;
    if (f->least > 0) parse_operands(w, line);
    return error_;
  }

 private:
  void fail(const std::string& what) {
    if (error_.empty()) error_ = what;
  }

  void parse_operands(const words& w, script_line& line) {
    const bool map = line.what == verb::map;
    const std::uint64_t gpa = number("GPA", w[1]);
    const std::uint64_t hpa = map ? number("HPA", w[2]) : 0;
    const std::uint64_t size = size_of(w[map ? 3 : 2]);
    if (map) options({w.begin() + 5, w.end()}, line);
    if (line.what != verb::unmap) line.attr.access = access(w[map ? 4 : 3]);
    if (!error_.empty()) return;
    aligned("GPA", gpa, line);
    aligned("SIZE", size, line);
    if (map) aligned("HPA", hpa, line);
    inside("GPA", gpa, size, shape_.input_pages);
    if (map) inside("HPA", hpa, size, shape_.output_pages);
    line.range = {arch::gfn{gpa >> arch::page_shift}, size >> arch::page_shift};
    line.out = arch::hfn{hpa >> arch::page_shift};
  }

  std::uint64_t number(const char* what, std::string_view word) {
    const auto v = parse_number(word);
    if (!v) fail(fmt::format("{} {}: not a number; numbers are decimal or 0x and hexadecimal, below 2^64", what, quoted(word)));
    return v.value_or(0);
  }

  std::uint64_t size_of(std::string_view word) {
    const auto v = parse_size(word);
    if (!v) {
      fail(fmt::format("SIZE {}: not a size; sizes are numbers, with k, m, g or t behind if need be, below 2^64", quoted(word)));
    } else if (*v == 0) {
      fail(fmt::format("SIZE {}: the range is empty", quoted(word)));
    }
    return v.value_or(0);
  }

  arch::perm access(std::string_view word) {
    const auto p = parse_perm(word);
    if (!p) {
      fail(fmt::format("PERM {}: not a permission; it is made of r, w and x", quoted(word)));
    } else if (!(shape_.access_set >> static_cast<unsigned>(*p) & 1)) {
      std::vector<std::string> all;
      for (unsigned i = 1; i < 8; ++i) {
        if (shape_.access_set >> i & 1) all.push_back(perm_text(static_cast<arch::perm>(i)));
      }
      const std::string why = format_.access_note.empty() ? "" : " (" + format_.access_note + ")";
      fail(fmt::format("PERM {}: {} cannot express it; it has {}{}", quoted(word), format_.name, fmt::join(all, ", "), why));
    }
    return p.value_or(arch::perm::none);
  }

  void options(const words& w, script_line& line) {
    bool typed = false;
    bool sized = false;
    for (const std::string_view word : w) {
      if (word.starts_with("page=")) {
        if (std::exchange(sized, true)) return fail("page= is given twice");
        page(word.substr(5), line);
      } else {
        if (std::exchange(typed, true)) return fail(fmt::format("{}: a second TYPE", quoted(word)));
        const auto& types = format_.memory_types;
        const auto at = std::find(types.begin(), types.end(), word);
        if (types.empty()) return fail(fmt::format("TYPE {}: {} has no memory types", quoted(word), format_.name));
        if (at == types.end()) {
          return fail(fmt::format("TYPE {}: {} has no such memory type; it has {}", quoted(word), format_.name, fmt::join(types, ", ")));
        }
        line.attr.type = static_cast<std::uint8_t>(at - types.begin());
      }
    }
  }

  void page(std::string_view size, script_line& line) {
    if (size == "auto") return;
    const auto& sizes = page_sizes_;
    const auto at = std::find(sizes.begin(), sizes.end(), size);
    if (at == sizes.end()) {
      return fail(fmt::format("page={}: {} has no leaves of this size; it has {}, auto", quoted(size), format_.name, fmt::join(sizes, ", ")));
    }
    line.exact = true;
    line.level = static_cast<unsigned>(at - sizes.begin());
  }

  void aligned(const char* what, std::uint64_t value, const script_line& line) {
    const unsigned level = line.exact ? line.level : 0;
    if (value & ((shape_.slot_pages(level) << arch::page_shift) - 1)) {
      fail(fmt::format("{} {:#x} is not a multiple of {}; {} has leaves of {}", what, value, page_sizes_[level],
                       format_.name, fmt::join(page_sizes_, ", ")));
    }
  }

  void inside(const char* what, std::uint64_t from, std::uint64_t size, std::uint64_t pages) {
    const std::uint64_t limit = pages << arch::page_shift;  // 0 stands for 2^64
    if (limit != 0 && (from >= limit || size > limit - from)) {
      fail(fmt::format("{} {:#x} + {:#x} is beyond the address size: the end is at most {:#x}", what, from, size, limit));
    }
  }

  const format_choice& format_;
  const arch::geometry shape_;
  const std::vector<std::string> page_sizes_;
  std::string error_;
};

}  // namespace

bool section_depth::apply(verb v) {
  if (v == verb::pause) ++paused;
  if (v == verb::resume) return paused > 0 && paused-- > 0;
  if (paused > 0) return true;
  if (v == verb::enter) ++depth;
  return v != verb::leave || (depth > 0 && depth-- > 0);
}

script parse_script(const std::string& name, std::string_view text, const chosen_format& format) {
  script s;
  line_parser parser(format);
  section_depth sections;
  unsigned opened = 0;
  for (unsigned number = 1; !text.empty(); ++number) {
    const auto end = text.find('\n');
    const words w = split(text.substr(0, end));
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    if (w.empty()) continue;
    script_line line;
    line.number = number;
    std::string wrong = parser.parse(w, line);
    if (wrong.empty() && !sections.apply(line.what)) {
      wrong = line.what == verb::leave ? "leave without enter" : "resume without pause";
    }
    if (!wrong.empty()) {
      s.error = fmt::format("{}:{}: {}", name, number, wrong);
      return s;
    }
    if (line.what == verb::enter && sections.depth == 1 && sections.paused == 0) opened = number;
    s.lines.push_back(line);
  }
  if (sections.depth > 0) s.error = fmt::format("{}:{}: the section that opens here is still open at the end", name, opened);
  return s;
}

std::string script_language() {
  std::string text = "Scripts have one operation a line; # starts a comment:\n";
  for (const verb_form& v : forms) text += fmt::format("  {}\n", v.form);
  text +=
      "Numbers are decimal or 0x; SIZE may end in k, m, g or t; PERM is made of r, w, x. map replaces what is\n"
      "there, unmap and protect skip holes, later lines win. page=SIZE asks for leaves of exactly that size, auto\n"
      "(the default) takes the largest that fit. Between enter and leave updates are batched; that changes when\n"
      "things happen, not what the tables say.";
  return text;
}

}  // namespace quire::perf
