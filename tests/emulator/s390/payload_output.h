// How the s390 payload's answers become lines of text, and how the text leaves each emulator.
#pragma once

#include <cstdint>

#include "tests/emulator/s390/layout.h"

namespace quire::tests::s390 {

struct probe_answer {
  std::uint64_t done = 0;
  std::uint64_t value = 0;
  std::uint64_t detail[2] = {};
};

/// Appends one answer line to the text at answers_address.
void put(const probe_answer& a);

/// Appends a line on an interruption of the payload itself: no answer, so the run fails and shows it.
void put_interruption(std::uint64_t code, std::uint64_t address);

/// Hands the text to the emulator's host, once. Hercules ends by this; QEMU does at the disabled wait that
/// follows.
void finish(machine on);

}  // namespace quire::tests::s390
