// Frames of one size for tables: a list per cpu in front of the platform's table memory.
#pragma once

#include <span>

#include "arch/format.h"
#include "runtime/spin_lock.h"
#include "runtime/status.h"
#include "runtime/table_ops.h"

namespace quire::runtime {

struct pool_options {
  /// Frames, and claims on frames, that a cpu keeps for itself when it needs none. 0 with scarce memory.
  std::uint32_t cache_frames = 64;
  /// Frames asked of the platform at once; asked for fewer when it has not that many.
  std::uint32_t refill_frames = 64;
};

/// A commit must not allocate, so frames are claimed first (reserve) and taken later (take). A claim is backed
/// by a frame in the cpu's own list or by one in the centre; nobody else can take that one. A claim touches no frame.
///
/// Free frames, those that are cleared apart from others, are listed in some of them: a node begins with the name of the node before it, and has names of other free
/// frames in the rest. All nodes but the newest are full. So of 4 KiB frames one in 512 is touched by giving it back and
/// taking it again, the others are not.
///
///              reserve/unreserve  take/give  in_use/allocated
///   own cpu           X              X            any     (retire: like give)
///   other cpus        -              -            any
/// X: calls with one `cpu` index are serialized by the caller (a cpu is driven by one thread at a time).
/// Different indices run concurrently.
class table_pool {
 public:
  /// @param bytes         of a frame; a power of two, at least 16
  /// @param cleared_word  what all words of a cleared frame are: an empty entry as it lies in memory, no valid one in any format
  /// Errors: no_memory. Context: any; allocates.
  status start(const platform& p, std::size_t bytes, unsigned cpus, const pool_options& options, std::uint64_t cleared_word = 0);
  /// Frees the pool's records; every frame is the platform's again.
  void stop();

  std::size_t frame_bytes() const { return frame_bytes_; }
  std::uint64_t cleared_word() const { return cleared_word_; }

  struct frame {
    arch::table_address table;
    bool cleared = false;  ///< all its words are cleared_word()
  };

  /// Claims `frames` for `cpu`. Errors: no_tables, then nothing is claimed. Allocates where the centre is short.
  /// Cost: a load and a store while the cpu's own stock lasts. `frames` is far below 2^64.
  status reserve(unsigned cpu, std::uint64_t frames) {
    cpu_stock& own = stocks_[cpu];
    if (frames <= own.slack) {
      own.slack -= frames;
      return status::ok;
    }
    return claim(own, frames, true);
  }
  /// What a cpu may keep for itself, in frames.
  std::uint32_t cache_frames() const { return options_.cache_frames; }
  /// As reserve(), but asks the platform for nothing.
  status reserve_unused(unsigned cpu, std::uint64_t frames) {
    cpu_stock& own = stocks_[cpu];
    if (frames > own.slack) return claim(own, frames, false);
    own.slack -= frames;
    return status::ok;
  }
  /// Claims as many frames as the cpu keeps for itself, up to `frames`. Returns how many.
  std::uint64_t reserve_own(unsigned cpu, std::uint64_t frames) {
    std::uint64_t& slack = stocks_[cpu].slack;
    const std::uint64_t claimed = frames < slack ? frames : slack;
    slack -= claimed;
    return claimed;
  }
  /// As many as are there without asking the platform.
  std::uint64_t reserve_some(unsigned cpu, std::uint64_t frames) {
    return reserve_unused(cpu, frames) == status::ok ? frames : reserve_own(cpu, frames);
  }
  /// Takes back claims that turned out not to be needed. Does not block but for the centre's lock.
  void unreserve(unsigned cpu, std::uint64_t frames);
  /// Puts all that `cpu` keeps for itself back where others find it: the cpu goes away. It holds no claim.
  void retire(unsigned cpu);

  /// Turns one claim into a frame, of the wanted content if the cpu or, where it has none left, the centre has such. Its content is
  /// unspecified unless it is known to be cleared. Cannot fail; does not allocate.
  enum class content : bool { any, cleared };
  frame take(unsigned cpu, content wanted = content::any);
  /// Undoes take() of the frame that was taken last, and that nobody has written to.
  void put_back(unsigned cpu, const frame& f);
  /// Gives a frame back. No CPU can reach it any more.
  void give(unsigned cpu, const frame& f);
  /// Likewise many, none known to be zero; the last one is taken first. Cost: some 10 instructions a frame.
  void give(unsigned cpu, std::span<const arch::table_address> tables);
  /// Clears up to `most` free frames that are not known to be clear, `ops` being for entries in the byte order of the machine.
  /// Returns how many. While some are cleared, nobody else can have them. Own cpu. Blocks on the centre's lock for some stores.
  std::uint64_t clear(unsigned cpu, std::uint64_t most, const table_ops& ops);
  /// Asks for the memory of the frame that `cpu` takes next, if that is known: the caller is about to fill another one, and
  /// this one too.
  void prefetch_next(unsigned cpu) const;

