// Level-0 tables that are cut off from hardware while their leaves change, in formats whose entries change by instruction.
#pragma once

#include "runtime/commit_path.h"

namespace quire::runtime {

/// An update of most of a table would hold back a change of each entry, to be completed after an instruction for each table.
/// In place of that, the links of many tables become invalid by one instruction first, which clears all that was formed
/// through them; then leaves change by stores, in one pass, and at the end of the phase the links become valid again.
/// A CPU that comes there meanwhile faults, and finds by a lookup what was or will be there. Elsewhere all is inert.
template <class F>
class table_detacher {
 public:
  using word = typename F::word;
  using slot = arch::slot<F>;
  using kind = arch::entry_kind;

  table_detacher(const commit_context& c, entry_writer<F>& w, commit_path<F>& path)
      : c_(c), f_(c.where.format<F>()), s_(c.where.shape), t_(c.host, c.where), w_(w), path_(path) {}

  /// True if `u` from page `g` on changes so much of a table that it may be worth it.
  bool wants(const update& u, gfn g) const {
    if (!entry_writer<F>::instructed || s_.top() == 0) return false;
    return u.kind.op() == operation::protect ? u.range.end() - g >= least() : part_wanted(u, g);
  }

  /// Detaches the table of page `g`, and those behind it that the i-th update and others after it change as well, if it wants
  /// that and they can be held at once. The path has the table of level 1. False: the phase has to end first.
  bool run(const update_list& updates, std::uint32_t i, gfn g) {
    const auto& links = path_[1];
    const slot first = links.table[s_.index(g, 1)];
    if (links.hidden || w_.held_back(first)) return true;
    if (w_.has_detached() || !w_.has_room_for_span()) return false;
    if (!path_.hold(1)) {
      if (path_.met() == obstacle::none) return false;
      path_.forget_met();
      return true;
    }
    const std::uint32_t n = hold_tables(updates, i, g);
    if (n < 2) return true;
    w_.detach({first.address(), n, 1, false, s_.slot_first(g, 1), links.address, ~word{0}, f_.invalidated(0, 1)}, c_.reason);
    if (path_.lowest() == 0 && w_.detached(path_.link_of(0))) path_[0].hidden = true;
    return true;
  }

 private:
  /// While they are detached the guest cannot use them: some 10 us.
  static constexpr std::uint32_t most_tables = 256;

  std::uint64_t least() const { return s_.table_pages(0) - s_.table_pages(0) / 4; }

  /// Of the table of page `g`: a table that goes as a whole is taken out, none of its leaves changes.
  bool part_wanted(const update& u, gfn g) const {
    if (u.kind.op() == operation::protect) return true;
    const std::uint64_t pages = part_of(u, g).pages;
    return u.kind.op() == operation::unmap && pages >= least() && pages < s_.table_pages(0);
  }
  gfn_range part_of(const update& u, gfn g) const {
    const gfn stop = s_.table_first(g, 0) + s_.table_pages(0);
    return {g, (stop < u.range.end() ? stop : u.range.end()) - g};
  }

  /// Holds neighbouring tables, as long as updates change them one after the other. Returns how many.
  std::uint32_t hold_tables(const update_list& updates, std::uint32_t i, gfn g) {
    const std::uint32_t first = s_.index(g, 1);
    const gfn stop = path_[1].first + s_.table_pages(1);
    std::uint32_t n = 0;
    for (update u = updates[i];; g = u.range.first) {
      for (; g < u.range.end(); g = part_of(u, g).end()) {
        if (!(g < stop) || g < path_[1].first || s_.index(g, 1) < first || s_.index(g, 1) > first + n) return n;
        if (s_.index(g, 1) < first + n) continue;  // the update before wanted it, too
        if (n == most_tables || !part_wanted(u, g) || !hold_table(path_[1].table[first + n])) return n;
        if (n == 0 && !changes(u, path_[1].table[first], part_of(u, g))) return 0;
        ++n;
      }
      if (++i == updates.count()) return n;
      u = updates[i];
      if (!wants(u, u.range.first)) return n;
    }
  }

  /// False if the table cannot be held at once.
  bool hold_table(slot link) {
    const word l = link.load();
    if (f_.kind(l, 1) != kind::table || w_.held_back(link) || f_.restored(f_.invalidated(l, 1), 1) != l) return false;
    return path_.has_room(1) && path_.hold_linked(link, 0);
  }
  /// True if the first leaf in `part` of the table does not stay as it is: so an instruction is needed, and what is around can
  /// have its share.
  bool changes(const update& u, slot link, gfn_range part) const {
    const slot at = t_.at(f_.table(link.load(), 1))[s_.index(part.first, 0)];
    const auto n = static_cast<std::uint32_t>(part.pages >> s_.shift[0]);
    const std::uint32_t i = w_.ops().first_not(at.address(), n, f_.empty(0));
    if (i == n) return false;
    const word e = w_.logical(at[i]);
    return f_.kind(e, 0) == kind::leaf && (u.kind.op() == operation::unmap || f_.with_access(e, u.kind.attr().access, 0) != e);
  }

  const commit_context& c_;
  const F& f_;
  const geometry& s_;
  const tables<F> t_;
  entry_writer<F>& w_;
  commit_path<F>& path_;
};

}  // namespace quire::runtime
