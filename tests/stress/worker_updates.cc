// Random updates of a worker, and what it remembers of them.
#include <algorithm>

#include "tests/stress/worker.h"

namespace quire::tests {

using runtime::harvest;

void worker::expect(status s, const char* what) {
  if (s != status::ok) w_.fail({}, std::string(what) + ": " + runtime::status_text(s));
}

worker::place worker::pick_place() {
  const std::uint64_t dice = below(10);
  if (dice < 2) {
    const auto space = static_cast<unsigned>(below(world::spaces));
    return {space, w_.own(index_), &own_[space]};
  }
  if (dice < 4) return {0, w_.beside(index_), &beside_};
  if (dice < 7) return {0, w_.interleaved(), &strided_, world::workers};
  return {0, w_.shared(), nullptr};
}

// Often around the border of two leaf tables, so that threads meet.
gfn_range worker::pick_range(const place& p) {
  const std::uint64_t slot = w_.shape().slot_pages(1);
  if (p.stride > 1) return {p.pages.first + (index_ + p.stride * below(p.pages.pages / p.stride)), 1};
  if (chance(8)) return {p.pages.first + slot * below(p.pages.pages / slot), slot};
  if (chance(2)) return p.pages;
  const std::uint64_t from = chance(70) ? slot - 12 + below(20) : below(p.pages.pages);
  const std::uint64_t pages = chance(60) ? 1 : chance(70) ? 1 + below(6) : 1 + below(60);
  return {p.pages.first + from, std::min(pages, p.pages.pages - from)};
}

void worker::update() {
  const place p = pick_place();
  if (p.stride > 1 && chance(10)) return update_at(p, p.pages, wish::harvest);  // of all workers' pages
  constexpr wish wishes[] = {wish::map,     wish::map,     wish::map,     wish::keep,
                             wish::exact,   wish::exact,   wish::unmap,   wish::unmap,
                             wish::protect, wish::protect, wish::harvest, wish::harvest_protect};
  wish what = wishes[below(std::size(wishes))];
  if (what == wish::harvest_protect && p.known)
    what = wish::harvest;  // what it protects depends on what was written
  const std::uint64_t times = p.stride > 1 ? 1 + below(12) : 1;
  for (std::uint64_t i = 0; i < times; ++i) update_at(p, pick_range(p), what);
}

void worker::update_at(const place& p, gfn_range r, wish what) {
  const perm access = chance(70) ? perm::rwx : perm::rx;
  const std::uint64_t slot = w_.shape().slot_pages(1);
  deed d{.access = access, .range = r, .out = world::frame(r.first, w_.new_variant())};
  unsigned level = r.pages > 4 * slot || (chance(50) && p.stride == 1) ? 2 : 0;
  switch (what) {
    case wish::map:
      d.what = deed::kind::map;
      break;
    case wish::keep:
      d.what = deed::kind::keep;
      break;
    case wish::exact: {
      d.what = deed::kind::map;
      const bool large = p.stride == 1 && r.pages >= 2 && chance(50);  // a collapse
      if (large) {
        d.range = {w_.shape().slot_first(r.first, 1), slot};
        d.out = world::frame(d.range.first, w_.new_variant());
      }
      level = large ? 1 : 0;
      break;
    }
    case wish::unmap:
      d.what = deed::kind::unmap;
      break;
    case wish::protect:
      d.what = deed::kind::protect;
      break;
    case wish::harvest:
      d.what = deed::kind::harvest;
      break;
    case wish::harvest_protect:
      d.what = deed::kind::harvest_protect;
      break;
  }
  submit(p.space, d, what, level, {});
  if (!p.known) return;
  const page_run run{d.range, d.out, {access, 0, 0}};
  if (d.what == deed::kind::map || d.what == deed::kind::keep) p.known->map(run, d.what == deed::kind::keep);
  if (d.what == deed::kind::unmap) p.known->unmap(d.range);
  if (d.what == deed::kind::protect) p.known->protect(d.range, access);
}

status worker::call(unsigned space, const deed& d, wish what, unsigned level, runtime::guard g) {
  runtime::machine& m = w_.m();
  lazy_state* l = state(space);
  const arch::attributes a{d.access, 0, 0};
  switch (what) {
    case wish::map:
      return m.map(l, d.range, d.out, a, level, g);
    case wish::keep:
      return m.map_keep_present(l, d.range, d.out, a, level, g);
    case wish::exact:
      return m.map_exact(l, d.range, d.out, a, level, g);
    case wish::unmap:
      return m.unmap(l, d.range);
    case wish::protect:
      return m.protect(l, d.range, d.access);
    case wish::harvest:
      return m.harvest_status(l, d.range, harvest::accessed | harvest::dirty);
    case wish::harvest_protect:
      return m.harvest_status(l, d.range, harvest::dirty | harvest::write_protect);
  }
  return status::ok;
}

void worker::submit(unsigned space, const deed& d, wish what, unsigned level, runtime::guard g) {
  deed told = d;
  told.guarded = g.index != 0;
  told.cpu = index_;
  told.called = w_.tick();
  const status done = call(space, told, what, level, g);
  told.queued = w_.tick();
  expect(done, "an update is refused");
  if (!queues(space)) told.done = told.queued;
  if (space == 0) {
    if (queues(space)) open_[space].queued.push_back(log_.size());
    if (!queues(space)) publish(told, {});
    log_.push_back(told);
  }
}

// No translation that the deed removed or narrowed may be used from now on, but for pages that a later update
// of the same section may have given back: what did not change in the end need not be flushed.
void worker::publish(const deed& d, const std::vector<gfn_range>& given_back) {
  for (std::uint64_t i = 0; i < d.range.pages; ++i) {
    const gfn page = d.range.first + i;
    page_marks* p = w_.marks(page);
    if (!p) return;
    const auto holds = [page](const gfn_range& r) { return r.contains(page); };
    if (std::any_of(given_back.begin(), given_back.end(), holds)) continue;
    switch (d.what) {
      case deed::kind::unmap:
        raise_to(p->removed, d.called);
        break;
      case deed::kind::map:
        if (!d.guarded) raise_to(p->mapped[index_], world::pack(d.called, d.out));
        break;
      case deed::kind::protect:
        if (!includes(d.access, perm::w)) raise_to(p->narrowed, d.called);
        break;
      case deed::kind::harvest:
      case deed::kind::harvest_protect:
        raise_to(p->cleaned, d.called);
        break;
      default:
        break;
    }
  }
}

// What was queued so far has been committed and flushed.
void worker::took_effect(unsigned space) {
  const std::uint64_t now = w_.tick();
  std::vector<gfn_range> given_back;
  auto& queued = open_[space].queued;
  for (auto i = queued.rbegin(); i != queued.rend(); ++i) {
    deed& d = log_[*i];
    d.done = now;
    publish(d, given_back);
    const bool widens = d.what == deed::kind::protect && includes(d.access, perm::w);
    if (d.what <= deed::kind::keep || widens) given_back.push_back(d.range);
  }
  queued.clear();
}

// More updates than a queue holds, none of which continues the one before.
void worker::fill_queue() {
  const place p{0, w_.own(index_), &own_[0]};
  const std::uint64_t first = below(100);
  for (std::uint64_t i = 0; i < 560; ++i) {
    update_at(p, {p.pages.first + (first + i * 2) % p.pages.pages, 1}, i % 3 == 2 ? wish::unmap : wish::map);
  }
}

void worker::update_huge() {
  const place all{0, w_.huge(index_), &huge_};
  const gfn page = all.pages.first + below(all.pages.pages - 4);
  switch (below(4)) {
    case 0:
      return update_at(all, all.pages, wish::map);
    case 1:
      return update_at(all, all.pages, wish::unmap);
    case 2:
      return update_at(all, {page, 1}, wish::map);
    default:
      return update_at(all, {page, 3}, wish::unmap);
  }
}

void worker::update_slot() {
  const gfn_range all = w_.slot();
  const std::uint64_t pages = w_.shape().slot_pages(1);
  const auto sequence = w_.s().guard_sequence(world::slot_guard);
  const gfn_range r{all.first + (chance(60) ? pages - 8 + below(12) : below(all.pages - 8)), 1 + below(8)};
  deed d{.what = deed::kind::map,
         .access = perm::rwx,
         .range = r,
         .out = world::frame(r.first, sequence & 0x3fff)};
  const runtime::guard g{world::slot_guard, sequence};
  if (chance(15)) {  // a large leaf
    d.range = {w_.shape().slot_first(r.first, 1), pages};
    d.out = world::frame(d.range.first, sequence & 0x3fff);
    return submit(0, d, wish::exact, 1, g);
  }
  if (chance(20)) {
    d.what = chance(50) ? deed::kind::unmap : deed::kind::protect;
    return submit(0, d, d.what == deed::kind::unmap ? wish::unmap : wish::protect, 0, {});
  }
  if (chance(50)) d.what = deed::kind::keep;
  submit(0, d, d.what == deed::kind::map ? wish::map : wish::keep, 0, g);
}

// As a memory slot changes: what was resolved before is cancelled, committed or not, then all is unmapped.
void worker::change_slot() {
  const std::unique_lock alone(w_.slot_change, std::try_to_lock);
  if (!alone) return;
  w_.s().bump_guard(world::slot_guard);
  const std::uint64_t sequence = w_.s().guard_sequence(world::slot_guard);
  const deed drained{.what = deed::kind::drain, .range = w_.slot(), .called = w_.tick()};
  expect(w_.m().drain(cpu_, w_.s(), w_.slot()), "a drain fails");
  log_.push_back(drained);
  log_.back().queued = log_.back().done = w_.tick();
  submit(0, {.what = deed::kind::unmap, .range = w_.slot()}, wish::unmap, 0, {});
  if (queues(0)) {
    expect(w_.m().flush(state(0)), "a flush fails");
    took_effect(0);
  }
  w_.set_oldest_slot(sequence);
  for (std::uint64_t i = 0; i < w_.slot().pages; i += 1 + below(8)) {
    runtime::mapping seen;
    bool found = false;
    const gfn page = w_.slot().first + i;
    expect(w_.m().lookup(state(0), page, seen, found), "a lookup fails");
    if (found && world::too_old(seen.out, sequence)) w_.fail(page, "an update of the old slot was committed");
  }
}

}  // namespace quire::tests
