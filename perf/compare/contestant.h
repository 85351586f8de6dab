// Who takes part in `quire compare` with page tables of their own, and what each is asked to do.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "arch/address.h"

namespace quire::perf {

/// Updates of a section, and lookups of a batch.
inline constexpr std::uint64_t section_updates = 512, lookup_batch = 64;
/// Entries of a table, in the formats that most have.
inline constexpr std::size_t table_words = 512;
/// Page p is mapped to frame p + frame_distance, in all tables.
inline constexpr std::uint64_t frame_distance = std::uint64_t{1} << 23;
/// First page of the range that operations work on: 1 GiB, so that whole tables of every level can go.
inline constexpr std::uint64_t first_page = std::uint64_t{1} << 18;
/// Pages that random pages are spread over: 64 GiB.
inline constexpr std::uint64_t sparse_pages = std::uint64_t{1} << 24;

using page_list = std::vector<std::uint64_t>;
/// Pages, and the frames that they are to be mapped to, by the same index.
struct page_maps {
  page_list pages, frames;
};

/// What tables ask for, since they were made.
struct command_counts {
  std::uint64_t commands = 0;  ///< invalidations
  std::uint64_t barriers = 0;
  std::uint64_t reported = 0;  ///< pages reported as removed or harvested, to whoever asked for reports
};

/// What a page maps to, by the contestant's own lookup.
struct page_state {
  bool mapped = false;
  std::uint64_t frame = 0;
  bool writable = false;
};

/// Functions return false if the tables refuse. One thread.
class contestant {
 public:
  virtual ~contestant() = default;

  /// Pages that one table of the lowest level maps.
  virtual std::uint64_t table_pages() const = 0;
  virtual bool can_protect() const { return true; }
  virtual bool can_unmap_tables() const { return true; }

  /// One call for all pages, in leaves of 4 KiB.
  virtual bool map_range(std::uint64_t first, std::uint64_t pages) = 0;
  /// One call per page.
  virtual bool map_each(std::span<const std::uint64_t> pages) = 0;
  /// Pages in any order, with their frames: in lists where the contestant takes such, else one call per page.
  virtual bool map_list(const page_maps& maps) { return map_each(maps.pages); }
  /// From now on map_list() is map_each().
  virtual void map_one_a_call() {}
  /// Does what a hypervisor does for its tables in idle time. Not measured.
  virtual void idle() {}
  /// From now on idle() does nothing.
  virtual void never_idle() {}
  virtual bool protect_range(std::uint64_t first, std::uint64_t pages) = 0;
  /// One call per piece, all in one section. Peers keep their tables.
  virtual bool unmap_pieces(std::span<const arch::gfn_range> pieces) = 0;
  virtual bool unmap_each(std::span<const std::uint64_t> pages) = 0;
  /// One call for a range that consists of whole tables.
  virtual bool unmap_tables(std::uint64_t first, std::uint64_t pages) = 0;
  virtual bool look_up(std::span<const std::uint64_t> pages, std::span<std::uint64_t> frames) = 0;

  /// Takes out everything. Not measured.
  virtual bool clear() = 0;
  /// Makes a range that protect_range() has changed writable again. Not measured.
  virtual bool unprotect_range(std::uint64_t first, std::uint64_t pages) = 0;
  virtual page_state read(std::uint64_t page) = 0;
  virtual command_counts counts() const = 0;
};

/// One contestant and where its times go.
struct entrant {
  std::string_view column;  ///< kvm, io_pgtable, lazy or eager
  std::string format;       ///< of the rows that show it; empty: all
  std::unique_ptr<contestant> tables;
  bool far = false;  ///< measured without a round before it that brings the tables near
};

/// Bytes of tables, with room to spare, that `pages` pages may need anywhere in a span of so many pages.
std::size_t table_memory(std::uint64_t pages, std::uint64_t span);

/// The peers that were built in, KVM first, each with so much memory for tables; none without
/// -Dpeers=enabled.
std::vector<entrant> make_peers(std::size_t memory);
bool has_peers();

}  // namespace quire::perf
