// Instantiates the backend of one format: include only where a format is listed.
#pragma once

#include "runtime/commit.h"
#include "runtime/direct.h"
#include "runtime/translate.h"

namespace quire::runtime {

template <arch::flushing_format F>
const backend& backend_for() {
  static_assert(!F::breaks || arch::parking_format<F>, "a format that breaks entries says how to park them");
  static constexpr backend b = {
      F::name,
      [](const commit_context& c, const update_list& updates) { committer<F>(c).run(updates); },
      [](const commit_context& c, const page_list& maps) { return committer<F>(c).map_pages(maps); },
      [](const commit_context& c, std::uint64_t* at, gfn g) { unmap_leaf<F>(c, arch::slot<F>(at), g); },
      [](const commit_context& c) { committer<F>(c).destroy(); },
      [](const platform& host, const space& s, const update& u) {
        table_need need{};
        tables<F>(host, s).missing(u, s.root, s.shape.top(), u.range, need);
        return need;
      },
      [](const platform& host, const space& s, gfn g) { return tables<F>(host, s).find(g); },
      [](const platform& host, const space& s, const walk_request& q) { return translator<F>(host, s).walk(q); },
      [](const space& s) { return s.format<F>().status_bits() != 0; },
      [](const platform& host, const space& s, table_address table, unsigned level) {
        tables<F>(host, s).clear(table, level);
      },
      [](const space& s, const arch::flush_command& c) { return describe(s.format<F>(), c); },
  };
  return b;
}

}  // namespace quire::runtime
