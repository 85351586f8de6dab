// Lookups of many pages in tables that are reused under them.
#include "runtime/lookup_ops.h"

#include <doctest/doctest.h>

#include <memory>
#include <random>
#include <thread>
#include <vector>

#include "arch/x86/ept.h"
#include "tests/support/variants.h"

namespace quire::tests {

using runtime::no_frame;
using word = std::uint64_t;

namespace {

constexpr arch::ept f{};
constexpr std::uint32_t tables = 8, entries = 512;
constexpr std::uint64_t input_pages = arch::geometry_of(f).input_pages;

struct alignas(4096) frame {
  word e[entries];
};

/// PML4, PDPT, PD and leaf tables: page i maps to frame 0x1000 + i.
class tree {
 public:
  tree() {
    for (unsigned l = 0; l < 3; ++l) put(memory_[l].e[0], f.make_table({address(l + 1)}, 3 - l));
    for (std::uint32_t t = 0; t < tables; ++t) {
      fill(3 + t, t);
      link(t, 3 + t);
    }
  }
  std::uint64_t address(std::uint32_t n) const { return n * sizeof(frame); }
  std::uint64_t offset() const { return reinterpret_cast<std::uintptr_t>(memory_); }
  /// Frame n becomes the t-th leaf table, or what no lookup may ever see.
  void fill(std::uint32_t n, std::uint32_t t) {
    for (std::uint32_t i = 0; i < entries; ++i)
      put(memory_[n].e[i], f.make_leaf({0x1000 + t * entries + i}, {arch::perm::rw}, 0));
  }
  void reuse(std::uint32_t n) {
    for (word& e : memory_[n].e) put(e, f.make_leaf({0xdead}, {arch::perm::rw}, 0));
  }
  void link(std::uint32_t t, std::uint32_t n) { put(memory_[2].e[t], f.make_table({address(n)}, 1)); }

 private:
  static void put(word& at, word e) { std::atomic_ref<word>(at).store(e, std::memory_order_release); }

  frame memory_[3 + 2 * tables] = {};
};

std::uint64_t unexpected(const void* context, arch::gfn /*g*/) {
  ++*static_cast<unsigned*>(const_cast<void*>(context));
  return 0xbad;
}

}  // namespace

TEST_SUITE("lookup_ops") {
TEST_CASE("an entry is followed, and believed, only if no frame was given back since the lookup began") {
  constexpr arch::walk_shape shape = arch::walk_shape_of(f);
  for (const runtime::simd v : variants()) {
    CAPTURE(std::string(runtime::simd_text(v)));
    const auto here = std::make_unique<tree>();
    std::atomic<std::uint64_t> version{0};
    std::atomic<bool> stop{false};
    unsigned judged = 0;
    const runtime::lookup_source from{shape,   here->address(0), here->offset(), input_pages,
                                      version, unexpected,       &judged};
    // As a commit: moves a table to another frame, says so, and uses the old frame for something else.
    std::thread mover([&] {
      for (unsigned round = 0; round < 60000; ++round) {
        const std::uint32_t t = round % tables, spare = 3 + tables + t;
        const std::uint32_t to = round / tables % 2 ? 3 + t : spare, old = round / tables % 2 ? spare : 3 + t;
        here->fill(to, t);
        here->link(t, to);
        version.fetch_add(1, std::memory_order_acq_rel);  // acq_rel: as space::move_version()
        here->reuse(old);
      }
      stop.store(true, std::memory_order_relaxed);  // relaxed: a flag
    });
    std::mt19937_64 random(1);
    std::vector<arch::gfn> pages(64);
    std::vector<arch::hfn> frames(64);
    unsigned wrong = 0;
    while (!stop.load(std::memory_order_relaxed)) {  // relaxed: likewise
      for (arch::gfn& g : pages) g = {random() % (tables * entries)};
      runtime::lookup_for(v, shape.swapped)(from, pages.data(), 64, frames.data());
      for (std::size_t i = 0; i < 64; ++i) wrong += frames[i].value != 0x1000 + pages[i].value;
    }
    mover.join();
    CHECK(wrong == 0);
    CHECK(judged == 0);
  }
}
TEST_CASE("a page beyond the input size is refused wherever it stands, and nothing is written") {
  constexpr arch::walk_shape shape = arch::walk_shape_of(f);
  const auto here = std::make_unique<tree>();
  const std::atomic<std::uint64_t> version{0};
  const runtime::lookup_source from{shape,   here->address(0), here->offset(), input_pages,
                                    version, nullptr,          nullptr};
  for (const runtime::simd v : variants()) {
    for (const std::size_t n : {1, 7, 8, 9, 64, 75}) {
      for (std::size_t beyond = 0; beyond < n; ++beyond) {
        std::vector<arch::gfn> pages(n, arch::gfn{1});
        std::vector<arch::hfn> frames(n, arch::hfn{7});
        pages[beyond] = {input_pages + 1};
        REQUIRE_FALSE(runtime::lookup_for(v, shape.swapped)(from, pages.data(), n, frames.data()));
        for (const arch::hfn h : frames) REQUIRE(h == arch::hfn{7});
        pages[beyond] = {input_pages - 1};
        REQUIRE(runtime::lookup_for(v, shape.swapped)(from, pages.data(), n, frames.data()));
        for (std::size_t i = 0; i < n; ++i)
          REQUIRE(frames[i] == (i == beyond ? no_frame : arch::hfn{0x1001}));
      }
    }
  }
}
TEST_CASE("an entry that is plainly nothing goes to the caller, with its page") {
  constexpr arch::walk_shape shape = arch::walk_shape_of(f);
  for (const runtime::simd v : variants()) {
    alignas(4096) static word root[entries];
    for (std::uint32_t i = 0; i < entries; ++i)
      root[i] = i % 3 ? 0 : arch::bit(63);  // suppress #VE, not present
    std::atomic<std::uint64_t> version{0};
    const auto judge = [](const void* /*context*/, arch::gfn g) { return g.value >> 27; };
    const runtime::lookup_source from{
        shape, 0, reinterpret_cast<std::uintptr_t>(root), input_pages, version, judge, nullptr};
    for (std::uint32_t n = 0; n <= 70; ++n) {
      std::vector<arch::gfn> pages(n);
      for (std::uint32_t i = 0; i < n; ++i) pages[i] = {word{i} << 27 | i};
      std::vector<arch::hfn> frames(n);
      runtime::lookup_for(v, shape.swapped)(from, pages.data(), n, frames.data());
      for (std::uint32_t i = 0; i < n; ++i) REQUIRE(frames[i] == (i % 3 ? no_frame : arch::hfn{i}));
    }
  }
}
}

}  // namespace quire::tests
