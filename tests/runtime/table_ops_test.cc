// Operations on entries of a table: every variant that this CPU has, against scalar, and scalar by hand.
#include "runtime/table_ops.h"

#include <doctest/doctest.h>

#include <atomic>
#include <random>
#include <thread>
#include <vector>

#include "tests/support/variants.h"

namespace quire::tests {

using namespace quire::runtime;
using word = std::uint64_t;
using words = std::vector<word>;

namespace {

const table_ops& scalar(bool swapped = false) { return table_ops_for(simd::scalar, swapped); }

// Lengths around those of vectors, of four of them, and of tables.
std::vector<std::uint32_t> lengths() {
  std::vector<std::uint32_t> all;
  for (std::uint32_t n = 0; n <= 40; ++n) all.push_back(n);
  for (const std::uint32_t n : {63, 64, 65, 127, 129, 255, 256, 511, 512, 513, 2047, 2048, 2049, 4100})
    all.push_back(n);
  return all;
}

/// The same contents for a variant and for scalar, from entry `from` of a table on, with guards around.
class twin {
 public:
  twin(const words& values, std::uint32_t from, bool swapped) : from_(from), n_(values.size()) {
    for (words* w : {&table_, &wanted_}) {
      w->assign(from + n_ + 16, guard);
      for (std::size_t i = 0; i < n_; ++i)
        (*w)[from + i] = swapped ? __builtin_bswap64(values[i]) : values[i];
    }
  }
  word* table() { return table_.data() + from_; }
  word* wanted() { return wanted_.data() + from_; }
  std::uint32_t n() const { return static_cast<std::uint32_t>(n_); }
  bool same() const { return table_ == wanted_; }

