// A commit of one page that is unmapped, whose place is known already.
#pragma once

#include "runtime/entry_writer.h"

namespace quire::runtime {

/// See backend::unmap_leaf.
template <class F>
void unmap_leaf(const commit_context& c, arch::slot<F> at, gfn g) {
  using word = typename F::word;
  const F& f = c.where.format<F>();
  entry_writer<F> writer(c);
  const word old = writer.swap(at, 0, g, false, [&f](word) { return f.empty(0); });
  writer.flush(c.reason);
  c.cpu.phase.lower();
  ++c.count.updates;
  ++c.count.runs;
  ++c.count.commits;
  const observer& to = c.where.options.reports;
  if (!to.receive) return;
  const report r = tables<F>(c.host, c.where).report_of(old, 0, g, report::kind::removed);
  to.receive(to.context, c.cpu.index, {&r, 1});
}

}  // namespace quire::runtime
