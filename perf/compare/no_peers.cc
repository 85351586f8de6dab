// What contestant.h says of peers in a build without them.
#include "perf/compare/contestant.h"

namespace quire::perf {

std::vector<entrant> make_peers(std::size_t /*memory*/) { return {}; }

bool has_peers() { return false; }

}  // namespace quire::perf
