// The walk from a root to the entry that decides about a page.
#pragma once

#include "arch/geometry.h"
#include "arch/slot.h"

namespace quire::arch {

/// Where a walk ended.
template <entry_format F>
struct walk_end {
  slot<F> at;
  typename F::word entry = 0;  // what was read there; never a table entry
  unsigned level = 0;
};

/// Returns the first entry on the path of `g` that is not a table.
///
/// @param tables  `tables(table_address)` gives the first word of a table
/// @param step    `step(level, slot<F>, entry)` sees each entry on the way, the last one included
/// Errors: none; `g` is below `s.input_pages`.
/// Context: any CPU, against any writer; the tables must stay allocated meanwhile. One load a level.
template <entry_format F, class Tables, class Step>
walk_end<F> walk(const F& f, const geometry& s, const Tables& tables, table_address root, gfn g, Step step) {
  table_address table = root;
  for (unsigned level = s.top();; --level) {
    const slot<F> at = slot<F>(tables(table))[s.index(g, level)];
    const auto e = at.load();
    step(level, at, e);
    if (level == 0 || f.kind(e, level) != entry_kind::table) return {at, e, level};
    table = f.table(e, level);
  }
}

template <entry_format F, class Tables>
walk_end<F> walk(const F& f, const geometry& s, const Tables& tables, table_address root, gfn g) {
  return walk(f, s, tables, root, g, [](unsigned, slot<F>, typename F::word) {});
}

}  // namespace quire::arch
