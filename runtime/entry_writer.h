// Changing entries the way their transitions demand, and flushing what went stale: one commit's way to the tables.
#pragma once

#include "arch/slot.h"
#include "runtime/backend.h"
#include "runtime/coalesce.h"
#include "runtime/table_ops.h"
#include "runtime/tables.h"

namespace quire::runtime {

/// Lives for the length of one backend::commit(), and changes entries of tables that the commit holds. The order is
/// break, flush, make:
///
///  - `break_before_make`: swap() parks the new word, invalid to hardware; make_parked() makes it valid;
///  - `..._by_instruction`: swap() holds the change back; flush() has it executed, then stores the new word.
template <class F>
class entry_writer {
 public:
  using word = typename F::word;
  using slot = arch::slot<F>;
  using kind = arch::entry_kind;
  static constexpr bool instructed = arch::instructed_format<F>;

  explicit entry_writer(const commit_context& c)
      : c_(c), m_(*c.cpu.memory), f_(c.where.format<F>()), s_(c.where.shape),
        ops_(table_ops_for(chosen_simd(), F::byte_order != std::endian::native)) {}
  const table_ops& ops() const { return ops_; }

  /// The entry as it will be when the commit is done.
  word logical(slot at) const {
    if constexpr (instructed) {
      if (const entry_change* held = m_.changes.find(at.address())) return held->to;
      const word e = at.load();
      if (const entry_span* s = m_.changes.span_of(at.address())) return (e & s->keep) | s->set;
      return detached(at) ? f_.restored(e, 1) : e;
    } else {
      return logical(at.load());
    }
  }

  /// Changes one entry, against hardware that sets A and D meanwhile.
  /// @param g     first page of the slot
  /// @param make  gives the new word for the old one; may be called again with what hardware made of the old one
  /// @param hidden  hardware cannot reach the table before the flush
  /// @param park    keep the new word invalid until the flush, whatever was there
  /// @param drained  the entry links a table that is empty already, so no leaf goes with it
  /// @return the word that was replaced
  template <class Make>
  word swap(slot at, unsigned level, gfn g, bool hidden, Make make, bool park = false, bool drained = false) {
    if (hidden) {
      const word old = logical(at);
      at.store(make(old));
      return old;
    }
    if constexpr (instructed) return change(at, level, g, make, drained);
    word raw = at.load();
    for (;;) {
      const word old = logical(raw);
      const bool broken = old != raw;  // in this commit already: hardware sees nothing here
      const word now = make(old);
      const auto t = broken ? arch::transition::store : f_.classify(old, now, level);
      word put = now;
      if constexpr (F::breaks) {
        const bool old_may_be_cached = t == arch::transition::break_before_make || broken || must_park(old, level) || park;
        if (old_may_be_cached && now != f_.empty(level)) put = F::park(now);
      }
      if (f_.status_bits() && f_.kind(raw, level) != kind::empty) {
        if (!at.replace(raw, put)) continue;
      } else {
        at.store(put);
      }
      ++c_.count.entries_written;
      if (t != arch::transition::store) note_stale(level, g, old, drained);
      if constexpr (F::breaks) note_parked(at, put);
      return old;
    }
  }

  /// True if an empty entry has to be parked: it may be one that this commit emptied, and what was there is cached
  /// until the flush.
  bool must_park(word old, unsigned level) const {
    return F::breaks && f_.kind(old, level) == kind::empty && !m_.stale.empty();
  }

  /// True if entries that are empty may simply get their new words, and what hardware sees is what will be.
  bool nothing_pending() const {
    if constexpr (instructed) return m_.changes.empty();
    return !F::breaks || m_.stale.empty();
  }
  /// Entries of `level` that were changed without swap() went stale: `entries` in `r`, all leaves or all links of tables. In
  /// formats whose entries change by instruction that happens in detached tables, of which nothing is cached any more.
  void note_stale_run(gfn_range r, unsigned level, std::uint64_t entries, bool links = false) {
    c_.count.flush_requested += entries;
    if (!instructed) m_.stale.add(r, level, links);
  }

  /// Likewise, leaves of one table: those so many places behind the one of `first`, in order.
  void note_stale_leaves(gfn first, std::span<const std::uint32_t> places, unsigned level) {
    c_.count.flush_requested += places.size();
    if (!instructed) m_.stale.add_leaves(first, places, s_.slot_pages(level), level);
  }

