// Lanes of other_contests.h.
#include "perf/compare/other_contests.h"

#include <algorithm>

#include <fmt/format.h>

#include "perf/compare/kernels.h"
#include "perf/compare/limits.h"
#include "perf/compare/quire_tables.h"
#include "perf/compare/section_times.h"
#include "perf/compare/stopwatch.h"

namespace quire::perf {

using runtime::gfn;
using runtime::hfn;
using runtime::lazy_state;
using runtime::status;

namespace {

// Keeps the compiler from joining what one turn of a loop does with the next one's, as a call would.
void separate() { asm volatile("" ::: "memory"); }

std::string no_check(lane& /*own*/) { return {}; }

/// Random pages of a range whose tables stay: queued in sections, which are left while nobody measures.
class append_runner {
 public:
  append_runner(const row_format& f, std::uint64_t pages)
      : tables_(f.format, update_mode::lazy, false, table_memory(pages, 2 * pages + 512)),
        set_(make_working_set(layout::kept, pages, tables_.table_pages())) {}

  std::string check(lane& own, bool inject) {
    run();
    own.commands = 0;  // nothing is committed while it is measured
    if (inject) tables_.unmap_each({&set_.ordered[0], 1});
    for (const std::uint64_t p : set_.ordered) {
      const page_state s = tables_.read(p);
      if (!good_ || !s.mapped || s.frame != p + frame_distance)
        return fmt::format("append: page {:#x} was queued, and is not mapped", p);
    }
    return {};
  }

  double run() {
    tables_.map_each(set_.kept);
    tables_.unmap_pieces(set_.pieces);
    section_times times;
    runtime::machine& m = tables_.machine();
    for (std::uint64_t from = 0; from < set_.pages(); from += section_updates) {
      const std::uint64_t end = std::min(from + section_updates, set_.pages());
      lazy_state* l = m.enter(0, tables_.space());
      const std::uint64_t start = now_ns();
      for (std::uint64_t i = from; i < end; ++i) {
        const std::uint64_t p = set_.shuffled.pages[i];
        good_ &= m.map(l, {gfn{p}, 1}, hfn{p + frame_distance}, quire_tables::access, 0) == status::ok;
      }
      times.add(now_ns() - start, end - from);
      good_ &= m.leave(l) == status::ok;
    }
    return times.median();
  }

 private:
  quire_tables tables_;
  const working_set set_;
  bool good_ = true;
};

lane vector_lane(std::uint64_t pages) {
  lane l;
  l.column = "limit";
  l.check = no_check;
  const auto records = std::make_shared<std::vector<runtime::update>>();
  records->reserve(section_updates);
  const auto set = std::make_shared<working_set>(make_working_set(layout::dense, pages, table_words));
  l.run = [records, set] {
    section_times times;
    for (std::uint64_t from = 0; from < set->pages(); from += section_updates) {
      const std::uint64_t end = std::min(from + section_updates, set->pages());
      records->clear();
      const std::uint64_t start = now_ns();
      for (std::uint64_t i = from; i < end; ++i) {
        const std::uint64_t p = set->shuffled.pages[i];
        records->push_back({{gfn{p}, 1}, hfn{p + frame_distance}, {}});
        separate();
      }
      times.add(now_ns() - start, end - from);
    }
    return times.median();
  };
  return l;
}

/// A mapped range, of which every hundredth page at random is touched before each harvest.
class harvest_runner {
 public:
  harvest_runner(const row_format& f, update_mode mode, std::uint64_t pages)
      : tables_(f.format, mode, true, table_memory(pages, pages + 512)),
        touched_(make_working_set(layout::dense, pages, table_words).shuffled.pages) {
    touched_.resize(std::max<std::uint64_t>(pages / 100, 1));
    tables_.map_range(first_page, pages);
    tables_.harvest_range(first_page, pages);
    pages_ = pages;
  }

