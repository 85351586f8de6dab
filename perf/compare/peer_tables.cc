// The peers as contestants: perf/peers behind contestant.h.
#include <new>

#include "perf/compare/contestant.h"
#include "perf/compare/memory.h"
#include "perf/peers/peer.h"

namespace quire::perf {

namespace {

class peer_tables final : public contestant {
 public:
  peer_tables(const peer& p, std::size_t bytes) : peer_(p), memory_(bytes) { make(); }
  ~peer_tables() override { peer_.destroy(); }

  std::uint64_t table_pages() const override { return 512; }
  bool can_protect() const override { return peer_.protect_range; }
  bool can_unmap_tables() const override { return peer_.unmap_tables; }

  bool map_range(std::uint64_t first, std::uint64_t pages) override {
    return peer_.map_range(first, pages, first + frame_distance);
  }
  bool map_each(std::span<const std::uint64_t> pages) override {
    return peer_.map_each(pages.data(), pages.size(), frame_distance);
  }
  bool protect_range(std::uint64_t first, std::uint64_t pages) override {
    return peer_.protect_range(first, pages);
  }
  bool unmap_pieces(std::span<const arch::gfn_range> pieces) override {
    bool done = true;
    for (const arch::gfn_range& r : pieces) done &= peer_.unmap_range(r.first.value, r.pages);
    return done;
  }
  bool unmap_each(std::span<const std::uint64_t> pages) override {
    return peer_.unmap_each(pages.data(), pages.size());
  }
  bool unmap_tables(std::uint64_t first, std::uint64_t pages) override {
    return peer_.unmap_tables(first, pages);
  }
  bool look_up(std::span<const std::uint64_t> pages, std::span<std::uint64_t> frames) override {
    return peer_.look_up(pages.data(), pages.size(), frames.data());
  }

  bool clear() override {
    const command_counts so_far = counts();
    peer_.destroy();
    make();
    before_ = so_far;
    return true;
  }
  bool unprotect_range(std::uint64_t first, std::uint64_t pages) override {
    return peer_.unmap_range(first, pages) && map_range(first, pages);
  }
  page_state read(std::uint64_t page) override {
    page_state s;
    s.mapped = peer_.read(page, &s.frame, &s.writable);
    return s;
  }
  command_counts counts() const override {
    const peer_counts c = peer_.counts();
    return {before_.commands + c.commands, before_.barriers + c.barriers, 0};
  }

 private:
  void make() {
    if (!peer_.make(memory_.data(), memory_.size())) throw std::bad_alloc();
  }

  const peer& peer_;
  present_memory memory_;
  command_counts before_;
};

}  // namespace

std::vector<entrant> make_peers(std::size_t memory) {
  std::vector<entrant> all;
  for (const peer* p : {&kvm_peer, &io_pgtable_peer}) {
    all.push_back({p->name, "", std::make_unique<peer_tables>(*p, memory)});
  }
  return all;
}

bool has_peers() { return true; }

}  // namespace quire::perf
