// tests/runtime/bulk_test.cc: bulk operations leave what the same calls of one thread leave, or say what they
// left.
#include <doctest/doctest.h>
#include <tbb/global_control.h>

#include <algorithm>
#include <mutex>
#include <random>
#include <thread>

#include "runtime/host/block_tables.h"
#include "runtime/host/bulk.h"
#include "runtime/host/hosted.h"
#include "tests/support/formats.h"
#include "tests/support/oracle.h"

namespace quire::tests {
namespace {

using runtime::gfn_range;
using runtime::harvest;
using runtime::lazy_state;
using runtime::mapping;
using runtime::status;
using runtime::host::bulk;
using runtime::host::bulk_extent;
using runtime::host::bulk_result;

constexpr unsigned most_workers = 4;
constexpr unsigned spare_cpu = most_workers;

/// One space; any number of cpus may work on it at once.
class world {
 public:
  explicit world(const any_format& f, bool checks_cpu = false,
                 std::size_t table_bytes = std::size_t{48} << 20)
      : memory_(new std::byte[table_bytes + align]),
        source_({memory_.get() + (align - reinterpret_cast<std::uintptr_t>(memory_.get()) % align) % align,
                 table_bytes},
                0x40000000) {
    host = runtime::host::hosted_platform();
    host.context = this;
    host.table_offset = source_.table_offset();
    host.allocate_tables = [](void* context, std::size_t bytes, std::size_t alignment,
                              std::uint64_t* physical) {
      world& w = *static_cast<world*>(context);
      const std::lock_guard hold(w.lock_);
      if (w.frames_left < bytes / alignment) return false;
      if (!w.source_.allocate(bytes, alignment, physical)) return false;
      w.frames_left -= bytes / alignment;
      if (w.stop_at && w.frames_left < *w.stop_at) w.stop.request_stop();
      return true;
    };
    host.flush = [](void*, unsigned, const runtime::flush_plan&) {};
    if (checks_cpu) host.current_cpu = [](void*) { return bulk::current_cpu(); };
    REQUIRE(m.start(host, {most_workers + 1, {0, 1}, 0}) == status::ok);
    const runtime::observer reports{this, [](void* context, unsigned cpu, std::span<const runtime::report> all) {
                                      auto& to = static_cast<world*>(context)->heard[cpu];
                                      to.insert(to.end(), all.begin(), all.end());
                                    }};
    const auto make = [&](const auto& format) {
      return m.create_space(0, format, {arch::level_limit - 1, reports}, s);
    };
    REQUIRE(std::visit(make, f) == status::ok);
    for (unsigned cpu = 0; cpu < 2; ++cpu) s->note_run(cpu);
  }

  lazy_state* state() { return m.state(spare_cpu, *s); }
  gfn_range all() const { return {gfn{0}, s->shape.input_pages}; }
  /// Everything that is mapped, leaf by leaf.
  std::vector<mapping> leaves() {
    std::vector<mapping> found;
    const auto add = [](void* context, const mapping& leaf) {
      static_cast<std::vector<mapping>*>(context)->push_back(leaf);
      return true;
    };
    CHECK(m.for_each(state(), all(), add, &found) == status::ok);
    return found;
  }
  std::uint64_t heard_pages(runtime::report::kind what) const {
    std::uint64_t pages = 0;
    for (const auto& of_cpu : heard) {
      for (const runtime::report& r : of_cpu) pages += r.what == what ? r.range.pages : 0;
    }
    return pages;
  }
  void map_plainly(std::span<const bulk_extent> extents) {
    for (const bulk_extent& e : extents)
      REQUIRE(m.map(state(), e.range, e.out, e.attr, e.max_leaf_level) == status::ok);
  }

  runtime::platform host;
  std::uint64_t frames_left = ~std::uint64_t{0};
  std::stop_source stop;
  std::optional<std::uint64_t> stop_at;  ///< asks to stop when fewer frames are left
  std::vector<runtime::report> heard[most_workers + 1];
  runtime::machine m;
  runtime::space* s = nullptr;

 private:
  static constexpr std::size_t align = std::size_t{1} << 20;
  std::mutex lock_;
  std::unique_ptr<std::byte[]> memory_;
  runtime::host::block_tables source_;
};

/// The first `n` cpus.
std::vector<unsigned> cpus(unsigned n) {
  std::vector<unsigned> all;
  for (unsigned cpu = 0; cpu < n; ++cpu) all.push_back(cpu);
  return all;
}

bool same(const std::vector<mapping>& a, const std::vector<mapping>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const mapping& x, const mapping& y) {
    return x.range == y.range && x.out == y.out && x.attr == y.attr && x.level == y.level &&
           x.accessed == y.accessed && x.dirty == y.dirty;
  });
}

