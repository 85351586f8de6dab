// Leaves of every size that await A and D, the accesses that set them, and the harvest that clears them.
#pragma once

#include "tests/emulator/arm64/tables.h"

namespace quire::tests::arm64 {

/// One report of the runtime's.
struct harvested {
  std::uint64_t ipa;
  bool accessed, dirty;
  friend auto operator<=>(const harvested&, const harvested&) = default;
};

/// Leaves of every size, six each, for A and D: not touched; read; written; fetched; read and written; a
/// refused write.
class status_pages {
 public:
  explicit status_pages(const shape& s) : shape_(s), t_(s.format) {
    for (unsigned level = 0; level < s.leaf_levels; ++level) {
      for (unsigned n = 0; n < 6; ++n) {
        const std::uint64_t ipa = nth(s, level, n + 1);
        t_.map(ipa, level, leaf_to_landing(s.slot_bits[level]), {n == 5 ? perm::rx : perm::rwx});
        entries_.push_back(t_.entry_address(s, ipa, level));
      }
    }
    start_ = t_.start();
    for (unsigned level = 0; level < s.leaf_levels; ++level) {
      const auto at = [&](unsigned n) { return landing_in(ipa(level, n), s.slot_bits[level]); };
      for (const request& r :
           {read(at(1)), write(at(2)), fetch(at(3)), read(at(4)), write(at(4)), write(at(5))})
        start_.requests.push_back(r);
    }
    t_.g().on_flush = [this](const runtime::flush_plan& plan) {
      for (const arch::flush_command& c : plan.commands)
        flush_.push_back({probe::command, {c.op, c.operand[0]}});
    };
  }
  std::uint64_t ipa(unsigned level, unsigned n) const { return nth(shape_, level, n + 1); }
  /// The entries, level by level, as our memory has them.
  std::vector<std::uint64_t> in_memory() {
    std::vector<std::uint64_t> words;
    for (const std::uint64_t at : entries_) words.push_back(t_.word(at));
    return words;
  }
  /// The entries as the emulator has them after the accesses; or after these, `then`, and the accesses once
  /// more.
  std::vector<std::uint64_t> peeked(const std::vector<request>& then) {
    emulator_run run = start_;
    run.requests.insert(run.requests.end(), then.begin(), then.end());
    if (!then.empty())
      run.requests.insert(run.requests.end(), start_.requests.begin(), start_.requests.end());
    for (const std::uint64_t at : entries_) run.requests.push_back({probe::peek, {at}});
    const auto answers = answers_of(run);
    std::vector<std::uint64_t> words;
    for (std::size_t i = answers.size() - entries_.size(); i < answers.size(); ++i)
      words.push_back(answers[i].value);
    return words;
  }
  void set_words(const std::vector<std::uint64_t>& words) {
    for (std::size_t i = 0; i < words.size(); ++i) t_.set_word(entries_[i], words[i]);
  }
  /// What the runtime reports, in ascending order; its stores and commands are those of harvest_requests()
  /// afterwards.
  std::vector<harvested> harvest() {
    using runtime::harvest;
    guest_base& g = t_.g();
    const gfn_range all{gfn{0}, std::uint64_t{1} << (shape_.ipa_bits - arch::page_shift)};
    REQUIRE(g.m().harvest_status(g.state(), all, harvest::accessed | harvest::dirty) == status::ok);
    std::vector<harvested> found;
    for (const runtime::report& r : g.reports) {
      CHECK(r.what == runtime::report::kind::harvested);
      found.push_back({r.range.first.byte(), r.accessed, r.dirty});
    }
    return found;
  }
  std::vector<request> harvest_requests() {
    std::vector<request> all;
    for (const std::uint64_t at : entries_) all.push_back(poke(at, t_.word(at)));
    all.insert(all.end(), flush_.begin(), flush_.end());
    return all;
  }

 private:
  const shape shape_;
  tables t_;
  std::vector<std::uint64_t> entries_;
  emulator_run start_;
  std::vector<request> flush_;
};

}  // namespace quire::tests::arm64