  std::string check(lane& own, bool inject) {
    const command_counts before = tables_.counts();
    run();
    const command_counts after = tables_.counts();
    own.commands = after.commands - before.commands;
    own.barriers = after.barriers - before.barriers;
    const std::uint64_t heard = after.reported - before.reported + inject;
    if (heard == touched_.size()) return {};
    return fmt::format("harvest_1pct: {} pages were touched, {} reported", touched_.size(), heard);
  }

  double run() {
    for (const std::uint64_t p : touched_) tables_.touch(p);
    const stopwatch watch;
    tables_.harvest_range(first_page, pages_);
    return watch.ns() / static_cast<double>(pages_);
  }

 private:
  quire_tables tables_;
  page_list touched_;
  std::uint64_t pages_ = 0;
};

using harvest_kernel = std::uint64_t (*)(std::span<std::uint64_t> words, std::uint64_t bits);

lane harvest_words(const char* column, std::uint64_t pages, harvest_kernel kernel) {
  constexpr std::uint64_t status = 0x300;  // EPT's A and D
  lane l;
  l.column = column;
  l.check = no_check;
  const auto memory = std::make_shared<present_memory>(pages * sizeof(std::uint64_t));
  auto touched = std::make_shared<page_list>(make_working_set(layout::dense, pages, table_words).shuffled.pages);
  touched->resize(std::max<std::uint64_t>(pages / 100, 1));
  l.run = [memory, touched, pages, kernel] {
    for (const std::uint64_t p : *touched) memory->words()[p - first_page] |= status;
    const stopwatch watch;
    kernel({memory->words(), pages}, status);
    return watch.ns() / static_cast<double>(pages);
  };
  return l;
}

template <class Runner>
lane make_lane(std::string column, const row_format& f, bool inject, std::shared_ptr<Runner> runner) {
  lane l;
  l.column = std::move(column);
  l.format = f.name;
  l.check = [runner, inject](lane& own) { return runner->check(own, inject); };
  l.run = [runner] { return runner->run(); };
  return l;
}

}  // namespace

contest make_append(const std::vector<row_format>& formats, std::uint64_t pages, const injection& inject) {
  contest c{"append", pages, {}, {}};
  for (const row_format& f : formats) {
    if (f.tracks_status) continue;
    c.formats.push_back(f.name);
    c.lanes.push_back(
        make_lane("lazy", f, inject.column == "lazy", std::make_shared<append_runner>(f, pages)));
  }
  c.lanes.push_back(vector_lane(pages));
  return c;
}

contest make_enter_leave(const std::vector<row_format>& formats, std::uint64_t pages) {
  contest c{"enter_leave", pages, {}, {}};
  for (const row_format& f : formats) {
    if (f.tracks_status) continue;
    c.formats.push_back(f.name);
    lane l;
    l.column = "lazy";
    l.format = f.name;
    l.check = no_check;
    const auto tables =
        std::make_shared<quire_tables>(f.format, update_mode::lazy, false, table_memory(1, 512));
    l.run = [tables, pages] {
      runtime::machine& m = tables->machine();
      bool good = true;
      const stopwatch watch;
      for (std::uint64_t i = 0; i < pages; ++i) good &= m.leave(m.enter(0, tables->space())) == status::ok;
      const double ns = watch.ns();
      return good ? ns / static_cast<double>(pages) : 0;
    };
    c.lanes.push_back(std::move(l));
  }
  return c;
}

contest make_harvest(const std::vector<row_format>& formats, std::uint64_t pages, const injection& inject) {
  contest c{"harvest_1pct", pages, {}, {}};
  for (const row_format& f : formats) {
    if (!f.tracks_status) continue;
    c.formats.push_back(f.name);
    for (const update_mode mode : {update_mode::lazy, update_mode::eager}) {
      const char* column = mode == update_mode::lazy ? "lazy" : "eager";
      c.lanes.push_back(
          make_lane(column, f, inject.column == column, std::make_shared<harvest_runner>(f, mode, pages)));
    }
  }
  c.lanes.push_back(harvest_words("limit", pages, harvest));
  c.lanes.push_back(harvest_words("scalar", pages, harvest_scalar));
  return c;
}

}  // namespace quire::perf
