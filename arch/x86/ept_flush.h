// How EPT translations are flushed: INVEPT, or range words of Hyper-V when nested under it.
#pragma once

#include "arch/flush.h"
#include "arch/x86/ept.h"

namespace quire::arch {

/// flush_command::op.
enum class ept_flush : std::uint16_t {
  invept_single,    ///< INVEPT type 1; operand[0] = EPTP. Drops every translation made through EPTP bits 51:12
  hyperv_space,     ///< HvCallFlushGuestPhysicalAddressSpace 0x00AF; operand[0] = root table's address
  hyperv_list_word  ///< one range word of HvCallFlushGuestPhysicalAddressList 0x00B0; operands = root, word
};

/// Range words of hypercall 0x00B0, HV_GPA_PAGE_RANGE in [tlfs] "HvCallFlushGuestPhysicalAddressList": bits
/// 63:12 first page number, bit 11 large pages, bits 10:0 additional pages. The text there counts bit 11 among
/// the additional pages; words that leave it clear mean the same either way.
struct hyperv_range {
  static constexpr std::uint64_t max_pages = 2048;
  /// Pages 1..2048.
  static constexpr std::uint64_t word(gfn first, std::uint64_t pages) { return first.byte() | (pages - 1); }
  /// A run of large pages, 1..2048 of them: bit 11 set, bits 10:0 additional, bit 12 picks 1 GiB over 2 MiB.
  /// `first` is aligned to the large page.
  static constexpr std::uint64_t large_word(gfn first, std::uint64_t large_pages, bool one_gib) {
    return first.byte() | (one_gib ? bit(12) : 0) | bit(11) | (large_pages - 1);
  }
};

/// INVEPT has no form for a range or an address, so any request costs one command (to be executed by each CPU
/// that may hold translations of the EPTP).
constexpr void plan_flush(const ept& f, std::uint64_t eptp, const flush_request& r, command_list& out) {
  out.clear();
  const auto op = [](ept_flush o) { return static_cast<std::uint16_t>(o); };
  if (!f.hyperv) {
    out.add({op(ept_flush::invept_single), {eptp, 0}});
    return;
  }
  const std::uint64_t root = eptp & ept::frame::mask;  // the hypercalls want no EPTP bits below the address
  bool fits = !r.whole && !r.tables_removed;
  if (fits) {
    for (const gfn_range& range : r.ranges) {
      for (std::uint64_t done = 0; fits && done < range.pages;) {
        const std::uint64_t left = range.pages - done;
        const std::uint64_t pages = left < hyperv_range::max_pages ? left : hyperv_range::max_pages;
        fits = out.add({op(ept_flush::hyperv_list_word), {root, hyperv_range::word(range.first + done, pages)}});
        done += pages;
      }
      if (!fits) break;
    }
  }
  if (!fits) {
    out.clear();
    out.add({op(ept_flush::hyperv_space), {root, 0}});
  }
}

constexpr text_line describe(const ept& /*f*/, const flush_command& c) {
  text_line line;
  switch (static_cast<ept_flush>(c.op)) {
    case ept_flush::invept_single: return line << "invept single-context eptp=" << c.operand[0];
    case ept_flush::hyperv_space: return line << "hypercall 0x00af root=" << c.operand[0];
    case ept_flush::hyperv_list_word: return line << "hypercall 0x00b0 root=" << c.operand[0] << " range=" << c.operand[1];
  }
  return line << "unknown command " << c.op;
}

static_assert(flushing_format<ept>);

}  // namespace quire::arch
