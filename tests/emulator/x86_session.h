// Spaces for Bochs, and a run of requests that say what has to come of each.
#pragma once

#include <doctest/doctest.h>
#include <fmt/format.h>

#include <cstring>
#include <memory>

#include "tests/emulator/emulator.h"
#include "tests/emulator/x86/disk.h"
#include "tests/emulator/x86/stub.h"
#include "tests/support/guest.h"

namespace quire::tests {

inline constexpr std::uint64_t x86_landings = 0x800'0000;  // 32 MiB of them

/// A space of the runtime's. Where its entries lie is found here from the manual, without the code under
/// test.
class ept_space {
 public:
  explicit ept_space(unsigned number = 0, bool access_dirty = false)
      : base_(0x400'0000 + (std::uint64_t{number} << 22)) {
    arch::ept f;
    f.access_dirty = access_dirty;
    guest_ = make_guest(f, {.cpus = 1, .base = base_});
    REQUIRE(guest_);
    eptp_ = f.root_register(guest_->s().root);
    map(x86::stub_guest_address, x86::stub_frame_address, perm::rwx);
  }
  std::uint64_t eptp() const { return eptp_; }
  std::uint64_t base() const { return base_; }  ///< physical address of table memory
  guest_base& guest() { return *guest_; }
  void map(std::uint64_t address, std::uint64_t to, perm access, unsigned level = 0) {
    const gfn_range r{gfn{address >> 12}, std::uint64_t{1} << (9 * level)};
    REQUIRE(guest_->m().map_exact(guest_->state(), r, hfn{to >> 12}, {access, 0, 0}, level) == status::ok);
  }
  /// Physical address of the entry for `address`: 0 of a page table, 1 of a page directory and so on up to 3.
  /// [sdm3] "EPT Translation Mechanism".
  std::uint64_t entry(std::uint64_t address, unsigned level) {
    std::uint64_t table = eptp_;
    for (unsigned at = 3;; --at) {
      const std::uint64_t slot = (table & 0xf'ffff'ffff'f000) + 8 * (address >> (12 + 9 * at) & 0x1ff);
      if (at == level) return slot;
      table = word(slot);
    }
  }
  std::uint64_t word(std::uint64_t physical) {
    std::uint64_t w = 0;
    REQUIRE(physical - base_ < guest_->table_memory().size());
    std::memcpy(&w, guest_->table_memory().data() + (physical - base_), 8);
    return w;
  }
  memory_blob memory() {
    const auto bytes = guest_->table_memory();
    return {base_, {reinterpret_cast<const char*>(bytes.data()), bytes.size()}};
  }

 private:
  const std::uint64_t base_;
  std::unique_ptr<guest_base> guest_;
  std::uint64_t eptp_ = 0;
};

/// Requests in order, each with its answer and the line of the test that asks; check() runs them.
class ept_session {
 public:
  void use(const ept_space& s, unsigned line = __builtin_LINE()) {
    command(x86::run_command::load_eptp, {s.eptp()}, line);
  }
  void poke(std::uint64_t physical, std::uint64_t word, unsigned line = __builtin_LINE()) {
    ask({probe::poke, {physical, word}}, {true}, 0, line);
  }
  void peek(std::uint64_t physical, std::uint64_t word, unsigned line = __builtin_LINE()) {
    ask({probe::peek, {physical}}, {true, word}, value, line);
  }
  void command(x86::run_command c, std::initializer_list<std::uint64_t> operands,
               unsigned line = __builtin_LINE()) {
    ask(request_of(c, operands), {true}, 0, line);
  }
  /// The instruction fails with this VM-instruction error.
  void fails(x86::run_command c, std::initializer_list<std::uint64_t> operands, std::uint64_t error,
             unsigned line = __builtin_LINE()) {
    ask(request_of(c, operands), {false, 0, {error}}, reason, line);
  }
  void reaches(probe p, std::uint64_t address, std::uint64_t physical, unsigned line = __builtin_LINE()) {
    ask({p, {address, physical}}, {true, p == probe::fetch ? 0 : physical}, value, line);
  }
  /// Reads, stores `entry` at guest address `entry_address`, reads again, in one VM entry: the last read gets
  /// `physical`.
  void reads_around_store(std::uint64_t address, std::uint64_t entry_address, std::uint64_t entry,
                          std::uint64_t physical, unsigned line = __builtin_LINE()) {
    const request r = request_of(x86::run_command::read_poke_read, {address, entry_address, entry});
    ask(r, {true, physical}, value, line);
  }
  /// An EPT violation; `allowed` are the rights R = 1, W = 2, X = 4 that the path grants.
  void violates(probe p, std::uint64_t address, std::uint64_t allowed, unsigned line = __builtin_LINE()) {
    // [sdm3] "Exit Qualification for EPT Violations": 7 the linear address is valid, 8 it was translated.
    const std::uint64_t access = p == probe::read ? 1 : p == probe::write ? 2 : 4;
    ask({p, {address}}, {false, fault_address(p, address), {48, 0x180 | allowed << 3 | access}},
        value | reason | qualification, line);
  }
  void misconfigured(probe p, std::uint64_t address, unsigned line = __builtin_LINE()) {
    ask({p, {address}}, {false, fault_address(p, address), {49}}, value | reason, line);
  }

