// QEMU arm64, feature by feature: fault codes, A and D that it sets, FWB, XNX, root shapes and block sizes.
#include <doctest/doctest.h>

#include <algorithm>

#include "tests/emulator/arm64/script.h"
#include "tests/emulator/arm64/status_pages.h"
#include "tests/emulator/arm64/sweep.h"

namespace quire::tests {

using namespace arm64;
using arch::stage2_16k;
using arch::stage2_4k;
using arch::stage2_64k;

namespace {

constexpr std::uint64_t vtcr_HA = 1u << 21, vtcr_HD = 1u << 22;
constexpr std::uint64_t AF = 1u << 10, S2AP_W = 1u << 7, DBM = std::uint64_t{1} << 51;

std::vector<shape> shapes(bool dbm) {
  auto four = stage2_of<stage2_4k>(48), four_lpa2 = stage2_of<stage2_4k>(52, 52, true);
  auto sixteen = stage2_of<stage2_16k>(47), sixteen_lpa2 = stage2_of<stage2_16k>(51, 52, true);
  auto large = stage2_of<stage2_64k>(48), large_52 = stage2_of<stage2_64k>(52, 52),
       large_33 = stage2_of<stage2_64k>(33);
  four.dbm = four_lpa2.dbm = sixteen.dbm = sixteen_lpa2.dbm = large.dbm = large_52.dbm = large_33.dbm = dbm;
  return {{"4k 48", four, {12, 21, 30, 39}, 3, 48},        {"4k 52 lpa2", four_lpa2, {12, 21, 30, 39}, 4, 52},
          {"16k 47", sixteen, {14, 25, 36}, 2, 47},        {"16k 51 lpa2", sixteen_lpa2, {14, 25, 36}, 3, 51},
          {"64k 48", large, {16, 29, 42}, 2, 48},          {"64k 52", large_52, {16, 29, 42}, 3, 52},
          {"64k 33, start level 3", large_33, {16}, 1, 33}};
}

}  // namespace

TEST_SUITE("emulator") {
TEST_CASE("arm64: a hole at any level of the walk is a translation fault of that level, at that page") {
  for (const shape& sh : shapes(false)) {
    CAPTURE(sh.name);
    tables t(sh.format);
    t.map(0, 0, leaf_to_landing(sh.slot_bits[0]), {perm::rwx});
    script s(t);
    for (const request& r : {read(0), write(0), fetch(0)}) s.succeeds(r);
    for (unsigned level = 0; level < sh.slot_bits.size(); ++level) {
      for (const std::uint64_t ipa : {nth(sh, level, 1), nth(sh, level, 2) - 0x1000})
        all_fault(s, ipa, translation, level);
    }
    // Beyond the input size the manual has the fault at its level 0, whatever the start level.
    if (sh.ipa_bits < 52) all_fault(s, std::uint64_t{1} << sh.ipa_bits, translation, 3);
    s.check();
  }
}

TEST_CASE("arm64: leaves of every size allow what they say; else a permission fault of their level") {
  constexpr perm kinds[] = {perm::none, perm::r,  perm::w,           perm::rw,
                            perm::x,    perm::rx, perm::w | perm::x, perm::rwx};
  for (const shape& sh : shapes(false)) {
    CAPTURE(sh.name);
    tables t(sh.format);
    for (unsigned level = 0; level < sh.leaf_levels; ++level) {
      for (unsigned k = 1; k < 8; ++k)
        t.map(nth(sh, level, k), level, leaf_to_landing(sh.slot_bits[level]), {kinds[k]});
    }
    script s(t);
    for (unsigned level = 0; level < sh.leaf_levels; ++level) {
      for (unsigned k = 1; k < 8; ++k) {
        const std::uint64_t ipa = landing_in(nth(sh, level, k), sh.slot_bits[level]);
        const request each[] = {read(ipa), write(ipa), fetch(ipa)};
        for (unsigned access = 0; access < 3; ++access) {
          if (k >> access & 1)
            s.succeeds(each[access]);
          else
            s.faults(each[access], syndrome(each[access].what, permission, level));
        }
        if (!(k & 1)) s.faults({probe::translate_read, {ipa}}, refused(permission, level));
        if (!(k & 2)) s.faults({probe::translate_write, {ipa}}, refused(permission, level));
      }
    }
    s.check();
  }
}

TEST_CASE("arm64: without HA a leaf without AF is an access-flag fault; a clean one without HD, no write") {
  for (const shape& sh : shapes(true)) {
    CAPTURE(sh.name);
    tables t(sh.format);
    REQUIRE((t.vtcr & (vtcr_HA | vtcr_HD)) == (vtcr_HA | vtcr_HD));
    for (unsigned level = 0; level < sh.leaf_levels; ++level) {
      t.map(nth(sh, level, 1), level, leaf_to_landing(sh.slot_bits[level]), {perm::rwx});
      t.map(nth(sh, level, 2), level, leaf_to_landing(sh.slot_bits[level]), {perm::w});
    }
    script s(t);
    const auto at = [&](unsigned level, unsigned n) {
      return landing_in(nth(sh, level, n), sh.slot_bits[level]);
    };
    s.succeeds(load(t.vttbr, t.vtcr & ~(vtcr_HA | vtcr_HD)));
    for (unsigned level = 0; level < sh.leaf_levels; ++level) {
      all_fault(s, at(level, 1), access_flag, level);
      all_fault(s, at(level, 2), access_flag, level);  // comes before permission
    }
    s.succeeds(load(t.vttbr, t.vtcr & ~vtcr_HD));
    for (unsigned level = 0; level < sh.leaf_levels; ++level) {
      s.succeeds(read(at(level, 1)));
      s.faults(write(at(level, 1)), syndrome(probe::write, permission, level));
    }
    s.succeeds(load(t.vttbr, t.vtcr));
    for (unsigned level = 0; level < sh.leaf_levels; ++level) {
      for (const request& r :
           {read(at(level, 1)), write(at(level, 1)), fetch(at(level, 1)), write(at(level, 2))})
        s.succeeds(r);
      s.faults(read(at(level, 2)), syndrome(probe::read, permission, level));
    }
    s.check();
  }
}

TEST_CASE("arm64: an output beyond oa_bits is an address-size fault, in a leaf and in a table entry") {
  // QEMU wants VTCR_EL2.PS to be no smaller than the input size.
  for (const unsigned bits : {32u, 36u, 40u, 42u, 44u}) {
    CAPTURE(bits);
    const unsigned levels = bits == 32 ? 2 : bits == 44 ? 4 : 3;
    std::vector<unsigned> slots{12, 21, 30, 39};
    slots.resize(levels);
    const shape sh{"4k", stage2_of<stage2_4k>(bits, bits), slots, std::min(levels, 3u), bits};
    tables t(sh.format);
    const std::uint64_t top = std::uint64_t{1} << bits;
    for (unsigned level = 0; level < sh.leaf_levels; ++level) {
      t.map(nth(sh, level, 1), level, hfn{(top - nth(sh, level, 1)) >> 12}, {perm::rwx});
    }
    script s(t);
    for (unsigned level = 0; level < sh.leaf_levels; ++level) {
      s.succeeds({probe::translate_read, {nth(sh, level, 1)}});
      const std::uint64_t entry = t.entry_address(sh, nth(sh, level, 1), level);
      s.succeeds(poke(entry, t.word(entry) + nth(sh, level, 1)));  // the address is now 1 << bits
      all_fault(s, nth(sh, level, 1), address_size, level);
    }
    for (unsigned level = 1; level < levels; ++level) {  // every table on the way to page 1, from below
      const std::uint64_t entry = t.entry_address(sh, 0x1000, level);
      s.succeeds(poke(entry, t.word(entry) | top));
      all_fault(s, 0x1000, address_size, level);
    }
    s.check();
  }
}

TEST_CASE("arm64: hardware sets AF on access and S2AP[1] on a write; harvest reports just that") {
  for (const shape& sh : shapes(true)) {
    CAPTURE(sh.name);
    status_pages p(sh);
    const auto before = p.in_memory();
    const auto after = p.peeked({});
    std::vector<harvested> expected;
    for (unsigned i = 0; i < before.size(); ++i) {
      CAPTURE(i);
      const unsigned n = i % 6;
      CHECK((before[i] & (AF | S2AP_W | DBM)) == (n == 5 ? 0 : DBM));
      const bool written = n == 2 || n == 4;
      if (n < 5) CHECK(after[i] == (before[i] | (n > 0 ? AF : 0) | (written ? S2AP_W : 0)));
      if (n == 5) CHECK((after[i] & ~AF) == before[i]);  // refused: AF is left open, dirty it is not
      if (after[i] & AF) expected.push_back({p.ipa(i / 6, n), true, written});
    }
    std::sort(expected.begin(), expected.end());
    p.set_words(after);
    CHECK(p.harvest() == expected);
    CHECK(p.in_memory() == before);
    // Done again, the same accesses leave the same marks: but only if the flush of the harvest was executed.
    auto again = p.harvest_requests();
    CHECK(p.peeked(again) == after);
    std::erase_if(again, [](const request& r) { return r.what == probe::command; });
    const auto stale = p.peeked(again);  // of pages alone: QEMU keeps few pieces of blocks
    CHECK(std::equal(before.begin(), before.begin() + 6, stale.begin()));
  }
}

TEST_CASE("arm64: a group of contiguous leaves is harvested as one, whichever of them hardware marked") {
  auto f = stage2_of<stage2_4k>(48);
  f.dbm = f.contiguous = true;
  const shape sh{"4k 48", f, {12, 21, 30, 39}, 3, 48};
  tables t(f);
  guest_base& g = t.g();
  REQUIRE(g.m().map(g.state(), {gfn{0}, 48}, leaf_to_landing(12), {perm::rwx}, 0) == status::ok);
  emulator_run run = t.start();
  run.requests = {read(0x5000), write(0x19000)};  // in the first and in the second group
  for (std::uint64_t i = 0; i < 48; ++i)
    run.requests.push_back({probe::peek, {t.entry_address(sh, i * 0x1000, 0)}});
  const auto answers = answers_of(run);
  for (std::uint64_t i = 0; i < 48; ++i) {
    const std::uint64_t entry = t.entry_address(sh, i * 0x1000, 0);
    const std::uint64_t marks = i == 5 ? AF : i == 25 ? AF | S2AP_W : 0;  // QEMU marks the very leaf
    CHECK(answers[2 + i].value == (0x0018'0000'8000'037f | i << 12 | marks));
    t.set_word(entry, answers[2 + i].value);
  }
  using runtime::harvest;
  REQUIRE(g.m().harvest_status(g.state(), {gfn{0}, 48}, harvest::accessed | harvest::dirty) == status::ok);
  REQUIRE(g.reports.size() == 2);
  for (std::uint64_t i = 0; i < 2; ++i) {
    CHECK(g.reports[i].range == gfn_range{gfn{16 * i}, 16});
    CHECK(g.reports[i].accessed);
    CHECK(g.reports[i].dirty == (i == 1));
  }
}

TEST_CASE("arm64: with FEAT_XNX each of the four XN values lets EL1 and EL0 fetch as it says") {
  constexpr struct {
    std::uint64_t xn;
    perm access;
    bool el1, el0;
  } kinds[] = {{0, perm::rwx | perm::ux, true, true},
               {1, perm::rw | perm::ux, false, true},
               {2, perm::rw, false, false},
               {3, perm::rwx, true, false}};
  for (shape sh : shapes(false)) {
    CAPTURE(sh.name);
    const auto set_xnx = [](auto& f) {
      if constexpr (requires { f.xnx; }) f.xnx = true;
    };
    std::visit(set_xnx, sh.format);
    tables t(sh.format);
    for (unsigned level = 0; level < sh.leaf_levels; ++level) {
      for (unsigned k = 0; k < 4; ++k) {
        t.map(nth(sh, level, k + 1), level, leaf_to_landing(sh.slot_bits[level]), {kinds[k].access});
      }
    }
    script s(t);
    for (unsigned level = 0; level < sh.leaf_levels; ++level) {
      for (unsigned k = 0; k < 4; ++k) {
        CHECK((t.word(t.entry_address(sh, nth(sh, level, k + 1), level)) >> 53 & 3) == kinds[k].xn);
        const std::uint64_t ipa = landing_in(nth(sh, level, k + 1), sh.slot_bits[level]);
        for (const std::uint64_t el0 : {std::uint64_t{0}, at_el0}) {
          if (el0 ? kinds[k].el0 : kinds[k].el1)
            s.succeeds(fetch(ipa, el0));
          else
            s.faults(fetch(ipa, el0), syndrome(probe::fetch, permission, level));
          s.succeeds(read(ipa, el0));
          s.succeeds(write(ipa, el0));
        }
      }
    }
    s.faults(read(nth(sh, 0, 5), at_el0), syndrome(probe::read, translation, 0), fault_page(nth(sh, 0, 5)));
    s.check();
  }
}

TEST_CASE("arm64: with FWB a page is write-back whatever stage 1 says; without FWB its bits are not") {
  auto f = stage2_of<stage2_4k>(40);
  f.fwb = true;
  tables t(f);
  for (std::uint8_t type = 0; type < 3; ++type) {
    for (unsigned level = 0; level < 3; ++level)
      t.map(std::uint64_t{type + 1u} << (12 + 9 * level), level, hfn{0}, {perm::rw, type});
  }
  constexpr std::uint64_t RW_VM = 1u << 31 | 1, DC = 1u << 12, FWB = std::uint64_t{1} << 46;
  // Of two device types the manual takes the stricter one; QEMU takes that of stage 2.
  constexpr std::uint64_t open = 0xfff;
  constexpr struct {
    std::uint64_t hcr, attr[3];
  } cases[] = {{RW_VM | DC | FWB, {0xff, 0x44, 0x04}},  // stage 1: Normal write-back
               {RW_VM | FWB, {0xff, 0x00, open}},       // stage 1: Device-nGnRnE
               {RW_VM | DC, {0x4b, 0x44, 0x04}}};
  for (const auto& c : cases) {
    CAPTURE(c.hcr);
    emulator_run run = t.start();
    run.registers.emplace_back("hcr_el2", c.hcr);
    for (unsigned i = 0; i < 9; ++i)
      run.requests.push_back({probe::translate_read, {std::uint64_t{i % 3 + 1} << (12 + 9 * (i / 3))}});
    const auto answers = answers_of(run);
    for (unsigned i = 0; i < 9; ++i) {
      CAPTURE(i);
      CHECK(answers[i].done);
      if (c.attr[i % 3] != open) CHECK((answers[i].detail[0] >> 56) == c.attr[i % 3]);
    }
  }
}

TEST_CASE("arm64: each granule and input size of 32 to 52 bits translates as model and lookup say") {
  sweep all;
  for (unsigned bits = 32; bits <= 48; ++bits) {
    all.add(stage2_of<stage2_4k>(bits));
    all.add(stage2_of<stage2_16k>(bits));
    all.add(stage2_of<stage2_64k>(bits));
  }
  for (unsigned bits = 32; bits <= 52; ++bits) {
    all.add(stage2_of<stage2_4k>(bits, 52, true));
    if (bits < 52) all.add(stage2_of<stage2_16k>(bits, 52, true));  // QEMU refuses a start level 0 there
    all.add(stage2_of<stage2_64k>(bits, 52));
  }
  const std::string wrong = all.check();
  CHECK_MESSAGE(wrong.empty(), wrong);
  CHECK(all.hits() > 5000);
  CHECK(all.faults() > 2000);
  CHECK(all.roots() == (1 | 2 | 4 | 8 | 16));
  fmt::print("qemu arm64: input sizes: {} hits, {} faults\n", all.hits(), all.faults());
}

TEST_CASE("quirk: QEMU arm64 refuses a 16K start level 0, and an input larger than the output: all faults") {
  const shape refused_ones[] = {{"16k 52", stage2_of<stage2_16k>(52, 52, true), {14, 25, 36, 47}, 3, 52},
                                {"4k 40, output 36", stage2_of<stage2_4k>(40, 36), {12, 21, 30}, 3, 40}};
  for (const shape& sh : refused_ones) {
    CAPTURE(sh.name);
    tables t(sh.format);
    t.map(nth(sh, 0, 1), 0, leaf_to_landing(sh.slot_bits[0]), {perm::rwx});
    script s(t);
    all_fault(s, nth(sh, 0, 1), translation, 3);
    s.check();
  }
}
}

}  // namespace quire::tests
