// Mapping of memory.h, in pages of the size that the system gives a process that asks for nothing else.
#include "perf/compare/memory.h"

#include <sys/mman.h>

#include <cstring>
#include <new>

namespace quire::perf {

namespace {
constexpr std::size_t large_page = std::size_t{2} << 20;
}

present_memory::present_memory(std::size_t bytes)
    : bytes_((bytes + large_page - 1) / large_page * large_page) {
  void* mapped = mmap(nullptr, bytes_ + large_page, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapped == MAP_FAILED) throw std::bad_alloc();
  mapped_ = static_cast<std::byte*>(mapped);
  start_ = mapped_ + (large_page - reinterpret_cast<std::uintptr_t>(mapped) % large_page) % large_page;
  std::memset(start_, 0, bytes_);
}

present_memory::~present_memory() { munmap(mapped_, bytes_ + large_page); }

}  // namespace quire::perf