  /// @return the answers, all of them checked
  std::vector<answer> check(std::initializer_list<ept_space*> spaces) {
    emulator_run run;
    for (ept_space* s : spaces) run.memory.push_back(s->memory());
    run.landings = {{x86_landings, 32u << 20}};
    run.registers = {{"eptp", (*spaces.begin())->eptp()}};
    run.requests = requests_;
    emulator_result r = run_bochs(run);
    REQUIRE_MESSAGE(r.error.empty(), r.error);
    for (std::size_t i = 0; i < wanted_.size(); ++i) compare(requests_[i], r.answers[i], wanted_[i]);
    return std::move(r.answers);
  }
  /// Asks for a word, whatever it is. @return which of the answers it is
  std::size_t peek_any(std::uint64_t physical, unsigned line = __builtin_LINE()) {
    ask({probe::peek, {physical}}, {true}, 0, line);
    return requests_.size() - 1;
  }

 private:
  enum compared : unsigned { value = 1, reason = 2, qualification = 4 };
  // The others, 6 and 9 and above, depend on what the CPU has.
  static constexpr std::uint64_t defined_qualification = 0x1bf;
  struct wanted {
    answer is;
    unsigned what;
    unsigned line;
  };

  /// A write stores behind the frame's first word.
  static std::uint64_t fault_address(probe p, std::uint64_t address) {
    return address + (p == probe::write ? 8 : 0);
  }
  static request request_of(x86::run_command c, std::initializer_list<std::uint64_t> operands) {
    request r{probe::command, {static_cast<std::uint64_t>(c)}};
    std::uint64_t* at = r.operand;
    for (const std::uint64_t o : operands) *++at = o;
    return r;
  }
  void ask(const request& r, const answer& is, unsigned what, unsigned line) {
    requests_.push_back(r);
    wanted_.push_back({is, what, line});
  }
  static void compare(const request& r, const answer& a, const wanted& w) {
    const bool same = a.done == w.is.done && (!(w.what & value) || a.value == w.is.value) &&
                      (!(w.what & reason) || a.detail[0] == w.is.detail[0]) &&
                      (!(w.what & qualification) || (a.detail[1] & defined_qualification) == w.is.detail[1]);
    CHECK_MESSAGE(
        same,
        fmt::format(
            "asked in line {}: kind {}, {:#x} {:#x} {:#x}: done {}, value {:#x}, {:#x} {:#x}; expected {}, "
            "{:#x}, {:#x} {:#x}",
            w.line, static_cast<unsigned>(r.what), r.operand[0], r.operand[1], r.operand[2], a.done, a.value,
            a.detail[0], a.detail[1], w.is.done, w.is.value, w.is.detail[0], w.is.detail[1]));
  }

  std::vector<request> requests_;
  std::vector<wanted> wanted_;
};

}  // namespace quire::tests
