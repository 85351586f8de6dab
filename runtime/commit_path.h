// The way of a commit through the tables: its phases, the tables on the path, and which of them it holds.
#pragma once

#include <utility>

#include "runtime/entry_writer.h"

namespace quire::runtime {

/// Why a commit cannot go on before it has ended its phase.
enum class obstacle : std::uint8_t {
  none,     ///< no room to remember more, or a table that went meanwhile: go on in a new phase
  holder,   ///< another cpu may be changing the table
  no_frame  ///< a table that was claimed for was made and taken away by another cpu, and no frame is free now
};

/// Tables are walked freely in a phase, since nobody gives a table back before the phases that may be inside
/// are over; an entry changes only by the cpu that holds its table, until its phase ends. What a phase has
/// changed is flushed, made valid and released together at its end.
template <class F>
class commit_path {
 public:
  using word = typename F::word;
  using slot = arch::slot<F>;
  using kind = arch::entry_kind;

  struct step {
    slot table;
    table_address address;
    gfn first;
    bool held = false;
    bool emptied = false;  ///< an entry was removed: the table may be empty now
    bool hidden = false;   ///< hardware cannot reach the table before the flush
  };

  commit_path(const commit_context& c, entry_writer<F>& w)
      : c_(c), m_(*c.cpu.memory), f_(c.where.format<F>()), s_(c.where.shape), t_(c.host, c.where), w_(w) {}

  unsigned lowest() const { return lowest_; }
  /// Differs from phase to phase.
  std::uint64_t phase() const { return phase_; }
  /// space::unlinks() when the phase began.
  std::uint64_t unlinks() const { return unlinks_; }
  step& operator[](unsigned level) { return steps_[level]; }

  /// Begins a phase, at the root. Blocks while another cpu wants the space for itself.
  void begin() {
    for (;;) {
      c_.cpu.phase.raise();
      const std::uint32_t closed =
          c_.where.closed.load(std::memory_order_relaxed);  // relaxed: after the fence of raise()
      if (closed == 0 || closed == c_.cpu.index + 1) break;
      c_.cpu.phase.lower();
      // acquire: what the other cpu did alone is seen.
      while (c_.where.closed.load(std::memory_order_acquire) == closed) relax(c_.host);
    }
    ++phase_;
    unlinks_ = c_.where.unlinks();
    lowest_ = s_.top();
    steps_[lowest_] = {t_.at(c_.where.root), c_.where.root, gfn{0}};
  }

  /// Ends the phase: what it changed has taken effect, and it holds nothing.
  void end(flush_reason reason) {
    if (taken_ > 0) c_.where.count_tables(std::exchange(taken_, 0), std::exchange(taken_bytes_, 0));
    w_.flush(reason);
    if constexpr (entry_writer<F>::instructed) w_.attach();
    w_.make_parked();
    m_.locked.release_all();
    c_.cpu.phase.lower();
  }

  /// Waits for what hold() or take() has met. In no phase.
  void wait() {
    if (met_ == obstacle::holder) {
      ++c_.count.contentions;
      owner_words::wait_for(*met_word_, c_.cpu.index, c_.cpus, c_.host);
    } else if (met_ == obstacle::no_frame) {
      table_pool& pool = *c_.where.pools[met_level_];
      // The claim is spent, and others keep what is free for themselves: here, and nowhere else, a commit may
      // ask the platform.
      while (pool.reserve(c_.cpu.index, 1) != status::ok) relax(c_.host);
      ++c_.claims[met_level_];
    }
    met_ = obstacle::none;
  }
  obstacle met() const { return met_; }

