// The only list of formats.
#include "arch/x86/ept_flush.h"
#include "runtime/backend_of.h"

namespace quire::runtime {

template const backend& backend_for<arch::ept>();

}  // namespace quire::runtime
