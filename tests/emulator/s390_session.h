// Spaces for the s390 emulators, and a run of requests that say what has to come of each.
#pragma once

#include <doctest/doctest.h>
#include <fmt/format.h>

#include <cstring>
#include <memory>

#include "tests/emulator/emulator.h"
#include "tests/emulator/s390/layout.h"
#include "tests/support/guest.h"

namespace quire::tests {

struct s390_machine {
  const char* name;
  emulator run;
  bool edat;                ///< EDAT-1
  bool iep;                 ///< instruction-execution protection
  bool told_by_protection;  ///< a protection exception too says in TEID bits 52 and 53 whether it was a store
  bool condition_codes;     ///< LRA tells condition codes 1 and 2 from 3
};

inline constexpr s390_machine s390_machines[] = {{"qemu s390x", run_qemu_s390x, false, true, true, false},
                                                 {"hercules", run_hercules, true, false, false, true}};
inline constexpr std::uint64_t s390_landings = 0x1000'0000;  // 64 MiB of them

inline arch::dat space_format(const s390_machine& m, arch::dat::top asce) {
  arch::dat f;
  f.asce = asce;
  f.edat = m.edat;
  f.iep = m.iep;
  return f;
}

// Indexes 3, 5, 7, 9 and 11 of the five tables.
inline constexpr std::uint64_t page = 3ull << 53 | 5ull << 42 | 7ull << 31 | 9ull << 20 | 11ull << 12;
/// An address whose walk differs from that of `page` at `level` for the first time.
constexpr std::uint64_t beside(unsigned level) {
  constexpr unsigned shift[] = {12, 20, 31, 42, 53};
  return page + (std::uint64_t{1} << shift[level]);
}
// [pop] "Program Interruption".
inline constexpr std::uint64_t protection = 0x04, specification = 0x12, asce_type = 0x38;
/// Page, segment, region-third, region-second, region-first translation.
inline constexpr std::uint64_t hole_code[] = {0x11, 0x10, 0x3b, 0x3a, 0x39};
// [pop] "Suppression on Protection": TEID bit 61, and 56 with it where execution is what is forbidden.
inline constexpr std::uint64_t by_dat = 0x4, by_iep = 0x84;

/// A space of the runtime's. Where its entries lie is found here from the manual, without the code under
/// test.
class dat_space {
 public:
  dat_space(const arch::dat& f, unsigned number) : base_(0x3000'0000 + (std::uint64_t{number} << 24)) {
    guest_ = make_guest(f, {.cpus = 1, .base = base_, .sink_writes_entries = true});
    REQUIRE(guest_);
    asce_ = f.root_register(guest_->s().root);
  }
  std::uint64_t asce() const { return asce_; }
  void map(std::uint64_t address, std::uint64_t to, perm access, unsigned level = 0) {
    const gfn_range r{gfn{address >> 12}, level ? 256u : 1u};
    REQUIRE(guest_->m().map_exact(guest_->state(), r, hfn{to >> 12}, {access, 0, 0}, level) == status::ok);
  }
  /// Physical address of the entry for `address`, `level` steps above a page-table entry. [pop] "Translation
  /// Process".
  std::uint64_t entry(std::uint64_t address, unsigned level) {
    constexpr unsigned shift[] = {12, 20, 31, 42, 53};
    std::uint64_t table = asce_ & ~std::uint64_t{0xfff};
    for (unsigned at = (asce_ >> 2 & 3) + 1;; --at) {
      const std::uint64_t slot = table + 8 * (address >> shift[at] & (at ? 0x7ff : 0xff));
      if (at == level) return slot;
      table = word(slot) & (at == 1 ? ~std::uint64_t{0x7ff} : ~std::uint64_t{0xfff});
    }
  }
  std::uint64_t word(std::uint64_t physical) {
    std::uint64_t w = 0;
    REQUIRE(physical - base_ < guest_->table_memory().size());
    std::memcpy(&w, guest_->table_memory().data() + (physical - base_), 8);
    return __builtin_bswap64(w);
  }
  memory_blob memory() {
    const auto bytes = guest_->table_memory();
    return {base_, {reinterpret_cast<const char*>(bytes.data()), bytes.size()}};
  }

 private:
  const std::uint64_t base_;
  std::unique_ptr<guest_base> guest_;
  std::uint64_t asce_ = 0;
};

/// Requests in order, each with its answer and the line of the test that asks; check() runs them.
class dat_session {
 public:
  explicit dat_session(const s390_machine& m) : m_(m) {}