  /// True if the entries of the table of `level` on the path may be changed from now on to the end of the
  /// phase.
  bool hold(unsigned level) {
    step& s = steps_[level];
    if (s.held) return true;
    if (!lock(s.address, level)) return false;
    // Before it was held, another cpu may have taken it out because it was empty.
    if (level < s_.top()) {
      const word link = w_.logical(link_of(level));
      if (f_.kind(link, level + 1) != kind::table || f_.table(link, level + 1) != s.address) return false;
    }
    s.held = true;
    return true;
  }
  /// Likewise for the table of `level` that entry `link` links, on the path or not, but without waiting for it later.
  bool hold_linked(slot link, unsigned level) {
    const word e = w_.logical(link);
    if (!lock(f_.table(e, level + 1), level)) {
      forget_met();
      return false;
    }
    return w_.logical(link) == e;  // as in hold()
  }
  /// What was met does not matter: the commit goes on elsewhere.
  void forget_met() { met_ = obstacle::none; }
  /// The entry that links the table of `level` on the path.
  slot link_of(unsigned level) const {
    return steps_[level + 1].table[s_.index(steps_[level].first, level + 1)];
  }

  /// Takes a frame for a table of `level` that nobody can reach yet, and holds it. False: nothing was taken.
  bool take(unsigned level, table_pool::frame& taken, table_pool::content wanted = table_pool::content::any) {
    table_pool& pool = *c_.where.pools[level];
    if (c_.claims[level] == 0) {
      if (pool.reserve_unused(c_.cpu.index, 1) != status::ok) {
        met_ = obstacle::no_frame;
        met_level_ = level;
        return false;
      }
      ++c_.claims[level];
    }
    taken = pool.take(c_.cpu.index, wanted);
    if (!lock(taken.table, level)) {
      pool.put_back(c_.cpu.index, taken);
      return false;
    }
    --c_.claims[level];
    ++taken_;
    taken_bytes_ += s_.table_bytes[level];
    ++c_.count.tables_taken;
    met_ = obstacle::none;  // where it has just failed, and that was not waited for
    return true;
  }

  /// Goes down to the table that `link` links, an entry of the path's table of level `from` for page `g`.
  void descend(slot at, word link, unsigned from, gfn g) {
    lowest_ = from - 1;
    const table_address table = f_.table(link, from);
    // A change that is held back is this cpu's own, also where the path comes back to the table. Of a table
    // that is not held, the entry may be parked by another cpu, which then holds the table behind it too.
    const bool own = entry_writer<F>::instructed || steps_[from].held;
    const bool hidden = steps_[from].hidden || (own && w_.held_back(at));
    steps_[lowest_] = {t_.at(table), table, s_.table_first(g, lowest_), false, false, hidden};
  }
  void ascend() { ++lowest_; }

  /// Room for what acting on one slot, or one group of slots, of `level` may add before the next flush.
  bool has_room(unsigned level) const {
    // A group may be taken apart before its leaves change.
    const std::size_t changes = s_.group_bits[level] ? std::size_t{2} << s_.group_bits[level] : 1;
    return m_.reports.left() >= changes && m_.removed.left() >= changes && m_.locked.left() > 2 &&
           w_.has_room(changes);
  }

 private:
  bool lock(table_address t, unsigned level) {
    owner_words::word& w = c_.owners.of(t, s_.table_bytes[level]);
    auto got = owner_words::acquire(w, c_.cpu.index);
    if (got == owner_words::result::contended) {
      owner_words::take_idle_bias(w, c_.cpus);
      got = owner_words::acquire(w, c_.cpu.index);
    }
    switch (got) {
      case owner_words::result::locked:
        m_.locked.add(w);
        return true;
      case owner_words::result::held:
        return true;
      case owner_words::result::contended:
        break;
    }
    met_ = obstacle::holder;
    met_word_ = &w;
    return false;
  }

  const commit_context& c_;
  commit_memory& m_;
  const F& f_;
  const geometry& s_;
  const tables<F> t_;
  entry_writer<F>& w_;
  unsigned lowest_ = 0;
  std::uint64_t phase_ = 0;
  std::uint64_t unlinks_ = 0;
  obstacle met_ = obstacle::none;
  owner_words::word* met_word_ = nullptr;
  unsigned met_level_ = 0;
  std::int64_t taken_ = 0, taken_bytes_ = 0;  // tables that count_tables() does not know of yet
  step steps_[arch::level_limit] = {};
};

}  // namespace quire::runtime
