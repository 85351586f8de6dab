// The C ABI does what the C++ API does: the same random calls on both, compared in all that can be seen.
#include <doctest/doctest.h>

#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "arch/arm64/stage2_flush.h"
#include "arch/s390/dat_flush.h"
#include "arch/x86/ept_flush.h"
#include "arch/x86/npt.h"
#include "quire/quire.h"
#include "runtime/host/block_tables.h"
#include "runtime/host/hosted.h"
#include "runtime/machine.h"

namespace {

using namespace quire;

constexpr std::size_t table_bytes = std::size_t{16} << 20;
constexpr std::uint64_t base = std::uint64_t{1} << 30;
constexpr unsigned cpus = 2;

struct freed {
  void operator()(std::byte* p) const { std::free(p); }
};

// Table memory, and what the sink and the observer were told, as text.
struct side {
  std::unique_ptr<std::byte, freed> memory{static_cast<std::byte*>(std::aligned_alloc(1 << 20, table_bytes))};
  runtime::host::block_tables tables{{memory.get(), table_bytes}, base};
  std::vector<std::string> heard;

  side() { std::memset(memory.get(), 0, table_bytes); }
  void hear(std::initializer_list<std::uint64_t> words, const char* text = "") {
    std::string line = text;
    for (const std::uint64_t w : words) line += ' ' + std::to_string(w);
    heard.push_back(line);
  }
};

class native_side : public side {
 public:
  template <class F>
  explicit native_side(const F& format) {
    runtime::platform p = runtime::host::hosted_platform();
    p.context = this;
    p.allocate_tables = [](void* c, std::size_t bytes, std::size_t align, std::uint64_t* physical) {
      return static_cast<native_side*>(c)->tables.allocate(bytes, align, physical);
    };
    p.table_offset = tables.table_offset();
    p.flush = [](void* c, unsigned cpu, const runtime::flush_plan& plan) {
      static_cast<native_side*>(c)->flush(cpu, plan);
    };
    REQUIRE(
        machine.start(p, {.cpus = cpus, .pool = {.cache_frames = 4, .refill_frames = 4}, .max_cpus = 0}) ==
        runtime::status::ok);
    const runtime::observer reports = {
        this, [](void* c, unsigned cpu, std::span<const runtime::report> all) {
          for (const runtime::report& r : all) {
            static_cast<native_side*>(c)->hear({cpu, r.range.first.value, r.range.pages, r.out.value,
                                                static_cast<unsigned>(r.attr.access),
                                                static_cast<unsigned>(r.what), r.dirty});
          }
        }};
    REQUIRE(machine.create_space(0, format, {.max_leaf_level = 1, .reports = reports}, space) ==
            runtime::status::ok);
    for (unsigned cpu = 0; cpu < cpus; ++cpu) space->note_run(cpu);
    for (unsigned cpu = 0; cpu < cpus; ++cpu) state[cpu] = machine.state(cpu, *space);
  }

  runtime::machine machine;
  runtime::space* space = nullptr;
  runtime::lazy_state* state[cpus] = {};

