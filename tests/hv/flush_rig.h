// Several spaces of one machine whose flushes go through hv::shootdown, driven cpu by cpu.
#pragma once

#include <functional>
#include <vector>

#include <doctest/doctest.h>

#include "hv/shootdown.h"
#include "runtime/host/arena_tables.h"
#include "runtime/host/hosted.h"
#include "tests/support/formats.h"

namespace quire::tests {

using arch::gfn;
using arch::gfn_range;
using arch::hfn;
using arch::perm;
using hv::access_kind;
using hv::access_result;
using hv::flush_cause;
using runtime::flush_reason;
using runtime::status;

struct flush_rig {
  hv::shootdown sink;
  runtime::machine machine;
  hv::narrowing_watch watch;
  std::function<void()> on_relax;  ///< what other cpus do while one waits; one thread

  explicit flush_rig(const hv::shootdown_options& o) : sink(o), host_(runtime::host::hosted_platform()) {
    yield_ = host_.relax;
    host_.context = this;
    host_.allocate_tables = [](void* c, std::size_t bytes, std::size_t align, std::uint64_t* physical) {
      return self(c).tables_.allocate(bytes, align, physical);
    };
    host_.table_offset = runtime::host::arena_tables::table_offset();
    host_.flush = [](void* c, unsigned cpu, const runtime::flush_plan& plan) {
      self(c).sink.flush(cpu, plan, self(c).host_);
    };
    host_.relax = [](void* c) { self(c).on_relax ? self(c).on_relax() : self(c).yield_(nullptr); };
    REQUIRE(machine.start(host_, {o.cpus, {}}) == status::ok);
  }
  ~flush_rig() {
    for (unsigned i = 0; i < sink.cpus(); ++i) sink.leave_guest(i);  // or stopping would wait for them
  }

  template <class F>
  runtime::space& add(const F& f) {
    runtime::space* s = nullptr;
    REQUIRE(machine.create_space(0, f, {}, s) == status::ok);
    return *s;
  }
  void map(unsigned cpu, runtime::space& s, gfn_range r, hfn out) {
    REQUIRE(machine.map(machine.state(cpu, s), r, out, {perm::rwx}) == status::ok);
  }
  void unmap(unsigned cpu, runtime::space& s, gfn_range r) {
    REQUIRE(machine.unmap(machine.state(cpu, s), r) == status::ok);
  }
  /// A flush of the space without any change.
  void flush(unsigned cpu, const runtime::space& s, flush_reason why = flush_reason::immediate) {
    sink.flush(cpu, {s.id, 0, {}, true, why}, host_);
  }
  /// One access of the guest that `cpu` is in.
  access_result access(unsigned cpu, const runtime::space& s, gfn g, access_kind kind = access_kind::read) {
    sink.poll(cpu);
    return sink.cache(cpu).access(host_, s, sink.running_id(cpu), g, kind, watch);
  }
  const hv::flush_counters& counts(unsigned cpu) const { return sink.counts(cpu); }
  std::uint64_t caused(unsigned cpu, flush_cause c) const {
    return counts(cpu).by_cause[static_cast<unsigned>(c)];
  }
  std::uint64_t stale() {
    std::uint64_t n = 0;
    for (unsigned i = 0; i < sink.cpus(); ++i) n += sink.cache(i).stale_uses();
    return n;
  }

 private:
  static flush_rig& self(void* c) { return *static_cast<flush_rig*>(c); }

  runtime::host::arena_tables tables_;
  runtime::platform host_;
  void (*yield_)(void* context);
};

}  // namespace quire::tests