  /// Frames taken and not given back; exact while no cpu is in take() or give().
  std::uint64_t in_use() const;
  /// Frames obtained from the platform so far.
  std::uint64_t allocated() const { return allocated_.load(std::memory_order_relaxed); }  // relaxed: a statistic

 private:
  static constexpr std::uint64_t no_frame = ~std::uint64_t{7};  // no name, and none for a CPU
  /// Free frames, the one that came last first. Empty: no node, taken for a full one.
  struct frame_list {
    std::uint64_t node = no_frame;  // name of the newest one
    std::uint64_t names = 0;        // of other frames in it

    bool empty() const { return node == no_frame; }
  };
  struct alignas(64) cpu_stock {
    std::uint64_t slack = 0;   // of `listed` and `claims` together, those that no update has claimed
    std::uint64_t listed = 0;  // frames in `lists`
    std::uint64_t claims = 0;  // claims on the centre
    frame_list lists[2];       // by `cleared`
    std::atomic<std::uint64_t> taken{0};
    std::atomic<std::uint64_t> given{0};

    std::uint64_t reserved() const { return listed + claims - slack; }
  };

  status claim(cpu_stock& own, std::uint64_t frames, bool may_grow);
  bool grow(std::uint64_t least);
  void fetch(cpu_stock& own, content wanted);
  void trim_if_twice(cpu_stock& own);
  void trim(cpu_stock& own, std::uint64_t keep);
  // A free frame is named by its physical address. Cleared ones have lists of their own; the words aside that make them nodes,
  // all their words are cleared_word_. EPT, NPT and stage 2 take no name for a valid entry: a CPU that walks a table after it went, which
  // is a fault, does no harm there.

  // Word i of the frame. Lookups may still read it as the table that it was, until they see that it went.
  std::uint64_t* words(std::uint64_t name) const {
    return reinterpret_cast<std::uint64_t*>(static_cast<std::uintptr_t>(name + platform_->table_offset));
  }
  std::uint64_t load(std::uint64_t name, std::uint64_t i) const {
    // relaxed: who owns the list wrote it, or a lock is between
    return std::atomic_ref(words(name)[i]).load(std::memory_order_relaxed);
  }
  void store(std::uint64_t name, std::uint64_t i, std::uint64_t word) const {
    // release: a lookup that reads it sees space::version() moved
    std::atomic_ref(words(name)[i]).store(word, std::memory_order_release);
  }
  void push(frame_list& l, std::uint64_t name) const {
    if (l.names < names_in_node_) return store(l.node, ++l.names, name);
    store(name, 0, l.node);
    l = {name, 0};
  }
  void push(frame_list& l, std::span<const arch::table_address> tables) const;
  // The list is not empty. Words that made a node are as in a cleared frame again.
  std::uint64_t pop(frame_list& l) const {
    const std::uint64_t i = l.names, found = load(l.node, i);
    store(l.node, i, cleared_word_);
    if (i > 0) {
      --l.names;
      return found;
    }
    const std::uint64_t name = l.node;
    l = {found, names_in_node_};
    return name;
  }
  // The list to take from; `lists` are not both empty.
  static unsigned chosen(const frame_list (&lists)[2], content wanted) {
    const unsigned best = wanted == content::cleared;
    return lists[best].empty() ? 1 - best : best;
  }
  frame pop(frame_list (&lists)[2], content wanted) const {
    const unsigned cleared = chosen(lists, wanted);
    return {{pop(lists[cleared])}, cleared == 1};
  }
  void push(frame_list (&lists)[2], const frame& f) const { push(lists[f.cleared], f.table.byte); }
  frame pop_central(content wanted);
  bool fresh_cleared() const { return platform_->tables_zeroed && cleared_word_ == 0; }

  const platform* platform_ = nullptr;
  std::size_t frame_bytes_ = 0;
  std::uint64_t names_in_node_ = 0;
  std::uint64_t cleared_word_ = 0;
  unsigned cpus_ = 0;
  pool_options options_;
  cpu_stock* stocks_ = nullptr;

  // The centre; all under lock_. Invariant: claimed_ <= free_, free_ = frames in the list + untouched ones.
  spin_lock lock_;
  frame_list lists_[2];  // by `cleared`
  std::uint64_t fresh_ = 0;       // first frame that was never handed out
  std::uint64_t fresh_left_ = 0;  // frames from there
  std::uint64_t free_ = 0;
  std::uint64_t claimed_ = 0;
  std::atomic<std::uint64_t> allocated_{0};
};

}  // namespace quire::runtime
