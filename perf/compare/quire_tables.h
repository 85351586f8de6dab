// Quire's own tables as a contestant: a machine with one cpu and one space.
#pragma once

#include "perf/compare/contestant.h"
#include "perf/compare/memory.h"
#include "perf/formats.h"
#include "runtime/host/block_tables.h"
#include "runtime/machine.h"

namespace quire::perf {

/// How updates are made: in sections, or each at once, outside of any.
enum class update_mode : std::uint8_t { lazy, eager };

class quire_tables final : public contestant {
 public:
  /// @param reports  ask the space for reports of what is removed or harvested
  /// @param memory   bytes for tables
  /// Errors: throws std::runtime_error if the space cannot be made.
  quire_tables(const any_format& format, update_mode mode, bool reports, std::size_t memory);
  quire_tables(const quire_tables&) = delete;
  quire_tables& operator=(const quire_tables&) = delete;

  std::uint64_t table_pages() const override;
  bool map_range(std::uint64_t first, std::uint64_t pages) override;
  bool map_each(std::span<const std::uint64_t> pages) override;
  bool map_list(const page_maps& maps) override;
  void map_one_a_call() override { lists_ = false; }
  void idle() override;
  void never_idle() override { idles_ = false; }
  bool protect_range(std::uint64_t first, std::uint64_t pages) override;
  bool unmap_pieces(std::span<const arch::gfn_range> pieces) override;
  bool unmap_each(std::span<const std::uint64_t> pages) override;
  bool unmap_tables(std::uint64_t first, std::uint64_t pages) override;
  bool look_up(std::span<const std::uint64_t> pages, std::span<std::uint64_t> frames) override;
  bool clear() override;
  bool unprotect_range(std::uint64_t first, std::uint64_t pages) override;
  page_state read(std::uint64_t page) override;
  command_counts counts() const override { return counts_; }

  // For what is no contest between tables.

  /// Reports and clears A and D of a range.
  bool harvest_range(std::uint64_t first, std::uint64_t pages);
  /// Sets A and D of a page, as hardware does when the guest writes to it.
  void touch(std::uint64_t page);
  bool protect_each(std::span<const std::uint64_t> pages);
  /// Updates of a section from now on.
  void set_section_updates(std::uint64_t updates) { updates_ = updates; }
  runtime::machine& machine() { return machine_; }
  runtime::space& space() { return *space_; }
  /// Bytes of the runtime's own records.
  struct record_sizes {
    std::size_t machine = 0;  ///< with its one cpu
    std::size_t space = 0;
    std::size_t state = 0;  ///< of the (cpu, space)
  };
  const record_sizes& records() const { return records_; }

  static constexpr runtime::attributes access{runtime::perm::rwx, 0, 0};

 private:
  static void* allocate(void* context, std::size_t bytes, std::size_t align);
  static void release(void* context, void* memory, std::size_t bytes);
  static bool allocate_tables(void* context, std::size_t bytes, std::size_t align, std::uint64_t* physical);
  static void flush(void* context, unsigned cpu, const runtime::flush_plan& plan);
  static void hear(void* context, unsigned cpu, std::span<const runtime::report> reports);

  /// Calls `update(state)` in a section, or outside of any, as the mode says.
  template <class Update>
  bool in_mode(Update update);
  /// Calls `update(state, page)` for each page, in sections of as many updates as was set.
  template <class Update>
  bool each_in_mode(std::span<const std::uint64_t> pages, Update update);

  const update_mode mode_;
  present_memory memory_;
  runtime::host::block_tables frames_;
  runtime::platform heap_;
  runtime::platform host_;
  runtime::machine machine_;
  runtime::space* space_ = nullptr;
  runtime::lazy_state* outside_ = nullptr;
  const bool stage2_;
  command_counts counts_;
  std::size_t record_bytes_ = 0;
  record_sizes records_;
  std::uint64_t updates_ = section_updates;
  bool lists_ = true, idles_ = true;
};

}  // namespace quire::perf
