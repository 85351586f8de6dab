// Ids of guests: generations, what is kept over their end, and that no two guests ever run under one id.
#include "hv/id_allocator.h"

#include <array>
#include <map>
#include <random>
#include <set>
#include <thread>

#include <doctest/doctest.h>

namespace quire::tests {

namespace {

using hv::id_allocator;
using hv::space_identity;

/// What the CPUs would have cached: which space left translations under which id.
struct caches {
  std::vector<std::map<std::uint32_t, unsigned>> by_cpu;
  explicit caches(unsigned cpus) : by_cpu(cpus) {}
  /// VM entry: false if the guest would meet translations of another space.
  bool enter(unsigned cpu, unsigned space, id_allocator::entry e) {
    if (e.flush_all) by_cpu[cpu].clear();
    return by_cpu[cpu].try_emplace(e.id, space).first->second == space;
  }
};

}  // namespace

TEST_SUITE("id_allocator") {
TEST_CASE("each space gets an id of its own, none gets 0, and entering again gives the same one") {
  id_allocator ids(2, 8);
  std::array<space_identity, 255> spaces;
  std::set<std::uint32_t> seen;
  for (space_identity& s : spaces) {
    const auto e = ids.enter(0, s);
    CHECK(e.id > 0);
    CHECK(e.id < 256);
    CHECK(!e.flush_all);
    CHECK(ids.enter(1, s).id == e.id);
    CHECK(ids.enter(0, s).id == e.id);
    CHECK(seen.insert(e.id).second);
  }
  CHECK(ids.generation() == 1);
}
TEST_CASE("16 bits give 65,535 ids") {
  id_allocator ids(1, 16);
  std::vector<space_identity> spaces(65536);
  for (std::size_t i = 0; i < 65535; ++i) CHECK(ids.enter(0, spaces[i]).id == i + 1);
  CHECK(ids.generation() == 1);
  CHECK(ids.enter(0, spaces[65535]).flush_all);
  CHECK(ids.generation() == 2);
}
TEST_CASE("when ids run out, every cpu flushes once at its next entry, and cpus inside guests keep theirs") {
  id_allocator ids(3, 3);
  std::array<space_identity, 10> spaces;
  const auto first = ids.enter(1, spaces[0]);
  const auto second = ids.enter(2, spaces[1]);
  for (std::size_t i = 2; i < 7; ++i) CHECK(!ids.enter(0, spaces[i]).flush_all);
  const auto fresh = ids.enter(0, spaces[7]);  // the eighth space: 7 ids
  CHECK(ids.generation() == 2);
  CHECK(fresh.flush_all);
  CHECK(fresh.id != first.id);
  CHECK(fresh.id != second.id);
  for (std::size_t i = 8; i < 10; ++i) {
    const auto e = ids.enter(0, spaces[i]);
    CHECK(e.id != first.id);
    CHECK(e.id != second.id);
    CHECK(!e.flush_all);
  }
  const auto again = ids.enter(1, spaces[0]);
  CHECK(again.id == first.id);
  CHECK(again.flush_all);
  CHECK(!ids.enter(1, spaces[0]).flush_all);
  const auto elsewhere = ids.enter(1, spaces[1]);  // which cpu 2 is still inside of
  CHECK(elsewhere.id == second.id);
  CHECK(!elsewhere.flush_all);
  CHECK(ids.enter(2, spaces[1]).flush_all);
}
TEST_CASE("a cpu that stays inside its guest over several generations keeps the id") {
  id_allocator ids(2, 2);  // three ids
  std::array<space_identity, 6> spaces;
  const auto kept = ids.enter(1, spaces[0]);
  for (int round = 0; round < 20; ++round) {
    for (std::size_t i = 1; i < 6; ++i) CHECK(ids.enter(0, spaces[i]).id != kept.id);
    if (round % 3 == 0) CHECK(ids.enter(0, spaces[0]).id == kept.id);
  }
  CHECK(ids.generation() > 10);
  const auto again = ids.enter(1, spaces[0]);
  CHECK(again.id == kept.id);
  CHECK(again.flush_all);
}
TEST_CASE("the id of a space that went away is not given to another one before everybody flushes") {
  id_allocator ids(1, 3);
  caches c(1);
  for (unsigned i = 0; i < 100; ++i) {
    space_identity s;
    CHECK(c.enter(0, i, ids.enter(0, s)));
    ids.release(s);
  }
  CHECK(ids.generation() > 10);
}
TEST_CASE("each cpu may hold an id while another one is wanted") {
  CHECK(id_allocator::enough(254, 8));
  CHECK(!id_allocator::enough(255, 8));
  CHECK(!id_allocator::enough(1, 1));
  CHECK(id_allocator::enough(2, 2));
  CHECK(!id_allocator::enough(1, 17));
  CHECK(!id_allocator::enough(1, 0));
}
TEST_CASE("random entries never meet the translations of another space") {
  for (const unsigned bits : {2u, 3u, 8u}) {
    const unsigned cpus = bits == 2 ? 2 : 4;
    id_allocator ids(cpus, bits);
    std::vector<space_identity> spaces((1u << bits) + 44);
    caches c(cpus);
    std::vector<unsigned> names(spaces.size());  // a space that goes away makes room for one of another name
    unsigned named = 0;
    for (unsigned& n : names) n = named++;
    std::mt19937_64 random(bits);
    CAPTURE(bits);  // and the seed
    for (int i = 0; i < 20000; ++i) {
      const auto cpu = static_cast<unsigned>(random() % cpus);
      const std::size_t space = random() % spaces.size();
      if (random() % 100 == 0) {
        names[space] = named++;
        ids.release(spaces[space]);
      }
      REQUIRE(c.enter(cpu, names[space], ids.enter(cpu, spaces[space])));
    }
    CHECK(ids.generation() > 10);
  }
}
TEST_CASE("four threads: no id is run by two spaces at once, and none meets translations of another") {
  constexpr unsigned cpus = 4, entries = 20000;
  for (const unsigned bits : {3u, 4u, 8u}) {
    id_allocator ids(cpus, bits);
    std::vector<space_identity> spaces((1u << bits) + 45);
    caches c(cpus);
    // What each cpu runs: id and space; 0 from before it asks until it has been answered.
    std::array<std::atomic<std::uint64_t>, cpus> running{};
    std::atomic<unsigned> wrong{0};
    const auto drive = [&](unsigned cpu) {
      std::mt19937_64 random(bits * 10 + cpu);
      for (unsigned i = 0; i < entries; ++i) {
        const auto space =
            static_cast<unsigned>(cpu % 2 == 0 && i % 4 != 0 ? random() % 3 : random() % spaces.size());
        running[cpu].store(0,
                           std::memory_order_seq_cst);  // seq_cst: an id that others get now is not run here
        const auto e = ids.enter(cpu, spaces[space]);
        running[cpu].store(std::uint64_t{e.id} << 32 | space,
                           std::memory_order_seq_cst);  // seq_cst: one of two sees the other
        bool good = e.id != 0 && e.id < 1u << bits && c.enter(cpu, space, e);
        for (const auto& r : running) {
          const std::uint64_t other = r.load(std::memory_order_seq_cst);  // seq_cst: likewise
          good = good && (other >> 32 != e.id || static_cast<std::uint32_t>(other) == space);
        }
        wrong.fetch_add(!good, std::memory_order_relaxed);  // relaxed: read after the threads have ended
      }
    };
    {
      std::vector<std::jthread> threads;
      for (unsigned i = 0; i < cpus; ++i) threads.emplace_back(drive, i);
    }
    CAPTURE(bits);                                      // seeds are bits * 10 + cpu
    CHECK(wrong.load(std::memory_order_relaxed) == 0);  // relaxed: likewise
    CHECK(ids.generation() > 10);
  }
}
}

}  // namespace quire::tests
