// What an update makes of leaves that are alike, worked out once for many of them.
#pragma once

#include "runtime/table_ops.h"
#include "runtime/tables.h"

namespace quire::runtime {

/// How the leaves of one level and kind differ by their output: leaf(out) = first + out * step, up to an output.
template <class F>
struct leaf_line {
  using word = typename F::word;
  word first = 0;
  word step = 0;            ///< for each 4 KiB page; formats shift the frame number into place, where it does not wrap
  std::uint64_t below = 0;  ///< holds for outputs below this; 0: for none

  leaf_line() = default;
  leaf_line(const F& f, const geometry& s, attributes a, unsigned level) : first(f.make_leaf(hfn{0}, a, level)) {
    const std::uint64_t pages = s.slot_pages(level);
    step = (f.make_leaf(hfn{pages}, a, level) - first) >> s.shift[level];
    // Frame numbers lie in one field up to 48 bits of address in every format, and in most of them further.
    for (const std::uint64_t end : {s.output_pages, std::uint64_t{1} << 36}) {
      const std::uint64_t last = end - pages;
      if (end > s.output_pages || f.make_leaf(hfn{last}, a, level) != first + last * step) continue;
      below = end;
      break;
    }
  }
  word at(std::uint64_t out) const { return first + out * step; }
};

/// Another access for the leaves of a level that agree with leaf `e` in all but address and status.
template <class F>
struct access_change {
  using word = typename F::word;
  run_change words;
  bool possible = false;  ///< for all of them at once, by stores; else nothing of the rest is set
  bool flush = false;     ///< what was there goes stale

  access_change(const F& f, word e, perm access, unsigned level) {
    if (F::breaks && f.status_bits()) return;  // access bits and dirty state share some there
    const word now = f.with_access(e, access, level);
    const auto t = f.classify(e, now, level);
    if (now == e || t == arch::transition::break_before_make) return;
    const arch::level_rule rule = f.rule(level);
    words.set = f.with_access(0, access, level);
    words.keep = f.with_access(~word{0}, access, level) & ~words.set;
    words.mask = ~(rule.leaf_address | rule.high_bits | f.status_bits());
    words.value = e & words.mask;
    possible = true;
    flush = t != arch::transition::store;
  }
};

/// What of the leaves' status a harvest takes.
template <class F>
struct status_harvest {
  using word = typename F::word;
  harvest_rule rule;

  status_harvest(const F& f, runtime::harvest what, unsigned level) {
    rule.leaf = f.rule(level).leaf;
    const word all = ~word{0};
    if (includes(what, runtime::harvest::accessed)) rule.accessed = all & ~f.without_status(all, true, false);
    if (!includes(what, runtime::harvest::dirty)) return;
    if constexpr (F::breaks && requires { F::SW_DIRTY; }) {
      rule.dirty = F::SW_DIRTY;
      rule.dirty_pair = F::DBM | F::S2AP_W;
      rule.pair_clear = F::S2AP_W;
    } else {
      rule.dirty = all & ~f.without_status(all, false, true);
    }
    if (includes(what, runtime::harvest::write_protect)) {
      const word writable = f.with_access(0, perm::rw, level) & ~f.with_access(0, perm::r, level);
      rule.protect = writable | rule.pair_clear;
    }
  }
};

/// Reports of leaves of level 0 that mostly have the same attributes.
template <class F>
class leaf_reports {
 public:
  using word = typename F::word;
  explicit leaf_reports(const F& f) : f_(f), outside_address_(~(f.rule(0).leaf_address | f.rule(0).high_bits)) {}

  /// @param e  the leaf of `first`
  report removed(word e, gfn first, std::uint64_t pages) {
    return {{first, pages}, f_.output(e, 0), attributes_in(e), report::kind::removed, f_.accessed(e), f_.dirty(e)};
  }
  /// @param e  the leaf of `first`, of any level, as it was before `s` took status from it
  report harvested(const status_harvest<F>& s, word e, unsigned level, gfn first, std::uint64_t pages) {
    const word stays = e & ~(s.rule.accessed | s.rule.dirty);
    const attributes a = level == 0 ? attributes_in(stays) : f_.attributes_of(stays, level);
    return {{first, pages}, f_.output(e, level), a, report::kind::harvested, (e & s.rule.accessed) != 0, s.rule.is_dirty(e)};
  }

 private:
  attributes attributes_in(word e) {
    if (const word key = e & outside_address_; key != key_) {
      key_ = key;
      attributes_ = f_.attributes_of(e, 0);
    }
    return attributes_;
  }

  const F& f_;
  const word outside_address_;
  word key_ = ~word{0};  // has address bits, so no key is like that
  attributes attributes_;
};

}  // namespace quire::runtime
