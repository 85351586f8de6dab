// Looking up many pages at once: as lookup() says, in all formats, with every vector variant that this CPU
// has.
#include <doctest/doctest.h>

#include <atomic>
#include <memory>
#include <random>
#include <thread>

#include "tests/support/guest.h"
#include "tests/support/variants.h"

namespace quire::tests {

using runtime::no_frame;

namespace {

class each_variant {
 public:
  ~each_variant() { runtime::choose_simd(before_); }
  template <class Test>
  void operator()(Test test) const {
    for (const runtime::simd v : variants()) {
      REQUIRE(runtime::choose_simd(v));
      CAPTURE(std::string(runtime::simd_text(v)));
      test();
    }
  }

 private:
  runtime::simd before_ = runtime::chosen_simd();
};

/// What lookup_many() says of the pages is what lookup() says of each.
void check_all(guest_base& g, const std::vector<gfn>& pages, unsigned cpu = 0) {
  std::vector<hfn> frames(pages.size() + 1, hfn{7});
  REQUIRE(g.m().lookup_many(g.state(cpu), pages, {frames.data(), pages.size()}) == status::ok);
  for (std::size_t i = 0; i < pages.size(); ++i) {
    const auto m = g.look(pages[i], cpu);
    CAPTURE(pages[i].value);
    REQUIRE(frames[i] == (m ? m->out : no_frame));
  }
  REQUIRE(frames.back() == hfn{7});
}

/// Pages of places that random_updates() maps something at, or next to it, all over the input size.
class places {
 public:
  places(const arch::geometry& s, std::mt19937_64& random) : random_(random), unit_(s.slot_pages(0)) {
    for (unsigned i = 0; i < 6; ++i) {
      const unsigned level = static_cast<unsigned>(random() % s.levels);
      bases_.push_back(s.slot_first({random() % s.input_pages}, level).value);
    }
    end_ = s.input_pages;
  }
  gfn page() {
    const std::uint64_t base = bases_[random_() % bases_.size()], at = base + random_() % (1024 * unit_);
    return {at < end_ ? at : end_ - 1};
  }
  gfn_range range() {
    const std::uint64_t first = page().value / unit_ * unit_, pages = (1 + random_() % 200) * unit_;
    return {{first}, first + pages <= end_ ? pages : unit_};
  }

