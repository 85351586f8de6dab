// Steps of random sequences, with a liking for the ends of leaves and tables, for overlaps and for
// repetition.
#pragma once

#include <random>
#include <string>

#include "arch/geometry.h"
#include "runtime/update.h"
#include "tests/support/oracle.h"

namespace quire::tests {

enum class action : std::uint8_t {
  map,
  map_keep,
  map_exact,
  unmap,
  protect,
  harvest,  // updates
  enter,
  leave,
  pause,
  resume,
  flush,
  interrupt,
  touch
};

struct step {
  action what = action::flush;
  page_run run;        ///< of an update; all of it only for the three maps
  unsigned level = 0;  ///< largest or exact leaf of a map
  runtime::harvest harvest = runtime::harvest::none;
  perm need = perm::r;  ///< of a touch
  gfn page;             ///< of a touch; after other steps, a page to look at
};

std::string describe(const step& s);

class step_maker {
 public:
  step_maker(const arch::geometry& shape, std::uint64_t seed);

  step make();
  /// An update of pages that make() never touches, for interrupts.
  step make_apart();
  /// Pages that steps come from.
  gfn_range all() const { return {{0}, (window_ + 4 * small_) << shape_.shift[0]}; }
  /// A number below `n`.
  std::uint64_t below(std::uint64_t n) { return random_() % n; }

 private:
  action pick();
  step fresh();
  bool follow(step& s);
  std::uint64_t place();
  gfn_range range();
  perm access();
  void fill_map(step& s);
  void fill_map_exact(step& s);

  const arch::geometry& shape_;
  unsigned top_leaf_;  // the largest
  // In pages of the format, which may be larger than 4 KiB:
  std::uint64_t small_;   // under a slot of level 1
  std::uint64_t large_;   // under a slot of level 2
  std::uint64_t window_;  // what make() works on, from page 0
  step last_;             // of the updates
  std::mt19937_64 random_;
};

}  // namespace quire::tests
