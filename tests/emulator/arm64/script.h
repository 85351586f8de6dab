// Requests to QEMU's arm64 machine beside what has to come of them, fault codes included.
#pragma once

#include <fmt/format.h>

#include "tests/emulator/arm64/tables.h"

namespace quire::tests::arm64 {

/// Requests beside what has to come of them.
class script {
 public:
  explicit script(tables& t) : run_(t.start()) {}
  /// An access that is done; where a read goes is checked, and that a write arrives.
  void succeeds(const request& r) {
    const bool checked = r.what == probe::read || r.what == probe::write;
    add(r, {true, checked ? landing.address : 0, {}});
  }
  /// @param hpfar  0: not looked at. The manual leaves it open for permission faults.
  void faults(const request& r, std::uint64_t syndrome, std::uint64_t hpfar = 0) {
    add(r, {false, 0, {syndrome, hpfar}});
  }
  void check() {
    const auto answers = answers_of(run_);
    for (std::size_t i = 0; i < expected_.size(); ++i) {
      const answer& is = answers[i];
      const answer& want = expected_[i];
      INFO(fmt::format("request {}: kind {}, {:#x}", i, static_cast<unsigned>(run_.requests[i].what),
                       run_.requests[i].operand[0]));
      INFO(fmt::format("done {} value {:#x} detail {:#x} {:#x}", is.done, is.value, is.detail[0],
                       is.detail[1]));
      INFO(fmt::format("want {} value {:#x} detail {:#x} {:#x}", want.done, want.value, want.detail[0],
                       want.detail[1]));
      CHECK(is.done == want.done);
      if (want.done) CHECK((want.value == 0 || is.value == want.value));
      if (!want.done) CHECK(is.detail[0] == want.detail[0]);
      if (want.detail[1] != 0) CHECK(is.detail[1] == want.detail[1]);
    }
  }

 private:
  void add(const request& r, const answer& a) {
    run_.requests.push_back(r);
    expected_.push_back(a);
  }
  emulator_run run_;
  std::vector<answer> expected_;
};

/// Reads, writes, fetches and translates; all of it has to fault.
inline void all_fault(script& s, std::uint64_t ipa, fault_code code, unsigned level) {
  for (const request& r : {read(ipa), write(ipa), fetch(ipa)})
    s.faults(r, syndrome(r.what, code, level), fault_page(ipa));
  s.faults({probe::translate_read, {ipa}}, refused(code, level));
  s.faults({probe::translate_write, {ipa}}, refused(code, level));
}

}  // namespace quire::tests::arm64
