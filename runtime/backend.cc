// The only list of formats.
#include "arch/arm64/stage2_flush.h"
#include "arch/s390/dat_flush.h"
#include "arch/x86/ept_flush.h"
#include "arch/x86/npt.h"
#include "runtime/backend_of.h"

namespace quire::runtime {

template const backend& backend_for<arch::ept>();
template const backend& backend_for<arch::stage2_4k>();
template const backend& backend_for<arch::stage2_16k>();
template const backend& backend_for<arch::stage2_64k>();
template const backend& backend_for<arch::dat>();
template const backend& backend_for<arch::npt>();

}  // namespace quire::runtime
