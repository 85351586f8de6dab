// More guests than ids: they are handed out anew, and a TLB that knows ids alone never confuses two guests.
#include <random>
#include <thread>

#include "tests/hv/flush_rig.h"

namespace quire::tests {

namespace {

constexpr gfn first{0x40};
constexpr unsigned pages = 4;

hv::shootdown_options with(unsigned cpus, unsigned id_bits, bool drop_rollover = false) {
  hv::shootdown_options o;
  o.cpus = cpus;
  o.id_bits = id_bits;
  o.drop_rollover = drop_rollover;
  return o;
}

/// Guests whose pages are the same and whose frames are not.
template <class F>
struct rig : flush_rig {
  std::vector<runtime::space*> spaces;
  unsigned made = 0;

  rig(const hv::shootdown_options& o, unsigned count) : flush_rig(o), spaces(count) {
    for (runtime::space*& s : spaces) fill(s);
  }
  void fill(runtime::space*& s) {
    s = &add(F{});
    map(0, *s, {first, pages}, hfn{0x1000 + pages * made++});
  }
  void replace(runtime::space*& s) {
    REQUIRE(machine.destroy_space(0, s) == status::ok);
    fill(s);
  }
  void run(unsigned cpu, runtime::space& s) {
    sink.enter_guest(cpu, s);
    for (unsigned i = 0; i < pages; ++i) CHECK(access(cpu, s, first + i) == access_result::done);
    sink.leave_guest(cpu);
  }
};

/// 300 guests, 200 at a time, on three cpus with 8-bit ids. Returns the stale uses.
template <class F>
std::uint64_t run_300(bool drop_rollover) {
  rig<F> r(with(3, 8, drop_rollover), 200);
  for (const int round : {0, 1}) {
    for (unsigned i = 0; i < r.spaces.size(); ++i) {
      for (unsigned cpu = 0; cpu < 3; ++cpu) {
        if (cpu != i % 3) r.run(cpu, *r.spaces[i]);
      }
    }
    for (unsigned i = 0; i < r.spaces.size() && round == 0; i += 2) r.replace(r.spaces[i]);
  }
  CHECK(r.made == 300);
  CHECK(r.sink.id_rollovers() == 1);
  for (unsigned cpu = 0; cpu < 3; ++cpu) CHECK(r.caused(cpu, flush_cause::id_rollover) == 1);
  return r.stale();
}

}  // namespace

TEST_SUITE("space_ids") {
TEST_CASE_TEMPLATE("300 guests share 255 ids without a stale use", F, ept5_ad, stage2_dbm, dat_iep) {
  CHECK(run_300<F>(false) == 0);
}
TEST_CASE_TEMPLATE("if the flush for ids handed out anew is left out, guests use translations of others", F,
                   ept5_ad, stage2_dbm, dat_iep) {
  CHECK(run_300<F>(true) > 0);
}
TEST_CASE("a flush reaches what a guest has cached under its id, and no other guest's") {
  rig<ept5_ad> r(with(1, 8), 3);
  for (runtime::space* s : r.spaces) r.run(0, *s);
  r.unmap(0, *r.spaces[1], {first, pages});
  r.map(0, *r.spaces[1], {first, pages}, hfn{0x77000});
  const auto walks = r.sink.cache(0).walks();
  r.run(0, *r.spaces[0]);
  r.run(0, *r.spaces[2]);
  CHECK(r.sink.cache(0).walks() == walks);
  r.run(0, *r.spaces[1]);
  CHECK(r.sink.cache(0).walks() == walks + pages);
  CHECK(r.stale() == 0);
}
TEST_CASE("a guest keeps its id while another one takes its number in the machine") {
  rig<ept5_ad> r(with(2, 8), 1);
  r.run(0, *r.spaces[0]);
  const std::uint32_t id = r.sink.running_id(0);
  const std::uint32_t number = r.spaces[0]->id;
  r.replace(r.spaces[0]);
  CHECK(r.spaces[0]->id == number);
  r.run(0, *r.spaces[0]);
  CHECK(r.sink.running_id(0) != id);
  CHECK(r.stale() == 0);
}
TEST_CASE("four threads run 24 guests on 7 ids and change them, and no stale translation is used") {
  rig<ept5_ad> r(with(4, 3), 24);
  const auto drive = [&](unsigned cpu) {
    std::mt19937_64 random(cpu + 1);
    for (int i = 0; i < 1000; ++i) {
      runtime::space& s = *r.spaces[cpu % 2 == 0 && i % 4 != 0 ? random() % 3 : random() % r.spaces.size()];
      r.sink.enter_guest(cpu, s);
      for (int n = 0; n < 10; ++n) (void)r.access(cpu, s, first + random() % pages, access_kind::write);
      r.sink.leave_guest(cpu);
      if (i % 8 != 0) continue;
      const hv::narrowing_watch::scope narrowing(r.watch);
      r.map(cpu, *r.spaces[random() % r.spaces.size()], {first + random() % pages, 1},
            hfn{0x10000 + random() % 0x10000});
    }
  };
  {
    std::vector<std::jthread> threads;
    for (unsigned i = 0; i < 4; ++i) threads.emplace_back(drive, i);
  }
  CAPTURE("seeds 1..4");
  CHECK(r.sink.id_rollovers() > 10);
  CHECK(r.stale() == 0);
}
}

}  // namespace quire::tests
