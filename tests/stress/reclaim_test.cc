// Bounded garbage: no frame waits for a reader, however long that sleeps.
#include <doctest/doctest.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include "tests/support/guest.h"

namespace quire::tests {

TEST_SUITE("reclaim") {
TEST_CASE_TEMPLATE("tables go back at once while a reader sleeps among them, and it goes on as if it had not",
                   F, QUIRE_FORMATS) {
  guest<F> g({.cpus = 2});
  g.recording = false;
  machine& m = g.m();
  const attributes rwx{perm::rwx, 0, 0};
  const std::uint64_t pages = 3 * g.s().shape.slot_pages(1);
  REQUIRE(m.map(g.state(0), {gfn{0}, pages}, hfn{0}, rwx, 0) == status::ok);
  struct reader {
    std::atomic<bool> sleeps{false}, awake{false};
    bool right = true;
  } r;
  std::thread away([&] {
    const auto visit = [](void* context, const mapping& one) {
      reader& self = *static_cast<reader*>(context);
      self.right = self.right && one.out.value % 0x10000 == one.range.first.value;
      if (self.sleeps.exchange(true, std::memory_order_acq_rel))
        return true;  // acq_rel: seen by who waits for it
      usleep(1000000);
      self.awake.store(true, std::memory_order_release);  // release: ends the rounds
      return true;
    };
    r.right = m.for_each(g.state(1), {gfn{0}, pages}, visit, &r) == status::ok && r.right;
  });
  while (!r.sleeps.load(std::memory_order_acquire)) usleep(100);  // acquire: pairs with the exchange
  std::uint64_t frames = 0;
  for (std::uint64_t round = 1; !r.awake.load(std::memory_order_acquire) || round < 3;
       ++round) {  // acquire: likewise
    REQUIRE(m.unmap(g.state(0), {gfn{0}, pages}) == status::ok);
    CHECK(g.s().tables() == 1);
    CHECK(m.tables_in_use() == 1);
    REQUIRE(m.map(g.state(0), {gfn{0}, pages}, hfn{(round % 16) * 0x10000}, rwx, 0) == status::ok);
    CHECK(m.tables_in_use() == g.s().tables());
    if (round == 1) frames = m.tables_allocated();
    CHECK(m.tables_allocated() == frames);
  }
  away.join();
  CHECK(r.right);
}
}

}  // namespace quire::tests
