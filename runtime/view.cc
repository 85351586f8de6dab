// Looking at mappings as the owner of a section sees them: tables with its queued updates on top.
#include "runtime/machine.h"

namespace quire::runtime {

namespace {

// What is left of `p` from page `g` on, up to `end`.
void clip(piece& p, gfn g, gfn end) {
  const gfn stop = p.what.range.end() < end ? p.what.range.end() : end;
  if (p.present) p.what.out = p.what.out + (g - p.what.range.first);
  p.what.range = {g, stop - g};
}

void overlay_map(piece& p, const update& u, gfn g) {
  const hfn out = u.out + (g - u.range.first);
  const bool same = p.present && p.what.out == out && p.what.attr == u.kind.attr();
  if (same || (p.present && u.kind.keep_present())) return;
  p.present = true;
  p.what = {p.what.range, out, u.kind.attr(), false, false, u.kind.leaf_level()};
}

void overlay_harvest(piece& p, harvest what) {
  const bool dirty = includes(what, harvest::dirty) && p.what.dirty;
  if (dirty && includes(what, harvest::write_protect)) {
    p.what.attr.access =
        static_cast<perm>(static_cast<unsigned>(p.what.attr.access) & ~static_cast<unsigned>(perm::w));
  }
  if (dirty) p.what.dirty = false;
  if (includes(what, harvest::accessed)) p.what.accessed = false;
}

// Applies a queued update that covers `g` to what is known about the pages from `g` on.
void overlay(piece& p, const update& u, gfn g) {
  clip(p, g, u.range.end());
  switch (u.kind.op()) {
    case operation::map:
      return overlay_map(p, u, g);
    case operation::unmap:
      p.present = false;
      return;
    case operation::protect:
      if (p.present) p.what.attr.access = u.kind.attr().access;
      return;
    case operation::harvest:
      if (p.present) overlay_harvest(p, u.kind.what());
      return;
  }
}

}  // namespace

// If another cpu has drained the queue meanwhile, its updates may have been seen in the tables and in the
// queue both, in the middle of their order: looks once more.
piece machine::view(section& s, gfn g, gfn end) const {
  if (s.queue.empty()) return view_once(s, g, end);
  const std::uint64_t before =
      s.drains.load(std::memory_order_acquire);  // acquire: comes before what is looked at
  const piece p = view_once(s, g, end);
  // acquire: if a table was read that a drain wrote, its mark is seen.
  if ((before & 1) == 0 && s.drains.load(std::memory_order_acquire) == before) return p;
  return view_between_drains(s, g, end);
}

[[gnu::noinline]] piece machine::view_between_drains(section& s, gfn g, gfn end) const {
  const lock_guard hold(s.drain_lock, host_);
  return view_once(s, g, end);
}

piece machine::view_once(section& s, gfn g, gfn end) const {
  // An interrupt sees the tables as they are: the interrupted section has not happened yet.
  const bool plain = s.queue.empty() || in_interrupt(s.cpu) || !s.queue.box().overlaps({g, end - g});
  // The queue before the tables: what another cpu drains in between is not missed.
  const update_list queued = plain ? update_list::nothing() : s.queue.visible();
  piece p = s.where->backend->find(host_, *s.where, g);
  clip(p, g, end);
  if (plain || !s.queue.box().overlaps(p.what.range)) return p;
  for (std::uint32_t i = 0; i < queued.count(); ++i) {
    const update u = queued[i];
    if (u.range.contains(g)) {
      overlay(p, u, g);
    } else if (u.range.first > g && u.range.first < p.what.range.end()) {
      clip(p, g, u.range.first);
    }
  }
  return p;
}

status machine::lookup(lazy_state* l, gfn g, mapping& m, bool& found) {
  section* s = find(l);
  if (!s) return status::bad_state;
  if (!s->where->shape.holds({g, 1})) return status::bad_range;
  const piece p = view(*s, g, g + 1);
  m = p.what;
  found = p.present;
  return status::ok;
}

namespace {

// For entries that lookup_many() cannot tell.
struct judge_context {
  const platform& host;
  const space& where;
};
std::uint64_t judge(const void* context, gfn g) {
  const auto& c = *static_cast<const judge_context*>(context);
  const piece p = c.where.backend->find(c.host, c.where, g);
  return p.present ? (p.what.out + (g - p.what.range.first)).value : no_frame.value;
}

}  // namespace

status machine::lookup_many(lazy_state* l, std::span<const gfn> pages, std::span<hfn> frames) {
  section* s = find(l);
  if (!s) return status::bad_state;
  const space& where = *s->where;
  if (frames.size() != pages.size()) return status::bad_range;
  const bool plain = s->queue.empty() || in_interrupt(s->cpu);
  const judge_context context{host_, where};
  const lookup_source from{
      where.walk, where.root.byte, host_.table_offset, where.shape.input_pages, where.version_word(),
      judge,      &context};
  const lookup_function look = lookup_for(chosen_simd(), where.walk.swapped);
  if (!look(from, pages.data(), pages.size(), frames.data())) return status::bad_range;
  for (std::size_t i = 0; !plain && i < pages.size(); ++i) {
    if (!s->queue.box().overlaps({pages[i], 1})) continue;
    const piece p = view(*s, pages[i], pages[i] + 1);
    frames[i] = p.present ? p.what.out : no_frame;
  }
  return status::ok;
}

status machine::for_each(lazy_state* l, gfn_range r, visitor visit, void* context) {
  struct call {
    visitor visit;
    void* context;
  } c{visit, context};
  const auto forward = [](void* call_context, lazy_state* /*l*/, bool present, const mapping& m) {
    const call& to = *static_cast<call*>(call_context);
    return !present || to.visit(to.context, m);
  };
  return apply_to_range(l, r, walk_flags::no_lazy, forward, &c);
}

status machine::apply_to_range(lazy_state* l, gfn_range r, walk_flags flags, range_visitor visit,
                               void* context) {
  section* s = find(l);
  if (!s) return status::bad_state;
  if (!s->where->shape.holds(r)) return status::bad_range;
  const bool lazy = !includes(flags, walk_flags::no_lazy);
  lazy_state* inner = lazy ? enter(s->cpu, *s->where, r) : l;
  status done = status::ok;
  ++s->walks;
  for (gfn g = r.first; g < r.end() && done == status::ok;) {
    const piece p = view(*s, g, r.end());
    g = p.what.range.end();
    const bool wanted = p.present || includes(flags, walk_flags::holes);
    if (wanted && !visit(context, inner, p.present, p.what)) done = status::stopped;
  }
  --s->walks;
  if (lazy) {
    const status left = leave(inner);
    if (left != status::ok) return left;
  }
  return done;
}

}  // namespace quire::runtime
