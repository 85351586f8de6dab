// Shim for linux/types.h: see kernel.h.
#pragma once

#include "perf/peers/shim/kernel.h"
