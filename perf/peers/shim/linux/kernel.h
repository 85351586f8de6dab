// Shim for linux/kernel.h: see kernel.h.
#pragma once

#include "perf/peers/shim/kernel.h"