  void use(std::uint64_t asce, unsigned line = __builtin_LINE()) {
    command(s390::op::load_asce, {asce}, line);
  }
  void poke(std::uint64_t physical, std::uint64_t word, unsigned line = __builtin_LINE()) {
    ask({probe::poke, {physical, word}}, {true}, 0, line);
  }
  void command(s390::op o, std::initializer_list<std::uint64_t> operands = {},
               unsigned line = __builtin_LINE()) {
    ask(request_of(o, operands), {true}, 0, line);
  }
  /// The storage key of a frame is `key`.
  void key(std::uint64_t physical, std::uint64_t key, unsigned line = __builtin_LINE()) {
    ask(request_of(s390::op::key, {physical}), {true, key}, value, line);
  }
  void peek(std::uint64_t physical, std::uint64_t word, unsigned line = __builtin_LINE()) {
    ask({probe::peek, {physical}}, {true, word}, value, line);
  }
  /// RESET REFERENCE BIT EXTENDED finds condition code `cc`.
  void reset_reference(std::uint64_t physical, std::uint64_t cc, unsigned line = __builtin_LINE()) {
    ask(request_of(s390::op::reset_reference, {physical}), {true, 0, {cc, 0}}, code, line);
  }
  void reaches(probe p, std::uint64_t address, std::uint64_t physical, unsigned line = __builtin_LINE()) {
    ask({p, {address, physical}}, {true, p == probe::fetch ? 0 : physical}, value, line);
  }
  /// `extra`: bits of the TEID beside the address, the space, and fetch or store.
  void faults(probe p, std::uint64_t address, std::uint64_t interruption, std::uint64_t extra = 0,
              unsigned line = __builtin_LINE()) {
    constexpr std::uint64_t secondary = 2, home = 3, store = 0x400, fetch = 0x800;
    const bool told = interruption != protection || m_.told_by_protection;
    const std::uint64_t indication = !told ? 0 : p == probe::write ? store : fetch;
    const std::uint64_t teid = address | indication | (p == probe::fetch ? home : secondary) | extra;
    // A translation-specification exception stores no TEID. [pop] "Assigned Storage Locations".
    ask({p, {address, s390_landings}}, {false, 0, {interruption, teid}},
        interruption == specification ? code : code | identification, line);
  }
  /// LOAD REAL ADDRESS gives condition code `cc` and `r1`.
  void lra(std::uint64_t address, std::uint64_t cc, std::uint64_t r1, unsigned line = __builtin_LINE()) {
    ask({probe::translate_read, {address}}, {cc == 0, cc == 0 ? r1 : 0, {cc, r1}},
        value | code | identification, line);
  }

  void check(std::initializer_list<dat_space*> spaces) {
    emulator_run run;
    for (dat_space* s : spaces) run.memory.push_back(s->memory());
    run.landings = {{s390_landings, 64u << 20}};
    run.registers = {{"asce", (*spaces.begin())->asce()}};
    run.requests = requests_;
    const emulator_result r = m_.run(run);
    REQUIRE_MESSAGE(r.error.empty(), r.error);
    for (std::size_t i = 0; i < wanted_.size(); ++i) compare(requests_[i], r.answers[i], wanted_[i]);
  }

 private:
  enum compared : unsigned { value = 1, code = 2, identification = 4 };
  struct wanted {
    answer is;
    unsigned what;
    unsigned line;
  };

  static request request_of(s390::op o, std::initializer_list<std::uint64_t> operands) {
    request r{probe::command, {static_cast<std::uint64_t>(o)}};
    std::uint64_t* at = r.operand;
    for (const std::uint64_t operand : operands) *++at = operand;
    return r;
  }
  void ask(const request& r, const answer& is, unsigned what, unsigned line) {
    requests_.push_back(r);
    wanted_.push_back({is, what, line});
  }
  void compare(const request& r, const answer& a, const wanted& w) const {
    const bool same = a.done == w.is.done && (!(w.what & value) || a.value == w.is.value) &&
                      (!(w.what & code) || a.detail[0] == w.is.detail[0]) &&
                      (!(w.what & identification) || a.detail[1] == w.is.detail[1]);
    CHECK_MESSAGE(same, fmt::format("{}, asked in line {}: kind {}, {:#x} {:#x} {:#x}: done {}, value {:#x}, "
                                    "{:#x} {:#x}; expected {}, "
                                    "{:#x}, {:#x} {:#x}",
                                    m_.name, w.line, static_cast<unsigned>(r.what), r.operand[0],
                                    r.operand[1], r.operand[2], a.done, a.value, a.detail[0], a.detail[1],
                                    w.is.done, w.is.value, w.is.detail[0], w.is.detail[1]));
  }

  const s390_machine& m_;
  std::vector<request> requests_;
  std::vector<wanted> wanted_;
};

}  // namespace quire::tests
