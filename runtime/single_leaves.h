// Single level-0 leaves put into empty entries: the short cut of a commit for pages that are mapped one by one in no order.
#pragma once

#include "runtime/leaf_places.h"
#include "runtime/leaf_runs.h"

namespace quire::runtime {

/// The maps of page_list, as single_leaves takes them.
struct page_maps {
  static constexpr bool claimed_each = false;
  const page_list& all;
  bool find(const place_functions& by, const place_request& q, std::uint32_t i, std::uint32_t n, std::uint64_t** at,
            std::uint64_t* leaf) const {
    return by.of_pages(q, all.pages + i, all.frames + i, n, at, leaf);
  }
  gfn page(std::uint32_t i) const { return all.pages[i]; }
  bool is(const place_request& /*q*/, std::uint32_t /*i*/) const { return true; }
};

/// Maps that lie in a queue.
struct queued_maps {
  static constexpr bool claimed_each = true;  ///< the tables of each
  const update_list& all;
  bool find(const place_functions& by, const place_request& q, std::uint32_t i, std::uint32_t n, std::uint64_t** at,
            std::uint64_t* leaf) const {
    return by.of_updates(q, &all.slot(i), n, at, leaf);
  }
  gfn page(std::uint32_t i) const { return all.slot(i).first; }
  bool is(const place_request& q, std::uint32_t i) const {
    return all.slot(i).kind == q.kind && all.end(i) - all.slot(i).first.value == q.pages;
  }
};

/// Lives as long as the commit, which goes on in its own way where nothing here applies.
template <class F>
class single_leaves {
 public:
  using word = typename F::word;

  single_leaves(const commit_context& c, entry_writer<F>& w, commit_path<F>& path, leaf_runs<F>& runs)
      : c_(c), f_(c.where.format<F>()), s_(c.where.shape), t_(c.host, c.where), w_(w), path_(path), runs_(runs),
        swapped_(F::byte_order != std::endian::native), places_(places_for(chosen_simd(), swapped_)) {}

  /// Puts leaves into empty entries of tables that are held, or new. Returns the index of the first update, from `i` on, that
  /// needs more than that.
  std::uint32_t put(const update_list& updates, std::uint32_t i) {
    if (!usable() || (i == 0 && updates.begun())) return i;
    const std::uint32_t from = i;
    while (i < updates.count() && updates.end(i) - updates.slot(i).first.value == s_.slot_pages(0) && set_line(updates.slot(i).kind)) {
      i = put_some(queued_maps{updates}, updates.count(), i);
      if (i < first_ + found_) break;
    }
    c_.count.entries_written += i - from;
    return i;
  }
  /// The same for a list of pages.
  std::uint32_t put(const page_list& maps) {
    if (!usable() || !set_line(update_kind(operation::map, maps.attr, 0, false, harvest::none))) return 0;
    std::uint32_t i = 0;
    do {
      i = put_some(page_maps{maps}, maps.count, i);
    } while (i == first_ + found_ && i < maps.count);
    c_.count.entries_written += i;
    return i;
  }

 private:
  bool usable() const { return s_.top() > 0 && s_.group_bits[0] == 0 && w_.nothing_pending(); }

