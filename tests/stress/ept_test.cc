// Many cpus on one guest: EPT, with and without A and D.
#include <doctest/doctest.h>

#include "tests/stress/stress.h"

namespace quire::tests {

TEST_SUITE("stress") {
TEST_CASE("ept: whatever cpus do at once, the end is that of some order, and nothing is lost or used stale") {
  for (const bool access_dirty : {true, false}) {
    arch::ept f;
    f.access_dirty = access_dirty;
    const stress_result r = stress(f, stress_seconds() / 2);
    CHECK_MESSAGE(r.problem.empty(), r.problem);
    MESSAGE(r.rounds << " rounds, " << r.updates << " updates");
  }
}
}

}  // namespace quire::tests
