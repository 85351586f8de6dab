// tests/perf/peers_test.cc: the page tables of Linux as perf/peers drives them. Built by tests/peers.sh, not
// by Meson.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "perf/peers/peer.h"

namespace {

constexpr std::uint64_t first = 1 << 18, pages = 1024, distance = 1 << 20;

void require(bool good, const char* name, const char* what) {
  if (good) return;
  std::fprintf(stderr, "%s: %s\n", name, what);
  std::exit(1);
}

/// Pages that are mapped as they should be, of the range.
std::uint64_t mapped(const peer& p, bool writable) {
  std::uint64_t n = 0;
  for (std::uint64_t i = 0; i < pages; ++i) {
    std::uint64_t frame = 0;
    bool w = false;
    n += p.read(first + i, &frame, &w) && frame == first + i + distance && w == writable;
  }
  return n;
}

void play(const peer& p) {
  constexpr std::size_t bytes = 16 << 20;
  void* memory = std::aligned_alloc(1 << 16, bytes);
  require(p.make(memory, bytes), p.name, "cannot be made");
  require(mapped(p, true) == 0, p.name, "is not empty at first");
  require(p.map_range(first, pages, first + distance) && mapped(p, true) == pages, p.name, "maps a range");
  std::vector<std::uint64_t> all, frames(pages);
  for (std::uint64_t i = 0; i < pages; ++i) all.push_back(first + (i * 7) % pages);
  require(p.look_up(all.data(), pages, frames.data()), p.name, "looks up");
  for (std::uint64_t i = 0; i < pages; ++i)
    require(frames[i] == all[i] + distance, p.name, "finds the frame");
  if (p.protect_range)
    require(p.protect_range(first, pages) && mapped(p, false) == pages, p.name, "protects a range");
  const peer_counts before = p.counts();
  require(p.unmap_range(first, pages - 1), p.name, "unmaps a range");
  require(mapped(p, true) + mapped(p, false) == 1, p.name, "leaves what was not asked for");
  require(p.counts().commands - before.commands >= pages - 1, p.name, "asks for an invalidation per page");
  const std::uint64_t last = first + pages - 1;
  require(p.unmap_each(&last, 1), p.name, "unmaps one page");
  require(p.map_each(all.data(), pages, distance) && mapped(p, true) == pages, p.name, "maps page by page");
  if (p.unmap_tables) require(p.unmap_tables(first, pages), p.name, "unmaps tables");
  if (!p.unmap_tables) require(p.unmap_each(all.data(), pages), p.name, "unmaps page by page");
  require(mapped(p, true) == 0, p.name, "is empty at last");
  p.destroy();
  std::free(memory);
}

}  // namespace

int main() {
  play(kvm_peer);
  play(io_pgtable_peer);
}
