// Where single maps go: every vector variant says what the scalar function says, and that says where lookups will look.
#include "runtime/leaf_places.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <random>
#include <vector>

#include "tests/support/guest.h"
#include "tests/support/variants.h"

namespace quire::tests {

using runtime::most_places;
using runtime::owner_words;
using runtime::queued_update;
using word = std::uint64_t;

namespace {

constexpr runtime::update_kind wanted(runtime::operation::map, {perm::rw}, 0, false, runtime::harvest::none);
constexpr runtime::update_kind another(runtime::operation::map, {perm::r}, 0, false, runtime::harvest::none);

/// A space some of whose tables are there, and words that say of some of them that cpu 3 holds them.
template <class F>
class scene {
 public:
  scene(std::mt19937_64& random, unsigned level) : random_(random), words_(owner_words::count) {
    owners_.start(words_.data());
    const owner_words::held_by held{owners_, 3}, other{owners_, 4};
    const std::uint32_t values[] = {held.biased, held.biased, held.locked, other.biased, 0};
    for (owner_words::word& w : words_) w.store(values[random() % 5], std::memory_order_relaxed);  // relaxed: alone
    const arch::geometry& s = guest_.s().shape;
    first_ = s.table_first({random() % s.input_pages}, level);
    span_ = s.table_pages(level) < s.input_pages ? s.table_pages(level) : s.input_pages;
    if (first_.value + span_ > s.input_pages) first_ = {0};
    for (unsigned i = 0; i < 12; ++i) {
      const gfn g = place();
      REQUIRE(guest_.m().map(guest_.state(), {g, unit()}, hfn{0}, {perm::rw}, 0) == status::ok);
      mapped_.push_back(g);
    }
  }
  std::uint64_t unit() { return guest_.s().shape.slot_pages(0); }

  /// Mostly near to what is mapped, and mostly such as is asked for.
  void make(queued_update& u) {
    const gfn near = mapped_[random_() % mapped_.size()];
    const word table = guest_.s().shape.table_pages(0), inside = random_() % table / unit() * unit();
    const gfn g = random_() % 4 ? gfn{near.value / table * table + inside} : place();
    const word out = random_() % 8 ? random_() % 0x10000 * unit() : arch::bit(50) - unit();
    u.set({{g, random_() % 8 ? unit() : 2 * unit()}, hfn{out}, random_() % 8 ? wanted : another});
  }
  runtime::place_request request() {
    runtime::space& s = guest_.s();
    return {s.walk, s.root.byte, guest_.host().table_offset, wanted, unit(), 0x8123, 12, ~((word{1} << 36) - 1),
            {owners_, 3}, static_cast<unsigned>(__builtin_ctzll(s.shape.table_bytes[0]))};
  }
  /// What the level-0 table of `g` is, if that is there.
  bool table_of(gfn g, word& table) {
    runtime::space& s = guest_.s();
    const auto found = s.backend->walk(guest_.host(), s, {g, perm::r, false, false, {}});
    table = found.leaf_table.byte;
    return found.level == 0;
  }
  bool held(word table) { return request().held(arch::table_address{table}, request().frame_shift); }
  word* entry(word table, gfn g) {
    return reinterpret_cast<word*>(static_cast<std::uintptr_t>(table + guest_.host().table_offset)) + guest_.s().shape.index(g, 0);
  }

 private:
  gfn place() { return {first_.value + random_() % span_ / unit() * unit()}; }

  std::mt19937_64& random_;
  guest<F> guest_{{.cpus = 5}};
  std::vector<owner_words::word> words_;
  owner_words owners_;
  gfn first_;
  word span_ = 0;
  std::vector<gfn> mapped_;
};

}  // namespace

TEST_SUITE("leaf_places") {
TEST_CASE_TEMPLATE("a place is found for single maps of the kind into held tables, by every variant", F, QUIRE_FORMATS) {
  std::mt19937_64 random(7);
  unsigned found = 0, missed = 0;
  for (unsigned round = 0; round < 40; ++round) {
    scene<F> here(random, round % arch::geometry_of(F{}).levels);
    const runtime::place_request q = here.request();
    std::vector<queued_update> updates(most_places);
    for (queued_update& u : updates) here.make(u);
    const std::uint32_t n = round < 20 ? most_places - round : static_cast<std::uint32_t>(random() % (most_places + 1));
    for (const runtime::simd v : variants()) {
      CAPTURE(std::string(runtime::simd_text(v)));
      word* at[most_places + 1] = {};
      word leaf[most_places + 1] = {};
      leaf[most_places] = 77;
      const runtime::place_functions& find = runtime::places_for(v, q.shape.swapped);
      const bool all_found = find.of_updates(q, updates.data(), n, at, leaf);
      REQUIRE(all_found == std::all_of(at, at + n, [](const word* place) { return place != nullptr; }));
      // The same of pages, as far as they can say it.
      std::vector<gfn> pages;
      std::vector<hfn> frames;
      for (std::uint32_t i = 0; i < n; ++i) {
        pages.push_back(updates[i].first);
        frames.push_back(updates[i].out());
      }
      word* page_at[most_places] = {};
      word page_leaf[most_places] = {};
      const bool all_pages_found = find.of_pages(q, pages.data(), frames.data(), n, page_at, page_leaf);
      REQUIRE(all_pages_found == std::all_of(page_at, page_at + n, [](const word* place) { return place != nullptr; }));
      for (std::uint32_t i = 0; i < n; ++i) {
        if (at[i]) REQUIRE((page_at[i] == at[i] && page_leaf[i] == leaf[i]));
        word table = 0;
        const bool inside = frames[i].value < word{1} << 36 && here.table_of(pages[i], table) && here.held(table);
        REQUIRE(page_at[i] == (inside ? here.entry(table, pages[i]) : nullptr));
      }
      for (std::uint32_t i = 0; i < n; ++i) {
        const queued_update& u = updates[i];
        word table = 0;
        const bool good = u.kind == wanted && u.end.load() - u.first.value == here.unit() && u.out().value < word{1} << 36 &&
                          here.table_of(u.first, table) && here.held(table);
        REQUIRE(at[i] == (good ? here.entry(table, u.first) : nullptr));
        ++(good ? found : missed);
        const word e = q.leaf + (u.out().value << 12);
        if (good) REQUIRE(leaf[i] == (q.shape.swapped ? __builtin_bswap64(e) : e));
      }
      REQUIRE(at[most_places] == nullptr);
      REQUIRE(leaf[most_places] == 77);
    }
  }
  CHECK(found > 200);
  CHECK(missed > 200);
}
}

}  // namespace quire::tests