std::uint64_t pages_of(std::span<const gfn_range> ranges) {
  std::uint64_t pages = 0;
  for (const gfn_range& r : ranges) pages += r.pages;
  return pages;
}

/// Extents of all sizes over the first 16 GiB, some of them right behind each other.
std::vector<bulk_extent> sparse_guest(const arch::geometry& shape, unsigned seed) {
  std::mt19937_64 random(seed);
  const std::uint64_t unit = shape.slot_pages(0);
  const std::uint64_t room = std::min({shape.input_pages, shape.output_pages / 2, std::uint64_t{1} << 22});
  std::vector<bulk_extent> all;
  for (gfn at{0}; all.size() < 150;) {
    const bool large = shape.leaf[1] && random() % 3 == 0;
    std::uint64_t pages = (1 + random() % (large ? (std::uint64_t{1} << 17) / unit : 600)) * unit;
    at = at + (random() % 3 == 0 ? 0 : random() % (room / 100 / unit)) * unit;
    const bool straight = random() % 4 != 0;  // the frames lie so that large leaves fit
    if (!straight) pages = std::min(pages, 3000 * unit);
    const std::uint64_t align = large ? shape.slot_pages(1) : unit;
    at = {(at.value + align - 1) / align * align};
    pages = std::min(pages, room / 20 / unit * unit);
    if (at.value + pages > room) break;
    all.push_back({{at, pages}, {straight ? at.value : at.value + unit}, {perm::rx, 0, 0}});
    if (random() % 5 == 0) all.back().max_leaf_level = 0;
    if (all.back().max_leaf_level == 0) all.back().range.pages = pages = std::min(pages, 600 * unit);
    at = at + pages;
  }
  REQUIRE(all.size() > 4);
  return all;
}

/// What is left of the extents.
std::vector<bulk_extent> remaining(std::span<const bulk_extent> extents, std::span<const gfn_range> left) {
  std::vector<bulk_extent> all;
  for (const bulk_extent& e : extents) {
    for (const gfn_range& r : left) {
      const gfn from = std::max(e.range.first, r.first), to = std::min(e.range.end(), r.end());
      if (from < to)
        all.push_back({{from, to - from}, e.out + (from - e.range.first), e.attr, e.max_leaf_level});
    }
  }
  return all;
}

/// Lets TBB run more threads than there are processors.
struct many_threads {
  tbb::global_control control{tbb::global_control::max_allowed_parallelism, most_workers};
};

TEST_CASE("every operation by 1 to 4 workers leaves the tables that plain calls leave, in every format") {
  const many_threads threads;
  for (const format_case& f : format_cases()) {
    CAPTURE(f.name);
    world plain(f.format);
    const auto extents = sparse_guest(plain.s->shape, 7);
    const std::uint64_t unit = plain.s->shape.slot_pages(0);
    const gfn end = extents.back().range.end();
    const gfn_range part{extents[3].range.first + unit, end.value / unit / 2 * unit};
    const harvest both = harvest::accessed | harvest::dirty;
    plain.map_plainly(extents);
    const auto mapped = plain.leaves();
    const auto tables = plain.s->tables();
    REQUIRE(plain.m.harvest_status(plain.state(), part, both) == status::ok);
    REQUIRE(plain.m.protect(plain.state(), part, perm::rx) == status::ok);
    REQUIRE(plain.m.unmap(plain.state(), part) == status::ok);
    const auto unmapped = plain.leaves();
    for (unsigned n = 1; n <= most_workers; ++n) {
      CAPTURE(n);
      world w(f.format);
      bulk b(w.m, cpus(n));
      const bulk_result populated = b.populate(*w.s, extents);
      CHECK(populated.complete());
      CHECK(populated.path_ns > 0);
      CHECK(same(w.leaves(), mapped));
      CHECK(w.s->tables() == tables);
      CHECK(b.harvest(*w.s, part, both).complete());
      CHECK(b.protect(*w.s, part, perm::rx).complete());
      CHECK(b.unmap(*w.s, part).complete());
      CHECK(same(w.leaves(), unmapped));
      CHECK(w.s->tables() == plain.s->tables());
      CHECK(w.heard_pages(runtime::report::kind::removed) ==
            plain.heard_pages(runtime::report::kind::removed));
      CHECK(b.tear_down(*w.s).complete());
      CHECK(w.m.tables_in_use() == 0);
    }
  }
}