  // Formats whose valid entries change by instruction.

  /// Holds back a change of many neighbours, to (e & keep) | set.
  void change_span(const entry_span& s, bool links = false) {
    m_.changes.add(s);
    c_.count.flush_requested += s.entries;
    m_.stale.add({s.first, std::uint64_t{s.entries} << s_.shift[s.level]}, s.level, links);
  }

  /// Makes the links of level-0 tables invalid at once, with all that is held back: no CPU can use, or look at, what is in these
  /// tables before attach(), so that it may change by stores. Lookups still find it. One run of links at a time.
  void detach(const entry_span& links, flush_reason reason) {
    m_.changes.add(links);
    m_.stale.add({links.first, std::uint64_t{links.entries} << s_.shift[1]}, 1, true);
    flush(reason);
    detached_ = {links.at, links.entries};
  }
  bool has_room_for_span() const { return m_.changes.has_room_for_span(); }
  bool has_detached() const { return !detached_.empty(); }
  /// True if the slot of level 1 is among them.
  bool detached(slot at) const { return at.address() >= detached_.data() && at.address() < detached_.data() + detached_.size(); }
  void attach() {
    for (word& w : detached_) {
      const word e = slot(&w).load();
      if (f_.restored(e, 1) != e) slot(&w).store(f_.restored(e, 1));
    }
    detached_ = {};
  }

  /// Makes single changes of the span that the slot is in, if it is in one. False: there is no room for them.
  bool dissolve_span(slot at) {
    const entry_span* found = m_.changes.span_of(at.address());
    if (!found) return true;
    const entry_span s = *found;
    if (m_.changes.left() < s.entries) return false;
    m_.changes.remove(*found);
    for (std::uint32_t i = 0; i < s.entries; ++i) {
      const word from = slot(s.at)[i].load();
      m_.changes.add({s.at + i, s.first + (std::uint64_t{i} << s_.shift[s.level]), s.table, s.level, false, false, from, (from & s.keep) | s.set});
    }
    return true;
  }

  /// True if what the entry will be when the commit is done is not what hardware sees now.
  bool held_back(slot at) const {
    if constexpr (instructed) {
      return m_.changes.find(at.address()) != nullptr || (detached(at) && f_.kind(at.load(), 1) == kind::empty);
    }
    if constexpr (F::breaks) return F::parked(at.load());
    return false;
  }

  /// True if `entries` more can change without a flush in between.
  bool has_room(std::size_t entries) const {
    return (!instructed || m_.changes.left() >= entries) && (!F::breaks || m_.parked.left() >= entries);
  }

  void flush(flush_reason reason) {
    gather& stale = m_.stale;
    if (stale.empty()) return;
    const space::runners ran = c_.where.ran();
    if (ran == space::nobody || !send(ran, reason)) ++c_.count.flush_elided;
    if constexpr (instructed) {
      put_changes(ran == space::nobody);
      if (c_.where.ran() != ran) flush_latecomers(reason);
    }
    stale.clear();
  }

  /// Makes parked words valid: the translations that they replace are gone everywhere.
  void make_parked() {
    if constexpr (F::breaks) {
      m_.parked.each([&](word* at) {
        const word e = slot(at).load();
        if (!F::parked(e)) return;  // another update of the commit took it away again
        slot(at).store(F::unpark(e));
        ++c_.count.entries_written;
      });
      m_.parked.clear();
    }
  }

 private:
  /// Has the sink flush what is stale. False if there is no command for it: all entries were changed back.
  bool send(space::runners ran, flush_reason reason) {
    gather& stale = m_.stale;
    const std::size_t n = stale.whole() ? 0 : coalesce_ranges(stale.ranges());
    arch::flush_request request{stale.ranges().first(n), stale.whole(), stale.tables_removed(), stale.levels(),
                                ran == c_.cpu.index + 1, {}};
    if constexpr (instructed) request = by_instruction(request);
    plan_flush(f_, c_.where.root_register, request, m_.commands);
    if (m_.commands.all().empty()) return false;
    const flush_plan plan{c_.where.id, c_.where.root_register, m_.commands.all(), request.whole, reason};
    c_.host.flush(c_.host.context, c_.cpu.index, plan);
    ++c_.count.flush_plans[static_cast<unsigned>(reason)];
    c_.count.flush_full += request.whole;
    return true;
  }

