// The rules of levels say of all entries what the formats' functions say.
#include "arch/level_rule.h"

#include <doctest/doctest.h>

#include <random>

#include "arch/walk_shape.h"
#include "tests/support/formats.h"

namespace quire::tests {

namespace {

using arch::entry_kind;
using word = std::uint64_t;

// Like entries of the format, with some bits other than they should be.
template <class F>
word some_entry(const F& f, unsigned level, std::mt19937_64& random) {
  word e = random();
  if (random() % 4 == 0) return e;
  const arch::hfn out{(random() & random()) % (word{1} << (f.output_bits() - 12))};
  if (random() % 3 == 0) {
    e = f.empty(level);
  } else if (random() % 2) {
    e = f.make_leaf(out, {arch::perm::rw}, level);
  } else if (level > 0) {
    e = f.make_table({out.byte()}, level);
  }
  if (random() % 2) e ^= word{1} << random() % 64;
  if (random() % 4 == 0) e ^= word{1} << random() % 12;
  return e;
}

template <class F>
void check_rules(const F& f) {
  std::mt19937_64 random(1);
  for (unsigned level = 0; level < f.levels(); ++level) {
    CAPTURE(level);
    const arch::level_rule rule = f.rule(level);
    unsigned leaves = 0, tables = 0;
    for (unsigned i = 0; i < 3000; ++i) {
      const word e = some_entry(f, level, random);
      CAPTURE(e);
      const entry_kind k = f.kind(e, level);
      const bool leaf = rule.leaf(e), table = rule.table(e);
      REQUIRE(leaf == (k == entry_kind::leaf));
      REQUIRE(table == (level > 0 && k == entry_kind::table));
      if (leaf) REQUIRE(rule.address(e, rule.leaf_address) == f.output(e, level).byte());
      if (table) REQUIRE(rule.address(e, rule.table_address) == f.table(e, level).byte);
      leaves += leaf;
      tables += table;
    }
    CHECK((leaves > 0 || !f.leaf_allowed(level)));
    CHECK((tables > 0) == (level > 0));
    CHECK(f.kind(f.empty(level), level) == entry_kind::empty);
  }
}

}  // namespace

TEST_SUITE("level_rule") {
TEST_CASE("a rule tells leaves, tables and their addresses as kind(), output() and table() do") {
  for (const format_case& c : format_cases()) {
    CAPTURE(c.name);
    std::visit([](const auto& f) { check_rules(f); }, c.format);
  }
}
TEST_CASE("shapes of walks by hand") {
  constexpr arch::walk_shape ept = arch::walk_shape_of(arch::ept{});
  static_assert(ept.levels == 4 && ept.level[3].shift == 27 && ept.level[3].index_mask == 511);
  constexpr arch::walk_shape dat = arch::walk_shape_of(arch::dat{});
  static_assert(dat.levels == 3 && dat.level[0].empty == 0x400 && dat.level[0].index_mask == 255);
  CHECK(dat.swapped == (std::endian::native == std::endian::little));
  // [armarm] LPA2, 4K granule: bits 9:8 of a descriptor are bits 51:50 of the address.
  arch::stage2_4k wide;
  wide.lpa2 = true;
  wide.ipa_bits = wide.oa_bits = 52;
  const arch::level_rule rule = wide.rule(0);
  CHECK(rule.address(0x0002000012345303, rule.leaf_address) == 0x000e000012345000);
}
}

}  // namespace quire::tests
