// Shim for linux/bits.h: see kernel.h.
#pragma once

#include "perf/peers/shim/kernel.h"
