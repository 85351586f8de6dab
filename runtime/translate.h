// The walk that a CPU does for an access of the guest, A and D included, in software.
#pragma once

#include "arch/walk.h"
#include "runtime/backend.h"

namespace quire::runtime {

template <class F>
class translator {
 public:
  using word = typename F::word;
  using slot = arch::slot<F>;

  translator(const platform& host, const space& s)
      : f_(s.format<F>()), s_(s.shape), root_(s.root), offset_(host.table_offset) {}

  translation walk(const walk_request& q) const {
    translation t;
    while (!attempt(q, t)) continue;  // an entry changed under the walk: start over, as hardware does
    return t;
  }

 private:
  bool attempt(const walk_request& q, translation& t) const {
    t = {};
    table_address table = q.from_leaf_table ? q.leaf_table : root_;
    for (unsigned level = q.from_leaf_table ? 0 : s_.top();; --level) {
      const slot at = slot(reinterpret_cast<word*>(static_cast<std::uintptr_t>(table.byte + offset_)))[s_.index(q.page, level)];
      word e = at.load();
      const auto kind = f_.kind(e, level);
      t.level = level;
      t.leaf_table = table;
      if (kind == arch::entry_kind::leaf) read_leaf(e, level, q.page, t);
      const bool allowed = kind == arch::entry_kind::table || (t.present && includes(t.access, q.need));
      if (!allowed) return true;
      const word touched = f_.touched(e, level, includes(q.need, perm::w));
      if (q.touch && touched != e) {
        if (!at.replace(e, touched)) return false;
        if (t.present) read_leaf(touched, level, q.page, t);
      }
      if (t.present) return true;
      table = f_.table(e, level);
    }
  }

  void read_leaf(word e, unsigned level, gfn g, translation& t) const {
    t.present = true;
    t.out = f_.output(e, level) + (g - s_.slot_first(g, level));
    const attributes a = f_.attributes_of(e, level);
    t.access = a.access;
    t.type = a.type;
    t.accessed = f_.accessed(e);
    t.dirty = f_.dirty(e);
  }

  const F& f_;
  const geometry& s_;
  const table_address root_;
  const std::uint64_t offset_;
};

}  // namespace quire::runtime
