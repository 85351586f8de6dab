// Threads and processors of a hosted machine.
#include <doctest/doctest.h>
#include <sched.h>

#include <thread>

#include "runtime/host/hosted.h"

namespace quire::tests {

namespace host = runtime::host;

TEST_SUITE("hosted") {
// First of all: what was remembered when pin_thread() was first called is what the defect was about.
TEST_CASE("defect: a thread that was bound already took its own processor for all of the process's, and was not pinned") {
  if (host::processors() < 2) return;
  bool bound = false, pinned = false;
  int first = -1, second = -1;
  std::thread([&] {
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(sched_getcpu(), &one);
    bound = sched_setaffinity(0, sizeof one, &one) == 0;
    pinned = host::pin_thread(0);
    first = sched_getcpu();
    pinned = pinned && host::pin_thread(1);
    second = sched_getcpu();
  }).join();
  CHECK(bound);
  CHECK(pinned);
  CHECK(first != second);
}
}

}  // namespace quire::tests
