// The counting flush sink.
#include "runtime/counting_sink.h"

#include <doctest/doctest.h>

#include "tests/support/guest.h"

namespace quire::tests {

TEST_SUITE("counting_sink") {
TEST_CASE("plans are counted by reason, commands in all, widened plans apart") {
  runtime::counting_sink sink;
  const arch::flush_command commands[3] = {};
  sink.record({0, 0x1000, commands, false, flush_reason::leave});
  sink.record({0, 0x1000, {commands, 1}, true, flush_reason::leave});
  sink.record({1, 0x2000, {commands, 1}, false, flush_reason::immediate});
  CHECK(sink.plans() == 3);
  CHECK(sink.plans(flush_reason::leave) == 2);
  CHECK(sink.plans(flush_reason::immediate) == 1);
  CHECK(sink.plans(flush_reason::pause) == 0);
  CHECK(sink.commands() == 5);
  CHECK(sink.whole() == 1);
}
}

}  // namespace quire::tests
