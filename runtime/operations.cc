// Updates: checked, claimed for, then queued or committed at once.
#include "runtime/machine.h"

namespace quire::runtime {

namespace {

status check_range(const geometry& s, gfn_range r) {
  if (r.pages == 0 || !s.holds(r)) return status::bad_range;
  return ((r.first.value | r.pages) & (s.slot_pages(0) - 1)) ? status::misaligned : status::ok;
}

bool has_access(const geometry& s, perm p) {
  const auto i = static_cast<unsigned>(p);
  return i < arch::perm_values && (s.access_set >> i & 1);
}

status check_map(const geometry& s, gfn_range r, hfn out, attributes a) {
  if (const status bad = check_range(s, r); bad != status::ok) return bad;
  if (out.value >= s.output_pages || r.pages > s.output_pages - out.value) return status::bad_range;
  if (out.value & (s.slot_pages(0) - 1)) return status::misaligned;
  const bool known = has_access(s, a.access) && a.type < s.memory_types && (a.options & ~s.option_set) == 0;
  return known ? status::ok : status::bad_attributes;
}

}  // namespace

status machine::map_with(lazy_state* l, gfn_range r, hfn out, attributes a, unsigned max_leaf_level, bool keep_present,
                         bool exact) {
  const section* s = find(l);
  if (!s) return status::bad_state;
  const space& where = *s->where;
  if (const status bad = check_map(where.shape, r, out, a); bad != status::ok) return bad;
  unsigned cap = max_leaf_level < where.options.max_leaf_level ? max_leaf_level : where.options.max_leaf_level;
  if (a.options & where.shape.level0_options) cap = 0;
  const unsigned leaf = largest_leaf(where.shape, r, out, cap);
  return submit(l, {r, out, update_kind(operation::map, a, leaf, keep_present, harvest::none, exact)});
}

status machine::map(lazy_state* l, gfn_range r, hfn out, attributes a, unsigned max_leaf_level) {
  return map_with(l, r, out, a, max_leaf_level, false, false);
}

status machine::map_keep_present(lazy_state* l, gfn_range r, hfn out, attributes a, unsigned max_leaf_level) {
  return map_with(l, r, out, a, max_leaf_level, true, false);
}

status machine::map_exact(lazy_state* l, gfn_range r, hfn out, attributes a, unsigned level) {
  const section* s = find(l);
  if (!s) return status::bad_state;
  const geometry& shape = s->where->shape;
  if (level > s->where->options.max_leaf_level || !shape.leaf[level]) return status::bad_leaf_level;
  if (level > 0 && (a.options & shape.level0_options)) return status::bad_attributes;
  if ((r.first.value | r.pages | out.value) & (shape.slot_pages(level) - 1)) return status::misaligned;
  return map_with(l, r, out, a, level, false, true);
}

status machine::unmap(lazy_state* l, gfn_range r) {
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

// The leaf level of a record that maps nothing is the largest that it may meet: records join only between leaves of
// that size, so that a section splits the same leaves as the same updates outside of one.
status machine::submit_range(lazy_state* l, gfn_range r, operation op, attributes a, harvest what) {
  const section* s = find(l);
  if (!s) return status::bad_state;
  return submit(l, {r, {}, update_kind(op, a, s->where->options.max_leaf_level, false, what)});
}

status machine::submit(lazy_state* l, const update& u) {
  section* s = find(l);
  if (!s) return status::bad_state;
  const geometry& shape = s->where->shape;
  if (const status bad = check_range(shape, u.range); bad != status::ok) return bad;
  if (!queues(*s)) return commit_now(*s, u);

  if (s->queue.full() && !s->queue.continues(shape, u)) {
    ++s->count.forced_commits;
    commit_queue(*s, flush_reason::full_queue);
  }
  const table_need need = need_of(*s, u);
  if (reserve(*s, need) != status::ok) return commit_scarce(*s, u);
  for (unsigned level = 0; level < shape.top(); ++level) s->reserved[level] += need[level];
  if (u.kind.op() == operation::map && u.kind.leaf_level() == 0) {
    const gfn last = u.range.first + (u.range.pages - 1);
    for (unsigned level = 0; level < shape.top(); ++level) s->claimed_table[level] = shape.table_first(last, level);
    s->claimed_valid = true;
  } else if (u.kind.op() == operation::map || u.kind.op() == operation::unmap) {
    s->claimed_valid = false;  // it may take a table out that was claimed for
  }
  if (!s->queue.extend(shape, u)) s->queue.append(u);
  ++s->count.updates;
  return status::ok;
}

// Tables that `u` may take, if nothing is mapped when it is committed. A table that the update before it claimed
// is not claimed twice.
table_need machine::need_of(const section& s, const update& u) const {
  const geometry& shape = s.where->shape;
  if (u.kind.op() != operation::map) return tables_to_split(shape, u.range, s.where->options.max_leaf_level);
  const bool sharing = s.claimed_valid && u.kind.leaf_level() == 0;
  if (sharing && shape.table_first(u.range.first, 0) == s.claimed_table[0] &&
      shape.table_first(u.range.first + (u.range.pages - 1), 0) == s.claimed_table[0]) {
    return {};
  }
  table_need need = tables_to_map(shape, u.range, u.kind.leaf_level(), shape.top());
  for (unsigned level = 0; sharing && level < shape.top(); ++level) {
    if (shape.table_first(u.range.first, level) == s.claimed_table[level]) --need[level];
  }
  return need;
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
  if (reserve(s, claims) != status::ok) return commit_scarce(s, u);
  return commit_one(s, u, claims, flush_reason::immediate);
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

// Commits `u` alone. With flush_reason::no_tables the claims are made here, under the lock, for what is missing.
status machine::commit_one(section& s, const update& u, table_need& claims, flush_reason reason) {
  const bool open = !queues(s);  // a section has opened the tables already
  const std::uint64_t saved = open && host_.open_tables ? host_.open_tables(host_.context, s.cpu) : 0;
  status done = status::ok;
  {
    const lock_guard hold(s.where->lock, host_);
    if (reason == flush_reason::no_tables) {
      const table_need missing = s.where->backend->missing(host_, *s.where, u);
      done = reserve(s, missing);
      if (done == status::ok) claims = missing;
    }
    if (done == status::ok) commit(s, {&u, 0, 1, 0}, claims, reason);
  }
  unreserve(s, claims);
  if (open) close_tables(s, saved);
  if (done == status::ok) ++s.count.updates;
  return done;
}

}  // namespace quire::runtime