 private:
  void flush(unsigned cpu, const runtime::flush_plan& plan) {
    hear({cpu, plan.root_register, plan.whole, static_cast<unsigned>(plan.reason)});
    for (const auto& c : plan.commands) {
      hear({c.op, c.operand[0], c.operand[1], c.operand[2], c.operand[3]},
           space->backend->describe(*space, c).c_str());
    }
  }
};

class foreign_side : public side {
 public:
  explicit foreign_side(quire_format format) {
    quire_platform p{};
    p.size = sizeof p;
    p.context = this;
    p.allocate = [](void*, std::size_t bytes, std::size_t align) {
      return std::aligned_alloc(align, (bytes + align - 1) / align * align);
    };
    p.release = [](void*, void* record, std::size_t) { std::free(record); };
    p.allocate_tables = [](void* c, std::size_t bytes, std::size_t align, std::uint64_t* physical) {
      return static_cast<foreign_side*>(c)->tables.allocate(bytes, align, physical);
    };
    p.table_offset = tables.table_offset();
    p.flush = [](void* c, unsigned cpu, const quire_flush_plan* plan) {
      static_cast<foreign_side*>(c)->flush(cpu, *plan);
    };
    const quire_machine_options sizes = {sizeof sizes, cpus, 0, 4, 4};
    REQUIRE(quire_start(&p, &sizes, &machine) == QUIRE_OK);
    quire_space_options o{};
    o.size = sizeof o;
    REQUIRE(quire_default_options(format, &o) == QUIRE_OK);
    o.max_leaf_level = 1;
    o.context = this;
    o.report = [](void* c, unsigned cpu, const quire_report* r) {
      static_cast<foreign_side*>(c)->hear(
          {cpu, r->range.first, r->range.pages, r->hfn, r->attributes.access, r->harvested, r->dirty});
    };
    REQUIRE(quire_create_space(machine, 0, &o, &space) == QUIRE_OK);
    for (unsigned cpu = 0; cpu < cpus; ++cpu) REQUIRE(quire_note_run(machine, space, cpu) == QUIRE_OK);
    for (unsigned cpu = 0; cpu < cpus; ++cpu)
      REQUIRE(quire_state(machine, cpu, space, &state[cpu]) == QUIRE_OK);
  }
  ~foreign_side() { CHECK(quire_stop(machine) == QUIRE_OK); }
  foreign_side(const foreign_side&) = delete;
  foreign_side& operator=(const foreign_side&) = delete;

  quire_machine* machine = nullptr;
  quire_space* space = nullptr;
  quire_lazy_state* state[cpus] = {};

 private:
  void flush(unsigned cpu, const quire_flush_plan& plan) {
    CHECK(plan.space == space);
    hear({cpu, plan.root_register, plan.whole, plan.reason});
    for (std::size_t i = 0; i < plan.command_count; ++i) {
      const quire_command& c = plan.commands[i];
      char text[120];
      CHECK(quire_describe_command(plan.format, &c, text, sizeof text) == QUIRE_OK);
      hear({c.op, c.operand[0], c.operand[1], c.operand[2], c.operand[3]}, text);
    }
  }
};

// Both, driven alike.
template <class F>
class pair {
 public:
  pair(const F& f, quire_format format)
      : native_(f), foreign_(format), unit_(native_.space->shape.slot_pages(0)) {}

  void step(std::mt19937_64& dice) {
    const unsigned cpu = dice() % cpus;
    const arch::gfn_range r = {arch::gfn{dice() % 1500 * unit_},
                               (1 + dice() % (dice() % 4 ? 8 : 700)) * unit_};
    const quire_range s = {r.first.value, r.pages};
    runtime::machine& m = native_.machine;
    switch (dice() % 12) {
      case 0:
        return sections(dice, cpu);
      case 1:
        return drain(dice, cpu, r);
      case 2:
        return same(m.unmap(native_.state[cpu], r), quire_unmap(foreign_.machine, foreign_.state[cpu], s));
      case 3:
        return same(m.protect(native_.state[cpu], r, arch::perm::rx),
                    quire_protect(foreign_.machine, foreign_.state[cpu], s, 5));
      case 4:
        return same(m.harvest_status(native_.state[cpu], r, runtime::harvest::dirty),
                    quire_harvest_status(foreign_.machine, foreign_.state[cpu], s, QUIRE_HARVEST_DIRTY));
      case 5:
        return map_with(dice, cpu, r);
      case 6:
        return walk(cpu, r);
      case 7:
        return look(cpu, r.first);
      default: {
        const std::uint64_t out = dice() % 4 ? r.first.value : dice() % 3000 * unit_;
        return same(m.map(native_.state[cpu], r, arch::hfn{out}, {arch::perm::rwx, 0, 0}),
                    quire_map(foreign_.machine, foreign_.state[cpu], s, out, {7, 0, 0}));
      }
    }
  }