  void note_parked(slot at, word put) {
    if (F::parked(put)) m_.parked.add(at.address());
  }

  word logical(word e) const {
    if constexpr (F::breaks) {
      if (F::parked(e)) return F::unpark(e);
    }
    return e;
  }

  void note_stale(unsigned level, gfn g, word old, bool drained) {
    ++c_.count.flush_requested;
    gather& stale = m_.stale;
    if (drained && stale.reaches({g, s_.slot_pages(level)})) return stale.add_drained_table();
    stale.add({g, s_.slot_pages(level)}, level, f_.kind(old, level) == kind::table);
  }

  template <class Make>
  word change(slot at, unsigned level, gfn g, Make make, bool drained) {
    entry_change* held = m_.changes.find(at.address());
    const word old = logical(at);
    const word now = make(old);
    const auto t = f_.classify(held ? held->from : old, now, level);
    const bool replace = t == arch::transition::replace_by_instruction;
    if (!held && held_back(at)) {
      at.store(now);  // detached
      ++c_.count.entries_written;
    } else if (held) {
      held->to = now;
      held->replace = replace;
      held->undone = t == arch::transition::store;
    } else if (t == arch::transition::store) {
      at.store(now);
      ++c_.count.entries_written;
    } else {
      const std::uint64_t physical = reinterpret_cast<std::uintptr_t>(at.address()) - c_.host.table_offset;
      const arch::table_address table{physical & ~std::uint64_t{s_.table_bytes[level] - 1}};
      const auto l = static_cast<std::uint8_t>(level);
      m_.changes.add({at.address(), g, table, l, replace, false, old, now});
      note_stale(level, g, old, drained);
    }
    return old;
  }

  /// The request with the entries that are to change in place of "the whole space" for lack of room.
  arch::flush_request by_instruction(arch::flush_request request) {
    entry_changes& changes = m_.changes;
    const auto most = [this](unsigned level) { return f_.run_limit(level); };
    const auto invalid = [this](const entry_change& c, std::uint32_t n) {
      return f_.kind(slot(c.at)[n].load(), c.level) == kind::empty;
    };
    request.entries = changes.runs(most, invalid);
    if (!changes.empty()) request.whole = false;
    if (!c_.host.sink_writes_entries) {
      for (const entry_change& c : changes.all()) {
        if (!c.undone) slot(c.at).store(c.replace ? c.to : f_.invalidated(c.from, c.level));
      }
      for (const entry_span& s : changes.spans()) {
        if (s.emptied) {
          ops_.fill(s.at, s.entries, s.set, 0);  // what is invalid anyway need not keep its old word
        } else {
          ops_.change_run(s.at, s.entries, {0, 0, ~word{0}, f_.invalidated(0, s.level)});
        }
      }
    }
    return request;
  }

  /// Entries changed after space::ran() was asked: a CPU that ran the space first in between may have cached what was
  /// there, and local commands, or none, have not reached it.
  void flush_latecomers(flush_reason reason) {
    plan_flush(f_, c_.where.root_register, {{}, true, true, 0, false, {}}, m_.commands);
    c_.host.flush(c_.host.context, c_.cpu.index, {c_.where.id, c_.where.root_register, m_.commands.all(), true, reason});
    ++c_.count.flush_plans[static_cast<unsigned>(reason)];
  }

  /// Stores the new words where the instructions left invalid ones.
  /// @param all  no instruction was executed: store what it would have put in place, too
  void put_changes(bool all) {
    for (const entry_change& c : m_.changes.all()) {
      if (all || !c.replace) slot(c.at).store(c.to);
      ++c_.count.entries_written;
    }
    const bool emptied_before = !all && !c_.host.sink_writes_entries;
    for (const entry_span& s : m_.changes.spans()) {
      if (!s.emptied) {
        ops_.change_run(s.at, s.entries, {0, 0, s.keep, s.set});
      } else if (!emptied_before) {
        ops_.fill(s.at, s.entries, s.set, 0);
      }
      c_.count.entries_written += s.entries;
    }
    m_.changes.clear();
  }

  const commit_context& c_;
  commit_memory& m_;
  const F& f_;
  const geometry& s_;
  const table_ops& ops_;
  std::span<word> detached_;  // links that are to become valid again
};

}  // namespace quire::runtime
