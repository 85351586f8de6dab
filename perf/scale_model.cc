// The event loop of scale_model.h. Times are nanoseconds.
#include "perf/scale_model.h"

#include <algorithm>
#include <limits>
#include <queue>
#include <utility>

#include "perf/scale_layout.h"

namespace quire::perf {

namespace {

constexpr double never = std::numeric_limits<double>::infinity();
constexpr std::uint64_t request_budget = 20'000'000;  // of one simulation: about a second
constexpr unsigned posts_at_once = 16;                // posted in one event

class simulation {
 public:
  simulation(const scale_options& o, const model_costs& costs, unsigned cpus);
  model_point run();

 private:
  enum class step : std::uint8_t { begin, lock, committed, post };
  struct event {
    double at;
    std::uint64_t number;  // in the order they were made, so that a run repeats exactly
    unsigned cpu;
    step what;
    bool operator>(const event& o) const { return at != o.at ? at > o.at : number > o.number; }
  };
  struct table {
    bool held = false;
    std::vector<unsigned> waiting;
  };
  struct request {
    unsigned from;
    double arrives;
  };
  struct sim_cpu {
    std::uint64_t random = 0, sections = 0;
    const section_cost* section = nullptr;
    std::size_t at_table = 0;  // the table it holds or waits for
    bool runs = false;         // may hold translations
    double takes_until = -1;   // takes requests at once up to then
    double delay = 0;          // by requests that came while it appended
    bool appends = false, holds = false;
    std::vector<request> inbox;
    // Of a flush under way:
    unsigned next_target = 0, open = 0;
    std::uint64_t posted = 0;
    bool posting = false;
    double first_post = 0, answered = 0;
  };

  void begin(unsigned c, double now);
  void lock(unsigned c, double now);
  void release(unsigned c, double now);
  void committed(unsigned c, double now);
  void post(unsigned c, double now);
  void finish_flush(unsigned c);
  bool answer(unsigned c, double now);
  void schedule(double at, unsigned c, step what) { events_.push({at, number_++, c, what}); }
  std::size_t table_of(unsigned c) const;

