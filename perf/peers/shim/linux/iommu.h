// Shim for linux/iommu.h: access flags, and a gather structure that queues nothing, so that each page is
// reported.
#pragma once

#include "perf/peers/shim/kernel.h"

#define IOMMU_READ (1 << 0)
#define IOMMU_WRITE (1 << 1)
#define IOMMU_CACHE (1 << 2)
#define IOMMU_NOEXEC (1 << 3)
#define IOMMU_MMIO (1 << 4)
#define IOMMU_PRIV (1 << 5)

struct iommu_iotlb_gather {
  bool queued;
};
static inline bool iommu_iotlb_gather_queued(const struct iommu_iotlb_gather* gather) {
  return gather && gather->queued;
}
