// Workers of bulk.h: who takes which unit, and how they stop.
#include "runtime/host/bulk.h"

#include <time.h>

#include <algorithm>
#include <atomic>
#include <utility>

namespace quire::runtime::host {

namespace {

constexpr unsigned no_cpu = ~0u;
thread_local unsigned this_cpu = no_cpu;

class driving {
 public:
  explicit driving(unsigned cpu) : before_(std::exchange(this_cpu, cpu)) {}
  ~driving() { this_cpu = before_; }
  driving(const driving&) = delete;
  driving& operator=(const driving&) = delete;

 private:
  const unsigned before_;
};

/// Processor time that the calling thread took so far.
std::uint64_t thread_ns() {
  timespec t{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<std::uint64_t>(t.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(t.tv_nsec);
}

/// Units [begin, end) that nobody has taken yet: their worker takes them from the front, all others from the
/// back.
///
///                 reset  take_front  take_back
///   its worker      -        X          -
///   others          -        -         any
class alignas(128) unit_share {
 public:
  static constexpr std::uint32_t none = ~std::uint32_t{0};

  /// Before the threads start.
  void reset(std::uint32_t begin, std::uint32_t end) {
    bounds_.store(both(begin, end), std::memory_order_relaxed);  // relaxed: job::opened publishes it
  }
  std::uint32_t take_front() { return take(1, 0); }
  std::uint32_t take_back() { return take(0, 1); }

 private:
  static std::uint64_t both(std::uint32_t begin, std::uint32_t end) {
    return std::uint64_t{begin} << 32 | end;
  }

  std::uint32_t take(std::uint32_t front, std::uint32_t back) {
    std::uint64_t seen =
        bounds_.load(std::memory_order_relaxed);  // relaxed: units do not change while workers run
    for (;;) {
      const auto begin = static_cast<std::uint32_t>(seen >> 32);
      const auto end = static_cast<std::uint32_t>(seen);
      if (begin == end) return none;
      // relaxed, both: who takes a unit alone writes to it; job::closed publishes that
      if (bounds_.compare_exchange_weak(seen, both(begin + front, end - back), std::memory_order_relaxed,
                                        std::memory_order_relaxed)) {
        return front ? begin : end - 1;
      }
    }
  }

  std::atomic<std::uint64_t> bounds_{0};
};

}  // namespace

/// One operation while it runs. `apply` queues one piece.
struct bulk::job {
  using piece_function = std::function<status(lazy_state*, const bulk_piece&)>;

  machine& runtime;
  space& where;
  const std::vector<unsigned>& cpus;
  const std::stop_token& stop;
  const piece_function& apply;
  bulk_division& work;
  std::vector<unit_share> shares;
  std::vector<std::uint64_t> busy_ns;  // by worker
  std::atomic<status> failed{status::ok};
  // What happens before and after the threads run is ordered by TBB too; the thread sanitizer does not see
  // into it.
  std::atomic<bool> opened{false};
  std::atomic<std::uint64_t> closed{0};

  bool stopped() const {
    return stop.stop_requested() ||
           failed.load(std::memory_order_relaxed) != status::ok;  // relaxed: says when, publishes nothing
  }

  void fail(status s) {
    status first = status::ok;
    failed.compare_exchange_strong(first, s, std::memory_order_relaxed,
                                   std::memory_order_relaxed);  // relaxed: likewise
  }

  // On a thread that drives the cpu of worker `w`: those from `done` on, piece(i) each.
  template <class Piece>
  void do_pieces(unsigned w, std::uint32_t pieces, std::uint32_t& done, Piece piece) {
    while (done < pieces && !stopped()) {
      lazy_state* l = runtime.enter(cpus[w], where);
      if (!l) return fail(status::no_memory);
      const std::uint32_t end = std::min(pieces, done + section_updates);
      status last = status::ok;
      std::uint32_t queued = done;
      while (queued < end && (last = apply(l, piece(queued))) == status::ok) ++queued;
      const status left = runtime.leave(l);
      if (left != status::ok) return fail(left);
      done = queued;
      if (last != status::ok) return fail(last);
    }
  }
  void do_unit(unsigned w, bulk_unit& u) {
    do_pieces(w, u.end - u.first, u.done, [&](std::uint32_t i) { return work.piece(u, i); });
  }
  void do_lone(unsigned w) {
    bulk_division::lone_pieces& own = work.lone[w];
    do_pieces(w, static_cast<std::uint32_t>(own.pieces.size()), own.done, [&](std::uint32_t i) { return own.pieces[i]; });
  }

  void work_as(unsigned w) {
    (void)opened.load(std::memory_order_acquire);  // acquire: what there is to do, and what operations before
                                                   // have left in the cpu
    const driving me(cpus[w]);
    const std::uint64_t start = thread_ns();
    std::uint32_t unit = 0;
    while ((unit = shares[w].take_front()) != unit_share::none && !stopped()) do_unit(w, work.units[unit]);
    for (unsigned i = 1; i < shares.size(); ++i) {
      unit_share& other = shares[(w + i) % shares.size()];
      while (!stopped() && (unit = other.take_back()) != unit_share::none) do_unit(w, work.units[unit]);
    }
    busy_ns[w] += thread_ns() - start;
    closed.fetch_add(1, std::memory_order_release);  // release: what this worker did
  }
};

bulk::bulk(machine& m, std::vector<unsigned> cpus, thread_binding binding)
    : machine_(m), cpus_(std::move(cpus)), arenas_(workers(), binding) {}

unsigned bulk::current_cpu() { return this_cpu; }

status bulk::check_cpus() const {
  for (std::size_t i = 0; i < cpus_.size(); ++i) {
    const bool twice = std::find(cpus_.begin(), cpus_.begin() + static_cast<std::ptrdiff_t>(i), cpus_[i]) !=
                       cpus_.begin() + static_cast<std::ptrdiff_t>(i);
    if (twice || cpus_[i] >= machine_.cpu_count()) return status::bad_cpu;
  }
  return cpus_.empty() ? status::bad_cpu : status::ok;
}

// `divide(l, work)` divides the work on the first cpu, `apply(l, piece)` queues one piece of it.
template <class Divide, class Apply>
bulk_result bulk::run(space& s, const std::stop_token& stop, Divide divide, Apply apply) try {
  bulk_result result;
  const std::uint64_t start = thread_ns();
  if (result.failed = check_cpus(); result.failed != status::ok) return result;
  bulk_division work;
  {
    const driving first(cpus_.front());
    lazy_state* l = machine_.state(cpus_.front(), s);
    result.failed = l ? divide(l, work) : status::no_memory;
  }
  if (result.failed != status::ok) return result;
  const job::piece_function queue = apply;
  job j{machine_,
        s,
        cpus_,
        stop,
        queue,
        work,
        std::vector<unit_share>(workers()),
        std::vector<std::uint64_t>(workers())};
  for (unsigned w = 0; w < workers(); ++w) {
    const driving me(cpus_[w]);
    j.do_lone(w);
    j.shares[w].reset(work.shares[w], work.shares[w + 1]);
  }
  result.path_ns = thread_ns() - start;
  j.opened.store(true, std::memory_order_release);  // release: pairs with job::work_as()
  try {
    if (!work.units.empty() && !j.stopped()) arenas_.run([&j](unsigned w) { j.work_as(w); });
  } catch (const std::bad_alloc&) {
    j.fail(status::no_memory);
  }
  (void)j.closed.load(std::memory_order_acquire);            // acquire: what the workers did
  result.failed = j.failed.load(std::memory_order_relaxed);  // relaxed: the workers have ended
  result.path_ns += *std::max_element(j.busy_ns.begin(), j.busy_ns.end());
  work.find_left();
  result.left = std::move(work.left);
  if (result.left.empty())
    result.failed = status::ok;  // what a thread could not be had for, others have done
  return result;
} catch (const std::bad_alloc&) {
  return {status::no_memory, {}, 0};
}

template <class Apply>
bulk_result bulk::over_range(space& s, gfn_range r, const std::stop_token& stop, Apply apply) {
  return run(
      s, stop, [&](lazy_state* l, bulk_division& p) { return divide_range(machine_, l, s, r, workers(), p); },
      apply);
}

bulk_result bulk::populate(space& s, std::span<const bulk_extent> extents, const std::stop_token& stop) {
  return run(
      s, stop, [&](lazy_state*, bulk_division& p) { return divide_extents(s, extents, workers(), p); },
      [this, extents](lazy_state* l, const bulk_piece& p) {
        const bulk_extent& e = extents[p.extent];
        return machine_.map(l, p.range, p.out, e.attr, e.max_leaf_level);
      });
}

bulk_result bulk::protect(space& s, gfn_range r, perm access, const std::stop_token& stop) {
  return over_range(s, r, stop, [this, access](lazy_state* l, const bulk_piece& p) {
    return machine_.protect(l, p.range, access);
  });
}

bulk_result bulk::harvest(space& s, gfn_range r, runtime::harvest what, const std::stop_token& stop) {
  return over_range(s, r, stop, [this, what](lazy_state* l, const bulk_piece& p) {
    return machine_.harvest_status(l, p.range, what);
  });
}

bulk_result bulk::unmap(space& s, gfn_range r, const std::stop_token& stop) {
  return over_range(s, r, stop,
                    [this](lazy_state* l, const bulk_piece& p) { return machine_.unmap(l, p.range); });
}

bulk_result bulk::tear_down(space& s, const std::stop_token& stop) {
  bulk_result result = unmap(s, {gfn{0}, s.shape.input_pages}, stop);
  if (!result.complete()) return result;
  const driving first(cpus_.front());
  result.failed = machine_.destroy_space(cpus_.front(), &s);
  return result;
}

}  // namespace quire::runtime::host
