// A machine with one space on table memory of a fixed size, whose flushes, reports and hooks are recorded.
#pragma once

#include <cassert>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "arch/walk.h"
#include "runtime/host/hosted.h"
#include "runtime/host/block_tables.h"
#include "runtime/machine.h"
#include "tests/support/formats.h"

namespace quire::tests {

using arch::attributes;
using arch::gfn;
using arch::gfn_range;
using arch::hfn;
using arch::perm;
using runtime::flush_reason;
using runtime::lazy_state;
using runtime::machine;
using runtime::mapping;
using runtime::status;

struct recorded_flush {
  flush_reason reason;
  bool whole;
  std::vector<std::string> commands;
  std::uint32_t space = 0;
};

/// A leaf as it stands in the tables.
struct raw_leaf {
  gfn first;
  unsigned level;
  std::uint64_t word;
  friend bool operator==(const raw_leaf&, const raw_leaf&) = default;
};

/// Not templated on the format, so that recording is compiled once.
class guest_base {
 public:
  struct options {
    unsigned cpus = 2;
    unsigned max_cpus = 0;  ///< machine_options::max_cpus
    std::size_t table_bytes = std::size_t{4} << 20;
    std::uint64_t base = 0x40000000;
    bool sink_writes_entries = false;  ///< platform::sink_writes_entries
    runtime::pool_options pool = {0, 1};  // exact: no frame is kept aside
    unsigned max_leaf_level = arch::level_limit - 1;
    bool running = true;      ///< a cpu has run the space, so that flushes are planned
    bool observed = true;     ///< reports are recorded
    bool checks_cpu = false;  ///< the platform says that callers run on `on_cpu`: then nothing is queued by few compares
    bool hooks = true;  ///< the platform opens and closes tables and has a barrier; without, immediate maps may be shortcut
    bool tables_zeroed = false;  ///< platform::tables_zeroed, which is true of this memory
  };

  machine& m() { return machine_; }
  runtime::space& s() {
    assert(space_ != nullptr && "the space was made");
    return *space_;
  }
  const runtime::platform& host() const { return host_; }
  /// Table memory from options::base on, as far as it was handed out.
  std::span<std::byte> table_memory() { return {table_memory_.data(), source_.used()}; }
  /// A memory type other than the default, if the format has one.
  std::uint8_t second_type() { return s().shape.memory_types > 1; }
  lazy_state* state(unsigned cpu = 0) { return machine_.state(cpu, s()); }
  lazy_state* enter(unsigned cpu = 0, gfn_range hint = {}) { return machine_.enter(cpu, s(), hint); }

  /// What hardware finds for a page right now: queued updates are invisible here.
  std::optional<mapping> in_tables(gfn g);
  /// What lookup() says on a cpu; none for a hole. Fails the test on any status but ok.
  std::optional<mapping> look(gfn g, unsigned cpu = 0);
  virtual ~guest_base() = default;
  guest_base(const guest_base&) = delete;
  guest_base& operator=(const guest_base&) = delete;
  /// All leaves in ascending order, A and D included. With s().tables(), equal for identical tables only.
  virtual std::vector<raw_leaf> leaves() = 0;
  /// One access as hardware does it, with A and D. False if it faults.
  bool touch(gfn g, perm need);

  std::vector<recorded_flush> flushes;
  std::vector<runtime::report> reports;
  std::vector<std::string>
      hooks;  ///< calls of open_tables, close_tables, barrier, in order, with their values
  bool allocated_closed = false;  ///< table memory was asked for while close_tables had the last word
  std::uint64_t key_register = 0x55;  ///< what open_tables saves; 0 while open
  /// Allocations of table memory to let pass before one fails; none = never.
  std::optional<unsigned> allocations_left;
  /// Table frames that the platform still has; none = as table_bytes says. One allocation may ask for
  /// several.
  std::optional<std::uint64_t> frames_left;
  unsigned record_allocations = 0;  ///< calls of platform::allocate so far
  unsigned table_allocations = 0;   ///< calls of platform::allocate_tables so far
  unsigned calls_with_reports = 0;  ///< of the observer
  unsigned on_cpu = 0;              ///< see options::checks_cpu

  bool recording = true;  ///< off: flushes, reports and hooks are not recorded, only handed on
  std::function<void(const runtime::flush_plan&)> on_flush;  ///< called inside the flush sink
  std::function<void(const runtime::report&)> on_report;     ///< called inside the observer

 protected:
  explicit guest_base(const options& o);
  template <class F>
  status create(const F& f, const options& o) {
    const runtime::space_options so{o.max_leaf_level, {this, o.observed ? &guest_base::hear : nullptr}};
    const status made = machine_.create_space(0, f, so, space_);
    hooks.clear();  // the barrier behind the new root
    if (made == status::ok && o.running) space_->note_run(0);
    return made;
  }

 private:
  static void hear(void* context, unsigned cpu, std::span<const runtime::report> reports);

  std::unique_ptr<std::byte[]> memory_;
  std::span<std::byte> table_memory_;
  runtime::host::block_tables source_;
  runtime::platform host_;
  machine machine_;
  runtime::space* space_ = nullptr;
};

template <class F>
class guest : public guest_base {
 public:
  explicit guest(const options& o = {}) : guest(F{}, o) {}
  guest(const F& f, const options& o) : guest_base(o), made(create(f, o)) {}
  const status made;

  std::vector<raw_leaf> leaves() override {
    std::vector<raw_leaf> found;
    add_leaves(s().root, s().shape.top(), gfn{0}, found);
    return found;
  }
  /// The word that a walk for `g` ends at, as hardware reads it.
  std::uint64_t raw(gfn g) {
    return arch::walk(
               s().template format<F>(), s().shape, [this](auto t) { return words(t); }, s().root, g)
        .entry;
  }

 private:
  std::uint64_t* words(arch::table_address t) {
    return reinterpret_cast<std::uint64_t*>(static_cast<std::uintptr_t>(t.byte + host().table_offset));
  }
  void add_leaves(arch::table_address t, unsigned level, gfn first, std::vector<raw_leaf>& found) {
    const F& f = s().template format<F>();
    const arch::slot<F> at(words(t));
    for (std::uint32_t i = 0; i < s().shape.entries(level); ++i) {
      const std::uint64_t e = at[i].load();
      const gfn here = first + i * s().shape.slot_pages(level);
      const auto kind = f.kind(e, level);
      if (kind == arch::entry_kind::leaf) found.push_back({here, level, e});
      if (kind == arch::entry_kind::table) add_leaves(f.table(e, level), level - 1, here, found);
    }
  }
};

/// A guest of any format; null if the space cannot be made.
std::unique_ptr<guest_base> make_guest(const any_format& format, const guest_base::options& o);

}  // namespace quire::tests
