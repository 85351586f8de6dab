// Claims on table frames, and the frames that they turn into, on one cpu and on several.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <mutex>
#include <random>
#include <set>
#include <thread>
#include <vector>

#include "tests/runtime/pool_rig.h"

namespace quire::tests {

namespace {

using frames = std::vector<std::uint64_t>;
constexpr pool_options exact = {0, 1};

}  // namespace

TEST_SUITE("table_pool") {
TEST_CASE("a claim becomes a frame when taken; in_use counts taken frames, not claims") {
  rig r(100, exact);
  REQUIRE(r.pool.reserve(0, 3) == status::ok);
  CHECK(r.pool.in_use() == 0);
  CHECK(r.pool.allocated() == 3);
  CHECK(r.take(0, 3) == frames{0, 1, 2});
  CHECK(r.pool.in_use() == 3);
  r.give(0, 1);
  CHECK(r.pool.in_use() == 2);
  CHECK(r.pool.allocated() == 3);
  CHECK(r.pool.frame_bytes() == 128);
}
TEST_CASE("frames are handed out in ascending order, and each once") {
  rig r(100, {0, 64});
  REQUIRE(r.pool.reserve(0, 100) == status::ok);
  frames all = r.take(0, 100);
  for (std::uint64_t i = 0; i < 100; ++i) CHECK(all[i] == i);
}
TEST_CASE("the frame that was given last is taken first") {
  rig r(10, {8, 1});
  REQUIRE(r.pool.reserve(0, 2) == status::ok);
  r.take(0, 2);
  r.give(0, 0);
  r.give(0, 1);
  REQUIRE(r.pool.reserve(0, 2) == status::ok);
  CHECK(r.take(0, 2) == frames{1, 0});
}
TEST_CASE("a frame may be given back by a cpu that did not take it") {
  rig r(2, exact);
  REQUIRE(r.pool.reserve(0, 2) == status::ok);
  const frames taken = r.take(0, 2);
  for (const std::uint64_t f : taken) r.give(1, f);
  CHECK(r.pool.in_use() == 0);
  CHECK(r.pool.reserve(0, 3) == status::no_tables);
  CHECK(r.pool.reserve(0, 2) == status::ok);
}
TEST_CASE("with too little memory nothing is claimed") {
  rig r(10, exact);
  CHECK(r.pool.reserve(0, 11) == status::no_tables);
  CHECK(r.pool.in_use() == 0);
  REQUIRE(r.pool.reserve(1, 10) == status::ok);
  CHECK(r.pool.reserve(0, 1) == status::no_tables);
  CHECK(r.take(1, 10).size() == 10);
  CHECK(r.pool.reserve(1, 1) == status::no_tables);
}
TEST_CASE("the platform is asked for refill_frames at once, or for all that a claim lacks") {
  rig r(1000, {0, 64});
  REQUIRE(r.pool.reserve(0, 1) == status::ok);
  CHECK(r.requests == frames{64});
  REQUIRE(r.pool.reserve(0, 63) == status::ok);
  CHECK(r.requests == frames{64});
  REQUIRE(r.pool.reserve(1, 200) == status::ok);
  CHECK(r.requests == frames{64, 200});
  REQUIRE(r.pool.reserve(2, 60) == status::ok);
  REQUIRE(r.pool.reserve(0, 10) == status::ok);  // 4 are left
  CHECK(r.requests == frames{64, 200, 64, 64});
  CHECK(r.pool.allocated() == 392);
}
TEST_CASE("when memory is scarce the platform is asked for less, down to what is needed") {
  rig few(10, {0, 64});
  REQUIRE(few.pool.reserve(0, 1) == status::ok);
  CHECK(few.requests == frames{64, 32, 16, 8});
  REQUIRE(few.pool.reserve(0, 9) == status::ok);  // 7 of the 8, and 2 more
  CHECK(few.requests == frames{64, 32, 16, 8, 64, 32, 16, 8, 4, 2});
  CHECK(few.pool.allocated() == 10);

  rig exactly(40, {0, 64});
  REQUIRE(exactly.pool.reserve(0, 40) == status::ok);
  CHECK(exactly.requests == frames{64, 40});
}
TEST_CASE("what one cpu claimed no other can take, until it is unreserved") {
  rig r(8, exact);
  REQUIRE(r.pool.reserve(0, 8) == status::ok);
  CHECK(r.pool.reserve(1, 1) == status::no_tables);
  r.pool.unreserve(0, 3);
  CHECK(r.pool.reserve(1, 4) == status::no_tables);
  REQUIRE(r.pool.reserve(1, 3) == status::ok);
  frames both = r.take(0, 5);
  for (const std::uint64_t f : r.take(1, 3)) both.push_back(f);
  CHECK(std::set(both.begin(), both.end()).size() == 8);
}
TEST_CASE("a cpu keeps up to cache_frames beyond its claims") {
  rig r(10, {4, 10});
  REQUIRE(r.pool.reserve(0, 1) == status::ok);  // keeps 4 more
  CHECK(r.pool.reserve(1, 6) == status::no_tables);
  REQUIRE(r.pool.reserve(1, 5) == status::ok);  // all that is left
  REQUIRE(r.pool.reserve(0, 4) == status::ok);  // its own stock
  CHECK(r.pool.reserve(0, 1) == status::no_tables);
}
TEST_CASE("a cpu that keeps more than twice cache_frames goes down to cache_frames") {
  rig r(20, {4, 20});
  REQUIRE(r.pool.reserve(0, 8) == status::ok);       // keeps 12
  r.pool.unreserve(0, 4);                            // 4 claimed, 8 kept: not more than twice
  CHECK(r.pool.reserve(1, 9) == status::no_tables);  // 8 are free
  r.pool.unreserve(0, 1);                            // 3 claimed, 9 would be kept: 4 are
  CHECK(r.pool.reserve(1, 14) == status::no_tables);
  CHECK(r.pool.reserve(1, 13) == status::ok);
}
TEST_CASE("frames that are given back are kept like claims") {
  rig r(20, {4, 20});
  REQUIRE(r.pool.reserve(0, 16) == status::ok);  // keeps all 20
  const frames taken = r.take(0, 16);
  for (unsigned i = 0; i < 4; ++i) r.give(0, taken[i]);
  CHECK(r.pool.reserve(1, 1) == status::no_tables);  // 8 are kept
  r.give(0, taken[4]);
  CHECK(r.pool.reserve(1, 6) == status::no_tables);  // of 9, 4 are kept
  CHECK(r.pool.reserve(1, 5) == status::ok);
}
TEST_CASE("claims touch no frame, and neither does giving them back") {
  rig r(1000, {0, 1000});
  REQUIRE(r.pool.reserve(0, 500) == status::ok);
  REQUIRE(r.pool.reserve(1, 400) == status::ok);
  r.pool.unreserve(0, 250);
  REQUIRE(r.pool.reserve(2, 350) == status::ok);
  CHECK(r.touched() == 0);
}
TEST_CASE("taking touches only frames that list others: one for each 15 of 128 bytes, of 32 that are fetched at once") {
  rig r(1000, {16, 1000});
  REQUIRE(r.pool.reserve(0, 100) == status::ok);
  r.take(0);
  CHECK(r.touched() == 2);
  r.pool.prefetch_next(0);
  r.take(0, 31);
  CHECK(r.touched() == 2);
  r.pool.prefetch_next(0);  // none is listed
  r.pool.unreserve(0, 68);
  REQUIRE(r.pool.reserve(1, 3) == status::ok);
  r.take(1, 3);
  CHECK(r.touched() == 3);
}
TEST_CASE("giving frames back touches one in as many as have room for a name, in no way that is a valid entry") {
  for (const bool at_once : {false, true}) {
    CAPTURE(at_once);
    rig r(48, {64, 48});
    REQUIRE(r.pool.reserve(0, 48) == status::ok);
    std::vector<arch::table_address> tables;
    for (unsigned i = 0; i < 48; ++i) {
      tables.push_back(r.pool.take(0).table);
      std::memset(r.bytes({tables.back()}), 0, frame_bytes);
    }
    for (const arch::table_address t : tables) {
      if (!at_once) r.pool.give(0, {t, true});
    }
    if (at_once) r.pool.give(0, tables);
    unsigned nodes = 0;
    for (const arch::table_address t : tables) {
      nodes += !r.all_zero({t});
      for (unsigned i = 0; i < frame_bytes; i += 8) CHECK((r.bytes({t})[i] & 7) == 0);
    }
    CHECK(nodes == 3);
  }
}
TEST_CASE("of many frames that are given back at once none is lost, and the last one that another cpu can have it takes first") {
  for (const std::uint32_t cached : {0, 4, 64}) {
    CAPTURE(cached);
    rig r(200, {cached, 200});
    REQUIRE(r.pool.reserve(0, 200) == status::ok);
    std::vector<arch::table_address> tables;
    for (unsigned i = 0; i < 200; ++i) tables.push_back(r.pool.take(0).table);
    r.pool.give(0, tables);
    CHECK(r.pool.in_use() == 0);
    REQUIRE(r.pool.reserve(1, 200 - cached) == status::ok);  // the rest is what the other cpu keeps
    REQUIRE(r.pool.reserve(0, cached) == status::ok);
    frames all = r.take(1, 200 - cached);
    CHECK(all.front() == 199);
    for (const std::uint64_t f : r.take(0, cached)) all.push_back(f);
    CHECK(std::set(all.begin(), all.end()).size() == 200);
  }
}
TEST_CASE("taking and giving in turns asks the platform once") {
  rig r(1000, {8, 8});
  for (unsigned round = 0; round < 100; ++round) {
    REQUIRE(r.pool.reserve(0, 40) == status::ok);
    for (const std::uint64_t f : r.take(0, 40)) r.give(0, f);
  }
  CHECK(r.requests == frames{40});
}
TEST_CASE("a frame that was given back as zeroed is handed out as cleared, and is; no other is") {
  struct {
    pool_options o;
    std::uint64_t each;
  } const cases[] = {{exact, frame_bytes}, {{8, 8}, frame_bytes}, {{64, 64}, frame_bytes}, {exact, 16}, {{8, 8}, 16}};
  for (const auto& [o, each] : cases) {
    CAPTURE(o.cache_frames);
    CAPTURE(each);
    rig r(80, o, 3, false, each);
    std::mt19937_64 random(o.cache_frames + 1);
    std::vector<table_pool::frame> taken;
    std::set<std::uint64_t> known;  // frames that were given back as zeroed
    unsigned seen = 0;
    for (unsigned step = 0; step < 4000; ++step) {
      const unsigned cpu = static_cast<unsigned>(random() % 3);
      if (random() % 2 && r.pool.reserve(cpu, 1) == status::ok) {
        const table_pool::frame f = r.pool.take(cpu);
        REQUIRE(f.table.byte % each == 0);
        REQUIRE(f.cleared == (known.erase(f.table.byte) == 1));
        if (f.cleared) REQUIRE(r.all_zero(f));
        seen += f.cleared;
        std::memset(r.bytes(f), 0xff, each);
        taken.push_back(f);
      } else if (!taken.empty()) {
        std::swap(taken[random() % taken.size()], taken.back());
        table_pool::frame f = taken.back();
        taken.pop_back();
        f.cleared = random() % 2;
        if (f.cleared) {
          std::memset(r.bytes(f), 0, each);
          known.insert(f.table.byte);
        }
        r.pool.give(cpu, f);
      }
    }
    CHECK(seen > 100);
  }
}
TEST_CASE("put_back keeps what is known of a frame, and it is taken next") {
  for (const bool cleared : {false, true}) {
    CAPTURE(cleared);
    rig r(4, {8, 4});
    REQUIRE(r.pool.reserve(0, 2) == status::ok);
    table_pool::frame f = r.pool.take(0);
    CHECK(!f.cleared);
    std::memset(r.bytes(f), cleared ? 0 : 0x77, frame_bytes);
    f.cleared = cleared;
    r.pool.give(0, f);
    REQUIRE(r.pool.reserve(0, 1) == status::ok);
    const auto wanted = cleared ? table_pool::content::cleared : table_pool::content::any;
    for (unsigned i = 0; i < 3; ++i) {
      const table_pool::frame again = r.pool.take(0, wanted);
      CHECK(again.table.byte == f.table.byte);
      CHECK(again.cleared == cleared);
      if (cleared) CHECK(r.all_zero(again));
      const std::uint64_t in_use = r.pool.in_use();
      r.pool.put_back(0, again);
      CHECK(r.pool.in_use() == in_use - 1);
    }
    CHECK(r.pool.take(0, wanted).table.byte == f.table.byte);
  }
}
TEST_CASE("frames that were cleared are taken where zero is wanted, the others elsewhere, as long as there are such") {
  for (const pool_options o : {exact, pool_options{8, 8}, pool_options{64, 64}}) {
    CAPTURE(o.cache_frames);
    rig r(40, o);
    const runtime::table_ops& ops = runtime::table_ops_for(runtime::chosen_simd(), false);
    CHECK(r.pool.clear(0, 100, ops) == 0);  // those that the platform has not handed out are not the pool's
    REQUIRE(r.pool.reserve(0, 40) == status::ok);
    for (const std::uint64_t f : r.take(0, 40)) r.give(0, f);
    CHECK(r.pool.clear(0, 30, ops) == 30);
    REQUIRE(r.pool.reserve(0, 40) == status::ok);
    unsigned cleared = 0, others = 0;
    for (unsigned i = 0; i < 40; ++i) {
      const bool wants_cleared = i % 2 == 0;
      const table_pool::frame f = r.pool.take(0, wants_cleared ? table_pool::content::cleared : table_pool::content::any);
      if (f.cleared) CHECK(r.all_zero(f));
      ++(f.cleared ? cleared : others);
      if (o.cache_frames < 64 || i >= 20) continue;  // all of them in the cpu's own lists
      CHECK(f.cleared == wants_cleared);
    }
    CHECK(cleared == 30);
    CHECK(others == 10);
    for (std::uint64_t f = 0; f < 40; ++f) r.give(0, f);
    CHECK(r.pool.clear(0, 100, ops) == 40);
    CHECK(r.pool.clear(0, 100, ops) == 0);
  }
}
TEST_CASE("where the platform's memory is cleared, a frame is known to be until it is given back as anything else") {
  for (const pool_options o : {exact, pool_options{8, 8}, pool_options{0, 40}}) {
    CAPTURE(o.refill_frames);
    rig r(40, o, 3, true);
    for (unsigned round = 0; round < 2; ++round) {
      std::vector<table_pool::frame> all;
      for (unsigned i = 0; i < 40; ++i) {
        const unsigned cpu = o.cache_frames ? 0 : i % 3;
        REQUIRE(r.pool.reserve(cpu, 1) == status::ok);
        all.push_back(r.pool.take(cpu));
        CHECK(all.back().cleared == (round == 0));
        if (round == 0) CHECK(r.all_zero(all.back()));
      }
      for (table_pool::frame f : all) {
        f.cleared = false;
        r.pool.give(0, f);
      }
    }
  }
}
TEST_CASE("without memory for its records a pool does not start") {
  runtime::platform none;
  none.allocate = [](void*, std::size_t, std::size_t) -> void* { return nullptr; };
  table_pool pool;
  CHECK(pool.start(none, frame_bytes, 2, {}) == status::no_memory);
  pool.stop();
}
TEST_CASE("without frames kept aside, a claim fails exactly when memory is used up") {
  for (std::uint64_t seed = 1; seed <= 200; ++seed) {
    CAPTURE(seed);
    std::mt19937_64 random(seed);
    const std::uint64_t total = random() % 200;
    rig r(total, {0, static_cast<std::uint32_t>(random() % 80)});  // to refill 0 means 1
    std::uint64_t claims[3] = {};
    frames taken;
    for (unsigned step = 0; step < 300; ++step) {
      const auto cpu = static_cast<unsigned>(random() % 3);
      const std::uint64_t n = random() % 50;
      const auto action = random() % 4;
      if (action == 0) {
        const bool fits = taken.size() + claims[0] + claims[1] + claims[2] + n <= total;
        REQUIRE(r.pool.reserve(cpu, n) == (fits ? status::ok : status::no_tables));
        if (fits) claims[cpu] += n;
      } else if (action == 1) {
        r.pool.unreserve(cpu, std::min(n, claims[cpu]));
        claims[cpu] -= std::min(n, claims[cpu]);
      }
      for (std::uint64_t i = 0; action == 2 && i < n && claims[cpu] > 0; ++i, --claims[cpu]) {
        taken.push_back(r.take(cpu));
        REQUIRE(taken.back() < total);
      }
      for (std::uint64_t i = 0; action == 3 && i < n && !taken.empty(); ++i) {
        std::swap(taken[random() % taken.size()], taken.back());
        r.give(cpu, taken.back());
        taken.pop_back();
      }
      REQUIRE(std::set(taken.begin(), taken.end()).size() == taken.size());
      REQUIRE(r.pool.in_use() == taken.size());
    }
  }
}
}

TEST_SUITE("table_pool_threads") {
/// Frames that any thread may give back.
struct exchange {
  std::mutex lock;
  std::vector<std::uint64_t> frames;
};

/// Claims, marks what it takes, and gives back frames of either cpu. Returns how many marks were not its own.
std::uint64_t hammer(rig& r, unsigned cpu, exchange& shared) {
  std::mt19937_64 random(cpu);
  std::uint64_t broken = 0;
  const runtime::table_ops& ops = runtime::table_ops_for(runtime::simd::scalar, false);
  for (unsigned round = 0; round < 3000; ++round) {
    if (round % 16 == cpu) r.pool.clear(cpu, random() % 40, ops);
    const std::uint64_t n = random() % 60;
    if (r.pool.reserve(cpu, n) == status::ok) {
      const std::uint64_t unused = n ? random() % n : 0;
      frames mine = r.take(cpu, static_cast<unsigned>(n - unused));
      r.pool.unreserve(cpu, unused);
      for (const std::uint64_t f : mine) std::memset(r.bytes(f), static_cast<int>(cpu + 1), frame_bytes);
      const auto mark = [&](unsigned char b) { return b == cpu + 1; };
      for (const std::uint64_t f : mine) broken += !std::all_of(r.bytes(f), r.bytes(f) + frame_bytes, mark);
      const std::lock_guard hold(shared.lock);
      shared.frames.insert(shared.frames.end(), mine.begin(), mine.end());
    }
    std::uint64_t back = random() % 80;
    while (back-- > 0) {
      std::uint64_t f = 0;
      {
        const std::lock_guard hold(shared.lock);
        if (shared.frames.empty()) break;
        f = shared.frames.back();
        shared.frames.pop_back();
      }
      r.give(cpu, f);
    }
  }
  return broken;
}

TEST_CASE("two cpus at once never get the same frame, and lose none") {
  for (const pool_options o : {pool_options{0, 1}, pool_options{0, 64}, pool_options{16, 32}}) {
    CAPTURE(o.cache_frames);
    CAPTURE(o.refill_frames);
    rig r(500, o, 2);
    exchange shared;
    std::uint64_t broken[2] = {};
    std::thread other([&] { broken[1] = hammer(r, 1, shared); });
    broken[0] = hammer(r, 0, shared);
    other.join();
    CHECK(broken[0] + broken[1] == 0);
    CHECK(r.pool.in_use() == shared.frames.size());
    CHECK(std::set(shared.frames.begin(), shared.frames.end()).size() == shared.frames.size());
    for (const std::uint64_t f : shared.frames) r.give(0, f);
    CHECK(r.pool.in_use() == 0);
    CHECK(r.pool.allocated() <= 500);
    const std::uint64_t kept = 2 * std::uint64_t{o.cache_frames};  // at most, by the other cpu
    CHECK(r.pool.reserve(0, r.pool.allocated() - kept) == status::ok);
  }
}
}

}  // namespace quire::tests