  void compare() {
    CHECK(native_.heard.size() > 100);
    CHECK(native_.heard == foreign_.heard);
    CHECK(std::memcmp(native_.memory.get(), foreign_.memory.get(), table_bytes) == 0);
    for (unsigned cpu = 0; cpu < cpus; ++cpu) {
      const runtime::counters x = native_.machine.counts(cpu, *native_.space);
      quire_counters y{};
      y.size = sizeof y;
      REQUIRE(quire_counts(foreign_.machine, cpu, foreign_.space, &y) == QUIRE_OK);
      static_assert(sizeof x + sizeof y.size == sizeof y);
      CHECK(std::memcmp(&x, &y.updates, sizeof x) == 0);
      CHECK(x.updates > 100);
    }
    quire_space_info info{};
    info.size = sizeof info;
    REQUIRE(quire_query_space(foreign_.machine, foreign_.space, &info) == QUIRE_OK);
    CHECK((info.root_register == native_.space->root_register && info.tables == native_.space->tables() &&
           info.peak_table_bytes == native_.space->peak_table_bytes() &&
           info.max_leaf_level == native_.space->options.max_leaf_level));
    quire_table_counts tables{sizeof tables, 0, 0};
    REQUIRE(quire_count_tables(foreign_.machine, &tables) == QUIRE_OK);
    CHECK((tables.in_use == native_.machine.tables_in_use() &&
           tables.allocated == native_.machine.tables_allocated()));
  }

 private:
  void same(runtime::status x, quire_status y) { CHECK(static_cast<int>(x) == y); }

