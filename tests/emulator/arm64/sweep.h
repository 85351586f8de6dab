// Spaces of many input sizes, executed in one run of QEMU and compared with a model.
#pragma once

#include <fmt/format.h>

#include <random>

#include "tests/emulator/arm64/tables.h"
#include "tests/support/oracle.h"

namespace quire::tests::arm64 {

/// In each space: translations of mapped pages, their neighbours and holes, for read and for write; a read, a
/// write and a fetch of the last page of the input, which the last root table translates.
class sweep {
 public:
  /// @param f  a stage-2 format, but for its VMID
  template <class F>
  void add(F f) {
    // One for each, of 8 and of 16 bits: QEMU drops its TLB when the VMID changes.
    f.vmid = static_cast<std::uint16_t>(200 + ++spaces_);
    tables t(f, table_base + spaces_ * bytes_each);
    REQUIRE(t.memory().bytes.size() <= bytes_each);
    roots_ |= t.g().s().shape.table_bytes[t.g().s().shape.top()] >> F::base_shift;
    oracle model;
    map_some(t, model, std::uint64_t{1} << f.ipa_bits, std::uint64_t{1} << f.oa_bits);
    const std::uint64_t last = (std::uint64_t{1} << f.ipa_bits) - (std::uint64_t{1} << F::base_shift);
    map(t, model, last, 0, landing.address, perm::rwx);
    expect(load(t.vttbr, t.vtcr), {true, 0, {}});
    for (const request& r : {read(last), write(last), fetch(last)})
      expect(r, {true, r.what == probe::fetch ? 0 : landing.address, {}});
    ask(t, model, std::uint64_t{1} << f.ipa_bits);
    memory_.push_back(t.memory());
  }
  unsigned hits() const { return hits_; }
  unsigned faults() const { return faults_; }
  /// Bit n: some space has a root of 1 << n tables. All of these are executed, the last table of each
  /// included.
  unsigned roots() const { return roots_; }
  /// Runs all of it; what is wrong first, or nothing.
  std::string check() const {
    emulator_run run{
        memory_, {landing}, {{"vttbr_el2", 0}, {"vtcr_el2", requests_[0].operand[2]}}, requests_};
    const auto answers = answers_of(run);
    for (std::size_t i = 0; i < answers.size(); ++i) {
      const answer& is = answers[i];
      if (is.done == expected_[i].done && is.value == expected_[i].value &&
          (is.done || (is.detail[0] & ~level_bits) == expected_[i].detail[0]))
        continue;
      return fmt::format(
          "space {}: request {}, kind {}, {:#x}: done {} value {:#x} detail {:#x}; expected {} {:#x} {:#x}",
          space_of_[i], i, static_cast<unsigned>(requests_[i].what), requests_[i].operand[0], is.done,
          is.value, is.detail[0], expected_[i].done, expected_[i].value, expected_[i].detail[0]);
    }
    return {};
  }

 private:
  static constexpr std::uint64_t bytes_each = 0x40'0000;
  static constexpr std::uint64_t level_bits = 3 << 1;  // of PAR_EL1.FST: the model knows no levels

  /// Leaves of every size, large ones first, so that small ones split them: in the first slot, in the last,
  /// in between.
  void map_some(tables& t, oracle& model, std::uint64_t input, std::uint64_t output) {
    constexpr perm kinds[] = {perm::rw, perm::r, perm::w, perm::rwx};
    const arch::geometry& g = t.g().s().shape;
    const std::uint64_t between = random_() % input;
    for (unsigned level = g.levels; level-- > 0;) {
      if (!g.leaf[level]) continue;
      const std::uint64_t bytes = g.slot_pages(level) << arch::page_shift;
      for (const std::uint64_t near : {std::uint64_t{0}, input - 1, between, random_() % input}) {
        map(t, model, near / bytes * bytes, level, random_() % output / bytes * bytes, kinds[random_() % 4]);
      }
    }
  }
  void map(tables& t, oracle& model, std::uint64_t ipa, unsigned level, std::uint64_t out, perm access) {
    const std::uint64_t pages = t.g().s().shape.slot_pages(level);
    t.map(ipa, level, {out >> arch::page_shift}, {access});
    model.map({{gfn{ipa >> arch::page_shift}, pages}, {out >> arch::page_shift}, {access, 0, 0}}, false);
  }
  void ask(tables& t, const oracle& model, std::uint64_t input) {
    for (const page_run& r : model.runs()) {
      const std::uint64_t first = r.range.first.byte(), end = r.range.end().byte();
      for (const std::uint64_t ipa : {first, first + random_() % (end - first), end - 1, first - 1, end}) {
        if (ipa < input) ask_one(t, model, ipa);
      }
    }
    for (unsigned i = 0; i < 4; ++i) ask_one(t, model, random_() % input);
  }
  void ask_one(tables& t, const oracle& model, std::uint64_t ipa) {
    const gfn page{ipa >> arch::page_shift};
    const auto known = model.find(page);
    const auto looked = t.g().look(page);
    CHECK(looked.has_value() == known.has_value());
    const hfn out = known ? known->out + (page - known->range.first) : hfn{};
    CHECK((!known || looked->out + (page - looked->range.first) == out));
    for (const auto& [how, need] :
         {std::pair{probe::translate_read, perm::r}, {probe::translate_write, perm::w}}) {
      const bool done = known && includes(known->attr.access, need);
      const std::uint64_t fault = refused(known ? permission : translation, 3) & ~level_bits;
      expect({how, {ipa}}, {done, done ? out.byte() + ipa % 4096 : 0, {done ? 0 : fault}});
    }
  }
  void expect(const request& r, const answer& a) {
    requests_.push_back(r);
    expected_.push_back(a);
    space_of_.push_back(spaces_);
    ++(a.done ? hits_ : faults_);
  }

  std::mt19937_64 random_{1};
  unsigned spaces_ = 0, hits_ = 0, faults_ = 0, roots_ = 0;
  std::vector<memory_blob> memory_;
  std::vector<request> requests_;
  std::vector<answer> expected_;
  std::vector<unsigned> space_of_;
};

}  // namespace quire::tests::arm64
