// Backends of the formats that only tests use.
#include "tests/support/formats.h"

#include "runtime/backend_of.h"

namespace quire::runtime {

template const backend& backend_for<tests::ept4>();
template const backend& backend_for<tests::ept5_ad>();
template const backend& backend_for<tests::example>();

}  // namespace quire::runtime
