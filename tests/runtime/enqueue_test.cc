// Errors when an update is queued, claims on table memory, and queues that run full.
#include <doctest/doctest.h>

#include "tests/support/guest.h"

namespace quire::tests {

namespace {

using runtime::harvest;

constexpr attributes rw{perm::rw};

using update_call = std::function<status(machine&, lazy_state*, gfn_range)>;

/// Every call that takes a range and can be refused for it.
std::vector<update_call> update_calls() {
  return {
      [](machine& m, lazy_state* l, gfn_range r) { return m.map(l, r, hfn{0}, rw); },
      [](machine& m, lazy_state* l, gfn_range r) { return m.map_keep_present(l, r, hfn{0}, rw); },
      [](machine& m, lazy_state* l, gfn_range r) { return m.map_exact(l, r, hfn{0}, rw, 0); },
      [](machine& m, lazy_state* l, gfn_range r) { return m.unmap(l, r); },
      [](machine& m, lazy_state* l, gfn_range r) { return m.protect(l, r, perm::r); },
      [](machine& m, lazy_state* l, gfn_range r) { return m.harvest_status(l, r, harvest::accessed); },
  };
}

/// A guest in a section, and proof that refused calls left nothing behind.
template <class F>
class refusing {
 public:
  refusing() : l_(make()), before_(g_.leaves()) {}
  ~refusing() {
    machine& m = g_.m();
    CHECK(m.leave(l_) == status::ok);
    CHECK(m.counts(0, g_.s()).updates == 1);
    CHECK(m.counts(0, g_.s()).commits == 1);
    CHECK(g_.leaves() == before_);
    CHECK(g_.flushes.empty());
  }
  guest<F>& g() { return g_; }
  const arch::geometry& shape() { return g_.s().shape; }
  lazy_state* l() { return l_; }

