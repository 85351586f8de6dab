// What threads did to shared pages and when, and whether some legal order of it explains what was seen.
#pragma once

#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "arch/address.h"
#include "arch/attributes.h"

namespace quire::tests {

using arch::gfn;
using arch::gfn_range;
using arch::hfn;
using arch::perm;

struct page_state {
  bool present = false;
  hfn out{};
  perm access = perm::none;
  friend bool operator==(const page_state&, const page_state&) = default;
};

/// One update. Its times are ticks of one clock for all threads; it took effect between `called` and `done`.
struct deed {
  enum class kind : std::uint8_t { map, keep, unmap, protect, harvest, harvest_protect, drain };
  static constexpr std::uint64_t pending = ~std::uint64_t{0};

  kind what = kind::unmap;
  bool guarded = false;  ///< may be left out
  perm access = perm::none;
  gfn_range range;
  hfn out{};  ///< of range.first
  std::uint64_t called = 0;
  std::uint64_t queued = 0;      ///< the call had returned
  std::uint64_t done = pending;  ///< it had taken effect: the call that committed it had returned
  unsigned cpu = 0;

  bool total() const { return (what == kind::map && !guarded) || what == kind::unmap; }
};
std::string describe(const deed& d);

/// What a thread saw of a page, from outside of sections.
struct sighting {
  gfn page;
  page_state seen;
  std::uint64_t called = 0;
  std::uint64_t done = 0;
};

/// What one thread did, in order.
using deeds = std::vector<deed>;

/// All that happened to one page. Two deeds are in order if one was done before the other was called, or if
/// one thread did both.
class page_history {
 public:
  page_history(std::span<const deeds* const> threads, gfn page, const page_state& first);

  /// True if some order ends with `last`.
  bool explains(const page_state& last);
  bool explains(const sighting& s) const;

 private:
  struct act {
    deed what;
    unsigned thread;
    hfn out;  // of the page
  };
  struct wish {
    bool present;
    hfn out;
    std::optional<perm> access;  // none: whatever it is
    friend auto operator<=>(const wish&, const wish&) = default;
  };
  using counts = std::vector<std::size_t>;

  static bool before(const act& a, const act& b) {
    return a.what.done < b.what.called || (a.thread == b.thread && a.what.called < b.what.called);
  }
  bool possible(counts& left, const wish& w);
  bool undo(const act& last, counts& left, const wish& w);
  bool may_be_last(const counts& left, unsigned thread) const;
  bool overwritten(const act* a, const sighting& s) const;

  page_state first_;
  std::vector<std::vector<act>> threads_;
  std::set<std::pair<counts, wish>> failed_;
};

}  // namespace quire::tests
