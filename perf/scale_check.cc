// The expected state of pages, by operation.
#include "perf/scale_check.h"

#include <vector>

#include <fmt/format.h>

namespace quire::perf {

using runtime::perm;

std::uint64_t check_seed(unsigned cpu) { return 1 + cpu; }

namespace {

struct expected_page {
  bool known = false;  // else it may be absent, or have any access
  bool present = false;
  perm access = perm::none;
};

// Repeats the draws of the first pass.
std::vector<expected_page> mixed_pages(const scale_layout& layout, unsigned cpu) {
  std::vector<expected_page> pages(layout.blocks() * layout.batch);
  std::uint64_t random = check_seed(cpu);
  for (std::uint64_t i = 0; i < pages.size(); ++i) {
    const auto c = scale_work::choose(random, layout.batch);
    expected_page& p = pages[i / layout.batch * layout.batch + c.page];
    p.known = true;
    if (c.what == scale_work::choice::kind::unmap) p.present = false;
    if (c.what == scale_work::choice::kind::protect && p.present) p.access = c.access;
    if (c.what == scale_work::choice::kind::map && !p.present) p = {true, true, scale_work::rwx};
  }
  for (expected_page& p : pages) p.known = true;
  return pages;
}

class page_check {
 public:
  page_check(const scale_layout& layout, scale_op op, const scale_worker& w)
      : layout_(layout), op_(op), w_(w) {
    if (op == scale_op::mixed && layout.share != scale_share::same && w.pass == 1 && w.block == 0) {
      mixed_ = mixed_pages(layout, w.cpu);
    }
  }

  bool fits(std::uint64_t index, bool found, const runtime::mapping& m) const {
    const expected_page e = expected(index);
    if (e.known && e.present != found) return false;
    if (!found) return true;
    if (e.known && e.access != m.attr.access) return false;
    return m.level == 0 && is_frame(index, m.out);
  }

 private:
  expected_page expected(std::uint64_t index) const {
    const bool shared = layout_.share == scale_share::same;
    switch (op_) {
      case scale_op::map:
        return {true, true, scale_work::rwx};
      case scale_op::unmap:
        return {!shared, true, scale_work::rwx};
      case scale_op::protect:
        return {!shared, true, times(index) % 2 == 1 ? scale_work::rx : scale_work::rwx};
      case scale_op::fault:
        return {!shared, false, perm::none};
      case scale_op::mixed:
        return mixed_.empty() ? expected_page{} : mixed_[index];
    }
    return {};
  }

  // How often the cpu worked on this page.
  std::uint64_t times(std::uint64_t index) const { return w_.pass + (index < w_.block * layout_.batch); }

  bool is_frame(std::uint64_t index, runtime::hfn out) const {
    const std::uint64_t last_set = op_ == scale_op::map ? (times(index) + 1) % 2 : 0;
    if (layout_.share != scale_share::same) return out == layout_.frame(w_.cpu, last_set, index);
    for (std::uint64_t cpu = 0; cpu < layout_.cpus; ++cpu) {
      for (const std::uint64_t set : {0, 1}) {
        if (out == layout_.frame(cpu, set, index)) return true;
      }
    }
    return false;
  }

  const scale_layout& layout_;
  const scale_op op_;
  const scale_worker& w_;
  std::vector<expected_page> mixed_;
};

}  // namespace

std::string check_pages(runtime::machine& m, const scale_layout& layout, scale_op op, const scale_worker& w) {
  constexpr std::uint64_t step = 61;  // a prime: all places within a block and a table
  const page_check check(layout, op, w);
  runtime::lazy_state* l = m.state(w.cpu, *w.space);
  for (std::uint64_t index = 0; index < layout.blocks() * layout.batch; index += step) {
    const std::uint64_t page = layout.page(w.cpu, index);
    runtime::mapping found;
    bool present = false;
    const runtime::status done = m.lookup(l, layout.range(page).first, found, present);
    if (done == runtime::status::ok && check.fits(index, present, found)) continue;
    return fmt::format(
        "page {} of cpu {} of {} is {}", index, w.cpu, layout.cpus,
        done != runtime::status::ok ? std::string(status_text(done))
        : present ? fmt::format("mapped to frame {:#x}, which is not what was done last", found.out.value)
                  : std::string("not mapped, which is not what was done last"));
  }
  return {};
}

}  // namespace quire::perf