TEST_CASE_TEMPLATE("each touched page is harvested once, and protect takes write access", F, ept5_ad,
                   stage2_dbm) {
  const many_threads threads;
  for (unsigned n = 1; n <= most_workers; ++n) {
    CAPTURE(n);
    world w(F{});
    bulk b(w.m, cpus(n));
    auto extents = sparse_guest(w.s->shape, 11);
    for (bulk_extent& e : extents) {
      e.attr.access = perm::rwx;
      e.max_leaf_level = 0;
      e.range.pages = std::min<std::uint64_t>(e.range.pages, 600);
    }
    REQUIRE(b.populate(*w.s, extents).complete());
    std::uint64_t touched = 0;
    for (const bulk_extent& e : extents) {
      for (std::uint64_t i = 0; i < e.range.pages; i += 3, ++touched)
        CHECK(w.s->backend->walk(w.host, *w.s, {e.range.first + i, perm::w, true, false, {}}).dirty);
    }
    CHECK(b.harvest(*w.s, w.all(), harvest::accessed | harvest::dirty).complete());
    CHECK(w.heard_pages(runtime::report::kind::harvested) == touched);
    CHECK(b.harvest(*w.s, w.all(), harvest::accessed | harvest::dirty).complete());
    CHECK(w.heard_pages(runtime::report::kind::harvested) == touched);
    CHECK(b.protect(*w.s, w.all(), perm::rx).complete());
    for (const mapping& leaf : w.leaves()) CHECK(leaf.attr.access == perm::rx);
  }
}

TEST_CASE_TEMPLATE("without table memory an operation stops, says what is left, and can go on", F,
                   QUIRE_FORMATS) {
  const many_threads threads;
  world plain(F{});
  const auto extents = sparse_guest(plain.s->shape, 3);
  std::vector<gfn_range> asked;
  for (const bulk_extent& e : extents) asked.push_back(e.range);
  plain.map_plainly(extents);
  for (unsigned n = 1; n <= most_workers; ++n) {
    for (const std::uint64_t tenths : {0u, 1u, 5u, 9u}) {
      const std::uint64_t frames = (plain.s->tables() - 1) * tenths / 10;  // the root is there
      CAPTURE(n);
      CAPTURE(frames);
      world w(F{});
      bulk b(w.m, cpus(n));
      w.frames_left = frames;
      const bulk_result short_of = b.populate(*w.s, extents);
      CHECK(short_of.failed == status::no_tables);
      std::uint64_t mapped = 0;
      for (const mapping& leaf : w.leaves()) mapped += leaf.range.pages;
      CHECK(mapped + pages_of(short_of.left) == pages_of(asked));
      for (std::size_t i = 1; i < short_of.left.size(); ++i)
        CHECK(short_of.left[i - 1].end() < short_of.left[i].first);
      w.frames_left = ~std::uint64_t{0};
      CHECK(b.populate(*w.s, remaining(extents, short_of.left)).complete());
      std::vector<page_run> runs, wanted;
      for (const mapping& leaf : w.leaves()) join(runs, {leaf.range, leaf.out, leaf.attr});
      for (const mapping& leaf : plain.leaves()) join(wanted, {leaf.range, leaf.out, leaf.attr});
      CHECK(runs == wanted);
    }
  }
}

TEST_CASE("who asks to stop gets what was done before, whole, and the rest named") {
  const many_threads threads;
  world plain(arch::ept{});
  const auto extents = sparse_guest(plain.s->shape, 5);
  std::uint64_t asked = 0;
  for (const bulk_extent& e : extents) asked += e.range.pages;
  for (unsigned n = 1; n <= most_workers; ++n) {
    CAPTURE(n);
    world w(arch::ept{});
    bulk b(w.m, cpus(n));
    w.stop_at = w.frames_left - 60;
    const bulk_result stopped = b.populate(*w.s, extents, w.stop.get_token());
    CHECK(stopped.failed == status::ok);
    CHECK_FALSE(stopped.complete());
    std::uint64_t mapped = 0;
    for (const mapping& leaf : w.leaves()) mapped += leaf.range.pages;
    CHECK(mapped > 0);
    CHECK(mapped + pages_of(stopped.left) == asked);
    // Asked before it begins: nothing is done.
    const auto before = w.leaves();
    CHECK(pages_of(b.unmap(*w.s, w.all(), w.stop.get_token()).left) >= mapped);
    CHECK_FALSE(b.tear_down(*w.s, w.stop.get_token()).complete());
    CHECK(same(w.leaves(), before));
  }
}