 private:
  std::mt19937_64& random_;
  std::uint64_t unit_;
  std::uint64_t end_ = 0;
  std::vector<std::uint64_t> bases_;
};

void random_updates(guest_base& g, lazy_state* l, places& at, std::mt19937_64& random) {
  const std::uint64_t unit = g.s().shape.slot_pages(0);
  for (unsigned i = 0; i < 30; ++i) {
    const gfn_range r = at.range();
    const std::uint64_t high = g.s().shape.output_pages / 2;  // addresses of full width
    const hfn out{(high + random() % 0x100000) / unit * unit};
    switch (random() % 5) {
      case 0:
        REQUIRE(g.m().unmap(l, r) == status::ok);
        break;
      case 1:
        REQUIRE(g.m().protect(l, r, perm::r | perm::x) == status::ok);
        break;
      case 2: {  // large leaves, where the format has them
        const unsigned level = g.s().options.max_leaf_level ? 1 : 0;
        const std::uint64_t n = g.s().shape.slot_pages(level);
        const gfn first = g.s().shape.slot_first(r.first, level);
        if (g.s().shape.holds({first, n})) {
          REQUIRE(g.m().map(l, {first, n}, {out.value / n * n}, {perm::rwx}) == status::ok);
        }
        break;
      }
      default:
        REQUIRE(g.m().map(l, r, out, {perm::rwx}, random() % 2 ? 0 : arch::level_limit) == status::ok);
    }
  }
}

void check_format(const any_format& format) {
  const each_variant with_each;
  const std::unique_ptr<guest_base> guest_here = make_guest(format, {});
  guest_base& g = *guest_here;
  g.recording = false;
  std::mt19937_64 random(g.s().shape.levels);
  places at(g.s().shape, random);
  for (unsigned round = 0; round < 3; ++round) {
    random_updates(g, g.state(), at, random);
    lazy_state* l = g.enter();
    if (round > 0) random_updates(g, l, at, random);  // queued: seen by the owner, not by the other cpu
    for (const std::size_t n :
         {0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 63, 64, 65, 127, 128, 129, 300}) {
      CAPTURE(n);
      std::vector<gfn> pages(n);
      const bool close = random() % 3 == 0;
      const gfn near{at.page().value & ~std::uint64_t{63}};
      for (gfn& p : pages) p = close ? near + random() % 64 : at.page();
      with_each([&] {
        check_all(g, pages);
        check_all(g, pages, 1);
      });
    }
    REQUIRE(g.m().leave(l) == status::ok);
  }
}

}  // namespace

TEST_SUITE("lookup_many") {
TEST_CASE("says of any number of pages what lookup() says, queued updates included, in every format") {
  for (const format_case& c : format_cases()) {
    CAPTURE(c.name);
    check_format(c.format);
  }
}

TEST_CASE("refuses stale states, pages beyond the input size and lengths that differ, and touches nothing") {
  guest<arch::ept> g;
  const gfn pages[] = {gfn{0}, gfn{g.s().shape.input_pages}};
  hfn frames[] = {hfn{1}, hfn{2}};
  CHECK(g.m().lookup_many(nullptr, pages, frames) == status::bad_state);
  CHECK(g.m().lookup_many(g.state(), pages, frames) == status::bad_range);
  CHECK(g.m().lookup_many(g.state(), {pages, 1}, frames) == status::bad_range);
  CHECK((frames[0] == hfn{1} && frames[1] == hfn{2}));
  CHECK(g.m().lookup_many(g.state(), {pages, 1}, {frames, 1}) == status::ok);
  CHECK((frames[0] == no_frame && frames[1] == hfn{2}));
}

TEST_CASE_TEMPLATE("in interrupt context it sees the tables alone", F, QUIRE_FORMATS) {
  guest<F> g;
  REQUIRE(g.m().map(g.state(), {gfn{0}, 8}, hfn{0x100}, {perm::rw}, 0) == status::ok);
  lazy_state* l = g.enter();
  REQUIRE(g.m().unmap(l, {gfn{2}, 2}) == status::ok);
  const gfn pages[] = {gfn{1}, gfn{2}, gfn{3}, gfn{4}};
  hfn frames[4];
  const each_variant with_each;
  with_each([&] {
    REQUIRE(g.m().lookup_many(l, pages, frames) == status::ok);
    CHECK((frames[0] == hfn{0x101} && frames[1] == no_frame && frames[2] == no_frame &&
           frames[3] == hfn{0x104}));
    g.m().enter_interrupt(0);
    REQUIRE(g.m().lookup_many(g.state(), pages, frames) == status::ok);
    CHECK((frames[0] == hfn{0x101} && frames[1] == hfn{0x102} && frames[2] == hfn{0x103} &&
           frames[3] == hfn{0x104}));
    g.m().leave_interrupt(0);
  });
  REQUIRE(g.m().leave(l) == status::ok);
}

// Between break and make, an entry is parked or invalid by instruction: it is no hole.
TEST_CASE_TEMPLATE("never sees a hole where a mapping is just replaced", F, QUIRE_FORMATS) {
  const each_variant with_each;
  with_each([&] {
    guest<F> g;
    constexpr std::uint64_t n = 16;
    REQUIRE(g.m().map(g.state(), {gfn{0}, n}, hfn{0x100}, {perm::rw}, 0) == status::ok);
    std::vector<gfn> pages;
    for (std::uint64_t i = 0; i < n; ++i) pages.push_back({i * 7 % n});
    unsigned looks = 0;
    g.on_flush = [&](const runtime::flush_plan&) {
      std::vector<hfn> frames(n);
      REQUIRE(g.m().lookup_many(g.state(1), pages, frames) == status::ok);
      for (std::uint64_t i = 0; i < n; ++i) {
        CHECK((frames[i].value == 0x100 + pages[i].value || frames[i].value == 0x200 + pages[i].value));
      }
      ++looks;
    };
    REQUIRE(g.m().map(g.state(), {gfn{0}, n}, hfn{0x200}, {perm::rw}, 0) == status::ok);
    CHECK(looks > 0);
  });
}

// Each page always maps to one of two frames that name it, whatever tables come and go.
TEST_CASE("against commits that replace tables, each page is looked up as it was or will be") {
  const each_variant with_each;
  with_each([&] {
    guest<arch::ept> g;
    constexpr std::uint64_t n = 1024;
    std::atomic<bool> stop{false};
    g.recording = false;
    lazy_state *const mine = g.state(1), *const others = g.state(0);  // made before there are two threads
    std::thread writer([&] {
      for (unsigned i = 0; i < 300; ++i) {
        CHECK(g.m().map(others, {gfn{0}, n}, hfn{i % 2 ? 0x100000u : 0x200000u}, {perm::rw}, i % 3 ? 0 : 1) ==
              status::ok);
        CHECK(g.m().unmap(others, {gfn{0}, n}) == status::ok);
      }
      stop.store(true, std::memory_order_relaxed);  // relaxed: a flag
    });
    std::mt19937_64 random(3);
    std::vector<gfn> pages(64);
    std::vector<hfn> frames(64);
    unsigned bad = 0;
    while (!stop.load(std::memory_order_relaxed)) {  // relaxed: likewise
      for (gfn& p : pages) p = {random() % (n + 100)};
      bad += g.m().lookup_many(mine, pages, frames) != status::ok;
      for (std::size_t i = 0; i < pages.size(); ++i) {
        const std::uint64_t f = frames[i].value, p = pages[i].value;
        bad += f != no_frame.value && (p >= n || (f != 0x100000 + p && f != 0x200000 + p));
      }
    }
    writer.join();
    CHECK(bad == 0);
  });
}
}

}  // namespace quire::tests
