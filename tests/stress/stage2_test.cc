// Many cpus on one guest: stage 2, with groups of leaves and dirty state by hardware.
#include <doctest/doctest.h>

#include "tests/stress/stress.h"

namespace quire::tests {

TEST_SUITE("stress") {
TEST_CASE(
    "stage 2: whatever cpus do at once, the end is that of some order, and nothing is lost or used stale") {
  arch::stage2_4k f;
  f.dbm = f.contiguous = true;
  const stress_result r = stress(f, stress_seconds());
  CHECK_MESSAGE(r.problem.empty(), r.problem);
  MESSAGE(r.rounds << " rounds, " << r.updates << " updates");
}
}

}  // namespace quire::tests