TEST_CASE("what cannot be done is refused before anything changes") {
  world w(arch::ept{});
  bulk b(w.m, cpus(2));
  const auto bad = [&](std::vector<bulk_extent> extents, status s) {
    const bulk_result r = b.populate(*w.s, extents);
    CHECK(r.failed == s);
    CHECK(w.s->tables() == 1);
  };
  const arch::attributes rx{perm::rx, 0, 0};
  bad({{{gfn{0}, 0}, {}, rx}}, status::bad_range);
  bad({{{gfn{8}, 8}, {}, rx}, {{gfn{0}, 8}, {}, rx}}, status::bad_range);
  bad({{{gfn{0}, 9}, {}, rx}, {{gfn{8}, 8}, {}, rx}}, status::bad_range);
  bad({{w.all(), {}, rx}, {{gfn{w.all().pages}, 1}, {}, rx}}, status::bad_range);
  bad({{{gfn{1}, ~std::uint64_t{0}}, {}, rx}}, status::bad_range);
  bad({{{gfn{0}, 8}, {}, {perm::w, 0, 0}}}, status::bad_attributes);
  bad({{{gfn{0}, 8}, {w.s->shape.output_pages}, rx}}, status::bad_range);
  for (const gfn_range r : {gfn_range{gfn{0}, 0}, gfn_range{gfn{1}, w.all().pages}}) {
    CHECK(b.protect(*w.s, r, perm::rx).failed == status::bad_range);
    CHECK(b.harvest(*w.s, r, harvest::dirty).failed == status::bad_range);
    CHECK(b.unmap(*w.s, r).failed == status::bad_range);
  }
  CHECK(b.populate(*w.s, {}).complete());
  CHECK(b.protect(*w.s, w.all(), perm::rx).complete());  // nothing is mapped
  CHECK(b.unmap(*w.s, w.all()).complete());
}

TEST_CASE("cpus that are named twice or not registered are refused") {
  world w(arch::ept{});
  CHECK(bulk(w.m, {0, 1, 0}).unmap(*w.s, w.all()).failed == status::bad_cpu);
  CHECK(bulk(w.m, {0, most_workers + 1}).unmap(*w.s, w.all()).failed == status::bad_cpu);
  REQUIRE(w.m.remove_cpu(2) == status::ok);
  CHECK(bulk(w.m, {2}).unmap(*w.s, w.all()).failed == status::no_memory);
}

TEST_CASE("a space with an open section is emptied but not destroyed") {
  world w(arch::ept{});
  bulk b(w.m, cpus(2));
  REQUIRE(b.populate(*w.s, sparse_guest(w.s->shape, 2)).complete());
  lazy_state* l = w.m.enter(spare_cpu, *w.s);
  CHECK(b.tear_down(*w.s).failed == status::in_section);
  CHECK(w.s->tables() == 1);
  CHECK(w.m.leave(l) == status::ok);
  CHECK(b.tear_down(*w.s).complete());
}

TEST_CASE("bulk::current_cpu answers what platform::current_cpu has to") {
  const many_threads threads;
  world w(arch::ept{}, true);
  bulk b(w.m, cpus(3));
  CHECK(bulk::current_cpu() == ~0u);
  CHECK(b.populate(*w.s, sparse_guest(w.s->shape, 4)).complete());
  CHECK(b.protect(*w.s, w.all(), perm::r).complete());
  CHECK(bulk::current_cpu() == ~0u);
}

TEST_CASE("another cpu updates the space meanwhile") {
  const many_threads threads;
  world plain(arch::ept{});
  const auto extents = sparse_guest(plain.s->shape, 9);
  plain.map_plainly(extents);
  world w(arch::ept{});
  const gfn_range own{extents.back().range.end() + 512, 700};
  std::jthread other([&](const std::stop_token& stop) {
    while (!stop.stop_requested()) {
      CHECK(w.m.map(w.state(), own, {1u << 20}, {perm::rx, 0, 0}) == status::ok);
      CHECK(w.m.unmap(w.state(), own) == status::ok);
    }
  });
  bulk b(w.m, cpus(3));
  for (int i = 0; i < 3; ++i) {
    CHECK(b.populate(*w.s, extents).complete());
    CHECK(b.protect(*w.s, {gfn{0}, own.first.value}, perm::r).complete());
    CHECK(b.unmap(*w.s, {gfn{0}, own.first.value}).complete());
  }
  CHECK(b.populate(*w.s, extents).complete());
  other.request_stop();
  other.join();
  CHECK(same(w.leaves(), plain.leaves()));
  CHECK(w.s->tables() == plain.s->tables());
}

}  // namespace
}  // namespace quire::tests
