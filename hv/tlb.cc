// Hits, refills and the search for stale uses of tlb.h.
#include "hv/tlb.h"

#include "runtime/machine.h"

namespace quire::hv {

namespace {

using runtime::platform;
using runtime::space;
using runtime::translation;
using runtime::walk_request;

translation look(const platform& host, const space& s, gfn g) {
  return s.backend->walk(host, s, {g, perm::none, false, false, {}});
}

// Guests that use the same pages do not push each other's translations out.
std::uint64_t spread(std::uint32_t id) { return std::uint64_t{id} * 2533; }

}  // namespace

tlb::tlb() : entries_(entries), ways_(ways_to_tables) {}

access_result tlb::access(const platform& host, const space& s, std::uint32_t id, gfn g, access_kind kind,
                          const narrowing_watch& watch) {
  entry& e = entries_[(g.value + spread(id)) % entries];
  const bool hit = e.id == id && e.page == g && good(e.epoch, id);
  if (!hit || !includes(e.access, needed(kind)) || !use(host, s, e, kind, watch)) {
    const access_result r = refill(host, s, id, e, g, kind, watch);
    if (r != access_result::done) return r;
  }
  last_frame_ = e.out;
  return access_result::done;
}

// Uses a cached translation. False if hardware has to walk again for it: the first write must set D.
bool tlb::use(const platform& host, const space& s, entry& e, access_kind kind, const narrowing_watch& watch) {
  if (kind == access_kind::write && !e.dirty) return false;
  ++hits_;
  const std::uint64_t before = watch.quiet();
  const translation now = look(host, s, e.page);
  const bool tracked = s.backend->tracks_status(s);
  const bool mine = e.space == s.id;
  const bool holds = now.present && now.out == e.out && now.type == e.type && includes(now.access, e.access) &&
                     (!tracked || (now.accessed && (now.dirty || !e.dirty)));
  if (!mine || (!holds && before != 0 && before == watch.quiet())) {
    stale(e.page);
    e.epoch = 0;  // counted once for each time it was cached
  }
  return true;
}

// Walks, along a cached way to the leaf table where there is one, and caches what it finds.
access_result tlb::refill(const platform& host, const space& s, std::uint32_t id, entry& e, gfn g, access_kind kind,
                          const narrowing_watch& watch) {
  const gfn first = s.shape.table_first(g, 0);
  table_way& way = ways_[((first.value >> s.shape.index_bits[0]) + spread(id)) % ways_to_tables];
  const bool cached = way.id == id && way.first == first && good(way.epoch, id);
  const std::uint64_t before = watch.quiet();
  if (cached) {
    const translation now = look(host, s, g);
    const bool holds = now.level == 0 && now.leaf_table == way.table;
    if (way.space != s.id || (!holds && before != 0 && before == watch.quiet())) stale(g);
  }
  ++walks_;
  const translation t = s.backend->walk(host, s, {g, needed(kind), true, cached, way.table});
  if (!t.present || !includes(t.access, needed(kind))) {
    // A fault drops what was cached for the address: [sdm3] "Operations that Invalidate Cached Mappings".
    e.epoch = 0;
    way.epoch = 0;
    return t.present ? access_result::denied : access_result::not_present;
  }
  e = {epoch_, g, t.out, id, s.id, t.access, t.type, t.dirty};
  if (t.level == 0) way = {epoch_, first, id, s.id, t.leaf_table};
  return access_result::done;
}

}  // namespace quire::hv
