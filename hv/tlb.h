// The TLB model of one CPU: caches translations and the way to leaf tables, and notices when one is used stale.
#pragma once

#include <cstdint>
#include <vector>

#include "hv/trace.h"
#include "runtime/backend.h"

namespace quire::hv {

using arch::gfn;
using arch::hfn;
using arch::perm;

/// The access right that an access of the guest needs.
constexpr perm needed(access_kind k) {
  return k == access_kind::write ? perm::w : k == access_kind::fetch ? perm::x : perm::r;
}

/// Tells whether anything that removes or narrows translations is under way, so that a stale translation may
/// still be used. Any thread may call anything.
class narrowing_watch {
 public:
  /// Held around calls of the runtime until they have returned.
  class scope {
   public:
    explicit scope(narrowing_watch& w) : watch_(w) { watch_.started_.fetch_add(1, std::memory_order_acq_rel); }
    ~scope() { watch_.ended_.fetch_add(1, std::memory_order_acq_rel); }
    scope(const scope&) = delete;
    scope& operator=(const scope&) = delete;

   private:
    narrowing_watch& watch_;
  };

  /// The number of scopes that ever were, if none is open, else 0. Equal non-zero answers before and after a look
  /// at the tables mean that nothing was narrowed in between.
  std::uint64_t quiet() const {
    const std::uint64_t ended = ended_.load(std::memory_order_acquire);  // acquire: sees what the scopes stored
    return started_.load(std::memory_order_acquire) == ended ? ended + 1 : 0;  // acquire: after ended_
  }

 private:
  std::atomic<std::uint64_t> started_{0};
  std::atomic<std::uint64_t> ended_{0};
};

/// How an access ended.
enum class access_result : std::uint8_t {
  done,
  not_present,  ///< fault: nothing is mapped there
  denied,       ///< fault: the mapping does not allow the access
};

/// Caches 4 KiB pieces, whatever the leaf size, as the strictest hardware may; entries are tagged by the id that the
/// guest runs under, as in hardware, and not by its space. Every use of a cached translation is compared with what the
/// tables of the running space say now; if they say less and nothing is being narrowed, the translation was stale when a
/// leave or flush returned, and that is counted. One that another space left under the same id is always stale.
/// One thread at a time: the one that drives the CPU.
class tlb {
 public:
  static constexpr std::size_t entries = 16384;  // direct-mapped
  static constexpr std::size_t ways_to_tables = 256;

  tlb();
  /// Does one access of the guest that runs in `s` under `id`; sets A and D in the tables as hardware does.
  access_result access(const runtime::platform& host, const runtime::space& s, std::uint32_t id, gfn g,
                       access_kind kind, const narrowing_watch& watch);
  /// Drops everything that was cached under the id. O(1), but for the first time of an id.
  void flush(std::uint32_t id) {
    if (id >= since_.size()) since_.resize(id + 1);
    since_[id] = ++epoch_;
  }
  /// Drops everything, of all ids. O(1).
  void flush_all() { since_all_ = ++epoch_; }

  /// Frame behind the page of the last access that was done.
  hfn last_frame() const { return last_frame_; }

  std::uint64_t stale_uses() const { return stale_uses_; }
  /// Page of the first stale use; meaningful if there was one.
  gfn first_stale() const { return first_stale_; }
  std::uint64_t hits() const { return hits_; }
  std::uint64_t walks() const { return walks_; }

 private:
  struct entry {
    std::uint64_t epoch = 0;  // when it was cached; 0 = void
    gfn page;
    hfn out;
    std::uint32_t id = 0;
    std::uint32_t space = 0;  // hardware does not know it
    perm access = perm::none;
    std::uint8_t type = 0;
    bool dirty = false;
  };
  struct table_way {
    std::uint64_t epoch = 0;  // as in entry
    gfn first;
    std::uint32_t id = 0;
    std::uint32_t space = 0;
    runtime::table_address table;
  };

  bool use(const runtime::platform& host, const runtime::space& s, entry& e, access_kind kind,
           const narrowing_watch& watch);
  access_result refill(const runtime::platform& host, const runtime::space& s, std::uint32_t id, entry& e, gfn g,
                       access_kind kind, const narrowing_watch& watch);
  /// True if what was cached under the id at that time has not been flushed since.
  bool good(std::uint64_t epoch, std::uint32_t id) const {
    return epoch != 0 && epoch >= since_all_ && (id >= since_.size() || epoch >= since_[id]);
  }
  void stale(gfn g) {
    if (stale_uses_++ == 0) first_stale_ = g;
  }

  std::vector<entry> entries_;
  std::vector<table_way> ways_;
  std::uint64_t epoch_ = 1;            // goes up with every flush
  std::uint64_t since_all_ = 0;        // what was cached in an earlier epoch is void
  std::vector<std::uint64_t> since_;   // likewise, by id
  hfn last_frame_;
  std::uint64_t stale_uses_ = 0;
  gfn first_stale_;
  std::uint64_t hits_ = 0;
  std::uint64_t walks_ = 0;
};

}  // namespace quire::hv
