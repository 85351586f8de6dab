// Shim for linux/bitops.h: see kernel.h.
#pragma once

#include "perf/peers/shim/kernel.h"
