// How hardware, and an auditor, look at the tables of a space: the part of the stress test that knows the
// format.
#pragma once

#include "arch/slot.h"
#include "runtime/machine.h"
#include "tests/stress/formats.h"

namespace quire::tests {

/// What a walk for one access ended in.
struct walk_result {
  bool present = false;
  bool set_dirty = false;  ///< this access made the leaf dirty, which it was not
  bool dirty = false;
  arch::perm access = arch::perm::none;
  arch::hfn out{};
  unsigned level = 0;
  arch::table_address leaf_table;  ///< the table it ended in
};

/// Tables counted from the root, by an auditor: while nothing is committed.
struct census {
  std::uint64_t tables = 0;
  std::uint64_t empty = 0;      ///< other than the root
  std::uint64_t unsettled = 0;  ///< entries that a commit has left parked or invalid
  std::uint64_t dirty = 0;      ///< leaves
};

class hardware {
 public:
  virtual ~hardware() = default;
  /// One access; A and D are set as by a CPU. With `leaf_table` the walk starts there.
  virtual walk_result access(const runtime::space& s, arch::gfn g, bool write,
                             const arch::table_address* leaf_table) const = 0;
  virtual census count(const runtime::space& s) const = 0;
  virtual runtime::status make_space(runtime::machine& m, unsigned cpu, const runtime::space_options& o,
                                     runtime::space*& made) const = 0;
};

template <class F>
class hardware_of : public hardware {
 public:
  hardware_of(const F& f, std::uint64_t table_offset)
      : f_(f), s_(arch::geometry_of(f)), offset_(table_offset) {}

  walk_result access(const runtime::space& s, arch::gfn g, bool write,
                     const arch::table_address* leaf_table) const override {
    for (;;) {
      walk_result r;
      if (attempt(leaf_table ? *leaf_table : s.root, leaf_table ? 0 : s_.top(), g, write, r)) return r;
    }
  }
  census count(const runtime::space& s) const override {
    census c;
    add(s.root, s_.top(), c);
    return c;
  }
  runtime::status make_space(runtime::machine& m, unsigned cpu, const runtime::space_options& o,
                             runtime::space*& made) const override {
    return m.create_space(cpu, f_, o, made);
  }

 private:
  using kind = arch::entry_kind;

  arch::slot<F> at(arch::table_address t) const {
    return arch::slot<F>(reinterpret_cast<std::uint64_t*>(static_cast<std::uintptr_t>(t.byte + offset_)));
  }

  // False if an entry changed under the walk.
  bool attempt(arch::table_address table, unsigned level, arch::gfn g, bool write, walk_result& r) const {
    for (;; --level) {
      const auto here = at(table)[s_.index(g, level)];
      std::uint64_t e = here.load();
      r.level = level;
      r.leaf_table = table;
      const kind k = f_.kind(e, level);
      if (k == kind::empty) return true;
      if (k == kind::leaf) {
        r.present = true;
        r.access = f_.attributes_of(e, level).access;
        r.out = f_.output(e, level) + (g - s_.slot_first(g, level));
        if (write && !includes(r.access, arch::perm::w)) return true;
      }
      const std::uint64_t touched = f_.touched(e, level, write);
      r.set_dirty = k == kind::leaf && !f_.dirty(e) && f_.dirty(touched);
      r.dirty = f_.dirty(touched);
      if (touched != e && !here.replace(e, touched)) return false;
      if (k == kind::leaf) return true;
      table = f_.table(touched, level);
    }
  }

  bool settled(std::uint64_t e, unsigned level) const {
    if constexpr (F::breaks) return !F::parked(e);
    if constexpr (arch::instructed_format<F>) return f_.restored(e, level) == e;
    return f_.kind(e, level) != kind::empty || e == f_.empty(level);
  }

  void add(arch::table_address t, unsigned level, census& c) const {
    ++c.tables;
    bool empty = true;
    for (std::uint32_t i = 0; i < s_.entries(level); ++i) {
      const std::uint64_t e = at(t)[i].load();
      const kind k = f_.kind(e, level);
      c.unsettled += !settled(e, level);
      empty = empty && k == kind::empty;
      c.dirty += k == kind::leaf && f_.dirty(e);
      if (k == kind::table) add(f_.table(e, level), level - 1, c);
    }
    c.empty += empty && level != s_.top();
  }

  const F f_;
  const arch::geometry s_;
  const std::uint64_t offset_;
};

}  // namespace quire::tests
