// Reading and filling the tables of one space of format F.
#pragma once

#include "arch/slot.h"
#include "runtime/backend.h"

namespace quire::runtime {

/// A view: holds nothing of its own.
template <class F>
class tables {
 public:
  using word = typename F::word;
  using slot = arch::slot<F>;
  using kind = arch::entry_kind;

  tables(const platform& host, const space& s) : offset_(host.table_offset), f_(s.format<F>()), s_(s.shape), where_(s) {}

  slot at(table_address t) const { return slot(words(t)); }

  /// Asks for the table that the entry links, if it does.
  void prefetch_below(slot at, unsigned level) const {
    const word e = at.load();
    if (f_.kind(e, level) == kind::table) __builtin_prefetch(words(f_.table(e, level)), 1);
  }

  void clear(table_address t, unsigned level) const {
    const slot first = at(t);
    // The table's full size, beyond the entries in use at a root that the input size cuts short.
    const auto entries = static_cast<std::uint32_t>(s_.table_bytes[level] / sizeof(word));
    for (std::uint32_t i = 0; i < entries; ++i) first[i].store(f_.empty(level));
  }

  /// True if update `u` can put one leaf into the slot of `level` that `part` lies in.
  bool leaf_fits(const update& u, gfn_range part, hfn out, unsigned level) const {
    const std::uint64_t pages = s_.slot_pages(level);
    return level <= u.kind.leaf_level() && s_.leaf[level] && part.pages == pages && (out.value & (pages - 1)) == 0;
  }

  /// True if leaf `e` maps page `g`, and those after it, as asked; A and D aside.
  bool maps(word e, unsigned level, gfn g, hfn out, attributes a) const {
    const std::uint64_t inside = g - s_.slot_first(g, level);
    return f_.output(e, level) + inside == out && f_.attributes_of(e, level) == a;
  }

  /// True if leaf `e` is what map `u` asks for from page `g` on: the same mapping, and not too large for an exact one.
  bool good_already(const update& u, word e, unsigned level, gfn g, hfn out) const {
    return maps(e, level, g, out, u.kind.attr()) && (!u.kind.exact() || level <= u.kind.leaf_level());
  }

  report report_of(word e, unsigned level, gfn first, report::kind what) const {
    return {{first, s_.slot_pages(level)}, f_.output(e, level), f_.attributes_of(e, level), what, f_.accessed(e), f_.dirty(e)};
  }

  /// First page and pages of the group that the leaf of `g` would belong to.
  gfn_range group_of(gfn g, unsigned level) const {
    const unsigned shift = s_.shift[level] + s_.group_bits[level];
    return {{g.value >> shift << shift}, std::uint64_t{1} << shift};
  }

  /// Leaf `e` of slot `at` with A and D of all its group, where hardware may have put them.
  word shared_status([[maybe_unused]] slot at, word e, [[maybe_unused]] unsigned level, [[maybe_unused]] gfn g) const {
    if constexpr (arch::grouping_format<F>) {
      if (s_.group_bits[level] == 0 || !F::grouped(e) || f_.status_bits() == 0) return e;
      const std::uint32_t mask = (std::uint32_t{1} << s_.group_bits[level]) - 1;
      const slot first(at.address() - (s_.index(g, level) & mask));
      for (std::uint32_t i = 0; i <= mask; ++i) e = f_.with_status_of(e, first[i].load());
    }
    return e;
  }

  /// Publishes nothing and waits for nobody: a table may go, and its frame become another, in the middle of it. What was
  /// read is believed only if no frame of the space was given back since the walk began.
  piece find(gfn g) const {
    for (;;) {
      piece p;
      if (find_in(where_.version(), g, p)) return p;
    }
  }

