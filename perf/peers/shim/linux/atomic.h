// Shim for linux/atomic.h: see kernel.h.
#pragma once

#include "perf/peers/shim/kernel.h"
