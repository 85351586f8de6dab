// KVM's stage-2 tables of arm64, from Linux as the build has unpacked it: arch/arm64/kvm/hyp/pgtable.c.
#include "perf/peers/peer.h"

#include <arch/arm64/kvm/hyp/pgtable.c>

static struct kvm_arch arch;
static struct kvm_pgtable table;
static struct kvm_s2_mmu mmu = {.pgt = &table, .arch = &arch};
static bool keep_tables;  // that went empty

static void* zalloc_pages_exact(size_t bytes) {
  const size_t pages = PAGE_ALIGN(bytes) / PAGE_SIZE;
  char* taken = pool_take(pages);
  for (size_t i = 0; taken && i < pages; ++i) virt_to_page(taken + i * PAGE_SIZE)->references = 1;
  return taken;
}
static void free_pages_exact(void* address, size_t bytes) { (void)address, (void)bytes; }
static void* zalloc_page(void* cache) {
  (void)cache;
  void* taken = pool_take(1);
  if (taken) virt_to_page(taken)->references = 1;
  return taken;
}
// The kernel's get_page() and put_page() count with atomics.
static void get_page(void* address) {
  __atomic_fetch_add(&virt_to_page(address)->references, 1, __ATOMIC_RELAXED);
}
static void put_page(void* address) {
  if (__atomic_sub_fetch(&virt_to_page(address)->references, 1, __ATOMIC_RELAXED) == 0) pool_put(address);
}
static int page_count(void* address) {
  return __atomic_load_n(&virt_to_page(address)->references, __ATOMIC_RELAXED) + keep_tables;
}
static void* phys_to_virt(phys_addr_t physical) { return (void*)(uintptr_t)physical; }
static phys_addr_t virt_to_phys(void* address) { return (phys_addr_t)(uintptr_t)address; }

static struct kvm_pgtable_mm_ops mm_ops = {
    .zalloc_page = zalloc_page,
    .zalloc_pages_exact = zalloc_pages_exact,
    .free_pages_exact = free_pages_exact,
    .get_page = get_page,
    .put_page = put_page,
    .page_count = page_count,
    .phys_to_virt = phys_to_virt,
    .virt_to_phys = virt_to_phys,
};

static bool force_pages(u64 address, u64 end, enum kvm_pgtable_prot prot) {
  (void)address, (void)end, (void)prot;
  return true;
}

static bool make(void* memory, size_t bytes) {
  peer_commands = peer_barriers = 0;
  keep_tables = false;
  arch.vtcr = kvm_get_vtcr(ID_AA64MMFR0_EL1_PARANGE_MAX, 0, 40);
  return pool_start(memory, bytes) && __kvm_pgtable_stage2_init(&table, &mmu, &mm_ops, 0, force_pages) == 0;
}

static void destroy(void) {
  kvm_pgtable_stage2_destroy(&table);
  pool_stop();
}

static bool map(u64 page, u64 pages, u64 frame) {
  // Any pointer that is not null: zalloc_page() takes no cache.
  return kvm_pgtable_stage2_map(&table, page << PAGE_SHIFT, pages << PAGE_SHIFT, frame << PAGE_SHIFT,
                                KVM_PGTABLE_PROT_RWX, &pool) == 0;
}

static bool map_each(const uint64_t* pages, size_t count, uint64_t distance) {
  bool done = true;
  for (size_t i = 0; i < count; ++i) done &= map(pages[i], 1, pages[i] + distance);
  return done;
}

static bool protect_range(uint64_t page, uint64_t pages) {
  return kvm_pgtable_stage2_wrprotect(&table, page << PAGE_SHIFT, pages << PAGE_SHIFT) == 0;
}

static bool unmap_range(uint64_t page, uint64_t pages) {
  keep_tables = true;
  return kvm_pgtable_stage2_unmap(&table, page << PAGE_SHIFT, pages << PAGE_SHIFT) == 0;
}

static bool unmap_each(const uint64_t* pages, size_t count) {
  bool done = true;
  keep_tables = true;
  for (size_t i = 0; i < count; ++i)
    done &= kvm_pgtable_stage2_unmap(&table, pages[i] << PAGE_SHIFT, PAGE_SIZE) == 0;
  return done;
}

static bool look_up(const uint64_t* pages, size_t count, uint64_t* frames) {
  bool done = true;
  for (size_t i = 0; i < count; ++i) {
    kvm_pte_t entry = 0;
    u32 level = 0;
    done &= kvm_pgtable_get_leaf(&table, pages[i] << PAGE_SHIFT, &entry, &level) == 0;
    frames[i] = kvm_pte_to_phys(entry) >> PAGE_SHIFT;
  }
  return done;
}

static bool read_page(uint64_t page, uint64_t* frame, bool* writable) {
  kvm_pte_t entry = 0;
  u32 level = 0;
  if (kvm_pgtable_get_leaf(&table, page << PAGE_SHIFT, &entry, &level) != 0 || !kvm_pte_valid(entry))
    return false;
  *frame = kvm_pte_to_phys(entry) >> PAGE_SHIFT;
  *writable = kvm_pgtable_stage2_pte_prot(entry) & KVM_PGTABLE_PROT_W;
  return level == KVM_PGTABLE_MAX_LEVELS - 1;
}

static struct peer_counts counts(void) { return (struct peer_counts){peer_commands, peer_barriers}; }

const struct peer kvm_peer = {
    .name = "kvm",
    .make = make,
    .destroy = destroy,
    .map_range = map,
    .map_each = map_each,
    .protect_range = protect_range,
    .unmap_range = unmap_range,
    .unmap_each = unmap_each,
    .look_up = look_up,
    .read = read_page,
    .counts = counts,
};
