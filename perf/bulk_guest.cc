// Operations and checks of bulk_guest.h.
#include "perf/bulk_guest.h"

#include <algorithm>
#include <numeric>

#include <fmt/format.h>

#include "hv/digest.h"
#include "perf/scale_clock.h"
#include "runtime/host/hosted.h"

namespace quire::perf {

namespace {

using runtime::gfn;
using runtime::harvest;
using runtime::status;

constexpr arch::perm read_only = arch::perm::rx;
constexpr harvest both = harvest::accessed | harvest::dirty;

struct alignas(128) heard {
  std::uint64_t harvested = 0, removed = 0;
};

class bulk_guest {
 public:
  bulk_guest(const bulk_options& o, const bulk_layout& l, bulk_memory& memory, unsigned threads, bulk_way way,
             bulk_run& made)
      : options_(o), layout_(l), memory_(memory), way_(way), made_(made), cpus_(threads), heard_(threads) {
    std::iota(cpus_.begin(), cpus_.end(), 0u);
  }

  std::string run() {
    std::string wrong = start();
    if (wrong.empty()) wrong = populate();
    if (wrong.empty()) wrong = touch();
    if (wrong.empty()) wrong = harvest_and_protect();
    if (wrong.empty()) wrong = tear_down();
    return wrong;
  }

 private:
  std::string start();
  std::string populate();
  std::string touch();
  std::string harvest_and_protect();
  std::string tear_down();
  void look(std::string& digest);

  template <class Bulk, class Plain>
  std::string timed(bulk_operation operation, Bulk by_bulk, Plain plainly) {
    const auto i = static_cast<std::size_t>(operation);
    const std::uint64_t start = now_ns();
    status done = status::ok;
    if (way_ == bulk_way::plain) {
      done = plainly();
    } else {
      const runtime::host::bulk_result result = by_bulk();
      done = result.failed;
      made_.path_ns[i] = result.path_ns;
    }
    made_.ns[i] = now_ns() - start;
    return done == status::ok
               ? std::string()
               : fmt::format("{} of the guest failed: {}", bulk_operation_names[i], status_text(done));
  }
  template <class Update>
  status in_section(Update update) {
    runtime::lazy_state* l = machine_.enter(0, *space_);
    const status done = l ? update(l) : status::no_memory;
    const status left = machine_.leave(l);
    return done == status::ok ? left : done;
  }
  std::uint64_t sum_heard(std::uint64_t heard::*what) const {
    std::uint64_t sum = 0;
    for (const heard& h : heard_) sum += h.*what;
    return sum;
  }

  static void hear(void* context, unsigned cpu, std::span<const runtime::report> reports) {
    heard& to = static_cast<bulk_guest*>(context)->heard_[cpu];
    for (const runtime::report& r : reports) {
      const bool harvested = r.what == runtime::report::kind::harvested;
      (harvested ? to.harvested : to.removed) += harvested && !(r.accessed && r.dirty) ? 0 : r.range.pages;
    }
  }
  static bool allocate(void* context, std::size_t bytes, std::size_t align, std::uint64_t* physical) {
    return static_cast<bulk_guest*>(context)->memory_.allocate(bytes, align, physical);
  }
  static void flush(void* context, unsigned /*cpu*/, const runtime::flush_plan& plan) {
    static_cast<bulk_guest*>(context)->sink_.record(plan);
  }

