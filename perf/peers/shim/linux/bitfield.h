// Shim for linux/bitfield.h: see kernel.h.
#pragma once

#include "perf/peers/shim/kernel.h"