 private:
  static constexpr word guard = 0xfeedfacecafef00d;
  std::uint32_t from_;
  std::size_t n_;
  words table_, wanted_;
};

/// Calls test(ops of a variant, scalar ops, random, n, from, swapped) for all of them.
template <class Test>
void each_case(Test test) {
  for (const simd v : variants()) {
    for (const bool swapped : {false, true}) {
      for (const std::uint32_t n : lengths()) {
        for (std::uint32_t from = 0; from < (n <= 40 ? 9u : 3u); ++from) {
          const std::uint64_t seed = n * 16 + from;
          CAPTURE(std::string(simd_text(v)));
          CAPTURE(swapped);
          CAPTURE(n);
          CAPTURE(from);
          std::mt19937_64 random(seed);
          test(table_ops_for(v, swapped), scalar(swapped), random, n, from, swapped);
        }
      }
    }
  }
}

/// Words of few bits, so that tests of bits come out both ways.
words dense_words(std::mt19937_64& random, std::uint32_t n, word bits) {
  words all(n);
  for (word& e : all) e = random() & random() % 4 ? random() & bits : random();
  return all;
}

bool operator==(const protect_result& a, const protect_result& b) {
  return a.changed == b.changed && a.first == b.first && a.last == b.last && a.lost == b.lost &&
         a.gained == b.gained;
}

entry_test random_test(std::mt19937_64& random, word bits) {
  entry_test t;
  if (random() % 2) t.any = random() & bits;
  if (random() % 2) {
    t.mask = random() & random() & bits;
    t.value = random() & t.mask;
  }
  return t;
}

}  // namespace

TEST_SUITE("table_ops") {
TEST_CASE("by hand: fill_if_empty stops at the first entry that is not empty") {
  for (const simd v : variants()) {
    word t[5] = {0, 0, 7, 0, 0};
    CHECK(table_ops_for(v, false).fill_if_empty(t, 5, 0, 0x1037, 0x1000) == 2);
    CHECK(words(t, t + 5) == words{0x1037, 0x2037, 7, 0, 0});
    word big_endian[2] = {0x0004000000000000, 0x0004000000000000};  // 0x400 = DAT's invalid page
    CHECK(table_ops_for(v, true).fill_if_empty(big_endian, 2, 0x400, 0x1000, 0x1000) == 2);
    CHECK(words(big_endian, big_endian + 2) == words{0x0010000000000000, 0x0020000000000000});
  }
}
TEST_CASE("by hand: take_run, take_any, first_not") {
  for (const simd v : variants()) {
    const table_ops& ops = table_ops_for(v, false);
    word t[4] = {0x10, 0x11, 0x12, 0x14};
    CHECK(ops.take_run(t, 4, 1, 0) == 3);
    CHECK(words(t, t + 4) == words{0, 0, 0, 0x14});
    CHECK(ops.first_not(t, 4, 0) == 3);
    CHECK(!ops.all_equal(t, 4, 0));
    CHECK(ops.all_equal(t, 3, 0));
    word old[4] = {9, 9, 9, 9};
    CHECK(ops.take_any(t, 4, 0, 5, old) == 1);
    CHECK(words(t, t + 4) == words{0, 0, 0, 5});
    CHECK(words(old, old + 4) == words{0, 0, 0, 0x14});
  }
}
TEST_CASE("by hand: change_run changes entries that agree, up to the first one that does not") {
  for (const simd v : variants()) {
    word t[5] = {0x1007, 0x2107, 0x9007, 0x3003, 0x4007};
    const run_change read_only{.mask = 7, .value = 7, .keep = ~word{6}, .set = 0x10};
    CHECK(table_ops_for(v, false).change_run(t, 5, read_only) == 3);
    CHECK(words(t, t + 5) == words{0x1011, 0x2111, 0x9011, 0x3003, 0x4007});
    CHECK(table_ops_for(v, false).change_run(t + 3, 2, read_only) == 0);
    CHECK(table_ops_for(v, false).change_run(t, 5, {0, 0, 0xf000, 1}) == 5);  // no mask: all agree
    CHECK(words(t, t + 5) == words{0x1001, 0x2001, 0x9001, 0x3001, 0x4001});
    word big_endian[3] = {0x0010000000000000, 0x0020000000000000, 0x0006000000000000};  // 0x400 = DAT's invalid page
    CHECK(table_ops_for(v, true).change_run(big_endian, 3, {0x400, 0, ~word{0}, 0x200}) == 2);
    CHECK(words(big_endian, big_endian + 3) == words{0x0012000000000000, 0x0022000000000000, 0x0006000000000000});
  }
}
TEST_CASE("by hand: match_run counts entries that follow each other in the bits under the mask") {
  for (const simd v : variants()) {
    const table_ops& ops = table_ops_for(v, false);
    const word t[5] = {0x1007, 0x2107, 0x3007, 0x5007, 0x5007};
    CHECK(ops.match_run(t, 5, 0x1007, 0x1000, ~word{0x100}) == 3);
    CHECK(ops.match_run(t, 5, 0x1007, 0x1000, ~word{0}) == 1);
    CHECK(ops.match_run(t, 5, 7, 0, 0xff) == 5);
    CHECK(ops.match_run(t, 5, 0x2007, 0x1000, ~word{0}) == 0);
    CHECK(ops.match_run(t, 5, 0, 0, 0) == 5);
    CHECK(ops.match_run(t, 0, 0x1007, 0x1000, ~word{0}) == 0);
    const word big_endian[3] = {0x0010000000000000, 0x0020000000000000, 0x0004000000000000};
    CHECK(table_ops_for(v, true).match_run(big_endian, 3, 0x1000, 0x1000, ~word{0}) == 2);
  }
}
TEST_CASE("by hand: protect says what narrowed and where") {
  for (const simd v : variants()) {
    const table_ops& ops = table_ops_for(v, false);
    for (const auto protect : {ops.protect, ops.protect_live}) {
      word t[6] = {0, 0x1007, 0x2001, 0x3003, 0x8, 0x4005};
      const protect_result r = protect(t, 6, {{.any = 7}, ~word{7}, 1});  // EPT: read only
      CHECK(words(t, t + 6) == words{0, 0x1001, 0x2001, 0x3001, 0x8, 0x4001});
      CHECK(r == protect_result{3, 1, 5, 6, 0});
    }
  }
}
TEST_CASE("by hand: harvest takes A and D of leaves, dirty pairs, and write access of the dirty") {
  for (const simd v : variants()) {
    const table_ops& ops = table_ops_for(v, false);
    harvest_rule rule{.leaf = {.mask = 3, .value = 3},
                      .accessed = 0x10,
                      .dirty = 0x20,
                      .dirty_pair = 0xc0,
                      .pair_clear = 0x40,
                      .protect = 0x80};
    word t[6] = {0x13, 0x11, 0x83, 0xc3, 0x23, 0x43};
    std::uint32_t index[6];
    word old[6];
    CHECK(ops.harvest_live(t, 6, rule, index, old) == 3);
    CHECK(words(t, t + 6) == words{0x03, 0x11, 0x83, 0x03, 0x03, 0x43});
    CHECK(words(old, old + 3) == words{0x13, 0xc3, 0x23});
    CHECK(std::vector<std::uint32_t>(index, index + 3) == std::vector<std::uint32_t>{0, 3, 4});
  }
}

TEST_CASE("fill_if_empty and first_not: as scalar, wherever the first other entry is") {
  each_case([](const table_ops& ops, const table_ops& spec, auto& random, std::uint32_t n, std::uint32_t from,
               bool swapped) {
    const word empty = random() % 2 ? 0 : random();
    const word first = random(), step = random() % 3 ? word{1} << random() % 30 : random();
    for (std::uint32_t stop = 0; stop <= n;
         stop += n <= 40 ? 1 : 1 + static_cast<std::uint32_t>(random() % (n / 4))) {
      words values(n, empty);
      for (std::uint32_t i = stop; i < n; ++i)
        values[i] = random() % 2 || i == stop ? empty ^ (word{1} << random() % 64) : empty;
      twin t(values, from, swapped);
      REQUIRE(ops.first_not(t.table(), n, empty) == stop);
      REQUIRE(spec.first_not(t.table(), n, empty) == stop);
      REQUIRE(ops.fill_if_empty(t.table(), n, empty, first, step) == stop);
      REQUIRE(spec.fill_if_empty(t.wanted(), n, empty, first, step) == stop);
      REQUIRE(t.same());
    }
  });
}
TEST_CASE("fill: as scalar") {
  each_case([](const table_ops& ops, const table_ops& spec, auto& random, std::uint32_t n, std::uint32_t from,
               bool swapped) {
    twin t(dense_words(random, n, ~word{0}), from, swapped);
    const word first = random(), step = random() % 3 ? 0x1000 : random() % 2 ? 0 : random();
    ops.fill(t.table(), n, first, step);
    spec.fill(t.wanted(), n, first, step);
    REQUIRE(t.same());
  });
}
TEST_CASE("take_run: as scalar, wherever the run ends, over 2^64 too") {
  each_case([](const table_ops& ops, const table_ops& spec, auto& random, std::uint32_t n, std::uint32_t from,
               bool swapped) {
    const word step = random() % 4 ? word{1} << random() % 30 : random() % 2 ? 0 : random();
    const word first = random() % 4 ? random() : ~word{0} - random() % 8, put = random() % 2 ? 0 : random();
    for (std::uint32_t stop = n > 0; stop <= n;
         stop += n <= 40 ? 1 : 1 + static_cast<std::uint32_t>(random() % (n / 4))) {
      words values(n);
      for (std::uint32_t i = 0; i < n; ++i) values[i] = first + i * step;
      if (stop < n) values[stop] ^= word{1} << random() % 64;
      twin t(values, from, swapped);
      REQUIRE(ops.take_run(t.table(), n, step, put) == stop);
      REQUIRE(spec.take_run(t.wanted(), n, step, put) == stop);
      REQUIRE(t.same());
    }
  });
}
TEST_CASE("change_run: as scalar, wherever the run ends") {
  each_case([](const table_ops& ops, const table_ops& spec, auto& random, std::uint32_t n, std::uint32_t from,
               bool swapped) {
    const unsigned sort = random() % 4;
    run_change c;
    c.mask = sort == 0 ? ~word{0} : sort == 1 ? word{1} << random() % 64 : random() & random();
    c.value = random() & c.mask;
    c.keep = random() % 4 ? random() | random() : ~word{0};
    c.set = random() % 4 ? random() & random() & ~c.keep : random();
    for (std::uint32_t stop = 0; stop <= n;
         stop += n <= 40 ? 1 : 1 + static_cast<std::uint32_t>(random() % (n / 4))) {
      words values(n);
      for (word& e : values) e = (random() & ~c.mask) | c.value;
      std::uint32_t end = n;
      for (std::uint32_t i = stop; i < n && c.mask; ++i) {
        word bit = word{1} << random() % 64;
        while ((bit & c.mask) == 0) bit = bit << 1 | bit >> 63;
        if (i == stop || random() % 2) values[i] ^= bit;
        end = stop;
      }
      twin t(values, from, swapped);
      REQUIRE(ops.change_run(t.table(), n, c) == end);
      REQUIRE(spec.change_run(t.wanted(), n, c) == end);
      REQUIRE(t.same());
    }
  });
}
TEST_CASE("match_run: as scalar, wherever the run ends, over 2^64 too, and writes nothing") {
  each_case([](const table_ops& ops, const table_ops& spec, auto& random, std::uint32_t n, std::uint32_t from,
               bool swapped) {
    const word step = random() % 4 ? word{1} << random() % 30 : random() % 2 ? 0 : random();
    const word first = random() % 4 ? random() : ~word{0} - random() % 8;
    const word mask = random() % 3 == 0 ? ~word{0} : random() % 8 ? random() | random() : random() & random();
    for (std::uint32_t stop = 0; stop <= n;
         stop += n <= 40 ? 1 : 1 + static_cast<std::uint32_t>(random() % (n / 4))) {
      words values(n);
      for (std::uint32_t i = 0; i < n; ++i) values[i] = (first + i * step) ^ (random() & ~mask);
      std::uint32_t end = n;
      for (std::uint32_t i = stop; i < n && mask; ++i) {
        word bit = word{1} << random() % 64;
        while ((bit & mask) == 0) bit = bit << 1 | bit >> 63;
        if (i == stop || random() % 2) values[i] ^= bit;
        end = stop;
      }
      twin t(values, from, swapped);
      REQUIRE(ops.match_run(t.table(), n, first, step, mask) == end);
      REQUIRE(spec.match_run(t.wanted(), n, first, step, mask) == end);
      REQUIRE(t.same());
    }
  });
}
TEST_CASE("take_any: as scalar") {
  each_case([](const table_ops& ops, const table_ops& spec, auto& random, std::uint32_t n, std::uint32_t from,
               bool swapped) {
    const word empty = random() % 2 ? 0 : 0x400, put = random() % 2 ? empty : random();
    const std::uint64_t density = 1 + random() % 8;
    words values(n);
    for (word& e : values) e = random() % 8 < density ? random() : empty;
    twin t(values, from, swapped);
    words old(n + 8, 1), old_wanted(n + 8, 1);
    REQUIRE(ops.take_any(t.table(), n, empty, put, old.data()) ==
            spec.take_any(t.wanted(), n, empty, put, old_wanted.data()));
    REQUIRE(t.same());
    REQUIRE(old == old_wanted);
    REQUIRE(words(old.begin(), old.begin() + n) == values);
  });
}
TEST_CASE("protect and protect_live: as scalar, with any rule") {
  each_case([](const table_ops& ops, const table_ops& spec, auto& random, std::uint32_t n, std::uint32_t from,
               bool swapped) {
    for (unsigned round = 0; round < 8; ++round) {
      const word bits = 0xf00000000000000f;
      protect_rule rule;
      rule.leaf = random_test(random, bits);
      rule.keep = random() % 4 ? ~(random() & bits) : ~word{0};
      rule.set = random() & random() & bits;
      if (random() % 2) {
        rule.dirty = random() % 2 ? random() & random() & bits : 0;
        rule.dirty_pair = random() % 2 ? random() & random() & bits : 0;
        rule.dirty_set = random() & random() & bits;
      }
      const words values = dense_words(random, n, bits);
      twin t(values, from, swapped), live(values, from, swapped);
      const protect_result wanted = spec.protect(t.wanted(), n, rule);
      REQUIRE(ops.protect(t.table(), n, rule) == wanted);
      REQUIRE(t.same());
      REQUIRE(ops.protect_live(live.table(), n, rule) == wanted);
      REQUIRE(spec.protect_live(live.wanted(), n, rule) == wanted);
      REQUIRE(live.same());
      REQUIRE(ops.protect(t.table(), n, rule).changed ==
              spec.protect(t.wanted(), n, rule).changed);  // dirty_set may change it again
    }
  });
}
TEST_CASE("harvest_live: as scalar, at any density") {
  each_case([](const table_ops& ops, const table_ops& spec, auto& random, std::uint32_t n, std::uint32_t from,
               bool swapped) {
    for (const unsigned percent : {0u, 1u, 10u, 50u, 100u}) {
      const word bits = 0xf00000000000000f;
      harvest_rule rule;
      rule.leaf = random_test(random, bits);
      rule.accessed = word{1} << (8 + random() % 2);
      rule.dirty = random() % 2 ? word{1} << 50 : 0;
      if (random() % 2) {
        rule.dirty_pair = word{3} << 40;
        rule.pair_clear = word{1} << 40;
      }
      rule.protect = random() % 2 ? bits & random() : 0;
      const word status = rule.accessed | rule.dirty | rule.pair_clear;
      words values(n);
      for (word& e : values) {
        e = (random() & ~status) | (random() % 2 ? rule.leaf.any : 0);
        e = (e & ~rule.leaf.mask) | (random() % 4 ? rule.leaf.value : random() & rule.leaf.mask);
        if (random() % 100 < percent) e |= status & random();
      }
      twin t(values, from, swapped);
      std::vector<std::uint32_t> index(n + 8, 7), index_wanted(n + 8, 7);
      words old(n + 8, 7), old_wanted(n + 8, 7);
      const std::uint32_t m = ops.harvest_live(t.table(), n, rule, index.data(), old.data());
      REQUIRE(m == spec.harvest_live(t.wanted(), n, rule, index_wanted.data(), old_wanted.data()));
      REQUIRE(t.same());
      index.resize(m), index_wanted.resize(m), old.resize(m), old_wanted.resize(m);
      REQUIRE(index == index_wanted);
      REQUIRE(old == old_wanted);
    }
  });
}
}

TEST_SUITE("table_ops against hardware") {
// What hardware sets meanwhile is either harvested or still there; protecting loses none of it.
TEST_CASE("no bit that is set while protect_live and harvest_live run is lost") {
  constexpr word A = 0x100, D = 0x200, W = 2, leaf = 0x7;
  constexpr std::uint32_t n = 512;
  for (const simd v : variants()) {
    for (const bool swapped : {false, true}) {
      CAPTURE(std::string(simd_text(v)));
      CAPTURE(swapped);
      const auto turned = [swapped](word e) { return swapped ? __builtin_bswap64(e) : e; };
      alignas(64) static word table[n];
      for (std::uint32_t i = 0; i < n; ++i) table[i] = turned(word{i} << 12 | leaf);
      std::atomic<bool> stop{false};
      std::uint64_t set = 0;
      // As hardware does: sets D, with A, by a locked instruction, and only where the entry has none.
      std::thread hardware([&] {
        std::mt19937_64 random(1);
        while (!stop.load(std::memory_order_relaxed)) {  // relaxed: the join orders the rest
          const std::uint32_t i = static_cast<std::uint32_t>(random() % n);
          set += (turned(std::atomic_ref<word>(table[i]).fetch_or(turned(A | D), std::memory_order_relaxed)) &
                  D) == 0;
        }
      });
      const table_ops& ops = table_ops_for(v, swapped);
      const harvest_rule harvest{.leaf = {.any = leaf}, .accessed = A, .dirty = D, .protect = W};
      std::uint64_t taken = 0;
      std::uint32_t index[n];
      word old[n];
      const auto take = [&] {
        const std::uint32_t m = ops.harvest_live(table, n, harvest, index, old);
        for (std::uint32_t k = 0; k < m; ++k) taken += (old[k] & D) != 0;
      };
      for (unsigned round = 0; round < 2000; ++round) {
        ops.protect_live(table, n, {{.any = leaf}, ~leaf, round % 2 ? leaf : leaf & ~W});
        take();
      }
      stop.store(true, std::memory_order_relaxed);  // relaxed: likewise
      hardware.join();
      take();
      CHECK(taken == set);
      for (std::uint32_t i = 0; i < n; ++i) REQUIRE((turned(table[i]) & ~(leaf)) == word{i} << 12);
    }
  }
}
}

}  // namespace quire::tests
