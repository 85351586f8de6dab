// The updates that a cpu of `quire scale` does: block after block, in lazy sections.
#pragma once

#include <atomic>

#include "perf/scale_layout.h"
#include "perf/scale_sink.h"
#include "runtime/machine.h"

namespace quire::perf {

/// How far a cpu is, for the cpu that drains; a line of its own, since each update writes it.
struct alignas(128) scale_marks {
  std::atomic<std::uint64_t> queued{0};     ///< updates so far
  std::atomic<std::uint64_t> committed{0};  ///< of these, before the last leave
};

/// One cpu. Used by its thread, and by others while that is quiet.
struct alignas(128) scale_worker {
  unsigned cpu = 0;
  runtime::space* space = nullptr;
  scale_marks* marks = nullptr;  ///< null if nobody drains
  std::uint64_t block = 0, pass = 0;
  std::uint64_t random = 0;
  std::uint64_t updates = 0, sections = 0;

  // relaxed, both: a statistic of whoever drains.
  void count_update() {
    ++updates;
    if (marks) marks->queued.store(updates, std::memory_order_relaxed);
  }
  void count_section() {
    ++sections;
    if (marks) marks->committed.store(updates, std::memory_order_relaxed);
  }
};

/// Hears nothing of what a section does.
struct no_watch {
  void begin() {}
  void queued() {}
  void left(std::uint64_t /*updates*/) {}
};

/// The operations. A section of `map`, `unmap`, `protect` and `mixed` has `batch` updates; one of `fault`
/// serves one fault.
class scale_work {
 public:
  static constexpr std::uint64_t fault_around = 16;  ///< pages that a fault maps, as in `quire replay`
  static constexpr std::uint64_t poll_every = 16;    ///< updates; an interrupt comes between any two
  static constexpr runtime::perm rwx = runtime::perm::rwx, rx = runtime::perm::rx;

  scale_work(runtime::machine& m, scale_sink& s, const scale_layout& l, scale_op op)
      : machine_(m), sink_(s), layout_(l), op_(op) {}

  /// Does the next block of `w`. Errors: those of machine::map.
  template <class Watch>
  runtime::status next(scale_worker& w, Watch& watch) {
    const std::uint64_t index = w.block * layout_.batch;
    const runtime::status done = block(w, index, layout_.page(w.cpu, index), watch);
    if (++w.block == layout_.blocks()) {
      w.block = 0;
      ++w.pass;
    }
    return done;
  }

  /// A step of the generator that `mixed` uses (splitmix64).
  static std::uint64_t draw(std::uint64_t& random) {
    std::uint64_t z = random += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
  }
  /// What `mixed` does next: 70 % map what is absent, 20 % protect, 10 % unmap.
  struct choice {
    std::uint64_t page;  ///< of the block
    enum class kind : std::uint8_t { map, protect, unmap } what;
    runtime::perm access;  ///< of protect
  };
  static choice choose(std::uint64_t& random, std::uint64_t batch) {
    const std::uint64_t r = draw(random);
    const std::uint64_t ten = (r & 0xffffff) * 10 >> 24;
    return {(r >> 32) * batch >> 32,
            ten < 7   ? choice::kind::map
            : ten < 9 ? choice::kind::protect
                      : choice::kind::unmap,
            r & 0x1000000 ? rwx : rx};
  }

 private:
  template <class Watch>
  runtime::status block(scale_worker& w, std::uint64_t index, std::uint64_t page, Watch& watch) {
    switch (op_) {
      case scale_op::map:
        return map(w, index, page, w.pass & 1, watch);
      case scale_op::unmap:
        return unmap(w, index, page, watch);
      case scale_op::protect:
        return protect(w, page, watch);
      case scale_op::fault:
        return fault(w, index, page, watch);
      case scale_op::mixed:
        return mixed(w, index, page, watch);
    }
    return runtime::status::ok;
  }

  template <class Watch>
  runtime::status map(scale_worker& w, std::uint64_t index, std::uint64_t page, std::uint64_t set,
                      Watch& watch) {
    return section(w, page, layout_.batch, watch, [&](runtime::lazy_state* l, std::uint64_t i) {
      return machine_.map(l, layout_.range(page + i), layout_.frame(w.cpu, set, index + i), {rwx, 0, 0}, 0);
    });
  }

  template <class Watch>
  runtime::status unmap(scale_worker& w, std::uint64_t index, std::uint64_t page, Watch& watch) {
    const runtime::status done = section(
        w, page, layout_.batch, watch,
        [&](runtime::lazy_state* l, std::uint64_t i) { return machine_.unmap(l, layout_.range(page + i)); });
    return done == runtime::status::ok ? map(w, index, page, 0, watch) : done;
  }

  template <class Watch>
  runtime::status protect(scale_worker& w, std::uint64_t page, Watch& watch) {
    const runtime::perm access = w.pass & 1 ? rwx : rx;
    return section(w, page, layout_.batch, watch, [&](runtime::lazy_state* l, std::uint64_t i) {
      return machine_.protect(l, layout_.range(page + i), access);
    });
  }

  template <class Watch>
  runtime::status fault(scale_worker& w, std::uint64_t index, std::uint64_t page, Watch& watch) {
    runtime::status done = runtime::status::ok;
    for (std::uint64_t at = 0; at < layout_.batch && done == runtime::status::ok; at += fault_around) {
      const std::uint64_t window = layout_.batch - at < fault_around ? layout_.batch - at : fault_around;
      done = section(w, page + at, window, watch, [&](runtime::lazy_state* l, std::uint64_t i) {
        return machine_.map_keep_present(l, layout_.range(page + at + i),
                                         layout_.frame(w.cpu, 0, index + at + i), {rwx, 0, 0}, 0);
      });
    }
    if (done != runtime::status::ok) return done;
    return section(w, page, 1, watch, [&](runtime::lazy_state* l, std::uint64_t /*i*/) {
      return machine_.unmap(l, layout_.range(page, layout_.batch));
    });
  }

  template <class Watch>
  runtime::status mixed(scale_worker& w, std::uint64_t index, std::uint64_t page, Watch& watch) {
    return section(w, page, layout_.batch, watch, [&](runtime::lazy_state* l, std::uint64_t /*i*/) {
      const choice c = choose(w.random, layout_.batch);
      const runtime::gfn_range at = layout_.range(page + c.page);
      if (c.what == choice::kind::protect) return machine_.protect(l, at, c.access);
      if (c.what == choice::kind::unmap) return machine_.unmap(l, at);
      return machine_.map_keep_present(l, at, layout_.frame(w.cpu, 0, index + c.page), {rwx, 0, 0}, 0);
    });
  }

  // One lazy section of so many updates.
  template <class Watch, class Update>
  runtime::status section(scale_worker& w, std::uint64_t page, std::uint64_t updates, Watch& watch,
                          Update update) {
    watch.begin();
    runtime::lazy_state* l = machine_.enter(w.cpu, *w.space, layout_.range(page, updates));
    if (!l) return runtime::status::no_memory;
    runtime::status done = runtime::status::ok;
    for (std::uint64_t i = 0; i < updates && done == runtime::status::ok; ++i) {
      done = update(l, i);
      if (done == runtime::status::ok) w.count_update();
      if (i % poll_every == poll_every - 1) sink_.poll(w.cpu);
    }
    watch.queued();
    const runtime::status left = machine_.leave(l);
    w.count_section();
    watch.left(updates);
    return done == runtime::status::ok ? left : done;
  }

  runtime::machine& machine_;
  scale_sink& sink_;
  const scale_layout& layout_;
  const scale_op op_;
};

}  // namespace quire::perf
