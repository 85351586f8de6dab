// Many cpus on one guest: DAT, whose entries change by instruction.
#include <doctest/doctest.h>

#include "tests/stress/stress.h"

namespace quire::tests {

TEST_SUITE("stress") {
TEST_CASE("dat: whatever cpus do at once, the end is that of some order, and nothing is lost or used stale") {
  for (const unsigned edat : {1u, 2u}) {  // without and with CRDTE
    arch::dat f;
    f.asce = arch::dat::top::region3;
    f.edat = static_cast<std::uint8_t>(edat);
    const stress_result r = stress(f, stress_seconds() / 2);
    CHECK_MESSAGE(r.problem.empty(), r.problem);
    MESSAGE(r.rounds << " rounds, " << r.updates << " updates");
  }
}
}

}  // namespace quire::tests
