// Shim for linux/dma-mapping.h: a device that sees memory as the CPU does, and pages for its tables.
#pragma once

#include "perf/peers/shim/kernel.h"

struct device {
  int node;
};
#define dev_to_node(device) ((void)(device), 0)
#define dev_err(device, ...) ((void)(device), peer_complain(__VA_ARGS__))
#define DMA_TO_DEVICE 1
#define dma_map_single(device, pages, size, direction) ((void)(device), (dma_addr_t)(uintptr_t)(pages))
#define dma_mapping_error(device, address) ((void)(device), 0)
#define dma_unmap_single(device, address, size, direction) ((void)(device), (void)(address))
#define dma_sync_single_for_device(device, address, size, direction) \
  ((void)(device), (void)(address), (void)(size))

#define __va(physical) ((void*)(uintptr_t)(physical))
#define __pa(address) ((phys_addr_t)(uintptr_t)(address))
#define virt_to_phys(address) __pa(address)

static inline int get_order(size_t bytes) {
  return bytes <= PAGE_SIZE ? 0 : ilog2((bytes - 1) >> PAGE_SHIFT) + 1;
}
static inline struct page* alloc_pages_node(int node, gfp_t flags, int order) {
  (void)node, (void)flags;
  void* taken = pool_take((size_t)1 << order);
  return taken ? virt_to_page(taken) : NULL;
}
static inline void* page_address(const struct page* page) {
  return pool.memory + (page - pool.records) * PAGE_SIZE;
}
static inline void free_pages(unsigned long address, int order) {
  if (order == 0) pool_put((void*)address);
}
#define __free_pages(page, order) free_pages((unsigned long)page_address(page), order)

static inline u64 cmpxchg64_relaxed(u64* at, u64 from, u64 to) {
  __atomic_compare_exchange_n(at, &from, to, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
  return from;
}
