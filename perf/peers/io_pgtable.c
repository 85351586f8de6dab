// Linux's generic tables for IOMMUs, stage 2 of arm64, as the build has unpacked them:
// drivers/iommu/io-pgtable-arm.c.
#include "perf/peers/peer.h"

#include <drivers/iommu/io-pgtable-arm.c>

static struct io_pgtable* table;
static struct io_pgtable_ops* ops;
static struct device device;
static struct iommu_iotlb_gather gather;

static void flush_all(void* cookie) {
  (void)cookie;
  ++peer_commands;
}
static void flush_walk(unsigned long address, size_t bytes, size_t granule, void* cookie) {
  (void)address, (void)bytes, (void)granule, (void)cookie;
  ++peer_commands;
}
static void add_page(struct iommu_iotlb_gather* pages, unsigned long address, size_t granule, void* cookie) {
  (void)pages, (void)address, (void)granule, (void)cookie;
  ++peer_commands;
}
static const struct iommu_flush_ops flushes = {
    .tlb_flush_all = flush_all, .tlb_flush_walk = flush_walk, .tlb_add_page = add_page};

static bool make(void* memory, size_t bytes) {
  peer_commands = peer_barriers = 0;
  if (!pool_start(memory, bytes)) return false;
  struct io_pgtable_cfg cfg = {
      .pgsize_bitmap = SZ_4K | SZ_2M | SZ_1G,
      .ias = 40,
      .oas = 48,
      .coherent_walk = true,
      .tlb = &flushes,
      .iommu_dev = &device,
  };
  table = io_pgtable_arm_64_lpae_s2_init_fns.alloc(&cfg, NULL);
  if (!table) return false;
  // What alloc_io_pgtable_ops() of drivers/iommu/io-pgtable.c adds.
  table->fmt = ARM_64_LPAE_S2;
  table->cfg = cfg;
  ops = &table->ops;
  return true;
}

static void destroy(void) {
  io_pgtable_arm_64_lpae_s2_init_fns.free(table);
  pool_stop();
}

enum { access_flags = IOMMU_READ | IOMMU_WRITE | IOMMU_CACHE };

// The function stops at the end of a table; the IOMMU layer calls it until all is done.
static bool map_range(uint64_t page, uint64_t pages, uint64_t frame) {
  while (pages > 0) {
    size_t mapped = 0;
    if (ops->map_pages(ops, page << PAGE_SHIFT, frame << PAGE_SHIFT, SZ_4K, pages, access_flags, GFP_KERNEL,
                       &mapped) != 0)
      return false;
    mapped >>= PAGE_SHIFT;
    page += mapped;
    frame += mapped;
    pages -= mapped;
  }
  return true;
}

static bool map_each(const uint64_t* pages, size_t count, uint64_t distance) {
  bool done = true;
  for (size_t i = 0; i < count; ++i) {
    size_t mapped = 0;
    done &= ops->map_pages(ops, pages[i] << PAGE_SHIFT, (pages[i] + distance) << PAGE_SHIFT, SZ_4K, 1,
                           access_flags, GFP_KERNEL, &mapped) == 0;
  }
  return done;
}

static bool unmap_in(size_t unit, uint64_t page, uint64_t pages) {
  while (pages > 0) {
    const size_t gone =
        ops->unmap_pages(ops, page << PAGE_SHIFT, unit, (pages << PAGE_SHIFT) / unit, &gather) >> PAGE_SHIFT;
    if (gone == 0) return false;
    page += gone;
    pages -= gone;
  }
  ++peer_commands;  // the caller's sync of the range, once
  return true;
}

static bool unmap_range(uint64_t page, uint64_t pages) { return unmap_in(SZ_4K, page, pages); }

static bool unmap_each(const uint64_t* pages, size_t count) {
  bool done = true;
  for (size_t i = 0; i < count; ++i) {
    done &= ops->unmap_pages(ops, pages[i] << PAGE_SHIFT, SZ_4K, 1, &gather) == SZ_4K;
    ++peer_commands;  // the caller's sync
  }
  return done;
}

static bool unmap_tables(uint64_t page, uint64_t pages) {
  const bool large = (page | pages) % (SZ_1G >> PAGE_SHIFT) == 0;
  return unmap_in(large ? SZ_1G : SZ_2M, page, pages);
}

static bool look_up(const uint64_t* pages, size_t count, uint64_t* frames) {
  for (size_t i = 0; i < count; ++i) frames[i] = ops->iova_to_phys(ops, pages[i] << PAGE_SHIFT) >> PAGE_SHIFT;
  return true;
}

// iova_to_phys() tells no access; nothing here takes any away.
static bool read_page(uint64_t page, uint64_t* frame, bool* writable) {
  *frame = ops->iova_to_phys(ops, page << PAGE_SHIFT) >> PAGE_SHIFT;
  *writable = true;
  return *frame != 0;
}

static struct peer_counts counts(void) { return (struct peer_counts){peer_commands, peer_barriers}; }

const struct peer io_pgtable_peer = {
    .name = "io_pgtable",
    .make = make,
    .destroy = destroy,
    .map_range = map_range,
    .map_each = map_each,
    .unmap_range = unmap_range,
    .unmap_each = unmap_each,
    .unmap_tables = unmap_tables,
    .look_up = look_up,
    .read = read_page,
    .counts = counts,
};
