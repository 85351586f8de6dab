// `quire tables`: runs an operations script through the runtime and writes the tables as a flat image.
#include <sys/mman.h>

#include <algorithm>
#include <unordered_set>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "hv/digest.h"
#include "perf/command.h"
#include "perf/json_file.h"
#include "perf/numbers.h"
#include "perf/progress.h"
#include "perf/script.h"
#include "runtime/host/hosted.h"
#include "runtime/host/block_tables.h"
#include "runtime/tables.h"

namespace quire::perf {

namespace {

constexpr std::size_t table_memory_limit = std::size_t{4} << 30;
constexpr std::size_t script_limit = std::size_t{256} << 20;

/// Address space for tables, zero until written; given back at the end.
class table_block {
 public:
  table_block() : start_(mmap(nullptr, table_memory_limit, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)) {}
  ~table_block() {
    if (start_ != MAP_FAILED) munmap(start_, table_memory_limit);
  }
  table_block(const table_block&) = delete;
  table_block& operator=(const table_block&) = delete;
  /// Empty if the system has not that much address space.
  std::span<std::byte> memory() const {
    return start_ == MAP_FAILED ? std::span<std::byte>() : std::span(static_cast<std::byte*>(start_), table_memory_limit);
  }

 private:
  void* start_;
};

/// A machine of one cpu with one space in a block of memory, whose flush commands are kept as text.
class table_builder {
 public:
  table_builder(std::span<std::byte> memory, std::uint64_t base) : source_(memory, base), memory_(memory), base_(base) {
    host_ = runtime::host::hosted_platform();
    host_.context = this;
    host_.table_offset = source_.table_offset();
    host_.allocate_tables = [](void* context, std::size_t bytes, std::size_t align, std::uint64_t* physical) {
      return static_cast<table_builder*>(context)->source_.allocate(bytes, align, physical);
    };
    host_.flush = [](void* context, unsigned /*cpu*/, const runtime::flush_plan& plan) {
      auto& self = *static_cast<table_builder*>(context);
      for (const auto& c : plan.commands) self.flushes_.emplace_back(self.space_->backend->describe(*self.space_, c).c_str());
    };
  }

  template <class F>
  runtime::status start(const F& f) {
    // Frames one by one and none kept aside, so that the tables lie close together.
    if (const auto failed = machine_.start(host_, {1, {0, 1}}); failed != runtime::status::ok) return failed;
    const auto made = machine_.create_space(0, f, {}, space_);
    if (made != runtime::status::ok) return made;
    outside_ = machine_.state(0, *space_);
    space_->note_run(0);  // so that flushes are planned as for a guest that runs
    return outside_ ? runtime::status::ok : runtime::status::no_memory;
  }

  runtime::status apply(const script_line& line);
  std::string digest() { return hv::digest_of(machine_, outside_, *space_); }
  const runtime::space& space() const { return *space_; }
  const std::vector<std::string>& flushes() const { return flushes_; }

  struct extent {
    std::uint64_t tables = 0, leaves = 0, bytes = 0;
  };
  /// Counts what can be reached from the root and zeroes everything else below the last table.
  template <class F>
  extent close_image();
  std::string_view image(std::uint64_t bytes) const { return {reinterpret_cast<const char*>(memory_.data()), bytes}; }

