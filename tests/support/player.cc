// Playing and watching, see player.h.
#include "tests/support/player.h"

#include <fmt/format.h>

namespace quire::tests {

player::player(guest_base& g, const any_format& f, bool lazy, gfn_range all)
    : g_(g), lazy_(lazy), format_(f), all_(all), tracked_(g.s().backend->tracks_status(g.s())) {
  g_.recording = false;
  g_.on_report = [this](const runtime::report& r) { hear(r); };
  g_.on_flush = [this](const runtime::flush_plan& plan) { drop(plan); };
}

void player::fail(const char* what, gfn g) {
  if (wrong_.empty()) wrong_ = fmt::format("{}, page {:#x}", what, g.value);
}

void player::hear(const runtime::report& r) {
  if (r.dirty) {
    if (written_.pages_in(r.range) != r.range.pages)
      fail("reported dirty, but not written or reported before", r.range.first);
    written_.remove(r.range);
  }
  if (r.what == runtime::report::kind::removed) {
    const std::uint64_t n = r.range.pages;
    const std::uint64_t pairs = n % 2 ? (n - 1) / 2 * n : n / 2 * (n - 1);  // 0 + 1 + ... + n - 1
    const std::uint64_t attr = static_cast<std::uint64_t>(r.attr.access) << 16 | r.attr.type;
    removed_sum_ += 0x9e3779b97f4a7c15u * (r.range.first.value * n + pairs) +
                    0xbf58476d1ce4e5b9u * (r.out.value * n + pairs) + 0x94d049bb133111ebu * attr * n + n;
  }
}

void player::drop(const runtime::flush_plan& plan) {
  for (cached& c : cache_) {
    if (!c.valid || !covers(format_, plan, c.page)) continue;
    c.valid = false;
    const auto now = breaks_first(format_) ? g_.in_tables(c.page) : std::nullopt;
    if (now && (now->out != c.is.out || now->attr.type != c.is.attr.type))
      fail("made before it was broken", c.page);
  }
}

void player::check_cached() {
  for (const cached& c : cache_) {
    if (!c.valid) continue;
    const auto now = g_.in_tables(c.page);
    const bool holds = now && now->out == c.is.out && now->attr.type == c.is.attr.type &&
                       includes(now->attr.access, c.is.attr.access) && (now->accessed || !c.is.accessed) &&
                       (now->dirty || !c.is.dirty);
    if (!holds) fail("a cached translation outlived its flush", c.page);
  }
}

void player::check_dirty() {
  if (!(dirty(all_) == written_)) fail("written pages got lost", gfn{0});
}

status player::update(lazy_state* l, const step& s) {
  machine& m = g_.m();
  const page_run& r = s.run;
  switch (s.what) {
    case action::map:
      return s.level == 0 && lists && r.range.first.value / 8 % 3 == 0 && (r.range.pages | r.range.first.value | r.out.value) % g_.s().shape.slot_pages(0) == 0
                 ? map_backwards(l, r)
                 : m.map(l, r.range, r.out, r.attr, s.level);
    case action::map_keep:
      return m.map_keep_present(l, r.range, r.out, r.attr, s.level);
    case action::map_exact:
      return m.map_exact(l, r.range, r.out, r.attr, s.level);
    case action::unmap:
      return m.unmap(l, r.range);
    case action::protect:
      return m.protect(l, r.range, r.attr.access);
    default:
      return m.harvest_status(l, r.range, s.harvest);
  }
}

// All pages of a run, the last one first, as a list.
status player::map_backwards(lazy_state* l, const page_run& r) {
  std::vector<gfn> pages;
  std::vector<hfn> frames;
  for (std::uint64_t left = r.range.pages, unit = g_.s().shape.slot_pages(0); left >= unit; left -= unit) {
    pages.push_back(r.range.first + (left - unit));
    frames.push_back(r.out + (left - unit));
  }
  std::size_t mapped = 0;
  return g_.m().map_many(l, pages, frames, r.attr, mapped);
}

status player::play(const step& s) {
  if (s.what <= action::harvest) {
    const status done = update(state(), s);
    check_cached();
    return done;
  }
  return lazy_ ? change_section(s) : status::ok;
}

status player::interrupt(const step& s) {
  g_.m().enter_interrupt(0);
  const status done = update(state(), s);
  if (look(s.page) != in_tables(s.page)) fail("an interrupt sees what is queued", s.page);
  g_.m().leave_interrupt(0);
  check_cached();
  return done;
}

status player::change_section(const step& s) {
  machine& m = g_.m();
  status done = status::ok;
  switch (s.what) {
    case action::enter: {
      lazy_state* l = g_.enter(0, s.run.range);
      if (paused_ == 0 && depth_++ == 0) inside_ = l;
      if (l != state()) fail("enter gave another state", s.page);
      return status::ok;
    }
    case action::leave:
      done = m.leave(state());
      if (paused_ == 0 && depth_ > 0) --depth_;
      break;
    case action::pause:
      done = m.pause(state());
      ++paused_;
      break;
    case action::resume:
      done = m.resume(state());
      if (paused_ > 0) --paused_;
      break;
    default:
      done = m.flush(state());
      break;
  }
  check_cached();
  return done;
}

status player::expected(const step& s) const {
  if (!lazy_ || paused_ > 0) return status::ok;
  if (s.what == action::leave && depth_ == 0) return status::no_section;
  return s.what == action::resume ? status::not_paused : status::ok;
}

bool player::touch(gfn g, perm need) {
  const auto before = g_.in_tables(g);
  if (before && tracked_ && before->dirty != written_.contains(g)) fail("D is not what the guest did", g);
  if (!g_.touch(g, need)) return false;
  const runtime::piece p = g_.s().backend->find(g_.host(), g_.s(), g);
  if (tracked_ && includes(need, perm::w)) {
    written_.add(p.what.range);
    // D of one leaf is D of its group.
    const unsigned shift = g_.s().shape.group_bits[p.what.level] + g_.s().shape.shift[p.what.level];
    const gfn first{g.value >> shift << shift};
    for (gfn i = first; i < first + (std::uint64_t{1} << shift); i = i + p.what.range.pages) {
      const runtime::piece other = g_.s().backend->find(g_.host(), g_.s(), i);
      if (other.present && other.what.dirty && other.what.level == p.what.level) written_.add(other.what.range);
    }
  }
  cache_[next_cached_++ % cache_.size()] = {g, true, *g_.in_tables(g)};
  return true;
}

void player::settle() {
  if (g_.m().flush(state()) != status::ok) fail("flush is refused", gfn{0});
  check_cached();
}

void player::finish() {
  for (; paused_ > 0; --paused_) {
    if (g_.m().resume(state()) != status::ok) fail("resume is refused", gfn{0});
  }
  while (depth_ > 0) {
    if (g_.m().leave(state()) != status::ok) fail("leave is refused", gfn{0});
    --depth_;
  }
  check_cached();
}

std::optional<page_run> player::clipped(const std::optional<mapping>& m) {
  if (!m) return {};
  return page_run{m->range, m->out, m->attr};
}

std::vector<page_run> player::runs() {
  std::vector<page_run> found;
  const auto add = [](void* context, const mapping& m) {
    join(*static_cast<std::vector<page_run>*>(context), {m.range, m.out, m.attr});
    return true;
  };
  if (g_.m().for_each(state(), all_, add, &found) != status::ok) {
    fail("for_each is refused", gfn{0});
  }
  return found;
}

page_set player::dirty(gfn_range r) {
  page_set found;
  const auto add = [](void* context, const mapping& m) {
    if (m.dirty) static_cast<page_set*>(context)->add(m.range);
    return true;
  };
  if (g_.m().for_each(state(), r, add, &found) != status::ok) fail("for_each is refused", gfn{0});
  return found;
}

}  // namespace quire::tests
