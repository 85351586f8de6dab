// States, checks and lanes of table_contest.h.
#include "perf/compare/table_contest.h"

#include <algorithm>
#include <map>

#include <fmt/format.h>

#include "perf/compare/limits.h"
#include "perf/compare/quire_tables.h"
#include "perf/compare/stopwatch.h"

namespace quire::perf {

namespace {

using result = table_operation::result;

/// One contestant at one operation.
class table_runner {
 public:
  table_runner(const table_operation& o, entrant e, std::shared_ptr<const working_set> set, bool inject)
      : operation_(o),
        who_(std::move(e)),
        shared_set_(std::move(set)),
        inject_(inject),
        frames_(set_.pages()) {}

  std::string check(lane& l) {
    std::string wrong = start();
    std::fill(frames_.begin(), frames_.end(), ~std::uint64_t{0});  // what no lookup finds
    const command_counts before = tables().counts();
    if (wrong.empty() && !operation_.run(tables(), set_, frames_)) wrong = "the call was refused";
    const command_counts after = tables().counts();
    l.commands = after.commands - before.commands;
    l.barriers = after.barriers - before.barriers;
    finished();
    if (inject_) spoil();
    if (wrong.empty()) wrong = difference();
    if (wrong.empty() && operation_.reports && who_.column == "lazy" &&
        after.reported - before.reported != set_.pages()) {
      wrong =
          fmt::format("{} pages were removed, {} reported", set_.pages(), after.reported - before.reported);
    }
    if (wrong.empty()) return {};
    return fmt::format(
        "{}, {}: {}", operation_.name,
        who_.format.empty() ? std::string(who_.column) : fmt::format("{} {}", who_.format, who_.column),
        wrong);
  }

  double run() {
    start();
    const stopwatch watch;
    operation_.run(tables(), set_, frames_);
    const double ns = watch.ns();
    finished();
    return ns / static_cast<double>(set_.pages());
  }

 private:
  enum class state : std::uint8_t { nothing, empty, full, read_only };

  contestant& tables() { return *who_.tables; }

  // Brings the tables to the state that the operation starts from.
  std::string start() {
    bool good = true;
    if (state_ == state::nothing) {
      good = tables().map_each(set_.kept);
      state_ = state::empty;
    }
    if (state_ == state::read_only) {
      good &= tables().unprotect_range(set_.first(), set_.pages());
      state_ = state::full;
    }
    const state wanted = operation_.starts_full ? state::full : state::empty;
    if (state_ != wanted) good &= wanted == state::full ? fill() : empty();
    state_ = wanted;
    if (operation_.lists && operation_.pages == layout::sparse) tables().idle();
    if (!who_.far) good &= bring_near();
    return good ? std::string() : "the tables cannot be prepared";
  }

  // Where getting ready has not touched all of the tables' memory, a round that is not measured does: lookups change
  // nothing, and tables that were unmapped as a whole lie where they are.
  bool bring_near() {
    if (operation_.leaves == result::looked_up) return operation_.run(tables(), set_, frames_);
    if (operation_.leaves != result::mapped || operation_.pages != layout::dense) return true;
    return operation_.run(tables(), set_, frames_) && empty();
  }

  bool fill() {
    if (operation_.pages == layout::sparse) return tables().map_each(set_.shuffled.pages);
    bool good = true;
    for (const arch::gfn_range& r : set_.pieces) good &= tables().map_range(r.first.value, r.pages);
    return good;
  }
  bool empty() {
    return operation_.pages == layout::sparse ? tables().clear() : tables().unmap_pieces(set_.pieces);
  }

  void finished() {
    if (operation_.leaves == result::mapped) state_ = state::full;
    if (operation_.leaves == result::read_only) state_ = state::read_only;
    if (operation_.leaves == result::removed) state_ = state::empty;
  }

