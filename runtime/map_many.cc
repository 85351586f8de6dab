// Lists of pages that are mapped in one call.
#include <algorithm>

#include "runtime/checks.h"
#include "runtime/machine.h"

namespace quire::runtime {

namespace {

/// Bits that any of the numbers has, and whether all are below `end`.
template <class Number>
bool all_below(std::span<const Number> numbers, std::uint64_t end, std::uint64_t& bits) {
  // Four that do not wait for each other; not `bits`, which might be one of the numbers to the compiler.
  std::uint64_t some[4] = {};
  std::size_t i = 0;
  for (; numbers.size() - i >= 4; i += 4) {
    for (std::size_t k = 0; k < 4; ++k) some[k] |= numbers[i + k].value;
  }
  std::uint64_t any = some[0] | some[1] | some[2] | some[3];
  for (; i < numbers.size(); ++i) any |= numbers[i].value;
  bits = any;
  if (arch::is_single_bit(end)) return any < end;
  return std::all_of(numbers.begin(), numbers.end(), [end](Number n) { return n.value < end; });
}

status check_list(const geometry& s, std::span<const gfn> pages, std::span<const hfn> frames, attributes a) {
  if (pages.size() != frames.size()) return status::bad_range;
  if (pages.empty()) return status::ok;
  const std::uint64_t unit = s.slot_pages(0);
  std::uint64_t page_bits = 0, frame_bits = 0;
  if (!all_below(pages, s.input_pages, page_bits) || !all_below(frames, s.output_pages, frame_bits)) return status::bad_range;
  if ((page_bits | frame_bits) & (unit - 1)) return status::misaligned;
  return check_map(s, {pages[0], unit}, frames[0], a);
}

}  // namespace

status machine::map_many(lazy_state* l, std::span<const gfn> pages, std::span<const hfn> frames, attributes a,
                         std::size_t& mapped) {
  mapped = 0;
  section* s = find(l);
  if (!s) return status::bad_state;
  const std::uint64_t unit = s->where->shape.slot_pages(0);
  if (const status bad = check_list(s->where->shape, pages, frames, a); bad != status::ok) return bad;
  // Where pages need more than an entry each, trying costs more than it saves.
  constexpr std::size_t most_singly = 64;
  for (std::size_t singly = 1; mapped < pages.size();) {
    std::size_t at_once = 0;
    // Behind what is queued, all has to be.
    if (!queues(*s) || s->queue.empty()) at_once = map_at_once(*s, pages.subspan(mapped), frames.subspan(mapped), a);
    mapped += at_once;
    singly = at_once > 0 ? 1 : singly < most_singly ? 2 * singly : singly;
    for (std::size_t i = 0; i < singly && mapped < pages.size(); ++i, ++mapped) {
      const status done = map(l, {pages[mapped], unit}, frames[mapped], a, 0);
      if (done != status::ok) return done;
    }
  }
  return status::ok;
}

// Maps pages from the first one on, a phase for each 512, as long as nothing has to be flushed, waited for or asked of the platform.
// Returns how many.
std::size_t machine::map_at_once(section& s, std::span<const gfn> pages, std::span<const hfn> frames, attributes a) {
  const bool queued = queues(s);
  const std::uint64_t saved = !queued && host_.open_tables ? host_.open_tables(host_.context, s.cpu) : 0;
  constexpr std::size_t most = 512;  // a phase ends after as many, so that nobody waits for long
  const bool tables = s.where->shape.top() > 0;
  const std::uint64_t before = s.count.entries_written;
  std::size_t done = 0;
  for (bool all_claimed = false; done < pages.size();) {
    const std::size_t n = pages.size() - done < most ? pages.size() - done : most;
    table_need claims{};
    table_pool* const pool = tables ? s.where->pools[0] : nullptr;
    if (pool) claims[0] = all_claimed ? pool->reserve_some(s.cpu, n) : pool->reserve_own(s.cpu, n);
    const bool none_left_to_claim = all_claimed && claims[0] == 0;
    const std::size_t now = s.where->backend->map_pages(context_of(s, claims, flush_reason::immediate),
                                                        {&pages[done], &frames[done], static_cast<std::uint32_t>(n), a});
    done += now;
    // Mostly tables are there, or the cpu's own frames do: the centre is asked when these are spent.
    all_claimed = now < n && claims[0] == 0;
    unreserve(s, claims);
    if (now < n && (!all_claimed || none_left_to_claim)) break;
  }
  s.wrote |= s.count.entries_written != before;
  if (!queued) close_tables(s, saved);
  return done;
}

}  // namespace quire::runtime
