// The batch queue: what merges into a run, what it holds and in which order.
#include "runtime/batch.h"

#include <doctest/doctest.h>

#include <memory>
#include <random>
#include <vector>

#include "tests/support/formats.h"

namespace quire::tests {

using arch::attributes;
using arch::geometry;
using arch::gfn;
using arch::gfn_range;
using arch::hfn;
using arch::perm;
using runtime::batch;
using runtime::harvest;
using runtime::operation;
using runtime::update;
using runtime::update_kind;

namespace {

const geometry shape = arch::geometry_of(ept4{});

/// Queues `u` in the newest run if it continues it.
bool extend(batch& b, const update& u) {
  if (!b.continues(shape, u)) return false;
  b.grow(u);
  return true;
}

update map(std::uint64_t first, std::uint64_t pages, std::uint64_t out, unsigned leaf_level = 0,
           attributes a = {perm::rw}, bool keep_present = false) {
  return {
      {gfn{first}, pages}, hfn{out}, update_kind(operation::map, a, leaf_level, keep_present, harvest::none)};
}
update unmap(std::uint64_t first, std::uint64_t pages) {
  return {{gfn{first}, pages}, {}, update_kind(operation::unmap, {}, 0, false, harvest::none)};
}
update protect(std::uint64_t first, std::uint64_t pages, perm access) {
  return {{gfn{first}, pages}, {}, update_kind(operation::protect, {access}, 0, false, harvest::none)};
}
update harvested(std::uint64_t first, std::uint64_t pages, harvest what) {
  return {{gfn{first}, pages}, {}, update_kind(operation::harvest, {}, 0, false, what)};
}

/// True if `second` merges with `first` when it is queued after it.
bool merges(const update& first, const update& second) {
  const auto b = std::make_unique<batch>();
  b->append(first);
  const bool merged = extend(*b, second);
  CHECK(b->visible().count() == 1);
  CHECK(b->visible()[0].range ==
        gfn_range{first.range.first, first.range.pages + (merged ? second.range.pages : 0)});
  CHECK(b->visible()[0].out == first.out);
  CHECK(b->box() == b->visible()[0].range);
  return merged;
}

}  // namespace

TEST_SUITE("batch") {
TEST_CASE("a new queue is empty, and continues nothing") {
  const auto b = std::make_unique<batch>();
  CHECK(b->empty());
  CHECK(!b->full());
  CHECK(b->visible().count() == 0);
  CHECK(b->box() == gfn_range{});
  CHECK(!b->continues(shape, unmap(0, 1)));
  CHECK(!extend(*b, unmap(0, 1)));
  CHECK(b->empty());
}
TEST_CASE("a map merges if guest and host pages both go on") {
  CHECK(merges(map(0x100, 1, 0x900), map(0x101, 1, 0x901)));
  CHECK(merges(map(0x100, 5, 0x900), map(0x105, 7, 0x905)));
  CHECK(!merges(map(0x100, 1, 0x900), map(0x101, 1, 0x902)));
  CHECK(!merges(map(0x100, 1, 0x900), map(0x101, 1, 0x900)));
  CHECK(!merges(map(0x100, 1, 0x900), map(0x102, 1, 0x901)));
  CHECK(!merges(map(0x100, 1, 0x900), map(0x100, 1, 0x901)));
  CHECK(!merges(map(0x100, 1, 0x900), map(0xff, 1, 0x8ff)));  // downwards
}
TEST_CASE("other updates merge if guest pages go on, whatever the output says") {
  CHECK(merges(unmap(0x100, 2), unmap(0x102, 1)));
  CHECK(!merges(unmap(0x100, 2), unmap(0x103, 1)));
  CHECK(merges(protect(0x100, 2, perm::r), protect(0x102, 1, perm::r)));
  CHECK(merges(harvested(0x100, 2, harvest::dirty), harvested(0x102, 1, harvest::dirty)));
  update other_out = unmap(0x102, 1);
  other_out.out = hfn{7};
  CHECK(merges(unmap(0x100, 2), other_out));
}
TEST_CASE("updates of different kinds do not merge") {
  const update base = map(0x100, 1, 0x900);
  CHECK(!merges(base, map(0x101, 1, 0x901, 0, {perm::r})));
  CHECK(!merges(base, map(0x101, 1, 0x901, 0, {perm::rw, 1})));
  CHECK(!merges(base, map(0x101, 1, 0x901, 0, {perm::rw, 0, 1})));
  CHECK(!merges(base, map(0x101, 1, 0x901, 0, {perm::rw}, true)));
  CHECK(!merges(base, map(0x101, 1, 0x901, 1)));
  CHECK(!merges(unmap(0x100, 1), protect(0x101, 1, perm::none)));
  CHECK(!merges(unmap(0x100, 1), harvested(0x101, 1, harvest::none)));
  CHECK(!merges(map(0x100, 1, 0x900, 0, {}), unmap(0x101, 1)));
  CHECK(!merges(protect(0x100, 1, perm::r), protect(0x101, 1, perm::rw)));
  CHECK(!merges(harvested(0x100, 1, harvest::dirty), harvested(0x101, 1, harvest::accessed)));
}
TEST_CASE("maps with large leaves merge only where a leaf may begin, so that merging changes no table") {
  CHECK(merges(map(0x200, 0x200, 0x600, 1), map(0x400, 0x200, 0x800, 1)));
  CHECK(merges(map(0x200, 0x200, 0x600, 1), map(0x400, 0x201, 0x800, 1)));
  CHECK(!merges(map(0x200, 0x201, 0x600, 1), map(0x401, 0x3ff, 0x801, 1)));
  CHECK(merges(map(0x40000, 0x40000, 0x40000, 2), map(0x80000, 0x40000, 0x80000, 2)));
  CHECK(!merges(map(0x40000, 0x40200, 0x40000, 2), map(0x80200, 0x80000, 0x80200, 2)));  // 2 MiB, not 1 GiB
  CHECK(merges(map(0x200, 0x201, 0x600, 0), map(0x401, 0x3ff, 0x801, 0)));
}
TEST_CASE("only the newest run grows") {
  const auto b = std::make_unique<batch>();
  b->append(unmap(0x100, 1));
  b->append(unmap(0x200, 1));
  CHECK(!extend(*b, unmap(0x101, 1)));
  CHECK(extend(*b, unmap(0x201, 2)));
  REQUIRE(b->visible().count() == 2);
  CHECK(b->visible()[0].range == gfn_range{gfn{0x100}, 1});
  CHECK(b->visible()[1].range == gfn_range{gfn{0x200}, 3});
}
TEST_CASE("a queue holds 512 runs in the order of the calls; a full one still grows its newest run") {
  const auto b = std::make_unique<batch>();
  CHECK(batch::capacity == 512);
  for (unsigned round = 0; round < 3; ++round) {
    for (std::uint64_t i = 0; i < 512; ++i) {
      CHECK(!b->full());
      b->append(map(1000 - i, 1, i));
    }
    CHECK(b->full());
    CHECK(b->continues(shape, map(490, 1, 512)));
    CHECK(extend(*b, map(490, 1, 512)));
    CHECK(!extend(*b, map(490, 1, 512)));
    REQUIRE(b->visible().count() == 512);
    for (std::uint32_t i = 0; i < 512; ++i) CHECK(b->visible()[i].range.first == gfn{1000 - i});
    CHECK(b->visible()[511].range.pages == 2);
    b->retire();
    CHECK(!b->full());
  }
}
TEST_CASE("appending to a queue does not merge") {
  const auto b = std::make_unique<batch>();
  b->append(unmap(0x100, 1));
  b->append(unmap(0x101, 1));
  CHECK(b->visible().count() == 2);
}
TEST_CASE("a consumed queue is empty and continues nothing of before") {
  const auto b = std::make_unique<batch>();
  b->append(unmap(0x100, 1));
  b->retire();
  CHECK(b->empty());
  CHECK(b->visible().count() == 0);
  CHECK(b->box() == gfn_range{});
  CHECK(!extend(*b, unmap(0x101, 1)));
  b->append(unmap(0x300, 1));
  CHECK(b->visible()[0].range == gfn_range{gfn{0x300}, 1});
  CHECK(b->box() == gfn_range{gfn{0x300}, 1});
}
TEST_CASE("the box spans what is queued, from the lowest page to the highest") {
  const auto b = std::make_unique<batch>();
  b->append(unmap(0x100, 2));
  CHECK(b->box() == gfn_range{gfn{0x100}, 2});
  b->append(unmap(0x200, 0x10));
  CHECK(b->box() == gfn_range{gfn{0x100}, 0x110});
  b->append(unmap(0x180, 1));
  CHECK(b->box() == gfn_range{gfn{0x100}, 0x110});
  b->append(unmap(0x10, 1));
  CHECK(b->box() == gfn_range{gfn{0x10}, 0x200});
  CHECK(extend(*b, unmap(0x11, 0x400)));
  CHECK(b->box() == gfn_range{gfn{0x10}, 0x401});
}
TEST_CASE("the box may reach to the last page that there is") {
  const auto b = std::make_unique<batch>();
  b->append(unmap(0xfffffffffffff, 1));
  b->append(unmap(0, 1));
  CHECK(b->box() == gfn_range{gfn{0}, 0x10000000000000});
}
TEST_CASE("the ring goes round, and pending updates stay in order") {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    CAPTURE(seed);
    std::mt19937_64 random(seed);
    const auto b = std::make_unique<batch>();
    std::vector<update> queued;
    for (unsigned round = 0; round < 40; ++round) {
      for (std::uint64_t n = random() % 200; n > 0 && !b->full(); --n) {
        queued.push_back(map(random() % 0x1000, 1 + random() % 8, random() % 0x1000));
        b->append(queued.back());
      }
      REQUIRE(b->visible().count() == queued.size());
      for (std::uint32_t i = 0; i < queued.size(); ++i) {
        REQUIRE(b->visible()[i].range == queued[i].range);
        REQUIRE(b->visible()[i].out == queued[i].out);
        REQUIRE(b->visible()[i].kind == queued[i].kind);
      }
      if (random() % 3) continue;
      b->retire();
      queued.clear();
    }
  }
}
}

TEST_SUITE("update_kind") {
TEST_CASE("a packed kind gives back what went in") {
  for (const operation o : {operation::map, operation::unmap, operation::protect, operation::harvest}) {
    for (unsigned leaf_level = 0; leaf_level < arch::level_limit; ++leaf_level) {
      for (unsigned access = 0; access < arch::perm_values; ++access) {
        for (unsigned what = 0; what < 8; ++what) {
          const attributes a{static_cast<perm>(access), 0xa5, 0xbeef};
          const update_kind k(o, a, leaf_level, (what & 1) != 0, static_cast<harvest>(what));
          const bool same = k.op() == o && k.leaf_level() == leaf_level && k.attr() == a &&
                            (o != operation::map || k.keep_present() == ((what & 1) != 0)) &&
                            (o != operation::harvest || k.what() == static_cast<harvest>(what));
          REQUIRE(same);
        }
      }
    }
  }
}
}

}  // namespace quire::tests
