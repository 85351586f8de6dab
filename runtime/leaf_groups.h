// Groups of leaves that hardware may cache as one, such as those with arm64's contiguous bit: see arch::grouping_format.
#pragma once

#include "runtime/commit_path.h"

namespace quire::runtime {

/// Lives as long as the commit. All is inert in formats without groups.
template <class F>
class leaf_groups {
 public:
  using word = typename F::word;
  using slot = arch::slot<F>;
  using kind = arch::entry_kind;

  leaf_groups(const commit_context& c, entry_writer<F>& w, commit_path<F>& path)
      : c_(c), m_(*c.cpu.memory), f_(c.where.format<F>()), s_(c.where.shape), t_(c.host, c.where), w_(w), path_(path) {}

  /// True if leaf `e` is in a group.
  bool holds([[maybe_unused]] word e, [[maybe_unused]] kind k, [[maybe_unused]] unsigned level) const {
    if constexpr (arch::grouping_format<F>) return k == kind::leaf && s_.group_bits[level] > 0 && F::grouped(e);
    return false;
  }
  /// False in the middle of a group, where a phase may have ended: what came before is another cpu's by now.
  bool begins(unsigned level, gfn g) const { return t_.group_of(g, level).first == g; }
  /// True if the update takes all of it.
  bool covers(const update& u, unsigned level, gfn g) const {
    const gfn_range group = t_.group_of(g, level);
    return u.range.first <= group.first && group.end() <= u.range.end();
  }
  /// True if a map of `g` to `out` makes a group.
  bool wants(const update& u, unsigned level, gfn g, hfn out) const {
    if (s_.group_bits[level] == 0 || u.kind.keep_present() || !covers(u, level, g)) return false;
    const std::uint64_t mask = t_.group_of(g, level).pages - 1;
    return ((g.value ^ out.value) & mask) == 0;
  }
  slot first_of(slot at, unsigned level, gfn g) const {
    return slot(at.address() - (s_.index(g, level) & ((std::uint32_t{1} << s_.group_bits[level]) - 1)));
  }

  /// Changes all leaves of the group around `g` and reports them as one, with A and D of any of them.
  template <class Make>
  void replace([[maybe_unused]] slot at, [[maybe_unused]] unsigned level, [[maybe_unused]] gfn g,
               [[maybe_unused]] report::kind what, [[maybe_unused]] bool park, [[maybe_unused]] Make make,
               [[maybe_unused]] bool hide_a = false, [[maybe_unused]] bool hide_d = false) {
    if constexpr (arch::grouping_format<F>) {
      const gfn_range group = t_.group_of(g, level);
      const slot first = first_of(at, level, g);
      word all = 0;
      gfn page = group.first;
      for (std::uint32_t i = 0; page < group.end(); ++i, page = page + s_.slot_pages(level)) {
        const word old = w_.swap(first[i], level, page, path_[level].hidden, [&](word was) { return make(was, page); }, park);
        all = i == 0 ? old : f_.with_status_of(all, old);
      }
      if (!c_.where.options.reports.receive) return;
      report r = t_.report_of(f_.without_status(all, hide_a, hide_d), level, group.first, what);
      r.range = group;
      m_.reports.add(r);
    }
  }

  /// Takes the group of leaf `e` apart, if it is in one, before one of its leaves changes alone. Every piece gets A
  /// and D of the whole.
  void unfold([[maybe_unused]] slot at, [[maybe_unused]] word e, [[maybe_unused]] unsigned level, [[maybe_unused]] gfn g) {
    if constexpr (arch::grouping_format<F>) {
      if (!holds(e, f_.kind(e, level), level)) return;
      const gfn_range group = t_.group_of(g, level);
      const slot first = first_of(at, level, g);
      word all = 0;
      for (const bool spread : {false, true}) {
        gfn page = group.first;
        for (std::uint32_t i = 0; page < group.end(); ++i, page = page + s_.slot_pages(level)) {
          const word old = w_.swap(first[i], level, page, path_[level].hidden, [&](word was) {
            return spread ? f_.with_status_of(was, all) : F::with_group(was, false);
          });
          all = i == 0 && !spread ? old : f_.with_status_of(all, old);
        }
      }
    }
  }

 private:
  const commit_context& c_;
  commit_memory& m_;
  const F& f_;
  const geometry& s_;
  const tables<F> t_;
  entry_writer<F>& w_;
  commit_path<F>& path_;
};

}  // namespace quire::runtime