  // Changes what the check is about to find.
  void spoil() {
    const std::uint64_t page = set_.ordered[set_.pages() / 2];
    if (operation_.leaves == result::looked_up) {
      frames_[set_.pages() / 2] ^= 1;
    } else if (operation_.leaves == result::removed) {
      tables().map_each({&page, 1});
    } else {
      tables().unmap_each({&page, 1});
    }
  }

  std::string difference() {
    if (operation_.leaves == result::looked_up) return wrong_frame();
    const bool mapped = operation_.leaves != result::removed;
    for (const std::uint64_t page : set_.ordered) {
      const page_state s = tables().read(page);
      if (s.mapped != mapped) return fmt::format("page {:#x} is {}mapped", page, mapped ? "not " : "");
      if (!mapped) continue;
      if (s.frame != page + frame_distance) {
        return fmt::format("page {:#x} maps to frame {:#x} instead of {:#x}", page, s.frame,
                           page + frame_distance);
      }
      if (s.writable != (operation_.leaves == result::mapped)) {
        return fmt::format("page {:#x} is {}writable", page, s.writable ? "" : "not ");
      }
    }
    for (const std::uint64_t page : set_.kept) {
      if (!tables().read(page).mapped) return fmt::format("page {:#x} was to stay, and is not mapped", page);
    }
    return {};
  }

  std::string wrong_frame() const {
    for (std::uint64_t i = 0; i < set_.pages(); ++i) {
      const std::uint64_t page = set_.shuffled.pages[i];
      if (frames_[i] != page + frame_distance) {
        return fmt::format("page {:#x} was found at frame {:#x} instead of {:#x}", page, frames_[i],
                           page + frame_distance);
      }
    }
    return {};
  }

  const table_operation& operation_;
  entrant who_;
  const std::shared_ptr<const working_set> shared_set_;
  const working_set& set_ = *shared_set_;
  const bool inject_;
  page_list frames_;
  state state_ = state::nothing;
};

std::vector<entrant> make_entrants(const table_operation& o, const std::vector<row_format>& formats,
                                   std::size_t memory) {
  std::vector<entrant> all = make_peers(memory);
  for (const row_format& f : formats) {
    if (f.tracks_status && !o.with_status) continue;
    const auto add = [&](std::string_view column, update_mode mode, bool far = false) -> contestant& {
      all.push_back({column, f.name, std::make_unique<quire_tables>(f.format, mode, o.reports, memory), far});
      return *all.back().tables;
    };
    add("lazy", update_mode::lazy);
    if (o.leaves == result::mapped && o.pages == layout::dense) add("frames_far", update_mode::lazy, true);
    if (o.lists) add("one_a_call", update_mode::lazy).map_one_a_call();
    if (o.lists && o.pages == layout::sparse) add("not_cleared", update_mode::lazy).never_idle();
    add("eager", update_mode::eager).map_one_a_call();
  }
  return all;
}

}  // namespace

contest make_contest(const table_operation& o, const std::vector<row_format>& formats, std::uint64_t pages,
                     const injection& inject) {
  contest c;
  c.operation = o.name;
  c.pages = pages;
  const std::size_t memory =
      table_memory(pages, o.pages == layout::sparse ? sparse_pages : pages + pages / 255 + 512);
  for (const row_format& f : formats) {
    if (!f.tracks_status || o.with_status) c.formats.push_back(f.name);
  }
  std::map<std::uint64_t, std::shared_ptr<const working_set>> sets;  // by table_pages()
  for (entrant& e : make_entrants(o, formats, memory)) {
    if (!o.offered(*e.tables)) continue;
    lane l;
    l.column = e.column;
    l.format = e.format;
    auto& set = sets[e.tables->table_pages()];
    if (!set) set = std::make_shared<working_set>(make_working_set(o.pages, pages, e.tables->table_pages()));
    const auto runner = std::make_shared<table_runner>(o, std::move(e), set, inject.column == l.column);
    l.check = [runner](lane& own) { return runner->check(own); };
    l.run = [runner] { return runner->run(); };
    c.lanes.push_back(std::move(l));
  }
  add_limits(o, formats, c);
  return c;
}

}  // namespace quire::perf
