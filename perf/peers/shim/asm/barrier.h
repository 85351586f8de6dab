// Shim for asm/barrier.h: see kernel.h.
#pragma once

#include "perf/peers/shim/kernel.h"
