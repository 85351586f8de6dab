// Single level-0 leaves put into empty entries: the short cut of a commit for pages that are mapped one by one in no order.
#pragma once

#include "runtime/leaf_places.h"
#include "runtime/leaf_runs.h"

namespace quire::runtime {

/// Lives as long as the commit, which goes on in its own way where nothing here applies.
template <class F>
class single_leaves {
 public:
  using word = typename F::word;

  single_leaves(const commit_context& c, entry_writer<F>& w, commit_path<F>& path, leaf_runs<F>& runs)
      : c_(c), f_(c.where.format<F>()), s_(c.where.shape), t_(c.host, c.where), w_(w), path_(path), runs_(runs), swapped_(F::byte_order != std::endian::native),
        find_(places_for(chosen_simd(), swapped_)) {}

  /// Puts leaves into empty entries of tables that are held. Returns the index of the first update, from `i` on, that needs
  /// more than that.
  std::uint32_t put(const update_list& updates, std::uint32_t i) {
    if (s_.top() == 0 || s_.group_bits[0] || !w_.nothing_pending() || (i == 0 && updates.begun())) return i;
    const std::uint32_t from = i;
    while (i < updates.count() && set_line(updates.slot(i).kind)) {
      if (!knows(i)) look(updates, i);
      i = put_found(updates, i);
      if (i < first_ + found_) break;
    }
    c_.count.entries_written += i - from;
    return i;
  }

 private:
  bool set_line(update_kind k) {
    if (k == kind_) return fits_;
    if (k.op() != operation::map || k.leaf_level() != 0 || k.guarded_by().index != 0) return false;
    const leaf_line<F> line(f_, s_, k.attr(), 0);
    kind_ = k;
    fits_ = std::has_single_bit(line.step) && std::has_single_bit(line.below);
    leaf_ = line.first;
    step_shift_ = static_cast<unsigned>(std::countr_zero(line.step));
    beyond_ = ~(line.below - 1);
    found_ = 0;
    return fits_;
  }

  place_request request() const {
    return {c_.where.walk, c_.where.root.byte, c_.host.table_offset, kind_, s_.slot_pages(0), leaf_, step_shift_, beyond_,
            {c_.owners, c_.cpu.index}, static_cast<unsigned>(std::countr_zero(s_.table_bytes[0]))};
  }
  /// True if the place of update `i` was looked for in this phase.
  bool knows(std::uint32_t i) const { return i - first_ < found_ && phase_ == path_.phase(); }

  void look(const update_list& updates, std::uint32_t i) {
    const std::uint32_t left = updates.count() - i;
    first_ = i;
    found_ = left < most_places ? left : most_places;
    phase_ = path_.phase();
    find_(request(), &updates.slot(i), found_, at_, word_);
    // A table is linked ahead of what comes before only if that takes no table out.
    bool maps_alone = true;
    for (std::uint32_t k = 0; k < found_; ++k) {
      if (!at_[k]) [[unlikely]] maps_alone = maps_alone && find_one(updates, k);
      __builtin_prefetch(at_[k], 1);  // most are in no near cache
    }
  }

  /// Looks for the place of one of them, and makes it if the level-0 table is all that lacks. False: it is not a map of
  /// one page.
  [[gnu::noinline]] bool find_one(const update_list& updates, std::uint32_t k) {
    const queued_update* const u = &updates.slot(first_ + k);
    if (!(u->kind == kind_) || updates.end(first_ + k) - u->first.value != s_.slot_pages(0)) return false;
    if (link_table(u->first)) places_for(simd::scalar, swapped_)(request(), u, 1, at_ + k, word_ + k);
    return true;
  }

  /// Makes sure that the level-0 table of page `g` is there, if the table that links it is held. False: it is not.
  bool link_table(gfn g) {
    if (c_.claims[0] == 0) return false;
    const owner_words::held_by held{c_.owners, c_.cpu.index};
    table_address table = c_.where.root;
    for (unsigned level = s_.top();; --level) {
      const arch::slot<F> at = t_.at(table)[s_.index(g, level)];
      const word e = at.load();
      if (f_.kind(e, level) == arch::entry_kind::table) {
        if (level == 1) return true;
        table = f_.table(e, level);
        continue;
      }
      if (level != 1 || e != f_.empty(1) || !held(table, static_cast<unsigned>(std::countr_zero(s_.table_bytes[1])))) return false;
      table_pool::frame taken;
      if (!path_.take(0, taken)) return false;
      if (!taken.zeroed || f_.empty(0) != 0) runs_.clear(t_.at(taken.table), 0);
      w_.swap(at, 1, s_.slot_first(g, 1), false, [&](word) { return f_.make_table(taken.table, 1); });
      return true;
    }
  }

  /// Writes the leaves that have a place, in order. Returns the first one that has none.
  [[gnu::noinline]] std::uint32_t put_found(const update_list& updates, std::uint32_t i) {
    const word empty = swapped_ ? __builtin_bswap64(f_.empty(0)) : f_.empty(0);
    for (std::uint32_t k = i - first_; k < found_; ++k) {
      if (!at_[k]) [[unlikely]] {
        find_one(updates, k);  // what it lacked may be there by now
        if (!at_[k]) return first_ + k;
      }
      const std::atomic_ref<word> entry(*at_[k]);
      if (entry.load(std::memory_order_acquire) != empty) return first_ + k;  // acquire: as slot::load()
      entry.store(word_[k], std::memory_order_release);                      // release: as slot::store()
    }
    return first_ + found_;
  }

  const commit_context& c_;
  const F& f_;
  const geometry& s_;
  const tables<F> t_;
  entry_writer<F>& w_;
  commit_path<F>& path_;
  leaf_runs<F>& runs_;
  const bool swapped_;
  const place_function find_;
  update_kind kind_{operation::unmap, {}, 0, false, harvest::none};  // of the maps that are looked at
  bool fits_ = false;                                                // their leaves are as place_request has them
  word leaf_ = 0, beyond_ = 0;
  unsigned step_shift_ = 0;
  std::uint32_t first_ = 0, found_ = 0;  // updates whose places are known
  std::uint64_t phase_ = 0;              // in which they were found
  word* at_[most_places];
  word word_[most_places];  // their leaves, in the byte order of the table
};

}  // namespace quire::runtime
