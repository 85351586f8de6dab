// What every format has to do in the runtime, whatever its sizes are: over all of format_cases().
#include <doctest/doctest.h>

#include "tests/support/guest.h"

namespace quire::tests {

namespace {

constexpr guest_base::options big{.cpus = 1, .table_bytes = std::size_t{32} << 20};

/// Runs `body(guest, shape, format)` once for each format.
template <class Body>
void for_each_format(Body body) {
  for (const format_case& f : format_cases()) {
    CAPTURE(f.name);
    const auto g = make_guest(f.format, big);
    REQUIRE(g);
    body(*g, g->s().shape, f.format);
  }
}

std::vector<perm> accesses(const arch::geometry& s) {
  std::vector<perm> all;
  for (unsigned p = 1; p < arch::perm_values; ++p) {
    if (s.access_set >> p & 1) all.push_back(static_cast<perm>(p));
  }
  return all;
}

/// The most that a mapping can allow.
perm most(const arch::geometry& s) { return accesses(s).back(); }

/// An access that allows less than most(); none if the format has but one.
std::optional<perm> less(const arch::geometry& s) {
  for (const perm p : accesses(s)) {
    if (p != most(s) && includes(most(s), p)) return p;
  }
  return {};
}

/// Checks that nothing is mapped and no table but the root is left.
void check_empty(guest_base& g) {
  CHECK(g.leaves().empty());
  CHECK(g.s().tables() == 1);
  CHECK(g.m().tables_in_use() == 1);
}

/// Hardware would not fault on the form of any entry on the way to `page`.
void check_well_formed(guest_base& g, const any_format& format, gfn page) {
  const auto check = [&]<class F>(const F& f) {
    const auto words = [&g](arch::table_address t) {
      return reinterpret_cast<std::uint64_t*>(static_cast<std::uintptr_t>(t.byte + g.host().table_offset));
    };
    const auto step = [&](unsigned level, arch::slot<F> /*at*/, std::uint64_t e) {
      const char* wrong = f.malformed(e, level);
      CHECK_MESSAGE(wrong == nullptr, wrong);
    };
    arch::walk(f, g.s().shape, words, g.s().root, page, step);
  };
  std::visit(check, format);
}

}  // namespace

TEST_SUITE("contract") {
TEST_CASE("every leaf size takes every access and memory type, at both ends of guest and host memory") {
  for_each_format([](guest_base& g, const arch::geometry& s, const any_format& format) {
    for (unsigned level = 0; level < s.levels && s.leaf[level]; ++level) {
      CAPTURE(level);
      const std::uint64_t pages = s.slot_pages(level);
      const gfn_range ends[] = {{gfn{0}, pages}, {gfn{s.input_pages - pages}, pages}};
      const hfn outs[] = {hfn{s.output_pages - pages}, hfn{0}};
      for (const perm access : accesses(s)) {
        for (std::uint8_t type = 0; type < s.memory_types; ++type) {
          const attributes a{access, type};
          for (unsigned i = 0; i < 2; ++i) {
            REQUIRE(g.m().map_exact(g.state(), ends[i], outs[i], a, level) == status::ok);
            check_well_formed(g, format, ends[i].first);
            const auto last = g.in_tables(ends[i].first + (pages - 1));
            REQUIRE(last);
            CHECK(last->out == outs[i] + (pages - 1));
            CHECK(last->attr == a);
            CHECK(last->level == level);
          }
          CHECK(g.leaves().size() == (s.input_pages == pages ? 1 : 2));
          for (const gfn_range& r : ends) REQUIRE(g.m().unmap(g.state(), r) == status::ok);
          check_empty(g);
        }
      }
    }
  });
}

TEST_CASE("what lies beyond the guest's or the host's address size is refused") {
  for_each_format([](guest_base& g, const arch::geometry& s, const any_format&) {
    const std::uint64_t page = s.slot_pages(0);
    const attributes a{most(s)};
    machine& m = g.m();
    CHECK(m.map(g.state(), {gfn{s.input_pages}, page}, hfn{0}, a) == status::bad_range);
    CHECK(m.map(g.state(), {gfn{s.input_pages - page}, 2 * page}, hfn{0}, a) == status::bad_range);
    CHECK(m.map(g.state(), {gfn{0}, 2 * page}, hfn{s.output_pages - page}, a) == status::bad_range);
    CHECK(m.unmap(g.state(), {gfn{s.input_pages - page}, 2 * page}) == status::bad_range);
    if (page > 1) {
      CHECK(m.map(g.state(), {gfn{1}, page}, hfn{0}, a) == status::misaligned);
      CHECK(m.map(g.state(), {gfn{0}, page}, hfn{1}, a) == status::misaligned);
      CHECK(m.unmap(g.state(), {gfn{0}, 1}) == status::misaligned);
    }
    check_empty(g);
  });
}

TEST_CASE("a large leaf that is changed in part keeps the rest, and becomes one leaf again when it is mapped as one") {
  for_each_format([](guest_base& g, const arch::geometry& s, const any_format& format) {
    for (unsigned level = 1; level < s.levels && s.leaf[level]; ++level) {
      CAPTURE(level);
      const std::uint64_t pages = s.slot_pages(level);
      const std::uint64_t page = s.slot_pages(0);
      const attributes a{most(s)};
      const gfn_range all{gfn{0}, pages};
      const gfn_range part{gfn{2 * page}, page};
      REQUIRE(g.m().map_exact(g.state(), all, hfn{pages}, a, level) == status::ok);
      REQUIRE(g.m().unmap(g.state(), part) == status::ok);
      CHECK(!g.in_tables(part.first));
      check_well_formed(g, format, gfn{0});
      for (const gfn at : {gfn{0}, gfn{page}, gfn{3 * page}, gfn{pages - 1}}) {
        const auto kept = g.in_tables(at);
        REQUIRE(kept);
        CHECK(kept->out == hfn{pages + at.value});
        CHECK(kept->attr == a);
      }
      std::uint64_t leaves = 0;
      for (unsigned l = 0; l < level; ++l) leaves += s.entries(l) - 1;
      CHECK(g.leaves().size() == leaves);
      REQUIRE(g.m().map_exact(g.state(), all, hfn{pages}, a, level) == status::ok);
      CHECK(g.leaves().size() == 1);
      REQUIRE(g.m().unmap(g.state(), all) == status::ok);
      check_empty(g);
    }
  });
}

TEST_CASE("a page that loses access or its mapping is covered by what the flush executes; one that is new is not flushed") {
  for_each_format([](guest_base& g, const arch::geometry& s, const any_format& format) {
    const gfn_range page{gfn{5 * s.slot_pages(0)}, s.slot_pages(0)};
    bool covered = false;
    g.on_flush = [&](const runtime::flush_plan& plan) { covered = covered || covers(format, plan, page.first); };
    REQUIRE(g.m().map(g.state(), page, hfn{0}, {most(s)}) == status::ok);
    CHECK(g.flushes.empty());
    if (const auto narrow = less(s)) {
      REQUIRE(g.m().protect(g.state(), page, *narrow) == status::ok);
      CHECK(covered);
      CHECK(g.in_tables(page.first)->attr.access == *narrow);
    }
    covered = false;
    REQUIRE(g.m().map(g.state(), page, hfn{3 * s.slot_pages(0)}, {most(s)}) == status::ok);
    CHECK(covered);
    CHECK(g.in_tables(page.first)->out == hfn{3 * s.slot_pages(0)});
    covered = false;
    REQUIRE(g.m().unmap(g.state(), page) == status::ok);
    CHECK(covered);
  });
}

TEST_CASE("hardware's A and D reach the caller once, and outlive a change of access") {
  for_each_format([](guest_base& g, const arch::geometry& s, const any_format&) {
    if (!g.s().backend->tracks_status(g.s())) return;
    const gfn_range page{gfn{5 * s.slot_pages(0)}, s.slot_pages(0)};
    using runtime::harvest;
    REQUIRE(g.m().map(g.state(), page, hfn{0}, {perm::rw}) == status::ok);
    CHECK(!g.in_tables(page.first)->accessed);
    REQUIRE(g.touch(page.first, perm::w));
    REQUIRE(g.m().protect(g.state(), page, perm::r) == status::ok);
    CHECK(g.in_tables(page.first)->dirty);
    CHECK(!g.touch(page.first, perm::w));
    REQUIRE(g.m().protect(g.state(), page, perm::rw) == status::ok);
    CHECK(g.in_tables(page.first)->dirty);
    for (const bool first : {true, false}) {
      g.reports.clear();
      REQUIRE(g.m().harvest_status(g.state(), page, harvest::accessed | harvest::dirty) == status::ok);
      REQUIRE(g.reports.size() == (first ? 1 : 0));
      if (first) CHECK(g.reports[0].dirty);
    }
    CHECK(g.in_tables(page.first)->attr.access == perm::rw);
    REQUIRE(g.touch(page.first, perm::w));
    CHECK(g.in_tables(page.first)->dirty);
  });
}

TEST_CASE("groups of leaves are marked if one map covers them, and not once one leaf of them changed") {
  for_each_format([](guest_base& g, const arch::geometry& s, const any_format& format) {
    const auto grouped = [&format](std::uint64_t word) {
      const auto ask = [word]<class F>(const F&) {
        if constexpr (arch::grouping_format<F>) return F::grouped(word);
        return false;
      };
      return std::visit(ask, format);
    };
    for (unsigned level = 0; level < s.levels && s.leaf[level]; ++level) {
      CAPTURE(level);
      const std::uint64_t leaf = s.slot_pages(level);
      const std::uint64_t n = std::uint64_t{1} << s.group_bits[level];
      if (3 * n > s.entries(level)) continue;  // no room for a group and a half
      const gfn_range all{gfn{n * leaf}, (n + n / 2 + 1) * leaf};  // one group, and part of the next
      const attributes a{most(s)};
      REQUIRE(g.m().map_exact(g.state(), all, hfn{0}, a, level) == status::ok);
      const auto marked = [&] {
        std::uint64_t marks = 0;
        for (const raw_leaf& l : g.leaves()) marks += grouped(l.word);
        return marks;
      };
      CHECK(marked() == (n > 1 ? n : 0));
      REQUIRE(g.m().unmap(g.state(), {all.first + (n - 1) * leaf, leaf}) == status::ok);
      CHECK(marked() == 0);
      if (n > 1) CHECK(g.in_tables(all.first)->out == hfn{0});
      REQUIRE(g.m().map_exact(g.state(), {all.first, n * leaf}, hfn{0}, a, level) == status::ok);
      CHECK(marked() == (n > 1 ? n : 0));
      REQUIRE(g.m().unmap(g.state(), all) == status::ok);
      check_empty(g);
    }
  });
}

TEST_CASE("while an entry is invalid for a flush, others find what was or will be there, not a hole") {
  for_each_format([](guest_base& g, const arch::geometry& s, const any_format&) {
    const std::uint64_t page = s.slot_pages(0);
    const gfn_range pages{gfn{4 * page}, 3 * page};
    // Frame 0 with every access looks like an empty page-table entry of DAT while it is invalid.
    REQUIRE(g.m().map(g.state(), pages, hfn{8 * page}, {most(s)}) == status::ok);
    unsigned looks = 0;
    g.on_flush = [&](const runtime::flush_plan&) {
      for (std::uint64_t i = 0; i < 3; ++i) {
        looks += g.s().backend->find(g.host(), g.s(), pages.first + i * page).present;
      }
    };
    REQUIRE(g.m().map(g.state(), pages, hfn{16 * page}, {most(s)}) == status::ok);
    CHECK(looks == 3);
    if (const auto narrow = less(s)) {
      REQUIRE(g.m().protect(g.state(), pages, *narrow) == status::ok);
      CHECK(looks == 6);
    }
  });
}

TEST_CASE("a section and the same updates one by one leave the same tables, and everything goes at the end") {
  for_each_format([](guest_base& g, const arch::geometry& s, const any_format& format) {
    const auto other = make_guest(format, big);
    REQUIRE(other);
    const std::uint64_t page = s.slot_pages(0);
    for (guest_base* one : {&g, other.get()}) {
      lazy_state* l = one == &g ? g.enter() : one->state();
      for (std::uint64_t i = 0; i < 100; ++i) {
        REQUIRE(one->m().map(l, {gfn{i * page}, page}, hfn{(i ^ 3) * page}, {most(s)}) == status::ok);
      }
      for (std::uint64_t i = 0; i < 100; i += 3) REQUIRE(one->m().unmap(l, {gfn{i * page}, page}) == status::ok);
      REQUIRE(one->m().map(l, {gfn{20 * page}, 40 * page}, hfn{0}, {most(s)}) == status::ok);
      if (one == &g) REQUIRE(g.m().leave(l) == status::ok);
    }
    CHECK(g.leaves() == other->leaves());
    CHECK(g.m().tables_in_use() == other->m().tables_in_use());
    REQUIRE(g.m().destroy_space(0, &g.s()) == status::ok);
    CHECK(g.m().tables_in_use() == 0);
  });
}
}

}  // namespace quire::tests
