// Posting and serving for flush_bus.h, and what flush commands cover.
#include "tests/stress/flush_bus.h"

#include <sched.h>

#include "arch/geometry.h"

namespace quire::tests {

using arch::gfn;
using arch::gfn_range;

namespace {

constexpr gfn_range everything{{0}, ~std::uint64_t{0}};

template <class F>
gfn_range command_range(const F& /*f*/, const arch::flush_command& /*c*/) {
  return everything;
}

// Barriers cover nothing.
template <unsigned granule>
gfn_range command_range(const arch::stage2<granule>& f, const arch::flush_command& c) {
  constexpr unsigned shift = granule - arch::page_shift;
  using range = arch::ipa_range_operand;
  switch (static_cast<arch::stage2_flush>(c.op)) {
    case arch::stage2_flush::vmalls12e1is:
      return everything;
    case arch::stage2_flush::ipas2e1is:
      return {{arch::ipa_operand::IPA::get(c.operand[0])}, std::uint64_t{1} << shift};
    case arch::stage2_flush::ripas2e1is: {
      const unsigned base = range::base_shift(granule, f.lpa2) - arch::page_shift;
      return {{range::BaseADDR::get(c.operand[0]) << base}, range::granules(c.operand[0]) << shift};
    }
    default:
      return {};
  }
}

gfn_range command_range(const arch::dat& f, const arch::flush_command& c) {
  const auto s = arch::geometry_of(f);
  const auto slots = [&](unsigned level, std::uint64_t address, std::uint64_t n) {
    return gfn_range{s.slot_first({address >> arch::page_shift}, level), n << s.shift[level]};
  };
  const auto level_of = [](std::uint64_t table) {
    return static_cast<unsigned>(arch::dat::TT::get(table)) + 1;
  };
  switch (static_cast<arch::dat_flush>(c.op & ~1u)) {
    case arch::dat_flush::ipte:
      return slots(0, c.operand[1], c.operand[2] + 1);
    case arch::dat_flush::idte:
      return slots(level_of(c.operand[0]), c.operand[1], c.operand[2] + 1);
    case arch::dat_flush::crdte:
      return slots(level_of(c.operand[2]), c.operand[3], 1);
    default:
      return everything;
  }
}

}  // namespace

void soft_tlb::drop(gfn_range r) {
  for (entry& e : entries_) e.valid = e.valid && !r.contains(e.page);
  for (way& w : ways_) w.valid = w.valid && !r.overlaps(w.range);
}

flush_bus::flush_bus(stress_format format, unsigned vcpus) : format_(std::move(format)), vcpus_(vcpus) {
  for (state& v : vcpus_) v.served = std::make_unique<std::atomic<std::uint64_t>[]>(vcpus);
}

flush_bus::ranges flush_bus::covered(const runtime::flush_plan& plan) const {
  ranges all;
  for (const auto& c : plan.commands) {
    const gfn_range r = std::visit([&](const auto& f) { return command_range(f, c); }, format_);
    if (r.pages) all.push_back(r);
  }
  return all;
}

void flush_bus::enter_guest(unsigned vcpu) {
  state& own = vcpus_[vcpu];
  own.in_guest.store(
      true, std::memory_order_seq_cst);  // seq_cst: either flush() sees it, or what follows sees the flush
  own.tlb.drop_all();
  for (unsigned i = 0; i < vcpus_.size(); ++i) {
    const std::uint64_t posted = vcpus_[i].posted.load(std::memory_order_seq_cst);  // seq_cst: see above
    own.served[i].store(posted, std::memory_order_release);  // release: nothing older is cached
  }
}

void flush_bus::leave_guest(unsigned vcpu) {
  vcpus_[vcpu].in_guest.store(false,
                              std::memory_order_release);  // release: accesses of the guest come before
}

void flush_bus::serve(unsigned vcpu) {
  if (!in_guest(vcpu)) return;
  state& own = vcpus_[vcpu];
  for (unsigned i = 0; i < vcpus_.size(); ++i) {
    const std::uint64_t posted =
        vcpus_[i].posted.load(std::memory_order_acquire);  // acquire: pairs with flush()
    if (posted == own.served[i].load(std::memory_order_relaxed))
      continue;  // relaxed: only this thread writes it
    for (const gfn_range r : *vcpus_[i].newest) own.tlb.drop(r);
    own.served[i].store(posted, std::memory_order_release);  // release: the old translations are gone
  }
}

void flush_bus::flush(unsigned vcpu, const runtime::flush_plan& plan) {
  state& own = vcpus_[vcpu];
  const ranges now = covered(plan);
  own.newest = &now;
  const std::uint64_t n =
      own.posted.load(std::memory_order_relaxed) + 1;  // relaxed: only this thread writes it
  own.posted.store(n, std::memory_order_seq_cst);      // seq_cst: see enter_guest()
  if (!in_guest(vcpu))
    own.served[vcpu].store(n, std::memory_order_relaxed);  // relaxed: read by this thread alone
  serve(vcpu);
  for (unsigned i = 0; i < vcpus_.size(); ++i) {
    const state& target = vcpus_[i];
    // seq_cst: see enter_guest(). acquire: what the vCPU did with the old translations is over.
    while (i != vcpu && target.in_guest.load(std::memory_order_seq_cst) &&
           target.served[vcpu].load(std::memory_order_acquire) < n) {
      serve(vcpu);
      sched_yield();
    }
  }
}

}  // namespace quire::tests