  /// Calls `visit(slot, entry, level)` for the entries that lie on or under `r`, parents first; the entry that it
  /// returns decides whether to go down. While nothing is committed.
  template <class Visit>
  void each_slot(table_address table, unsigned level, gfn_range r, Visit visit) const {
    for (gfn g = r.first; g < r.end();) {
      const gfn next = s_.slot_first(g, level) + s_.slot_pages(level);
      const gfn_range part{g, (next < r.end() ? next : r.end()) - g};
      const slot here = at(table)[s_.index(g, level)];
      const word e = visit(here, here.load(), level);
      if (level > 0 && f_.kind(e, level) == kind::table) each_slot(f_.table(e, level), level - 1, part, visit);
      g = part.end();
    }
  }

  /// Tables that `u` lacks inside `r`, which one table of `level` holds.
  void missing(const update& u, table_address table, unsigned level, gfn_range r, table_need& need) const {
    for (gfn g = r.first; g < r.end();) {
      const gfn next = s_.slot_first(g, level) + s_.slot_pages(level);
      const gfn_range part{g, (next < r.end() ? next : r.end()) - g};
      const word e = at(table)[s_.index(g, level)].load();
      missing_in_slot(u, e, level, part, need);
      g = part.end();
    }
  }

 private:
  bool find_in(std::uint64_t version, gfn g, piece& p) const {
    table_address table = where_.root;
    for (unsigned level = s_.top();; --level) {
      const slot here = at(table)[s_.index(g, level)];
      const word found = here.load();
      word e = undisturbed(found, level);
      p.settled = p.settled && e == found;
      const kind k = f_.kind(e, level);
      if (k == kind::leaf) e = shared_status(here, e, level, g);
      if (where_.version() != version) return false;
      if (level > 0 && k == kind::table) {
        table = f_.table(e, level);
        continue;
      }
      p.what.level = level;
      p.what.range = {s_.slot_first(g, level), s_.slot_pages(level)};
      p.present = k == kind::leaf;
      if (!p.present) return true;
      p.what.out = f_.output(e, level);
      p.what.attr = f_.attributes_of(e, level);
      p.what.accessed = f_.accessed(e);
      p.what.dirty = f_.dirty(e);
      return true;
    }
  }

  void missing_in_slot(const update& u, word e, unsigned level, gfn_range part, table_need& need) const {
    const kind k = f_.kind(e, level);
    table_need more{};
    if (u.kind.op() == operation::map) {
      const hfn out = u.out + (part.first - u.range.first);
      if (leaf_fits(u, part, out, level) && !(k == kind::table && u.kind.keep_present())) return;
      if (k == kind::leaf && (u.kind.keep_present() || good_already(u, e, level, part.first, out))) return;
      if (k == kind::table) return missing(u, f_.table(e, level), level - 1, part, need);
      more = tables_to_map(s_, part, u.kind.leaf_level(), level);
    } else {
      if (k == kind::table && part.pages < s_.slot_pages(level)) {
        return missing(u, f_.table(e, level), level - 1, part, need);
      }
      if (k != kind::leaf || part.pages == s_.slot_pages(level)) return;
      if (u.kind.op() == operation::protect && f_.with_access(e, u.kind.attr().access, level) == e) return;
      if (u.kind.op() == operation::harvest && f_.status_bits() == 0) return;
      more = tables_to_split(s_, part, level);
    }
    for (unsigned l = 0; l < level; ++l) need[l] += more[l];
  }

  /// An entry that a commit made invalid for the time of its flush, as it was or will be.
  word undisturbed(word e, [[maybe_unused]] unsigned level) const {
    if constexpr (F::breaks) return F::parked(e) ? F::unpark(e) : e;
    if constexpr (arch::instructed_format<F>) return f_.restored(e, level);
    return e;
  }

  word* words(table_address t) const {
    return reinterpret_cast<word*>(static_cast<std::uintptr_t>(t.byte + offset_));
  }

  const std::uint64_t offset_;
  const F& f_;
  const geometry& s_;
  const space& where_;
};

}  // namespace quire::runtime