 private:
  lazy_state* make() {
    REQUIRE(g_.m().map(g_.state(), {gfn{0x10}, 4}, hfn{0x901}, rw, 0) == status::ok);
    return g_.enter();
  }
  guest<F> g_;
  lazy_state* l_;
  std::vector<raw_leaf> before_;
};

}  // namespace

TEST_SUITE("enqueue") {
TEST_CASE_TEMPLATE("rule 9: empty ranges and ranges beyond the input size are refused when queued", F,
                   QUIRE_FORMATS) {
  refusing<F> in;
  const std::uint64_t end = in.shape().input_pages;
  constexpr std::uint64_t huge = ~std::uint64_t{0};
  for (const auto& call : update_calls()) {
    for (lazy_state* l : {in.l(), in.g().state()}) {
      for (const gfn_range r : {gfn_range{gfn{0}, 0},
                                {gfn{0x10}, 0},
                                {gfn{end}, 0},
                                {gfn{end}, 1},
                                {gfn{end - 1}, 2},
                                {gfn{0}, end + 1},
                                {gfn{1}, end},
                                {gfn{end - 1}, huge},
                                {gfn{1}, huge},
                                {gfn{huge}, 1},
                                {gfn{huge}, 2},
                                {gfn{huge}, huge},
                                {gfn{0}, huge}}) {
        CAPTURE(r.first.value);
        CAPTURE(r.pages);
        CHECK(call(in.g().m(), l, r) == status::bad_range);
      }
    }
  }
}

TEST_CASE_TEMPLATE("rule 9: output frames beyond the output size are refused when queued", F, QUIRE_FORMATS) {
  refusing<F> in;
  machine& m = in.g().m();
  const std::uint64_t end = in.shape().output_pages;
  const std::uint64_t page = in.shape().slot_pages(0);
  for (const std::uint64_t out : {end, end - page, ~std::uint64_t{0}, ~std::uint64_t{0} - page}) {
    CAPTURE(out);
    const gfn_range r{gfn{0x10}, 2 * page};
    CHECK(m.map(in.l(), r, hfn{out}, rw) == status::bad_range);
    CHECK(m.map_keep_present(in.l(), r, hfn{out}, rw) == status::bad_range);
    CHECK(m.map_exact(in.l(), r, hfn{out / page * page}, rw, 0) == status::bad_range);
  }
}

TEST_CASE_TEMPLATE("rule 9: what is not aligned to the leaf is refused when queued", F, QUIRE_FORMATS) {
  refusing<F> in;
  machine& m = in.g().m();
  for (unsigned level = 0; level < in.shape().levels; ++level) {
    const std::uint64_t leaf = in.shape().slot_pages(level);
    if (!in.shape().leaf[level] || leaf == 1) continue;
    CHECK(m.map_exact(in.l(), {gfn{leaf / 2}, leaf}, hfn{0}, rw, level) == status::misaligned);
    CHECK(m.map_exact(in.l(), {gfn{0}, leaf + 1}, hfn{0}, rw, level) == status::misaligned);
    CHECK(m.map_exact(in.l(), {gfn{0}, leaf}, hfn{1}, rw, level) == status::misaligned);
  }
  if (in.shape().slot_pages(0) == 1) return;
  for (const auto& call : update_calls()) {
    CHECK(call(m, in.l(), {gfn{1}, in.shape().slot_pages(0)}) == status::misaligned);
    CHECK(call(m, in.l(), {gfn{0}, in.shape().slot_pages(0) + 1}) == status::misaligned);
  }
}

TEST_CASE_TEMPLATE("rule 9: attributes that the format cannot express are refused when queued", F,
                   QUIRE_FORMATS) {
  refusing<F> in;
  machine& m = in.g().m();
  const gfn_range r{gfn{0x80}, in.shape().slot_pages(0)};
  const auto refused = [&](attributes a) {
    CHECK(m.map(in.l(), r, hfn{0}, a) == status::bad_attributes);
    CHECK(m.map_keep_present(in.l(), r, hfn{0}, a) == status::bad_attributes);
    CHECK(m.map_exact(in.l(), r, hfn{0}, a, 0) == status::bad_attributes);
  };
  for (unsigned p = 0; p < 256; ++p) {
    const auto access = static_cast<perm>(p);
    if (p < arch::perm_values && (in.shape().access_set >> p & 1)) continue;
    refused({access});
    CHECK(m.protect(in.l(), r, access) == status::bad_attributes);
  }
  for (unsigned type = in.shape().memory_types; type < 256; ++type)
    refused({perm::rw, static_cast<std::uint8_t>(type)});
  for (unsigned bit = 0; bit < 16; ++bit) {
    const auto option = static_cast<std::uint16_t>(1u << bit);
    if (!(in.shape().option_set & option)) refused({perm::rw, 0, option});
  }
}

TEST_CASE_TEMPLATE("rule 9: leaf levels that the format or the space does not have are refused when queued",
                   F, QUIRE_FORMATS) {
  refusing<F> in;
  for (unsigned level = 0; level < 300; ++level) {
    if (level < in.shape().levels && in.shape().leaf[level]) continue;
    CHECK(in.g().m().map_exact(in.l(), {gfn{0}, 1}, hfn{0}, rw, level) == status::bad_leaf_level);
  }
  CHECK(in.g().m().map_exact(in.l(), {gfn{0}, 1}, hfn{0}, rw, ~0u) == status::bad_leaf_level);
  guest<F> small({.max_leaf_level = 0});
  const std::uint64_t large = small.s().shape.slot_pages(1);
  CHECK(small.m().map_exact(small.state(), {gfn{0}, large}, hfn{0}, rw, 1) == status::bad_leaf_level);
}

TEST_CASE_TEMPLATE("rule 9: options and types that the format has are taken", F, QUIRE_FORMATS) {
  guest<F> g;
  const arch::geometry& s = g.s().shape;
  unsigned page = 0;
  const auto taken = [&](attributes a) {
    const gfn at{page++ * s.slot_pages(0)};
    CHECK(g.m().map(g.state(), {at, s.slot_pages(0)}, hfn{0}, a) == status::ok);
    CHECK(g.in_tables(at)->attr == a);
  };
  for (unsigned p = 0; p < arch::perm_values; ++p) {
    if (s.access_set >> p & 1) taken({static_cast<perm>(p)});
  }
  for (unsigned type = 0; type < s.memory_types; ++type) taken({perm::rw, static_cast<std::uint8_t>(type)});
  for (unsigned bit = 0; bit < 16; ++bit) {
    if (s.option_set >> bit & 1) taken({perm::rw, 0, static_cast<std::uint16_t>(1u << bit)});
  }
}

TEST_CASE_TEMPLATE("rule 10: a full queue commits itself, goes on and loses nothing", F, QUIRE_FORMATS) {
  constexpr unsigned updates = 2 * 512 + 77;
  guest<F> g;
  machine& m = g.m();
  REQUIRE(m.map(g.state(), {gfn{0}, 512}, hfn{0x1000}, rw, 0) == status::ok);
  std::vector<hfn> out(512);
  lazy_state* l = g.enter();
  for (unsigned i = 0; i < updates; ++i) {
    const unsigned page = i * 5 % 512;  // never next to the one before
    out[page] = hfn{0x2000u + i};
    REQUIRE(m.map(l, {gfn{page}, 1}, out[page], rw, 0) == status::ok);
    CHECK(m.counts(0, g.s()).forced_commits == i / 512);
  }
  CHECK(m.active(l));
  for (unsigned page = 0; page < 512; ++page) CHECK(g.look(gfn{page})->out == out[page]);
  REQUIRE(m.leave(l) == status::ok);
  for (unsigned page = 0; page < 512; ++page) CHECK(g.in_tables(gfn{page})->out == out[page]);
  const auto c = m.counts(0, g.s());
  CHECK(c.updates == updates + 1);
  CHECK(c.runs == updates + 1);
  CHECK(c.commits == 4);
  CHECK(c.forced_commits == 2);
  CHECK(c.flush_plans[static_cast<unsigned>(flush_reason::full_queue)] == 2);
  CHECK(c.flush_plans[static_cast<unsigned>(flush_reason::leave)] == 1);
}

TEST_CASE_TEMPLATE("rule 10: an update that continues the newest run fits a full queue", F, QUIRE_FORMATS) {
  guest<F> g({.table_bytes = std::size_t{8} << 20, .max_leaf_level = 0});  // so that all unmaps may join
  machine& m = g.m();
  lazy_state* l = g.enter();
  for (std::uint64_t i = 0; i < 511; ++i) REQUIRE(m.unmap(l, {gfn{2 * (i % 200)}, 1}) == status::ok);
  for (unsigned i = 0; i < 100; ++i) REQUIRE(m.unmap(l, {gfn{400} + i, 1}) == status::ok);
  CHECK(m.counts(0, g.s()).forced_commits == 0);
  REQUIRE(m.protect(l, {gfn{500}, 1}, perm::r) == status::ok);
  CHECK(m.counts(0, g.s()).forced_commits == 1);
  REQUIRE(m.leave(l) == status::ok);
  CHECK(m.counts(0, g.s()).updates == 612);
  CHECK(m.counts(0, g.s()).runs == 513);
}

TEST_CASE_TEMPLATE("rule 10: a full queue does not change what a nested section or a pause means", F,
                   QUIRE_FORMATS) {
  guest<F> g;
  machine& m = g.m();
  REQUIRE(m.map(g.state(), {gfn{0}, 512}, hfn{0x1000}, rw, 0) == status::ok);
  lazy_state* l = g.enter(0, {gfn{3}, 4});
  REQUIRE(g.enter() == l);
  for (unsigned i = 0; i < 513; ++i)
    REQUIRE(m.protect(l, {gfn{i * 3 % 512}, 1}, i % 2 ? perm::r : perm::rx) == status::ok);
  CHECK(m.counts(0, g.s()).forced_commits == 1);
  CHECK(m.hint(l) == gfn_range{gfn{3}, 4});
  REQUIRE(m.leave(l) == status::ok);
  CHECK(m.active(l));
  REQUIRE(m.leave(l) == status::ok);
  CHECK(g.in_tables(gfn{0})->attr.access == perm::rx);
  CHECK(g.in_tables(gfn{3})->attr.access == perm::r);
}
}

}  // namespace quire::tests