 private:
  runtime::host::block_tables source_;
  std::span<std::byte> memory_;
  std::uint64_t base_;
  runtime::platform host_;
  runtime::machine machine_;
  runtime::space* space_ = nullptr;
  runtime::lazy_state* outside_ = nullptr;
  runtime::lazy_state* section_ = nullptr;
  section_depth sections_;
  std::vector<std::string> flushes_;
};

runtime::status table_builder::apply(const script_line& line) {
  sections_.apply(line.what);
  switch (line.what) {
    case verb::map:
      return line.exact ? machine_.map_exact(outside_, line.range, line.out, line.attr, line.level)
                        : machine_.map(outside_, line.range, line.out, line.attr);
    case verb::unmap: return machine_.unmap(outside_, line.range);
    case verb::protect: return machine_.protect(outside_, line.range, line.attr.access);
    case verb::enter: section_ = machine_.enter(0, *space_); return runtime::status::ok;
    // Between pause and resume a leave is inert, and need not match any section.
    case verb::leave: return machine_.leave(sections_.paused > 0 ? outside_ : section_);
    case verb::pause: return machine_.pause(outside_);
    case verb::resume: return machine_.resume(outside_);
    case verb::flush: return machine_.flush(outside_);
  }
  return runtime::status::ok;
}

template <class F>
table_builder::extent table_builder::close_image() {
  const runtime::tables<F> tables(host_, *space_);
  const F& f = space_->format<F>();
  const auto& shape = space_->shape;
  extent found{1, 0, shape.table_bytes[shape.top()]};
  std::unordered_set<std::uint64_t> used;  // in units of the smallest table
  const std::uint64_t unit = *std::min_element(shape.table_bytes.begin(), shape.table_bytes.begin() + shape.levels);
  const auto mark = [&](std::uint64_t at, std::uint64_t bytes) {
    for (std::uint64_t i = 0; i < bytes; i += unit) used.insert((at - base_ + i) / unit);
    found.bytes = std::max(found.bytes, at - base_ + bytes);
  };
  mark(space_->root.byte, found.bytes);
  const auto visit = [&](arch::slot<F> /*at*/, typename F::word e, unsigned level) {
    const auto kind = f.kind(e, level);
    found.leaves += kind == arch::entry_kind::leaf;
    if (kind == arch::entry_kind::table) {
      ++found.tables;
      mark(f.table(e, level).byte, shape.table_bytes[level - 1]);
    }
    return e;
  };
  tables.each_slot(space_->root, shape.top(), {arch::gfn{0}, shape.input_pages}, visit);
  for (std::uint64_t i = 0; i < found.bytes / unit; ++i) {
    if (!used.contains(i)) std::fill_n(memory_.begin() + static_cast<std::ptrdiff_t>(i * unit), unit, std::byte{0});
  }
  return found;
}

// A lower bound of what the tables of one line take, whatever there is already.
std::uint64_t least_table_bytes(const arch::geometry& shape, const script_line& line) {
  if (line.what != verb::map) return 0;
  unsigned leaf = line.exact ? line.level : shape.top();
  while (!line.exact && leaf > 0 && (!shape.leaf[leaf] || (line.range.first.value ^ line.out.value) % shape.slot_pages(leaf))) --leaf;
  std::uint64_t bytes = 0;
  for (unsigned level = leaf; level < shape.top(); ++level) {
    bytes += line.range.pages / shape.table_pages(level) * shape.table_bytes[level];
  }
  return bytes;
}

json root_json(const tables_arguments& a, const chosen_format& format, table_builder& tables, std::uint64_t base,
               const table_builder::extent& found) {
  json j;
  j["format"] = a.format;
  j["base"] = fmt::format("{:#x}", base);
  j["bytes"] = found.bytes;
  for (const auto& [name, value] : format.choice->values(format.format)) j["settings"][name] = value;
  for (const auto& [name, value] : format.choice->registers(format.format, tables.space().root)) {
    j["registers"][name] = fmt::format("{:#x}", value);
  }
  j["tables"] = found.tables;
  j["leaves"] = found.leaves;
  j["digest"] = tables.digest();
  j["flushes"] = tables.flushes();
  return j;
}

std::string summary(const json& root, const tables_arguments& a) {
  std::string text = fmt::format("{}: {} tables, {} leaves, {} bytes from {}\n", a.image, root["tables"].get<std::uint64_t>(),
                                 root["leaves"].get<std::uint64_t>(), root["bytes"].get<std::uint64_t>(),
                                 root["base"].get<std::string>());
  for (const auto& [name, value] : root["registers"].items()) text += fmt::format("{} {}\n", name, value.get<std::string>());
  text += fmt::format("digest {}\n{} flush commands\n", root["digest"].get<std::string>(), root["flushes"].size());
  return text;
}

template <class F>
int build(const tables_arguments& a, const chosen_format& format, const F& f, const script& s, std::uint64_t base) {
  const table_block block;
  if (block.memory().empty()) return refuse(fmt::format("cannot reserve {} bytes of address space for tables", table_memory_limit));
  table_builder tables(block.memory(), base);
  if (const auto failed = tables.start(f); failed != runtime::status::ok) {
    return refuse(fmt::format("cannot make the tables: {}", status_text(failed)));
  }
  for (const script_line& line : s.lines) {
    if (const auto least = least_table_bytes(tables.space().shape, line); least > table_memory_limit) {
      return refuse(fmt::format("{}:{}: takes at least {} bytes of tables; the limit is {}", a.ops, line.number, least, table_memory_limit));
    }
  }
  progress_line progress("operation");
  for (std::size_t i = 0; i < s.lines.size(); ++i) {
    if (const auto failed = tables.apply(s.lines[i]); failed != runtime::status::ok) {
      return refuse(fmt::format("{}:{}: {}; the limit is {} bytes of tables", a.ops, s.lines[i].number, status_text(failed),
                                table_memory_limit));
    }
    progress.show(i + 1, s.lines.size());
  }
  const auto found = tables.template close_image<F>();
  const json root = root_json(a, format, tables, base, found);
  const std::string text = to_text(root);
  const std::string wrong = a.json_path.empty()
                                ? write_files({{a.image, tables.image(found.bytes)}, {a.root, text}})
                                : write_files({{a.image, tables.image(found.bytes)}, {a.root, text}, {a.json_path, text}});
  if (!wrong.empty()) return refuse(wrong);
  fmt::print("{}", summary(root, a));
  return success;
}

}  // namespace

int run_tables(const tables_arguments& a) {
  chosen_format chosen = choose_format(a.format, a.settings);
  if (!chosen.error.empty()) return refuse(chosen.error);
  const arch::geometry shape = chosen.shape();
  const auto base = parse_number(a.base);
  const std::uint64_t align = shape.table_bytes[shape.top()];
  // Room for all tables below the end of the output size, which is 0 for 2^64.
  const std::uint64_t room = std::min<std::uint64_t>(table_memory_limit, shape.output_pages << (arch::page_shift - 2));
  const std::uint64_t below = (shape.output_pages << arch::page_shift) - (room ? room : table_memory_limit);
  if (!base || *base % align != 0 || *base >= below) {
    return refuse(fmt::format("--base {}: the tables' physical address is a multiple of {:#x}, the size of the root, below {:#x}",
                              a.base, align, below));
  }
  const std::string twice = same_file_twice({{"--ops", a.ops}, {"--image", a.image}, {"--root", a.root}, {"--json", a.json_path}});
  if (!twice.empty()) return refuse(twice);
  std::string text;
  if (const std::string wrong = read_file(a.ops, script_limit, text); !wrong.empty()) return refuse(wrong);
  const script s = parse_script(a.ops, text, chosen);
  if (!s.error.empty()) return refuse(s.error);
  return std::visit([&](const auto& f) { return build(a, chosen, f, s, *base); }, chosen.format);
}

}  // namespace quire::perf
