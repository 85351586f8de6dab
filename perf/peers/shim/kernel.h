// What the two Linux files use of the kernel, for userspace: types, bits, barriers that are counted, and
// pages out of one block.
#ifndef QUIRE_PERF_PEERS_SHIM_KERNEL_H
#define QUIRE_PERF_PEERS_SHIM_KERNEL_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef uint8_t u8;
typedef uint32_t u32;
typedef int64_t s64;
typedef uint64_t u64;
typedef u64 phys_addr_t, dma_addr_t;
typedef unsigned gfp_t;

#define BIT(n) (1UL << (n))
#define GENMASK(high, low) ((~0UL << (low)) & (~0UL >> (63 - (high))))
#define GENMASK_ULL(high, low) GENMASK(high, low)
#define FIELD_GET(mask, word) (((word) & (mask)) >> __builtin_ctzl(mask))
#define FIELD_PREP(mask, value) (((u64)(value) << __builtin_ctzl(mask)) & (mask))

#define PAGE_SHIFT 12
#define PAGE_SIZE (1UL << PAGE_SHIFT)
#define PAGE_MASK (~(PAGE_SIZE - 1))
#define ALIGN_DOWN(x, a) ((x) & ~((__typeof__(x))(a)-1))
#define IS_ALIGNED(x, a) (((x) & ((__typeof__(x))(a)-1)) == 0)
#define PAGE_ALIGN(x) (((x) + PAGE_SIZE - 1) & PAGE_MASK)
#define DIV_ROUND_UP(n, d) (((n) + (d)-1) / (d))
#define min(a, b) ((a) < (b) ? (a) : (b))
#define min_t(type, a, b) ((type)(a) < (type)(b) ? (type)(a) : (type)(b))
#define ilog2(x) (63 - __builtin_clzl(x))
#define __fls(x) ilog2(x)
#define __ffs(x) ((unsigned long)__builtin_ctzl(x))
#define container_of(pointer, type, member) ((type*)((char*)(pointer)-offsetof(type, member)))

#define READ_ONCE(x) (*(const volatile __typeof__(x)*)&(x))
#define WRITE_ONCE(x, value) (*(volatile __typeof__(x)*)&(x) = (value))
#define smp_store_release(pointer, value) __atomic_store_n(pointer, value, __ATOMIC_RELEASE)
#define WARN_ON(condition) (__builtin_expect(!!(condition), 0) ? (peer_complain(#condition), true) : false)
#define WARN_ON_ONCE(condition) WARN_ON(condition)
#define VM_BUG_ON(condition) ((void)WARN_ON(condition))

static inline void peer_complain(const char* condition) {
  fprintf(stderr, "quire: a peer warns: %s\n", condition);
}

/// Commands and barriers of the peer that is compiled with this header.
static u64 peer_commands, peer_barriers;

static inline void count_barrier(void) {
  ++peer_barriers;
  __asm__ volatile("" ::: "memory");
}
#define dsb(kind) count_barrier()
#define isb() count_barrier()
#define wmb() count_barrier()
#define dma_wmb() count_barrier()

/// As large as in the kernel, so that counting references costs what it costs there.
struct page {
  int references;
} __attribute__((aligned(64)));

/// Pages for tables: a stack of free ones above a part that was never used. Physical addresses are virtual
/// ones.
static struct {
  char* memory;
  size_t pages, fresh, freed;
  struct page* records;
  u32* stack;
} pool;

static inline bool pool_start(void* memory, size_t bytes) {
  pool.memory = memory;
  pool.pages = bytes / PAGE_SIZE;
  pool.fresh = pool.freed = 0;
  pool.records = aligned_alloc(64, pool.pages * sizeof(struct page));
  pool.stack = malloc(pool.pages * sizeof(u32));
  if (!pool.records || !pool.stack) return false;
  memset(pool.records, 0, pool.pages * sizeof(struct page));
  memset(pool.stack, 0, pool.pages * sizeof(u32));
  return true;
}
static inline void pool_stop(void) {
  free(pool.records);
  free(pool.stack);
  memset(&pool, 0, sizeof pool);
}
static inline struct page* virt_to_page(const void* address) {
  return &pool.records[(size_t)((const char*)address - pool.memory) / PAGE_SIZE];
}
/// Null if there are no pages left. Several pages are contiguous and are never used again after pool_put().
static inline void* pool_take(size_t pages) {
  if (pages == 1 && pool.freed > 0)
    return memset(pool.memory + pool.stack[--pool.freed] * PAGE_SIZE, 0, PAGE_SIZE);
  if (pool.fresh + pages > pool.pages) return NULL;
  char* taken = pool.memory + pool.fresh * PAGE_SIZE;
  pool.fresh += pages;
  return memset(taken, 0, pages * PAGE_SIZE);
}
static inline void pool_put(void* address) {
  pool.stack[pool.freed++] = (u32)((size_t)((char*)address - pool.memory) / PAGE_SIZE);
}

#endif
