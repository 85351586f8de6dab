// Arenas and tasks behind worker_arenas.h.
#include "runtime/host/worker_arenas.h"

#include <tbb/task_arena.h>
#include <tbb/task_group.h>
#include <tbb/task_scheduler_observer.h>

#include <exception>
#include <optional>

#include "runtime/host/numa_nodes.h"

// oneTBB keeps what it made for an observer of an arena until the process ends.
#if defined(__SANITIZE_ADDRESS__)
extern "C" const char* __lsan_default_suppressions() { return "leak:tbb::detail::r1::observe\n"; }
extern "C" const char* __lsan_default_options() { return "print_suppressions=0"; }
#endif

namespace quire::runtime::host {

namespace {

/// Binds threads to processors of a node while they are in an arena.
class binder : public tbb::task_scheduler_observer {
 public:
  binder(tbb::task_arena& arena, unsigned node, unsigned threads, thread_binding binding)
      : task_scheduler_observer(arena),
        node_(node),
        one_each_(binding == thread_binding::processor && threads <= numa_nodes::here().processors(node)),
        before_(threads) {
    observe(true);
  }
  ~binder() override { observe(false); }
  binder(const binder&) = delete;
  binder& operator=(const binder&) = delete;

  void on_scheduler_entry(bool /*worker*/) override {
    const numa_nodes& here = numa_nodes::here();
    before_[place()] = one_each_ ? here.bind(node_, place()) : here.bind(node_);
  }
  void on_scheduler_exit(bool /*worker*/) override {
    numa_nodes::here().restore(before_[place()]);
    before_[place()].reset();
  }

 private:
  static unsigned place() { return static_cast<unsigned>(tbb::this_task_arena::current_thread_index()); }

  const unsigned node_;
  const bool one_each_;
  std::vector<processor_set> before_;  // by place in the arena
};

// Workers by node: one after the other, to the node that has the fewest per processor.
std::vector<unsigned> deal_out(unsigned workers) {
  const numa_nodes& here = numa_nodes::here();
  std::vector<unsigned> dealt(here.count());
  for (unsigned w = 0; w < workers; ++w) {
    unsigned least = 0;
    for (unsigned n = 1; n < here.count(); ++n) {
      if (std::uint64_t{dealt[n]} * here.processors(least) < std::uint64_t{dealt[least]} * here.processors(n))
        least = n;
    }
    ++dealt[least];
  }
  return dealt;
}

}  // namespace

struct worker_arenas::node {
  // A place is kept for the caller in the arena that it works in; in the others all are for TBB's threads.
  node(unsigned number, unsigned first_worker, unsigned workers_here, thread_binding binding)
      : first(first_worker),
        workers(workers_here),
        arena(static_cast<int>(workers_here), first_worker == 0 ? 1 : 0) {
    const bool all_are_one = numa_nodes::here().count() == 1 && binding == thread_binding::node;
    if (!all_are_one) bound.emplace(arena, number, workers_here, binding);
  }

  const unsigned first;    // worker of its first thread
  const unsigned workers;  // threads at most
  tbb::task_arena arena;
  std::optional<binder> bound;
  tbb::task_group group;
};

worker_arenas::worker_arenas(unsigned workers, thread_binding binding) {
  unsigned first = 0;
  const std::vector<unsigned> dealt = deal_out(workers);
  for (unsigned n = 0; n < dealt.size(); ++n) {
    if (dealt[n] > 0) nodes_.push_back(std::make_unique<node>(n, first, dealt[n], binding));
    first += dealt[n];
  }
}

worker_arenas::~worker_arenas() = default;

unsigned worker_arenas::nodes() const { return static_cast<unsigned>(nodes_.size()); }

void worker_arenas::run(const std::function<void(unsigned worker)>& body) {
  std::exception_ptr failed;
  for (const auto& n : nodes_) {
    const auto work = [&n = *n, &body] {
      body(n.first + static_cast<unsigned>(tbb::this_task_arena::current_thread_index()));
    };
    try {
      n->arena.execute([&n = *n, &work] {
        for (unsigned w = 0; w < n.workers; ++w) n.group.run(work);
      });
    } catch (...) {
      failed = std::current_exception();  // what was started has to end first
      break;
    }
  }
  for (const auto& n : nodes_) n->arena.execute([&n = *n] { n.group.wait(); });
  if (failed) std::rethrow_exception(failed);
}

}  // namespace quire::runtime::host
