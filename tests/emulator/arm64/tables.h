// Tables of arm64 stage 2 for tests that look at single entries and at fault codes, and what the manual says
// of them.
#pragma once

#include <doctest/doctest.h>

#include <cstring>

#include "tests/emulator/arm64/layout.h"
#include "tests/emulator/emulator.h"
#include "tests/support/guest.h"

namespace quire::tests::arm64 {

inline constexpr std::uint64_t table_base = 0x5000'0000;  ///< a multiple of 1 MiB
inline constexpr landing_area landing{0x8000'0000, 0x10000};

/// A guest of 4K, 16K or 64K granule whose tables QEMU runs.
struct shape {
  std::string name;
  any_format format;
  /// log2 of the bytes that an entry covers, from pages up: written down, so that the code under test has no
  /// part in what is expected. The manual's level of slot_bits[i] is 3 - i.
  std::vector<unsigned> slot_bits;
  unsigned leaf_levels;  ///< how many of them, from pages up, may hold leaves
  unsigned ipa_bits;
};

template <class F>
F stage2_of(unsigned ipa_bits, unsigned oa_bits = 48, bool lpa2 = false) {
  F f;
  f.ipa_bits = ipa_bits;
  f.oa_bits = oa_bits;
  f.lpa2 = lpa2;
  return f;
}

/// The bits of an address inside a leaf of `bits` (log2 of its bytes).
constexpr std::uint64_t inside_bits(unsigned bits) { return (std::uint64_t{1} << bits) - 1; }
/// The output of a leaf that holds the landing area, and the address that reaches it if the leaf is at `ipa`.
constexpr hfn leaf_to_landing(unsigned bits) {
  return {(landing.address & ~inside_bits(bits)) >> arch::page_shift};
}
constexpr std::uint64_t landing_in(std::uint64_t ipa, unsigned bits) {
  return ipa + (landing.address & inside_bits(bits));
}

/// Guest address of the n-th entry of a level, in the tables that begin at guest address 0.
inline std::uint64_t nth(const shape& s, unsigned level, std::uint64_t n) { return n << s.slot_bits[level]; }

/// A guest and the registers that belong to its tables.
class tables {
 public:
  explicit tables(const any_format& f, std::uint64_t base = table_base)
      : base_(base), guest_(make_guest(f, {.cpus = 1, .base = base})) {
    REQUIRE(guest_);
    const auto registers = [this](const auto& format) {
      if constexpr (requires { format.control_register(); }) {
        vttbr = format.root_register(guest_->s().root);
        vtcr = format.control_register();
      }
    };
    std::visit(registers, f);
  }
  guest_base& g() { return *guest_; }
  void map(std::uint64_t ipa, unsigned level, hfn out, attributes a) {
    const gfn_range r{gfn{ipa >> arch::page_shift}, guest_->s().shape.slot_pages(level)};
    REQUIRE(guest_->m().map_exact(guest_->state(), r, out, a, level) == status::ok);
  }
  /// Physical address of the entry of `level` on the walk for `ipa`.
  std::uint64_t entry_address(const shape& s, std::uint64_t ipa, unsigned level) {
    // Root tables follow each other, so that the index into them has no upper bound.
    std::uint64_t at = guest_->s().root.byte + 8 * (ipa >> s.slot_bits.back());
    for (auto l = static_cast<unsigned>(s.slot_bits.size()) - 1; l > level; --l) {
      const std::uint64_t table = word(at) & 0xffff'ffff'f000;  // within RAM, so without bits 51:48
      at = table + 8 * (ipa >> s.slot_bits[l - 1] & inside_bits(s.slot_bits[l] - s.slot_bits[l - 1]));
    }
    return at;
  }
  std::uint64_t word(std::uint64_t address) {
    std::uint64_t value = 0;
    std::memcpy(&value, guest_->table_memory().data() + (address - base_), sizeof value);
    return value;
  }
  void set_word(std::uint64_t address, std::uint64_t value) {
    std::memcpy(guest_->table_memory().data() + (address - base_), &value, sizeof value);
  }
  memory_blob memory() {
    const auto all = guest_->table_memory();
    return {base_, {reinterpret_cast<const char*>(all.data()), all.size()}};
  }
  emulator_run start() { return {{memory()}, {landing}, {{"vttbr_el2", vttbr}, {"vtcr_el2", vtcr}}, {}}; }

  std::uint64_t vttbr = 0, vtcr = 0;

 private:
  const std::uint64_t base_;
  std::unique_ptr<guest_base> guest_;
};

inline std::vector<answer> answers_of(const emulator_run& run) {
  const emulator_result r = run_qemu_arm64(run);
  REQUIRE_MESSAGE(r.error.empty(), r.error);
  return r.answers;
}

inline request read(std::uint64_t ipa, std::uint64_t el0 = 0) { return {probe::read, {ipa, 0, el0}}; }
inline request write(std::uint64_t ipa, std::uint64_t el0 = 0) {
  return {probe::write, {ipa, landing.address, el0}};
}
inline request fetch(std::uint64_t ipa, std::uint64_t el0 = 0) { return {probe::fetch, {ipa, 0, el0}}; }
inline request poke(std::uint64_t address, std::uint64_t value) { return {probe::poke, {address, value}}; }
inline request load(std::uint64_t vttbr, std::uint64_t vtcr) {
  return {probe::command, {static_cast<std::uint64_t>(command::load_tables), vttbr, vtcr}};
}

/// [armarm] "ISS encoding for an exception from a Data Abort", "... from an Instruction Abort": DFSC, IFSC.
enum fault_code : std::uint64_t {
  address_size = 0x00,
  translation = 0x04,
  access_flag = 0x08,
  permission = 0x0c
};

/// ESR_EL2 of the payload's accesses. EC 0x24, data abort: IL, ISV, SAS 3 (8 bytes), SF, SRT x0 for the load;
/// x1 and WnR for the store. EC 0x20, instruction abort: IL.
inline std::uint64_t syndrome(probe p, fault_code code, unsigned level) {
  const std::uint64_t base = p == probe::read ? 0x93c0'8000 : p == probe::write ? 0x93c1'8040 : 0x8200'0000;
  return base | code | (3 - level);
}
/// PAR_EL1 of a translation that stage 2 refuses: bit 11 is RES1, S, FST, F.
constexpr std::uint64_t refused(fault_code code, unsigned level) { return 0xa01 | (code | (3 - level)) << 1; }
/// HPFAR_EL2: bits 43:4 are bits 51:12 of the address.
constexpr std::uint64_t fault_page(std::uint64_t ipa) { return ipa >> 12 << 4; }

}  // namespace quire::tests::arm64
