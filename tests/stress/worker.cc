// What a worker does next, its sections, and its way from cpu to cpu.
#include "tests/stress/worker.h"

#include <sched.h>
#include <unistd.h>

namespace quire::tests {

void worker::run(unsigned actions) {
  world::here() = {cpu_, index_, true};
  w_.bus().enter_guest(index_);
  struct {
    unsigned weight;
    const char* name;
    void (worker::*act)();
  } constexpr all[] = {
      {400, "update", &worker::update},
      {60, "update the slot", &worker::update_slot},
      {10, "change the slot", &worker::change_slot},
      {4, "fill the queue", &worker::fill_queue},
      {6, "huge", &worker::update_huge},
      {130, "section", &worker::change_section},
      {40, "drain", &worker::drain},
      {15, "hand over", &worker::hand_over},
      {20, "take over", &worker::take_over},
      {6, "come and go", &worker::come_and_go},
      {2, "another space", &worker::other_space},
      {120, "look", &worker::look},
      {60, "look at shared", &worker::look_at_shared},
      {6, "check leaves", &worker::check_leaves},
      {4, "nap", &worker::nap},
      {200, "access", &worker::access},
  };
  unsigned sum = 0;
  for (const auto& a : all) sum += a.weight;
  for (unsigned i = 0; i < actions && !w_.failed(); ++i) {
    w_.bus().serve(index_);
    auto dice = static_cast<unsigned>(below(sum));
    const auto* a = all;
    for (; dice >= a->weight; ++a) dice -= a->weight;
    doing_.store(a->name, std::memory_order_relaxed);  // relaxed: see doing()
    (this->*a->act)();
  }
  doing_.store("leave", std::memory_order_relaxed);  // relaxed: see doing()
  leave_all();
  w_.bus().leave_guest(index_);
  doing_.store("nothing", std::memory_order_relaxed);  // relaxed: see doing()
}

lazy_state* worker::state(unsigned space) {
  const open_section& o = open_[space];
  lazy_state* l = o.state && chance(80) ? o.state : w_.m().state(cpu_, w_.s(space));  // both name the section
  if (!l) w_.fail({}, "there is no state");
  return l;
}

void worker::change_section() {
  const auto space = static_cast<unsigned>(below(world::spaces));
  open_section& o = open_[space];
  runtime::machine& m = w_.m();
  const std::uint64_t dice = below(100);
  if (o.depth == 0 || (o.paused == 0 && o.depth < 3 && dice < 15)) {
    o.state = m.enter(cpu_, w_.s(space));
    if (!o.state) w_.fail({}, "a section cannot be opened");
    ++o.depth;
  } else if (dice < 55) {
    expect(m.leave(o.state), "leave fails");
    if (o.paused > 0) return;
    took_effect(space);
    if (--o.depth == 0) o.state = nullptr;
  } else if (dice < 65) {
    expect(m.flush(o.state), "a flush fails");
    took_effect(space);
  } else if (dice < 75 && o.paused < 2) {
    expect(m.pause(o.state), "pause fails");
    if (o.paused++ == 0) took_effect(space);
  } else if (o.paused > 0) {
    expect(m.resume(o.state), "resume fails");
    --o.paused;
  }
}

void worker::leave_all() {
  for (unsigned i = 0; i < world::spaces; ++i) {
    open_section& o = open_[i];
    for (; o.paused > 0; --o.paused) expect(w_.m().resume(o.state), "resume fails");
    for (; o.depth > 0; --o.depth) expect(w_.m().leave(o.state), "leave fails");
    took_effect(i);
    o.state = nullptr;
  }
}

void worker::drain() {
  const bool all = chance(40);
  const gfn_range r = all ? gfn_range{gfn{0}, w_.shape().input_pages} : pick_range(pick_place());
  if (chance(15)) {
    expect(w_.m().drain(cpu_, w_.s(1)), "a drain fails");
    return;
  }
  const deed d{.what = deed::kind::drain, .range = r, .called = w_.tick(), .cpu = index_};
  expect(all ? w_.m().drain(cpu_, w_.s()) : w_.m().drain(cpu_, w_.s(), r), "a drain fails");
  log_.push_back(d);
  log_.back().queued = log_.back().done = w_.tick();
  if (all) took_effect(0);
}

void worker::hand_over() {
  const auto space = static_cast<unsigned>(below(world::spaces));
  open_section& o = open_[space];
  if (o.depth == 0) return;
  const status done = w_.m().hand_over(o.state);
  if (done == status::in_section) return;  // one is on its way already
  expect(done, "a section cannot be handed over");
  took_effect(space);
  w_.post({o.state, space, o.depth, o.paused});
  o = {};
}

void worker::take_over() {
  parcel p{};
  if (!w_.fetch(p)) return;
  open_section& o = open_[p.space];
  if (o.depth > 0) {
    lazy_state* moved = nullptr;
    if (w_.m().take_over(cpu_, p.state, moved) != status::in_section)
      w_.fail({}, "a second section was opened");
    return w_.post(p);
  }
  expect(w_.m().take_over(cpu_, p.state, o.state), "a section cannot be taken over");
  o.depth = p.depth;
  o.paused = p.paused;
}

void worker::end_parcels() {
  world::here() = {cpu_, index_, false};
  parcel p{};
  while (w_.fetch(p)) {
    expect(w_.m().take_over(cpu_, p.state, open_[p.space].state), "a section cannot be taken over");
    open_[p.space].depth = p.depth;
    open_[p.space].paused = p.paused;
    leave_all();
  }
}

// The cpu may have another index afterwards.
void worker::come_and_go() {
  if (open_[0].depth > 0 || open_[1].depth > 0) leave_all();
  const status gone = w_.m().remove_cpu(cpu_);
  if (gone == status::in_section) return;  // a section of it is on its way
  expect(gone, "a cpu cannot be removed");
  if (chance(50)) sched_yield();
  expect(w_.m().add_cpu(cpu_), "a cpu cannot be added");
  world::here().cpu = cpu_;
  for (unsigned i = 0; i < world::spaces; ++i) w_.s(i).note_run(cpu_);
}

void worker::other_space() {
  runtime::machine& m = w_.m();
  runtime::space* s = nullptr;
  expect(w_.hw().make_space(m, cpu_, {}, s), "a space cannot be made");
  if (!s) return;
  for (unsigned i = 0; i < 4; ++i) {
    const gfn g{below(s->shape.input_pages - 8)};
    expect(m.map(m.state(cpu_, *s), {g, 1 + below(8)}, {g.value & 0xffff}, {perm::rwx, 0, 0}),
           "a map is refused");
  }
  if (chance(50)) expect(m.unmap(m.state(cpu_, *s), {gfn{0}, s->shape.input_pages}), "an unmap is refused");
  expect(m.destroy_space(cpu_, s), "a space cannot be destroyed");
}

// The host thread is away, whatever is queued.
void worker::nap() {
  w_.bus().leave_guest(index_);
  usleep(static_cast<useconds_t>(below(w_.long_run ? 20000 : 2000)));
  w_.bus().enter_guest(index_);
}

void worker::unmap_all() {
  world::here() = {cpu_, index_, false};
  const gfn_range all{gfn{0}, w_.shape().input_pages};
  for (unsigned i = 0; i < world::spaces; ++i) {
    if (index_ == 0)
      expect(w_.m().unmap(w_.m().state(cpu_, w_.s(i)), all), "unmapping everything is refused");
    own_[i] = {};
  }
  beside_ = strided_ = huge_ = {};
}

}  // namespace quire::tests