  const bulk_options& options_;
  const bulk_layout& layout_;
  bulk_memory& memory_;
  const bulk_way way_;
  bulk_run& made_;
  std::vector<unsigned> cpus_;
  std::vector<heard> heard_;
  runtime::platform host_;
  runtime::counting_sink sink_;
  runtime::machine machine_;
  std::optional<runtime::host::bulk> bulk_;
  runtime::space* space_ = nullptr;
  const runtime::gfn_range whole_{gfn{0}, layout_.pages};
};

std::string bulk_guest::start() {
  memory_.clear();
  host_ = runtime::host::hosted_platform();
  host_.context = this;
  host_.allocate_tables = &bulk_guest::allocate;
  host_.flush = &bulk_guest::flush;
  memory_.serve(host_);
  const auto threads = static_cast<unsigned>(cpus_.size());
  status done = machine_.start(host_, {threads, {}, 0});
  const runtime::space_options reports{arch::level_limit - 1, {this, &bulk_guest::hear}};
  const auto make = [&](const auto& f) { return machine_.create_space(0, f, reports, space_); };
  if (done == status::ok) done = std::visit(make, options_.format.format);
  if (done != status::ok) return fmt::format("cannot make the guest: {}", status_text(done));
  for (const unsigned cpu : cpus_) space_->note_run(cpu);
  if (way_ != bulk_way::plain) bulk_.emplace(machine_, cpus_, runtime::host::thread_binding::processor);
  made_.nodes = bulk_ ? bulk_->nodes() : 1;
  return {};
}

std::string bulk_guest::populate() {
  const auto plainly = [this] {
    return in_section([this](runtime::lazy_state* l) {
      status done = status::ok;
      for (const auto& e : layout_.extents) {
        if (done == status::ok) done = machine_.map(l, e.range, e.out, e.attr, e.max_leaf_level);
      }
      return done;
    });
  };
  std::string wrong = timed(
      bulk_operation::populate, [this] { return bulk_->populate(*space_, layout_.extents); }, plainly);
  if (!wrong.empty()) return wrong;
  made_.tables = space_->tables();
  made_.table_bytes = space_->peak_table_bytes();
  made_.allocated_bytes = memory_.used();
  if (made_.tables != layout_.all_tables() || made_.table_bytes != layout_.table_bytes) {
    return fmt::format("the guest has {} tables of {} bytes; it should have {} of {}", made_.tables,
                       made_.table_bytes, layout_.all_tables(), layout_.table_bytes);
  }
  look(made_.populated_digest);
  if (way_ == bulk_way::timed) return {};
  for (unsigned level = 0; level < arch::level_limit; ++level) {
    if (made_.leaves[level] == layout_.leaves[level]) continue;
    return fmt::format("the guest has {} leaves of level {}; it should have {}", made_.leaves[level], level,
                       layout_.leaves[level]);
  }
  return {};
}

// All mappings by digest, and leaves by level, if the guest is looked at.
void bulk_guest::look(std::string& digest) {
  if (way_ == bulk_way::timed) return;
  struct view {
    hv::mapping_digest digest;
    std::uint64_t* leaves;
  } v{{}, made_.leaves};
  std::fill(std::begin(made_.leaves), std::end(made_.leaves), 0);
  const auto add = [](void* context, const runtime::mapping& m) {
    auto& to = *static_cast<view*>(context);
    to.digest.add(m);
    ++to.leaves[m.level];
    return true;
  };
  const status walked = machine_.for_each(machine_.state(0, *space_), whole_, add, &v);
  digest = walked == status::ok ? v.digest.finish() : std::string();
}

// The guest writes to so many of its small pages, at random, by walks as hardware does them.
std::string bulk_guest::touch() {
  if (!space_->backend->tracks_status(*space_)) return {};
  const std::uint64_t step = space_->shape.slot_pages(0);
  std::uint64_t random = 1;
  for (const gfn piece : layout_.pieces) {
    for (std::uint64_t page = 0; page < layout_.piece_pages; page += step) {
      random = random * 6364136223846793005u + 1442695040888963407u;
      if ((random >> 33) % 100 >= options_.touched) continue;
      const auto t = space_->backend->walk(host_, *space_, {piece + page, arch::perm::w, true, false, {}});
      if (!t.present || !t.dirty)
        return fmt::format("page {:#x} of the guest cannot be written to", piece.value + page);
      made_.touched_pages += step;
    }
  }
  return {};
}

std::string bulk_guest::harvest_and_protect() {
  std::string wrong = timed(
      bulk_operation::harvest, [this] { return bulk_->harvest(*space_, whole_, both); },
      [this] {
        return in_section(
            [this](runtime::lazy_state* l) { return machine_.harvest_status(l, whole_, both); });
      });
  made_.harvested_pages = sum_heard(&heard::harvested);
  // A group of leaves has A and D in common: pages of a group that was touched count as harvested.
  const bool groups = space_->shape.group_bits[0] > 0;
  if (wrong.empty() &&
      (groups ? made_.harvested_pages < made_.touched_pages : made_.harvested_pages != made_.touched_pages)) {
    wrong =
        fmt::format("{} pages were harvested; {} were touched", made_.harvested_pages, made_.touched_pages);
  }
  if (!wrong.empty()) return wrong;
  wrong = timed(
      bulk_operation::protect, [this] { return bulk_->protect(*space_, whole_, read_only); },
      [this] {
        return in_section([this](runtime::lazy_state* l) { return machine_.protect(l, whole_, read_only); });
      });
  look(made_.protected_digest);
  for (const unsigned cpu : cpus_) made_.contentions += machine_.counts(cpu, *space_).contentions;
  return wrong;
}

std::string bulk_guest::tear_down() {
  std::string wrong = timed(
      bulk_operation::tear_down, [this] { return bulk_->tear_down(*space_); },
      [this] { return machine_.destroy_space(0, space_); });
  made_.removed_pages = sum_heard(&heard::removed);
  made_.flush_commands = sink_.commands();
  if (!wrong.empty()) return wrong;
  if (made_.removed_pages == layout_.pages && machine_.tables_in_use() == 0) return {};
  return fmt::format("{} pages were removed, and {} tables are still in use; it should be {} and none",
                     made_.removed_pages, machine_.tables_in_use(), layout_.pages);
}

}  // namespace

std::uint64_t table_memory_for(const bulk_options& o, const bulk_layout& l) {
  const arch::geometry shape = o.format.shape();
  std::uint64_t one_of_each = 0;
  for (unsigned level = 0; level <= shape.top(); ++level) one_of_each += shape.table_bytes[level];
  // Each update of a section may claim a table of each level; a pool asks for 64 frames more, a cpu keeps as
  // many.
  const std::uint64_t frames = runtime::host::bulk::section_updates + 4 * 64;
  return l.table_bytes + (o.threads.back() * frames + 512) * one_of_each;
}

std::string run_bulk_guest(const bulk_options& o, const bulk_layout& l, bulk_memory& memory, unsigned threads,
                           bulk_way way, bulk_run& made) {
  made = {};
  return bulk_guest(o, l, memory, threads, way, made).run();
}

}  // namespace quire::perf
