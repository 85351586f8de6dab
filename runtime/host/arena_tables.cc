// The mimalloc arena behind host/arena_tables.h.
#include "runtime/host/arena_tables.h"

#include <mimalloc.h>
#include <sys/mman.h>

namespace quire::runtime::host {

namespace {

// mimalloc wants arenas aligned to its segments, of 32 MiB.
constexpr std::size_t segment_bytes = std::size_t{32} << 20;

struct arena {
  std::byte* start = nullptr;  // null: could not be reserved
  mi_arena_id_t id = 0;
};

arena reserve() {
  const std::size_t bytes = arena_tables::arena_bytes + segment_bytes;
  void* mapped = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapped == MAP_FAILED) return {};
  arena a;
  const std::uintptr_t from = reinterpret_cast<std::uintptr_t>(mapped);
  a.start = static_cast<std::byte*>(mapped) + ((segment_bytes - from % segment_bytes) % segment_bytes);
  // Exclusive, so that only heaps made for this arena use it: other allocations would have no physical address.
  if (!mi_manage_os_memory_ex(a.start, arena_tables::arena_bytes, true, false, true, -1, true, &a.id)) {
    munmap(mapped, bytes);
    return {};
  }
  return a;
}

const arena& shared_arena() {
  static const arena a = reserve();
  return a;
}

// A mimalloc heap belongs to the thread that made it.
mi_heap_t* thread_heap() {
  thread_local mi_heap_t* heap = mi_heap_new_in_arena(shared_arena().id);
  return heap;
}

}  // namespace

arena_tables::~arena_tables() {
  for (void* block : blocks_) mi_free(block);
}

std::uint64_t arena_tables::table_offset() {
  const std::byte* start = shared_arena().start;
  return start ? reinterpret_cast<std::uintptr_t>(start) - arena_base : 0;
}

bool arena_tables::allocate(std::size_t bytes, std::size_t align, std::uint64_t* physical) {
  if (!shared_arena().start || !thread_heap()) return false;
  void* block = mi_heap_malloc_aligned(thread_heap(), bytes, align);
  if (!block) return false;
  *physical = reinterpret_cast<std::uintptr_t>(block) - table_offset();
  const std::lock_guard hold(lock_);
  blocks_.push_back(block);
  return true;
}

}  // namespace quire::runtime::host
