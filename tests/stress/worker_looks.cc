// What a worker sees: through the runtime, compared with its oracles, and as a vCPU, compared with what was
// promised.
#include "tests/stress/worker.h"

namespace quire::tests {

void worker::look() {
  const place p = pick_place();
  if (!p.known) return;
  const gfn page = pick_range(p).first;
  runtime::mapping m;
  bool found = false;
  expect(w_.m().lookup(state(p.space), page, m, found), "a lookup fails");
  const auto known = p.known->find(page);
  const bool right = found == known.has_value() &&
                     (!found || (m.out == known->out + (page - known->range.first) && m.attr == known->attr));
  if (!right) {
    w_.fail(page, "cpu " + std::to_string(index_) + " sees " +
                      (found ? "frame " + std::to_string(m.out.value) : "a hole") +
                      (queues(p.space) ? " in a section" : "") + " where it mapped " +
                      (known ? "frame " + std::to_string((known->out + (page - known->range.first)).value)
                             : "nothing"));
  }
}

void worker::look_at_shared() {
  if (queues(0)) return;  // it would see what it has queued
  const gfn page = pick_range({0, w_.shared(), nullptr}).first;
  sighting s{page, {}, w_.tick(), 0};
  runtime::mapping m;
  expect(w_.m().lookup(state(0), page, m, s.seen.present), "a lookup fails");
  s.done = w_.tick();
  if (s.seen.present) s.seen = {true, m.out, m.attr.access};
  if (s.seen.present && !world::belongs(m.out, page))
    w_.fail(page, "a lookup finds the frame of another page");
  sightings_.push_back(s);
}

std::vector<page_run> worker::in_tables(const place& p) {
  struct seen {
    std::vector<page_run> runs;
    const place& from;
    unsigned index;
  } all{{}, p, index_};
  const auto add = [](void* context, const runtime::mapping& m) {
    seen& to = *static_cast<seen*>(context);
    if (to.from.stride == 1 || m.range.first.value % to.from.stride == to.index)
      join(to.runs, {m.range, m.out, m.attr});
    return true;
  };
  expect(w_.m().for_each(state(p.space), p.pages, add, &all), "a walk fails");
  return all.runs;
}

void worker::compare(const place& p, const char* what) {
  const auto seen = in_tables(p);
  const auto known = p.known->runs();
  if (seen == known) return;
  gfn page = p.pages.first;
  for (std::size_t i = 0; i < seen.size() || i < known.size(); ++i) {
    if (i < seen.size() && i < known.size() && seen[i] == known[i]) continue;
    page = i < seen.size() ? seen[i].range.first : known[i].range.first;
    if (i < seen.size() && i < known.size()) page = std::min(page, known[i].range.first);
    break;
  }
  w_.fail(page, "cpu " + std::to_string(index_) + " finds other pages than it mapped: " + what);
}

void worker::check_leaves() {
  if (chance(50)) return compare({0, w_.own(index_), &own_[0]}, "its own");
  compare({0, w_.beside(index_), &beside_}, "beside others");
}

void worker::compare() {
  world::here() = {cpu_, index_, false};
  for (unsigned i = 0; i < world::spaces; ++i) compare({i, w_.own(index_), &own_[i]}, "its own");
  compare({0, w_.beside(index_), &beside_}, "beside others");
  compare({0, w_.interleaved(), &strided_, world::workers}, "between others");
  compare({0, w_.huge(index_), &huge_}, "huge");
}

// Pages of anybody.
void worker::access() {
  for (unsigned i = 0; i < 6; ++i) {
    const auto other = static_cast<unsigned>(below(world::workers));
    const gfn_range places[] = {w_.own(other), w_.beside(other), w_.interleaved(), w_.shared(), w_.slot()};
    const gfn_range r = places[below(5)];
    const std::uint64_t border = r.pages <= 64 ? 0 : w_.shape().slot_pages(1) - 12;
    const gfn g = r.first + (chance(60) ? border + below(20) : below(r.pages));
    const bool write = chance(50);
    for (unsigned again = 0; again < 3; ++again) {
      access(g, write);
      w_.bus().serve(index_);
    }
  }
}

void worker::access(gfn g, bool write) {
  soft_tlb& tlb = w_.bus().tlb(index_);
  soft_tlb::entry& e = tlb.at(g);
  const bool tracks = w_.s().backend->tracks_status(w_.s());
  if (e.valid && e.page == g && (!write || (includes(e.access, perm::w) && (e.dirty || !tracks)))) {
    if (stale(e, write))
      w_.fail(g, "cpu " + std::to_string(index_) + (write ? " writes" : " reads") +
                     " through a stale translation");
    return;
  }
  const unsigned shift = w_.shape().shift[0] + w_.shape().index_bits[0];
  soft_tlb::way& way = tlb.way_to(g, shift);
  const bool use_way = way.valid && way.range.contains(g);
  const std::uint64_t oldest = w_.oldest_slot();
  page_marks& marks = *w_.marks(g);
  const std::uint64_t before = w_.tick();
  const walk_result r = w_.hw().access(w_.s(), g, write, use_way ? &way.table : nullptr);
  if (r.set_dirty) {
    raise_to(marks.dirtied, before);
    marks.times_dirtied.fetch_add(1, std::memory_order_relaxed);  // relaxed: read when all threads have ended
  }
  if (r.level == 0) way = {true, {w_.shape().table_first(g, 0), w_.shape().table_pages(0)}, r.leaf_table};
  if (!r.present) return;
  walked(g, r, oldest);
  if (!write || includes(r.access, perm::w)) e = {true, r.dirty, r.access, g, r.out, w_.tick()};
}

void worker::walked(gfn g, const walk_result& r, std::uint64_t oldest_slot) {
  if (!world::belongs(r.out, g)) w_.fail(g, "hardware finds the frame of another page");
  if (w_.slot().contains(g) && world::too_old(r.out, oldest_slot))
    w_.fail(g, "hardware finds an update of the old slot");
}

// True if something that removed or narrowed the translation was called after it was cached, and has
// returned.
bool worker::stale(const soft_tlb::entry& e, bool write) {
  const page_marks& p = *w_.marks(e.page);
  // acquire, here and below: pairs with publish(), which comes after the flush.
  if (p.removed.load(std::memory_order_acquire) > e.filled) return true;
  for (const auto& mapped : p.mapped) {
    const std::uint64_t m = mapped.load(std::memory_order_acquire);
    const bool same = (m & ((1u << world::variant_bits) - 1)) == world::variant_of(e.out);
    if (m >> world::variant_bits > e.filled && !same) return true;
  }
  if (!write) return false;
  const bool cleaned = e.dirty && p.cleaned.load(std::memory_order_acquire) > e.filled;
  return cleaned || p.narrowed.load(std::memory_order_acquire) > e.filled;
}

}  // namespace quire::tests
