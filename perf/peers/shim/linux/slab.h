// Shim for linux/slab.h: memory that is no table.
#pragma once

#include "perf/peers/shim/kernel.h"

#define GFP_KERNEL 0u
#define GFP_ATOMIC 0u
#define __GFP_ZERO 0u
#define __GFP_HIGHMEM 1u
#define kmalloc(bytes, flags) malloc(bytes)
#define kfree(memory) free(memory)
