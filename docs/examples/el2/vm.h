// The guest's memory: which frame is behind each of its pages, and the stage 2 that says so to hardware.
#pragma once

#include <atomic>
#include <span>

#include "arch/arm64/stage2_flush.h"
#include "cpu.h"
#include "runtime/machine.h"

namespace el2 {

namespace arch = quire::arch;
namespace runtime = quire::runtime;

constexpr arch::gfn page_of(u64 address) { return {address >> arch::page_shift}; }

/// runtime::platform::flush (tlb.cc): executes the plan as TLBI, DSB and ISB. All TLBI are broadcast to the
/// inner shareable domain by hardware, so no other cpu is interrupted; after the last DSB ISH they are done
/// everywhere.
void execute_plan(void* context, unsigned cpu, const runtime::flush_plan& plan);

/// Hands out VMIDs, the tags of translations: as many as this CPU has. 0 is for a machine without guests.
class vmid_allocator {
 public:
  /// [armarm] "ID_AA64MMFR1_EL1": VMIDBits = 2, 16 bits; otherwise 8. 0 if all are taken.
  std::uint16_t take() {
    const unsigned most = (EL2_READ(id_aa64mmfr1_el1) >> 4 & 15) == 2 ? 0xffff : 0xff;
    return last_ < most ? ++last_ : 0;
  }

 private:
  std::uint16_t last_ = 0;
};

/// What is behind a page of the guest's RAM. Any cpu reads and changes it at any time.
struct page {
  /// Some cpu changes what is behind the page, or its access, alone. Faults on it wait, by trying again.
  static constexpr std::uint32_t busy = 1u << 31;
  /// The page stays write-protected: faults by writes wait until it is released.
  static constexpr std::uint32_t held = 1u << 30;

  std::atomic<std::uint32_t> word;       ///< frame number and the flags above
  std::atomic<std::uint16_t> faults{0};  ///< since somebody asked
  std::uint8_t idle = 0;  ///< ageing rounds that found it unused; of the cpu that makes the round

  static constexpr arch::hfn frame(std::uint32_t w) { return {w & ~(busy | held)}; }
};

enum class served : std::uint8_t {
  yes,     ///< the guest goes on
  again,   ///< another cpu has claimed the page: the guest tries again
  hidden,  ///< there is no such memory
};

/// Frames that pages of the guest can move to; the frame that a page leaves becomes spare. One cpu at a time.
class spare_frames {
 public:
  spare_frames() {
    for (u64 i = 0; i < count; ++i)
      frame_[i] = static_cast<std::uint32_t>((spare_first >> arch::page_shift) + i);
  }
  /// Gives one for another: the oldest, so that a frame rests before it is used again.
  std::uint32_t exchange(std::uint32_t left) {
    std::uint32_t& oldest = frame_[next_++ % count];
    const std::uint32_t taken = oldest;
    oldest = left;
    return taken;
  }

 private:
  static constexpr u64 count = (spare_end - spare_first) >> arch::page_shift;
  u64 next_ = 0;
  std::uint32_t frame_[count];
};

class vm {
 public:
  /// Errors: end in fatal().
  void create(bool lazy);
  bool lazy() const { return lazy_; }
  /// For VTCR_EL2 and VTTBR_EL2.
  u64 control_register() const { return format_.control_register(); }
  u64 root_register() const { return space_->root_register; }
  /// Before each entry into the guest.
  void note_run(const cpu& self) { space_->note_run(self.index); }

  /// A stage-2 abort of the guest at `address`.
  served serve(cpu& self, u64 address, abort_syndrome why);

  /// Exchanges the frames of two pages of RAM. False if one is busy, or is no RAM.
  bool swap(cpu& self, arch::gfn a, arch::gfn b);
  /// Moves pages of RAM to spare frames, with their content, but for those that are busy. One cpu at a time.
  /// Returns how many; these come first in `pages` then.
  unsigned migrate(cpu& self, std::span<arch::gfn> pages);
  /// One leaf of 2 MiB for the 512 pages from `g` on, or pages again. False if other frames than its own are
  /// behind some of them, or one is busy.
  bool set_leaf_size(cpu& self, arch::gfn g, unsigned level, arch::perm access);
  void unmap(cpu& self, arch::gfn_range r, u64 stride);
  /// `hold`: as page::held.
  void protect(cpu& self, arch::gfn g, arch::perm access, bool hold);
  /// Level of the leaf that maps `g`; 255 if none does.
  unsigned leaf_level(cpu& self, arch::gfn g);

  /// Calls `visit` for each leaf in `r`, in a section where the mode is lazy.
  void walk(cpu& self, arch::gfn_range r, runtime::machine::range_visitor visit, void* context);
  runtime::machine& machine() { return machine_; }
  page* find(arch::gfn g) { return in_ram(g) ? &pages_[g - page_of(ram_first)] : nullptr; }
  runtime::counters counts(unsigned cpu) const { return machine_.counts(cpu, *space_); }

  static constexpr bool in_ram(arch::gfn g) { return g >= page_of(own_end) && g < page_of(ram_end); }

 private:
  friend class updates;
  served serve_missing(cpu& self, arch::gfn g);
  served serve_write(cpu& self, arch::gfn g);
  served serve_device(cpu& self, arch::gfn g);
  bool claim(arch::gfn g);
  void release(arch::gfn g);
  void settle(cpu& self);

  arch::stage2_4k format_{};
  bool lazy_ = true;
  runtime::machine machine_;
  runtime::space* space_ = nullptr;
  vmid_allocator vmids_;
  spare_frames spares_;
  page pages_[(ram_end - ram_first) >> arch::page_shift];
};

/// A section of this cpu on the guest's stage 2 or, in eager mode, none: then each update takes effect at
/// once.
class updates {
 public:
  updates(cpu& self, vm& where) : vm_(where), state_(open(self, where)) {}
  ~updates();
  updates(const updates&) = delete;
  updates& operator=(const updates&) = delete;
  operator runtime::lazy_state*() const { return state_; }

 private:
  static runtime::lazy_state* open(cpu& self, vm& where);
  vm& vm_;
  runtime::lazy_state* state_;
};

/// What cannot fail unless memory for tables runs out, or the hypervisor is wrong.
void must(runtime::status s);

}  // namespace el2
