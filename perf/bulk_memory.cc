// Mapping and touching of bulk_memory.h.
#include "perf/bulk_memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstring>

#include <fmt/format.h>

#include "perf/progress.h"

namespace quire::perf {

namespace {

constexpr std::size_t large_page = std::size_t{2} << 20;  // as large as any table, too

std::uint64_t free_bytes() {
  const long pages = sysconf(_SC_AVPHYS_PAGES);
  return pages > 0 ? static_cast<std::uint64_t>(pages) * static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE))
                   : 0;
}

}  // namespace

bulk_memory::~bulk_memory() {
  if (mapped_) munmap(mapped_, mapped_bytes_);
}

std::string bulk_memory::start(std::uint64_t bytes) {
  bytes = (bytes + large_page - 1) / large_page * large_page;
  const std::uint64_t most = free_bytes();
  void* mapped = MAP_FAILED;
  if (bytes < most) {
    mapped = mmap(nullptr, bytes + large_page, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  }
  if (mapped == MAP_FAILED) {
    return fmt::format("the tables of this guest take up to {} MiB, and {} MiB of memory are free",
                       bytes >> 20, most >> 20);
  }
  mapped_ = mapped;
  mapped_bytes_ = bytes + large_page;
  const std::uintptr_t from = reinterpret_cast<std::uintptr_t>(mapped);
  block_ = {static_cast<std::byte*>(mapped) + (large_page - from % large_page) % large_page, bytes};
  madvise(block_.data(), bytes, MADV_HUGEPAGE);  // a wish
  progress_line line("MiB of table memory touched:");
  for (std::size_t at = 0; at < bytes; at += large_page) {
    std::memset(&block_[at], 0, large_page);
    line.show(at >> 20, bytes >> 20);
  }
  clear();
  offset_ = tables_->table_offset();
  return {};
}

void bulk_memory::clear() { tables_.emplace(block_, base); }

}  // namespace quire::perf