  void sections(std::mt19937_64& dice, unsigned cpu) {
    runtime::machine& m = native_.machine;
    switch (dice() % 6) {
      case 0:
      case 1: {
        native_.state[cpu] = m.enter(cpu, *native_.space);
        same(runtime::status::ok,
             quire_enter(foreign_.machine, cpu, foreign_.space, {0, 0}, &foreign_.state[cpu]));
        break;
      }
      case 2:
        same(m.flush(native_.state[cpu]), quire_flush(foreign_.machine, foreign_.state[cpu]));
        break;
      case 3:
        same(m.pause(native_.state[cpu]), quire_pause(foreign_.machine, foreign_.state[cpu]));
        break;
      case 4:
        same(m.resume(native_.state[cpu]), quire_resume(foreign_.machine, foreign_.state[cpu]));
        break;
      default:
        same(m.leave(native_.state[cpu]), quire_leave(foreign_.machine, foreign_.state[cpu]));
        break;
    }
    bool active = false;
    if (quire_active(foreign_.machine, foreign_.state[cpu], &active) ==
        QUIRE_BAD_STATE) {  // the section has ended
      native_.state[cpu] = m.state(cpu, *native_.space);
      same(runtime::status::ok, quire_state(foreign_.machine, cpu, foreign_.space, &foreign_.state[cpu]));
    }
    CHECK(active == m.active(native_.state[cpu]));
  }
  void drain(std::mt19937_64& dice, unsigned cpu, arch::gfn_range r) {
    const quire_range s = {r.first.value, r.pages};
    if (dice() % 2)
      return same(native_.machine.drain(cpu, *native_.space),
                  quire_drain(foreign_.machine, cpu, foreign_.space, nullptr));
    same(native_.machine.drain(cpu, *native_.space, r),
         quire_drain(foreign_.machine, cpu, foreign_.space, &s));
  }
  void map_with(std::mt19937_64& dice, unsigned cpu, arch::gfn_range r) {
    const quire_range s = {r.first.value, r.pages};
    quire_map_options o{sizeof o, static_cast<std::uint32_t>(dice() % 3),
                        static_cast<std::uint32_t>(dice() % 2), 5, 0};
    REQUIRE(quire_guard_sequence(foreign_.machine, foreign_.space, 5, &o.guard_sequence) == QUIRE_OK);
    const runtime::guard g = {5, native_.space->guard_sequence(5)};
    const arch::attributes rw = {arch::perm::rwx, 0, 0};
    const arch::hfn out{r.first.value};
    const runtime::status done =
        o.mode == QUIRE_MAP_EXACT ? native_.machine.map_exact(native_.state[cpu], r, out, rw, o.level, g)
        : o.mode == QUIRE_MAP_KEEP_PRESENT
            ? native_.machine.map_keep_present(native_.state[cpu], r, out, rw, o.level, g)
            : native_.machine.map(native_.state[cpu], r, out, rw, o.level, g);
    same(done, quire_map_with(foreign_.machine, foreign_.state[cpu], s, out.value, {7, 0, 0}, &o));
    if (dice() % 8 == 0) {
      native_.space->bump_guard(5);
      CHECK(quire_bump_guard(foreign_.machine, foreign_.space, 5) == QUIRE_OK);
    }
  }
  void look(unsigned cpu, arch::gfn g) {
    runtime::mapping x;
    bool found = false;
    quire_mapping y{};
    y.size = sizeof y;
    same(native_.machine.lookup(native_.state[cpu], g, x, found),
         quire_lookup(foreign_.machine, foreign_.state[cpu], g.value, &y));
    CHECK((found == (y.present != 0) && x.range.pages == y.range.pages));
    if (found)
      CHECK((x.out.value == y.hfn && x.level == y.level &&
             static_cast<unsigned>(x.attr.access) == y.attributes.access));
  }
  void walk(unsigned cpu, arch::gfn_range r) {
    same(native_.machine.for_each(
             native_.state[cpu], r,
             [](void* c, const runtime::mapping& m) {
               static_cast<native_side*>(c)->hear({m.range.first.value, m.range.pages, m.out.value});
               return m.out.value % 7 != 0;
             },
             &native_),
         quire_for_each(
             foreign_.machine, foreign_.state[cpu], {r.first.value, r.pages},
             [](void* c, const quire_mapping* m) {
               static_cast<foreign_side*>(c)->hear({m->range.first, m->range.pages, m->hfn});
               return m->hfn % 7 != 0;
             },
             &foreign_));
    same(native_.machine.apply_to_range(
             native_.state[cpu], r, runtime::walk_flags::holes,
             [](void* c, runtime::lazy_state*, bool present, const runtime::mapping& m) {
               static_cast<native_side*>(c)->hear({present, m.range.first.value, m.range.pages});
               return true;
             },
             &native_),
         quire_apply_to_range(
             foreign_.machine, foreign_.state[cpu], {r.first.value, r.pages}, QUIRE_WALK_HOLES,
             [](void* c, quire_lazy_state*, const quire_mapping* m) {
               static_cast<foreign_side*>(c)->hear({m->present, m->range.first, m->range.pages});
               return true;
             },
             &foreign_));
  }

  native_side native_;
  foreign_side foreign_;
  std::uint64_t unit_;
};

template <class F>
void compare(const F& f, quire_format format) {
  for (const unsigned seed : {1u, 2u}) {
    CAPTURE(seed);
    CAPTURE(F::name);
    std::mt19937_64 dice(seed);
    pair<F> both(f, format);
    for (unsigned i = 0; i < 1500; ++i) both.step(dice);
    both.compare();
  }
}

TEST_CASE("the C ABI gives the tables, plans, reports, statuses and counts of the C++ API, in every format") {
  compare(arch::ept{}, QUIRE_EPT);
  compare(arch::stage2_4k{}, QUIRE_STAGE2_4K);
  compare(arch::stage2_16k{}, QUIRE_STAGE2_16K);
  compare(arch::stage2_64k{}, QUIRE_STAGE2_64K);
  compare(arch::dat{}, QUIRE_DAT);
  compare(arch::npt{}, QUIRE_NPT);
}

}  // namespace
