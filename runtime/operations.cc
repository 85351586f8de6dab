// Updates: checked, claimed for, then queued or committed at once.
#include "runtime/checks.h"
#include "runtime/machine.h"

namespace quire::runtime {

// `k` holds everything but attributes and leaf level.
status machine::map_with(lazy_state* l, gfn_range r, hfn out, attributes a, const update_kind& k,
                         unsigned max_leaf_level) {
  section* s = find(l);
  if (!s) return status::bad_state;
  const space& where = *s->where;
  if (const status bad = check_map(where.shape, r, out, a); bad != status::ok) return bad;
  unsigned cap =
      max_leaf_level < where.options.max_leaf_level ? max_leaf_level : where.options.max_leaf_level;
  if (a.options & where.shape.level0_options) cap = 0;
  const unsigned leaf = largest_leaf(where.shape, r, out, cap);
  return submit(*s, {r, out, k.with(a, leaf)});
}

status machine::map_slowly(lazy_state* l, gfn first, std::uint64_t pages, hfn out, attributes a, unsigned max_leaf_level,
                           guard g) {
  if (section* s = found_section(l); s && pages == 1) {
    if (s->depth == 0 && g.index == 0 && put_directly(*s, first, out, a)) return status::ok;
    if (s->depth > 0 && !s->queue.empty() && (s->queue.prepaid_spent() || s->prepaid_parents == 0) && prepay(*s) && s->append_map({first, 1}, out, a, g)) return status::ok;
  }
  return map_with(l, {first, pages}, out, a, update_kind(operation::map, {}, 0, false, harvest::none).with(g),
                  max_leaf_level);
}

status machine::map_keep_present(lazy_state* l, gfn_range r, hfn out, attributes a, unsigned max_leaf_level,
                                 guard g) {
  return map_with(l, r, out, a, update_kind(operation::map, {}, 0, true, harvest::none).with(g),
                  max_leaf_level);
}

status machine::map_exact(lazy_state* l, gfn_range r, hfn out, attributes a, unsigned level, guard g) {
  const section* s = find(l);
  if (!s) return status::bad_state;
  const geometry& shape = s->where->shape;
  if (level > s->where->options.max_leaf_level || !shape.leaf[level]) return status::bad_leaf_level;
  if (level > 0 && (a.options & shape.level0_options)) return status::bad_attributes;
  if ((r.first.value | r.pages | out.value) & (shape.slot_pages(level) - 1)) return status::misaligned;
  return map_with(l, r, out, a, update_kind(operation::map, {}, 0, false, harvest::none, true).with(g),
                  level);
}

status machine::unmap_slowly(lazy_state* l, gfn_range r) {
  if (section* s = found_section(l); s && s->depth == 0 && r.pages == 1 && take_directly(*s, r.first)) return status::ok;
  return submit_range(l, r, operation::unmap, {}, harvest::none);
}

status machine::protect(lazy_state* l, gfn_range r, perm access) {
  const section* s = find(l);
  if (!s) return status::bad_state;
  if (!has_access(s->where->shape, access)) return status::bad_attributes;
  return submit_range(l, r, operation::protect, {access, 0, 0}, harvest::none);
}

status machine::harvest_status(lazy_state* l, gfn_range r, harvest what) {
  return submit_range(l, r, operation::harvest, {}, what);
}

// The leaf level of a record that maps nothing is the largest that it may meet: records join only between
// leaves of that size, so that a section splits the same leaves as the same updates outside of one.
status machine::submit_range(lazy_state* l, gfn_range r, operation op, attributes a, harvest what) {
  section* s = find(l);
  if (!s) return status::bad_state;
  if (const status bad = check_range(s->where->shape, r); bad != status::ok) return bad;
  return submit(*s, {r, {}, update_kind(op, a, s->where->options.max_leaf_level, false, what)});
}

// `u` was checked.
status machine::submit(section& s, const update& u) {
  if (!queues(s)) {
    if (s.depth == 0 && s.paused == 0 && !in_interrupt(s.cpu)) note_found(s, s.outside);
    return commit_now(s, u);
  }
  note_found(s, s.inside);

  const geometry& shape = s.where->shape;
  const bool joins = s.queue.continues(shape, u);
  if (!joins && s.queue.full()) {
    ++s.count.forced_commits;
    commit_queue(s, flush_reason::full_queue);
  }
  table_need need;
  if (need_of(*s.where, s.newest, u, joins ? s.queue.newest() : gfn_range{}, need)) {
    if (reserve(s, need) != status::ok) {
      s.newest.forget_map();  // it was not claimed
      return commit_scarce(s, u);
    }
    for (unsigned level = 0; level < shape.top(); ++level) s.reserved[level] += need[level];
  }
  if (joins) {
    s.queue.grow(u);
  } else {
    s.queue.append(u);
  }
  s.let_grow();
  return status::ok;
}

// Claims tables for maps to come, without asking the platform, so that these are queued by few compares. False: none.
bool machine::prepay(section& s) {
  // No more than a few times what the pool may keep for a cpu anyway: nothing where table memory is scarce.
  const std::uint32_t cached = s.where->pools[0]->cache_frames();
  const std::uint32_t most = cached < 64 ? 4 * cached : 256, parents = cached < 32 ? cached : 32;
  const std::uint32_t room = s.queue.to_prepay();
  const unsigned top = s.where->shape.top();
  if (top == 0) {  // there are no tables to claim
    s.queue.prepay(room);
    return room > 0;
  }
  const auto tables = static_cast<std::uint32_t>(s.where->pools[0]->reserve_some(s.cpu, room < most ? room : most));
  s.reserved[0] += tables;
  s.queue.prepay(tables);
  const bool more = top > 1 && parents > 0 && s.prepaid_parents == 0 && s.where->pools[1]->reserve_unused(s.cpu, parents) == status::ok;
  if (more) {
    s.prepaid_parents = parents;
    s.reserved[1] += parents;
  }
  return tables > 0 || more;
}

// Tables that `u` may take, if nothing is mapped when it is committed; false: none. What the update before it
// claimed is not claimed twice. `newest` goes on to what `u` claims. `run` is the one that `u` joins; empty
// if none.
bool machine::need_of(const space& where, newest_claims& newest, const update& u, gfn_range run,
                      table_need& need) const {
  const geometry& shape = where.shape;
  if (u.kind.op() != operation::map) {
    if (u.kind.op() == operation::unmap)
      newest.forget_map();  // it may take a table out that was claimed for
    if (where.options.max_leaf_level == 0) return false;
    const gfn_range whole = run.pages ? gfn_range{run.first, run.pages + u.range.pages} : u.range;
    need = tables_to_split(shape, whole, where.options.max_leaf_level);
    newest.split_all = true;
    for (unsigned level = 0; level < shape.top(); ++level) {
      const std::uint64_t held = run.pages ? newest.split[level] : 0;
      newest.split[level] = need[level] > held ? need[level] : held;
      need[level] = newest.split[level] - held;
      const bool begins_inside = whole.first != shape.table_first(whole.first, level);
      const bool leaf_above = level < where.options.max_leaf_level;  // of leaf levels there are no gaps
      if (leaf_above && newest.split[level] != begins_inside + std::uint64_t{1}) newest.split_all = false;
    }
    return true;
  }
  const gfn before = newest.last;
  if (u.kind.leaf_level() > 0) {
    newest.forget_map();
    need = tables_to_map(shape, u.range, u.kind.leaf_level(), shape.top());
    return true;
  }
  newest.map_up_to(u.range.first + (u.range.pages - 1), u.kind.attr());
  if (shape.table_first(u.range.first, 0) == shape.table_first(newest.last, 0)) {
    unsigned level = 0;  // from the one on whose table `before` lies in, too, all are claimed
    for (need = {}; level < shape.top() && shape.table_first(newest.last, level) != shape.table_first(before, level); ++level) need[level] = 1;
    return level > 0;
  }
  need = tables_to_map(shape, u.range, 0, shape.top());
  for (unsigned level = 0; level < shape.top(); ++level) {
    if (shape.table_first(u.range.first, level) == shape.table_first(before, level)) --need[level];
  }
  return true;
}

status machine::reserve(const section& s, const table_need& need) {
  const space& where = *s.where;
  for (unsigned level = 0; level < where.shape.top(); ++level) {
    if (need[level] == 0 || where.pools[level]->reserve(s.cpu, need[level]) == status::ok) continue;
    while (level-- > 0) where.pools[level]->unreserve(s.cpu, need[level]);
    return status::no_tables;
  }
  return status::ok;
}

void machine::unreserve(const section& s, table_need& claims) {
  for (unsigned level = 0; level < s.where->shape.top(); ++level) {
    if (claims[level]) s.where->pools[level]->unreserve(s.cpu, claims[level]);
    claims[level] = 0;
  }
}

status machine::commit_now(section& s, const update& u) {
  const geometry& shape = s.where->shape;
  table_need claims = u.kind.op() == operation::map
                          ? tables_to_map(shape, u.range, u.kind.leaf_level(), shape.top())
                          : tables_to_split(shape, u.range, s.where->options.max_leaf_level);
  const std::uint64_t saved =
      host_.open_tables ? host_.open_tables(host_.context, s.cpu) : 0;  // pools write to frames
  const status done = reserve(s, claims) == status::ok ? commit_one(s, u, claims, flush_reason::immediate)
                                                       : commit_scarce(s, u);
  close_tables(s, saved);
  return done;
}

// Table memory is too short to claim for the worst case: commits what is queued, which frees its claims, then
// finds out what is really missing and applies `u` at once.
status machine::commit_scarce(section& s, const update& u) {
  if (queues(s) && !s.queue.empty()) {
    ++s.count.forced_commits;
    commit_queue(s, flush_reason::no_tables);
  }
  table_need claims{};
  return commit_one(s, u, claims, flush_reason::no_tables);
}

// Commits `u` alone. With flush_reason::no_tables the claims are made here, for what is missing while nobody
// else commits.
status machine::commit_one(section& s, const update& u, table_need& claims, flush_reason reason) {
  status done = status::ok;
  const bool alone = reason == flush_reason::no_tables;
  if (alone) {
    close_space(s);
    const table_need missing = s.where->backend->missing(host_, *s.where, u);
    done = reserve(s, missing);
    if (done == status::ok) claims = missing;
  }
  if (done == status::ok) commit(s, update_list::one(queued_update(u)), claims, reason);
  if (alone) open_space(s);
  unreserve(s, claims);
  if (done == status::ok) ++s.count.updates;
  return done;
}

}  // namespace quire::runtime
