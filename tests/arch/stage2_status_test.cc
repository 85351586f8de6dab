// What stage-2 descriptors record of accesses, the contiguous hint, and round trips over all options.
#include <doctest/doctest.h>

#include <random>

#include "arch/arm64/stage2.h"

namespace quire::tests {

using arch::attributes;
using arch::entry_kind;
using arch::hfn;
using arch::perm;
using arch::stage2_16k;
using arch::stage2_4k;
using arch::stage2_64k;

namespace {

stage2_4k tracking() {
  stage2_4k f;
  f.dbm = true;
  return f;
}

/// Every leaf of `f`, of random addresses: what goes in comes out.
template <class F>
void check_round_trips(const F& f, std::mt19937_64& random) {
  for (unsigned level = 0; f.leaf_allowed(level); ++level) {
    const unsigned shift = F::base_shift - 12 + level * (F::base_shift - 3);
    for (unsigned p = 0; p < 16; ++p) {
      if (!(f.access_set() >> p & 1)) continue;
      for (std::uint8_t type = 0; type < 3; ++type) {
        const hfn out{random() % (std::uint64_t{1} << (f.oa_bits - 12)) >> shift << shift};
        const attributes a{static_cast<perm>(p), type};
        const std::uint64_t e = f.make_leaf(out, a, level);
        CAPTURE(e);
        CAPTURE(level);
        const bool sound = f.output(e, level) == out && f.attributes_of(e, level) == a &&
                           f.kind(e, level) == entry_kind::leaf && !f.malformed(e, level) && !f.accessed(e) &&
                           !f.dirty(e);
        REQUIRE(sound);
        REQUIRE(f.with_access(f.with_access(e, perm::r, level), a.access, level) == e);
      }
    }
  }
}

}  // namespace

TEST_SUITE("stage2_status") {
TEST_CASE("with DBM a writable page starts without AF and without S2AP[1]; bit 51 lets hardware set it") {
  const auto f = tracking();
  CHECK(f.make_leaf(hfn{0x1234}, {perm::rw}, 0) == 0x004800000123437f);
  CHECK(f.make_leaf(hfn{0x1234}, {perm::rwx}, 0) == 0x000800000123437f);
  CHECK(f.make_leaf(hfn{0x1234}, {perm::w}, 0) == 0x004800000123433f);
  CHECK(f.make_leaf(hfn{0x1234}, {perm::r}, 0) == 0x004000000123437f);
  CHECK(f.attributes_of(0x004800000123437f, 0).access == perm::rw);
}
TEST_CASE("with DBM hardware sets AF on any access and S2AP[1] on a write") {
  const auto f = tracking();
  CHECK(f.status_bits() == 0x480);
  CHECK(f.touched(0x004800000123437f, 0, false) == 0x004800000123477f);
  CHECK(f.touched(0x004800000123437f, 0, true) == 0x00480000012347ff);
  CHECK(f.touched(0x004000000123437f, 0, true) == 0x004000000123477f);  // read-only
  CHECK(f.touched(0x5003, 1, true) == 0x5003);
  CHECK(!f.accessed(0x004800000123437f));
  CHECK(f.accessed(0x004800000123477f));
  CHECK(!f.dirty(0x004800000123477f));
  CHECK(f.dirty(0x00480000012347ff));
  CHECK(!f.dirty(0x00400000012347ff));  // S2AP[1] without DBM is a permission, not a status
}
TEST_CASE("dirty state survives the loss of write access in a software bit, until it is cleared") {
  const auto f = tracking();
  const std::uint64_t read_only = f.with_access(0x00480000012347ff, perm::r, 0);
  CHECK(read_only == 0x00c000000123477f);
  CHECK(f.dirty(read_only));
  CHECK(f.attributes_of(read_only, 0).access == perm::r);
  CHECK(f.dirty(f.with_access(read_only, perm::none, 0)));
  CHECK(f.with_access(read_only, perm::rw, 0) == 0x00c80000012347ff);
  CHECK(f.without_status(read_only, false, true) == 0x004000000123477f);
  CHECK(f.without_status(0x00c80000012347ff, false, true) == 0x004800000123477f);
  CHECK(f.with_access(0x004800000123477f, perm::r, 0) == 0x004000000123477f);  // was clean
  CHECK(f.with_access(0x004000000123477f, perm::rw, 0) == 0x004800000123477f);
}
TEST_CASE("A and D are cleared one by one") {
  const auto f = tracking();
  CHECK(f.without_status(0x00480000012347ff, false, false) == 0x00480000012347ff);
  CHECK(f.without_status(0x00480000012347ff, true, false) == 0x00480000012343ff);
  CHECK(f.without_status(0x00480000012347ff, false, true) == 0x004800000123477f);
  CHECK(f.without_status(0x00480000012347ff, true, true) == 0x004800000123437f);
  CHECK(f.without_status(0x00400000012347ff, false, true) == 0x00400000012347ff);  // no DBM: a permission
}
TEST_CASE("without DBM in the space AF is set for good, and nothing is status") {
  const stage2_4k f;
  CHECK(f.status_bits() == 0);
  CHECK(!f.accessed(0x00480000012347ff));
  CHECK(!f.dirty(0x00c80000012347ff));
  CHECK(f.touched(0x123437f, 0, true) == 0x123437f);
  CHECK(f.without_status(0x00480000012347ff, true, true) == 0x00480000012347ff);
}
TEST_CASE("one entry takes over what hardware recorded in another of its group") {
  const auto f = tracking();
  CHECK(f.with_status_of(0x004800000123437f, 0x004800000123537f) == 0x004800000123437f);
  CHECK(f.with_status_of(0x004800000123437f, 0x004800000123577f) == 0x004800000123477f);
  CHECK(f.with_status_of(0x004800000123437f, 0x00480000012357ff) == 0x00480000012347ff);
  CHECK(f.with_status_of(0x004000000123437f, 0x00c000000123577f) == 0x00c000000123477f);
  CHECK(f.with_status_of(0x00480000012347ff, 0x004800000123537f) == 0x00480000012347ff);
}
TEST_CASE("the contiguous hint is bit 52") {
  CHECK(stage2_4k::with_group(0x12347ff, true) == 0x00100000012347ff);
  CHECK(stage2_4k::with_group(0x00100000012347ff, false) == 0x12347ff);
  CHECK(stage2_4k::grouped(0x00100000012347ff));
  CHECK(!stage2_4k::grouped(0xffefffffffffffff));
}
TEST_CASE("groups are 16 entries with 4K, 128 and 32 with 16K, 32 with 64K") {
  stage2_4k small;
  small.ipa_bits = 48;
  stage2_16k middle;
  middle.ipa_bits = 48;
  stage2_64k large;
  large.ipa_bits = 48;
  for (unsigned level = 0; level < 4; ++level) CHECK(small.group_bits(level) == 0);
  small.contiguous = middle.contiguous = large.contiguous = true;
  for (unsigned level = 0; level < 4; ++level) CHECK(small.group_bits(level) == (level <= 2 ? 4 : 0));
  CHECK(middle.group_bits(0) == 7);
  CHECK(middle.group_bits(1) == 5);
  CHECK(middle.group_bits(2) == 0);
  CHECK(large.group_bits(0) == 5);
  CHECK(large.group_bits(1) == 5);
  CHECK(large.group_bits(2) == 0);
}
TEST_CASE("bits 58 to 55 are free for software: they change neither kind, output nor attributes") {
  const stage2_4k f;
  CHECK(f.kind(0x07800000012347ff, 0) == entry_kind::leaf);
  CHECK(f.output(0x07800000012347ff, 0) == hfn{0x1234});
  CHECK(f.attributes_of(0x07800000012347ff, 0) == attributes{perm::rwx});
  CHECK(!f.malformed(0x07800000012347ff, 0));
  CHECK(stage2_4k::software::mask == 0x0780000000000000);
}
TEST_CASE_TEMPLATE("address, access and type survive a leaf, in every combination of options", F, stage2_4k,
                   stage2_16k, stage2_64k) {
  constexpr std::uint64_t seed = 11;
  std::mt19937_64 random(seed);
  CAPTURE(seed);
  for (unsigned options = 0; options < 16; ++options) {
    for (const unsigned bits : {32u, 36u, 40u, 42u, 44u, 48u, 52u}) {
      F f;
      f.ipa_bits = bits == 52 ? 52 : 48;
      f.oa_bits = bits;
      f.lpa2 = bits == 52 && F::base_shift != 16;
      f.fwb = options & 1;
      f.dbm = options & 2;
      f.xnx = options & 4;
      f.contiguous = options & 8;
      check_round_trips(f, random);
    }
  }
}
}

}  // namespace quire::tests
