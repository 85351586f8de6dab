// Levels and root tables of stage-2 spaces of every size, and the registers that say so.
#include <doctest/doctest.h>

#include "arch/arm64/stage2.h"
#include "arch/geometry.h"

namespace quire::tests {

using arch::stage2_16k;
using arch::stage2_4k;
using arch::stage2_64k;

namespace {

template <class F>
F of_size(unsigned ipa_bits, unsigned oa_bits) {
  F f;
  f.ipa_bits = ipa_bits;
  f.oa_bits = oa_bits;
  f.lpa2 = F::base_shift != 16 && (ipa_bits > 48 || oa_bits > 48);
  return f;
}

/// Input sizes that share a start level, as the manual numbers it.
struct start {
  unsigned first_bits, last_bits;
  unsigned level;
  unsigned SL0;
  unsigned one_table_bits;  ///< input size that one root table resolves
};

template <class F>
void check_starts(std::initializer_list<start> starts) {
  constexpr unsigned stride = F::base_shift - 3;
  unsigned next = 32;
  for (const start& s : starts) {
    REQUIRE(s.first_bits == next);
    for (unsigned bits = s.first_bits; bits <= s.last_bits; ++bits) {
      CAPTURE(bits);
      const auto f = of_size<F>(bits, bits > 48 ? 52 : 48);
      const auto g = arch::geometry_of(f);
      const std::uint32_t roots = bits > s.one_table_bits ? 1u << (bits - s.one_table_bits) : 1;
      CHECK(g.levels == 4 - s.level);
      CHECK((f.control_register() >> 6 & 3) == s.SL0);
      CHECK((f.control_register() & 63) == 64 - bits);
      CHECK(roots <= 16);
      CHECK(g.table_bytes[g.top()] == roots << F::base_shift);
      CHECK(g.entries(g.top()) == std::uint64_t{1} << (bits - s.one_table_bits + stride));
      CHECK(g.input_pages == std::uint64_t{1} << (bits - 12));
      for (unsigned level = 0; level < g.top(); ++level) {
        CHECK(g.table_bytes[level] == 1u << F::base_shift);
        CHECK(g.entries(level) == 1u << stride);
      }
      // One level less would need more than 16 tables.
      CHECK(bits > F::base_shift + (g.levels - 1) * stride + 4);
    }
    next = s.last_bits + 1;
  }
  CHECK(next == 53);
}

}  // namespace

TEST_SUITE("stage2_shape") {
TEST_CASE("4K: the start level is the lowest that at most 16 root tables allow") {
  check_starts<stage2_4k>({{32, 34, 2, 0, 30}, {35, 43, 1, 1, 39}, {44, 52, 0, 2, 48}});
}
TEST_CASE("16K: the start level is the lowest that at most 16 root tables allow") {
  check_starts<stage2_16k>({{32, 40, 2, 1, 36}, {41, 51, 1, 2, 47}, {52, 52, 0, 3, 58}});
}
TEST_CASE("64K: the start level is the lowest that at most 16 root tables allow") {
  check_starts<stage2_64k>({{32, 33, 3, 0, 29}, {34, 46, 2, 1, 42}, {47, 52, 1, 2, 55}});
}
TEST_CASE("slots of each level") {
  const auto small = arch::geometry_of(of_size<stage2_4k>(48, 48));
  CHECK(small.slot_pages(0) == 1);
  CHECK(small.slot_pages(1) == 0x200);
  CHECK(small.slot_pages(2) == 0x40000);
  CHECK(small.slot_pages(3) == 0x8000000);
  const auto middle = arch::geometry_of(of_size<stage2_16k>(52, 52));
  CHECK(middle.slot_pages(0) == 4);
  CHECK(middle.slot_pages(1) == 0x2000);
  CHECK(middle.slot_pages(2) == 0x1000000);
  CHECK(middle.slot_pages(3) == 0x800000000);
  const auto large = arch::geometry_of(of_size<stage2_64k>(52, 52));
  CHECK(large.slot_pages(0) == 0x10);
  CHECK(large.slot_pages(1) == 0x20000);
  CHECK(large.slot_pages(2) == 0x40000000);
  CHECK(large.output_pages == 0x10000000000);
}
TEST_CASE("a root table smaller than a group of contiguous entries has no groups") {
  auto f = of_size<stage2_4k>(35, 48);  // 32 root entries
  f.contiguous = true;
  CHECK(arch::geometry_of(f).group_bits[2] == 4);
  auto large = of_size<stage2_64k>(34, 48);  // 32 root entries of level 1
  large.contiguous = true;
  CHECK(arch::geometry_of(large).group_bits[1] == 5);
  auto middle = of_size<stage2_16k>(32, 48);  // 128 root entries of level 1
  middle.contiguous = true;
  CHECK(arch::geometry_of(middle).group_bits[1] == 5);
  CHECK(arch::geometry_of(middle).group_bits[0] == 7);
}
TEST_CASE("VTCR_EL2: size, start level, granule, output size; walks inner-shareable and write-back") {
  CHECK(of_size<stage2_4k>(40, 48).control_register() == 0x80053558);
  CHECK(of_size<stage2_4k>(48, 48).control_register() == 0x80053590);
  CHECK(of_size<stage2_4k>(32, 36).control_register() == 0x80013520);
  CHECK(of_size<stage2_4k>(42, 42).control_register() == 0x80033556);
  CHECK(of_size<stage2_4k>(44, 44).control_register() == 0x80043594);
  CHECK(of_size<stage2_4k>(52, 52).control_register() == 0x18006358c);
  CHECK(of_size<stage2_16k>(40, 40).control_register() == 0x8002b558);
  CHECK(of_size<stage2_16k>(52, 52).control_register() == 0x18006b5cc);
  CHECK(of_size<stage2_64k>(32, 32).control_register() == 0x80007520);
  CHECK(of_size<stage2_64k>(48, 48).control_register() == 0x80057590);
  CHECK(of_size<stage2_64k>(52, 52).control_register() == 0x8006758c);
}
TEST_CASE("VTCR_EL2: VS is bit 19 for 16-bit VMIDs, HA and HD are bits 21 and 22") {
  auto f = of_size<stage2_4k>(40, 48);
  f.vmid = 255;
  CHECK(f.control_register() == 0x80053558);
  f.vmid = 256;
  CHECK(f.control_register() == 0x800d3558);
  f.dbm = true;
  CHECK(f.control_register() == 0x806d3558);
  f.fwb = f.contiguous = f.xnx = true;  // not in VTCR_EL2
  CHECK(f.control_register() == 0x806d3558);
}
TEST_CASE("VTTBR_EL2 is VMID 63:48 | BADDR, whose bits 51:48 are bits 5:2 where the output has 52 bits") {
  auto f = of_size<stage2_4k>(40, 48);
  CHECK(f.root_register({0x41000}) == 0x0001000000041000);
  f.vmid = 0xabcd;
  CHECK(f.root_register({0xfffffffff000}) == 0xabcdfffffffff000);
  CHECK(of_size<stage2_4k>(52, 52).root_register({0xf000000050000}) == 0x000100000005003c);
  CHECK(of_size<stage2_16k>(52, 52).root_register({0x5000000050000}) == 0x0001000000050014);
  CHECK(of_size<stage2_64k>(40, 52).root_register({0xa000000050000}) == 0x0001000000050028);
}
}

}  // namespace quire::tests