  const scale_options& options_;
  const section_costs& costs_;
  const request_costs& requests_;
  scale_layout layout_;
  std::uint64_t sections_per_block_ = 1;
  std::vector<sim_cpu> cpus_;
  std::vector<table> tables_;  // empty if none is shared
  std::priority_queue<event, std::vector<event>, std::greater<>> events_;
  std::uint64_t number_ = 0;
  std::uint64_t updates_ = 0;
  model_point point_;
};

simulation::simulation(const scale_options& o, const model_costs& costs, unsigned cpus)
    : options_(o),
      costs_(cpus > 1 && o.one_space() ? costs.shared : costs.alone),
      requests_(costs.requests),
      cpus_(cpus) {
  const arch::geometry shape = o.format.shape();
  layout_ = {o.share, cpus, o.batch, 1, scale_layout::pages, shape.entries(0), 2};
  if (o.op == scale_op::unmap) sections_per_block_ = 2;
  if (o.op == scale_op::fault) {
    sections_per_block_ = (o.batch + scale_work::fault_around - 1) / scale_work::fault_around + 1;
  }
  const std::uint64_t pages = scale_layout::pages * (o.share == scale_share::interleaved ? cpus : 1);
  if (o.share == scale_share::interleaved || o.share == scale_share::same) {
    tables_.resize(pages / layout_.table_entries + 1);
  }
  point_.cpus = cpus;
}

std::size_t simulation::table_of(unsigned c) const {
  const std::uint64_t block = cpus_[c].sections / sections_per_block_ % layout_.blocks();
  return layout_.page(c, block * layout_.batch) / layout_.table_entries;
}

// Between two sections: lets go of the table, takes requests, runs the guest, and appends the next section.
void simulation::begin(unsigned c, double now) {
  sim_cpu& own = cpus_[c];
  if (own.holds) release(c, now);
  own.takes_until = -1;
  if (answer(c, now)) now += requests_.acknowledge_ns;
  own.runs = true;
  own.section = &costs_.sections[scale_work::draw(own.random) % costs_.sections.size()];
  own.appends = true;
  own.takes_until = now + own.section->append_ns;
  schedule(own.takes_until, c, step::lock);
}

void simulation::lock(unsigned c, double now) {
  sim_cpu& own = cpus_[c];
  own.appends = false;
  now += std::exchange(own.delay, 0);
  if (!tables_.empty()) {
    own.holds = true;
    own.at_table = table_of(c);
    table& t = tables_[own.at_table];
    if (t.held) {
      t.waiting.push_back(c);
      own.takes_until = never;
      answer(c, now);
      return;
    }
    t.held = true;
  }
  own.takes_until = -1;
  schedule(now + own.section->commit_ns, c, step::committed);
}

// Gives the table to who waited longest.
void simulation::release(unsigned c, double now) {
  sim_cpu& own = cpus_[c];
  table& t = tables_[own.at_table];
  own.holds = false;
  t.held = !t.waiting.empty();
  if (!t.held) return;
  const unsigned next = t.waiting.front();
  t.waiting.erase(t.waiting.begin());
  const double start = now + requests_.latency_ns;
  cpus_[next].takes_until = start;
  schedule(start + cpus_[next].section->commit_ns, next, step::committed);
}

void simulation::committed(unsigned c, double now) {
  sim_cpu& own = cpus_[c];
  updates_ += own.section->updates;
  ++point_.sections;
  ++own.sections;
  if (!own.section->flushes || !options_.one_space() || cpus_.size() == 1) return begin(c, now);
  own.next_target = own.open = 0;
  own.posted = 0;
  own.first_post = own.answered = now;
  own.posting = true;
  post(c, now);
}

// Posts some requests, and the rest in events that follow, so that the others are at the same time meanwhile.
void simulation::post(unsigned c, double now) {
  sim_cpu& own = cpus_[c];
  for (unsigned n = 0; n < posts_at_once && own.next_target < cpus_.size(); ++own.next_target) {
    sim_cpu& to = cpus_[own.next_target];
    if (own.next_target == c || !to.runs) continue;
    ++n;
    ++own.posted;
    now += requests_.request_ns;
    const double arrives = now + requests_.latency_ns;
    if (arrives <= to.takes_until) {
      to.runs = false;
      if (to.appends) to.delay += requests_.acknowledge_ns;
      own.answered = std::max(own.answered, arrives + requests_.acknowledge_ns);
    } else {
      ++own.open;
      to.inbox.push_back({c, arrives});
    }
  }
  if (own.next_target < cpus_.size()) return schedule(now, c, step::post);
  own.posting = false;
  own.answered = std::max(own.answered, now);
  own.takes_until = never;
  answer(c, now);
  if (own.open == 0) finish_flush(c);
}

void simulation::finish_flush(unsigned c) {
  sim_cpu& own = cpus_[c];
  const double end = own.answered + (own.posted ? requests_.latency_ns : 0);
  own.takes_until = end;
  point_.remote_requests += own.posted;
  if (own.posted) point_.waits.record(static_cast<std::uint64_t>(end - own.first_post));
  schedule(end, c, step::begin);
}

// Takes what was posted to `c`. Returns whether there was anything.
bool simulation::answer(unsigned c, double now) {
  sim_cpu& own = cpus_[c];
  if (own.inbox.empty()) return false;
  own.runs = false;
  for (const request& r : own.inbox) {
    sim_cpu& from = cpus_[r.from];
    from.answered =
        std::max({from.answered, now + requests_.acknowledge_ns, r.arrives + requests_.acknowledge_ns});
    if (--from.open == 0 && !from.posting) finish_flush(r.from);
  }
  own.inbox.clear();
  return true;
}

model_point simulation::run() {
  const std::uint64_t n = cpus_.size();
  const std::uint64_t sections = std::clamp(request_budget / n, 8 * n, std::max(1024 * n, 4096 + n));
  for (unsigned c = 0; c < n; ++c) {
    cpus_[c].random = c + 1;
    const section_cost& s = costs_.sections[c % costs_.sections.size()];
    schedule((s.append_ns + s.commit_ns) * static_cast<double>(c) / static_cast<double>(n), c, step::begin);
  }
  // The first quarter is for getting into step.
  double now = 0, from = 0;
  std::uint64_t updates_before = 0;
  bool in_step = false;
  while (point_.sections < sections) {
    const event e = events_.top();
    events_.pop();
    now = e.at;
    if (!in_step && point_.sections >= sections / 4) {
      in_step = true;
      from = now;
      updates_before = updates_;
      point_.waits = {};
    }
    switch (e.what) {
      case step::begin:
        begin(e.cpu, now);
        break;
      case step::lock:
        lock(e.cpu, now);
        break;
      case step::committed:
        committed(e.cpu, now);
        break;
      case step::post:
        post(e.cpu, now);
        break;
    }
  }
  point_.updates_per_s = static_cast<double>(updates_ - updates_before) * 1e9 / std::max(now - from, 1.0);
  return point_;
}

}  // namespace

std::vector<model_point> simulate(const scale_options& o, const model_costs& costs,
                                  const std::vector<unsigned>& cpus) {
  std::vector<model_point> points;
  for (const unsigned n : cpus) {
    points.push_back(simulation(o, costs, n).run());
    points.back().speedup = points.back().updates_per_s / points.front().updates_per_s;
  }
  return points;
}

}  // namespace quire::perf
