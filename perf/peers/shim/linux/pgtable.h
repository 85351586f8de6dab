// Shim for linux/pgtable.h: see kernel.h.
#pragma once

#include "perf/peers/shim/kernel.h"
