// Immediate updates of one page in a table that is known, or found by one look: all of a commit that is left then is its phase.
#include "runtime/leaf_places.h"
#include "runtime/machine.h"

namespace quire::runtime {

namespace {

/// An entry in the byte order of its table, or of this machine.
std::uint64_t in_order(const arch::walk_shape& walk, std::uint64_t e) { return walk.swapped ? __builtin_bswap64(e) : e; }

}  // namespace

// In a phase: makes the way that to the level-0 table of page `g`. False: there is none, or this cpu does not hold it.
[[gnu::always_inline]] inline bool machine::lead_to(section& s, gfn g) const {
  const leaf_shortcut& way = s.shortcut;
  const std::uint64_t unlinks = s.where->unlinks();
  if (g.value - way.first >= way.pages || unlinks != way.unlinks) return lead_elsewhere(s, g, unlinks);
  const owner_words::held_by held(owners_, s.cpu);
  return held(way.table, static_cast<unsigned>(__builtin_ctzll(s.where->shape.table_bytes[0])));
}

// Maps a page if its entry is empty, in a table that this cpu holds, and the map before has told what leaves look like.
bool machine::put_directly(section& s, gfn g, hfn out, attributes a) {
  const leaf_shortcut& way = s.shortcut;
  if (std::bit_cast<std::uint32_t>(a) != way.attributes || out.value >= way.below) return false;
  cpu_context& cpu = cpus_[s.cpu];
  cpu.phase.raise();
  bool done = false;
  // relaxed: after the fence of raise()
  if (s.where->closed.load(std::memory_order_relaxed) == 0 && lead_to(s, g)) {
    const std::atomic_ref<std::uint64_t> entry(way.entries[g.value - way.first]);
    const arch::walk_shape& walk = s.where->walk;
    done = in_order(walk, entry.load(std::memory_order_acquire)) == walk.level[0].empty;  // acquire: as slot::load()
    if (done) entry.store(in_order(walk, way.leaf + out.value * way.step), std::memory_order_release);  // release: as slot::store()
  }
  cpu.phase.lower();
  s.direct += done;
  return done;
}

// Unmaps a page if its leaf has a neighbour, so that the table stays.
bool machine::take_directly(section& s, gfn g) {
  const space& where = *s.where;
  if (!leads_directly(where)) return false;
  cpu_context& cpu = cpus_[s.cpu];
  cpu.phase.raise();
  // relaxed: after the fence of raise()
  if (where.closed.load(std::memory_order_relaxed) == 0 && lead_to(s, g)) {
    const leaf_shortcut& way = s.shortcut;
    const std::uint64_t i = g.value - way.first;
    const auto at = [&](std::uint64_t k) {
      return in_order(where.walk, std::atomic_ref(way.entries[k]).load(std::memory_order_acquire));  // acquire: as slot::load()
    };
    const arch::walk_level& level = where.walk.level[0];
    const bool stays = (i + 1 < way.pages && at(i + 1) != level.empty) || (i > 0 && at(i - 1) != level.empty);
    if (stays && level.rule.leaf(at(i))) {
      table_need none{};
      where.backend->unmap_leaf(context_of(s, none, flush_reason::immediate), &way.entries[i], g);
      return true;
    }
  }
  cpu.phase.lower();
  return false;
}

// True if one page is one entry, and nothing is to be called around a commit.
bool machine::leads_directly(const space& where) const {
  const geometry& shape = where.shape;
  const bool alone = !host_.open_tables && !host_.close_tables && !host_.barrier;
  return alone && shape.slot_pages(0) == 1 && shape.top() > 0 && shape.group_bits[0] == 0;
}

[[gnu::noinline]] bool machine::lead_elsewhere(section& s, gfn g, std::uint64_t unlinks) const {
  const space& where = *s.where;
  if (g.value >= where.shape.input_pages) return false;
  const place_request q{where.walk, where.root.byte, host_.table_offset, {}, 1, 0, 0, 0, {owners_, s.cpu},
                        static_cast<unsigned>(__builtin_ctzll(where.shape.table_bytes[0]))};
  std::uint64_t *at = nullptr, leaf = 0;
  const hfn any{0};
  if (!places_for(simd::scalar, where.walk.swapped).of_pages(q, &g, &any, 1, &at, &leaf)) return false;
  const std::uint64_t pages = where.shape.table_pages(0), i = g.value & (pages - 1);
  leaf_shortcut& way = s.shortcut;
  way.first = g.value - i;
  way.pages = pages;
  way.entries = at - i;
  way.table = {reinterpret_cast<std::uintptr_t>(way.entries) - host_.table_offset};
  way.unlinks = unlinks;
  return true;
}

}  // namespace quire::runtime