  bool set_line(update_kind k) {
    if (k == kind_) return fits_;
    if (k.op() != operation::map || k.leaf_level() != 0 || k.guarded_by().index != 0) return false;
    const leaf_line<F> line(f_, s_, k.attr(), 0);
    kind_ = k;
    fits_ = arch::is_single_bit(line.step) && arch::is_single_bit(line.below);
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
  /// True if the place of map `i` was looked for in this phase, and no table was taken out since.
  bool knows(std::uint32_t i) const {
    return i - first_ < found_ && phase_ == path_.phase() && removed_ == c_.cpu.memory->removed.count();
  }

  /// Puts leaves of maps from the i-th on, as far as their places are known together. Returns the first one that it did not.
  template <class Maps>
  std::uint32_t put_some(const Maps& maps, std::uint32_t count, std::uint32_t i) {
    if (!knows(i)) look(maps, count, i);
    return first_ + write(maps, i - first_, found_);
  }

  template <class Maps>
  [[gnu::noinline]] void look(const Maps& maps, std::uint32_t count, std::uint32_t i) {
    const std::uint32_t n = count - i < most_places ? count - i : most_places;
    first_ = i;
    found_ = n;
    phase_ = path_.phase();
    removed_ = c_.cpu.memory->removed.count();
    if (!maps.find(places_, request(), i, n, at_, leaf_of_)) {
      // A table is linked ahead of what comes before only if that takes no table out, and has its own claims.
      bool goes_on = true;
      for (std::uint32_t k = 0; k < n && goes_on; ++k) {
        if (!at_[k]) goes_on = find_one(maps, k) && (Maps::claimed_each || at_[k]);
      }
    }
  }

  /// Looks for the place of one of them, holds its table if that can be had at once, and makes it if the level-0 table is all
  /// that lacks. False: it is not a map of one page.
  template <class Maps>
  [[gnu::noinline]] bool find_one(const Maps& maps, std::uint32_t k) {
    const place_request q = request();
    if (!maps.is(q, first_ + k)) return false;
    if (hold_table(maps.page(first_ + k))) maps.find(places_for(simd::scalar, swapped_), q, first_ + k, 1, at_ + k, leaf_of_ + k);
    return true;
  }

  /// Makes sure that the level-0 table of page `g` is held, a new one if the table that links it is held. False: it is not.
  bool hold_table(gfn g) {
    if (!path_.has_room(1)) return false;
    const owner_words::held_by held{c_.owners, c_.cpu.index};
    table_address table = c_.where.root;
    for (unsigned level = s_.top();; --level) {
      const arch::slot<F> at = t_.at(table)[s_.index(g, level)];
      const word e = at.load();
      if (f_.kind(e, level) == arch::entry_kind::table) {
        if (level == 1) return path_.hold_linked(at, 0);
        table = f_.table(e, level);
        continue;
      }
      if (level != 1 || e != f_.empty(1) || c_.claims[0] == 0 || !held(table, static_cast<unsigned>(std::countr_zero(s_.table_bytes[1])))) return false;
      table_pool::frame taken;
      if (!path_.take(0, taken, runs_.content_of_empty(0))) {
        path_.forget_met();
        return false;
      }
      if (!taken.cleared || !runs_.clear_frame_fits(0)) runs_.clear(t_.at(taken.table), 0);
      w_.swap(at, 1, s_.slot_first(g, 1), false, [&](word) { return f_.make_table(taken.table, 1); });
      return true;
    }
  }

  /// Writes the leaves [k, n) of those that were looked for, in order, as long as they have a place that is empty.
  template <class Maps>
  [[gnu::noinline]] std::uint32_t write(const Maps& maps, std::uint32_t k, const std::uint32_t n) {
    const word empty = swapped_ ? __builtin_bswap64(f_.empty(0)) : f_.empty(0);
#pragma GCC unroll 4
    for (; k < n; ++k) {
      word* at = at_[k];
      if (!at) [[unlikely]] {
        find_one(maps, k);  // what it lacked may be there by now
        at = at_[k];
        if (!at) return k;
      }
      const std::atomic_ref<word> entry(*at);
      if (entry.load(std::memory_order_acquire) != empty) [[unlikely]] return k;  // acquire: as slot::load()
      entry.store(leaf_of_[k], std::memory_order_release);                        // release: as slot::store()
    }
    return k;
  }

  const commit_context& c_;
  const F& f_;
  const geometry& s_;
  const tables<F> t_;
  entry_writer<F>& w_;
  commit_path<F>& path_;
  leaf_runs<F>& runs_;
  const bool swapped_;
  const place_functions& places_;
  update_kind kind_{operation::map, {}, 1, false, harvest::none};  // of the maps that are looked at; first of none
  bool fits_ = false;                                                // their leaves are as place_request has them
  word leaf_ = 0, beyond_ = 0;
  unsigned step_shift_ = 0;
  std::uint32_t first_ = 0, found_ = 0;  // maps whose places are known
  std::uint64_t phase_ = 0;              // in which they were found
  std::size_t removed_ = 0;              // tables that it had taken out by then
  word* at_[most_places];
  word leaf_of_[most_places];  // in the byte order of the table
};

}  // namespace quire::runtime
