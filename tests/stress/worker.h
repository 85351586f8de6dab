// One thread of a stress test: random updates, sections, drains, and accesses of the guest that it runs as a
// vCPU.
#pragma once

#include <random>

#include "tests/stress/world.h"
#include "tests/support/oracle.h"

namespace quire::tests {

class worker {
 public:
  worker(world& w, unsigned index) : w_(w), index_(index), cpu_(index), random_(w.seed * 1000003 + index) {}

  /// Does so many things, leaves all sections, and returns. In a thread of its own.
  void run(unsigned actions);
  /// Takes sections that no worker took, and ends them. After all have run.
  void end_parcels();
  /// Compares its pages with its oracles. After all have run.
  void compare();
  /// Removes all its mappings from the space and its oracles.
  void unmap_all();
  /// What the worker is about, for the watchdog.
  const char* doing() const { return doing_.load(std::memory_order_relaxed); }  // relaxed: a hint for people

  const deeds& log() const { return log_; }
  const std::vector<sighting>& sightings() const { return sightings_; }
  void forget() {
    log_.clear();
    sightings_.clear();
  }

 private:
  /// A set of pages, and what the worker knows to be there; null where others map pages too.
  struct place {
    unsigned space = 0;
    gfn_range pages;
    oracle* known = nullptr;
    std::uint64_t stride = 1;  ///< single pages only, each so many
  };
  struct open_section {
    lazy_state* state = nullptr;  ///< null: none
    unsigned depth = 0, paused = 0;
    std::vector<std::size_t> queued;  // in log_
  };
  enum class wish { map, keep, exact, unmap, protect, harvest, harvest_protect };

  std::uint64_t below(std::uint64_t n) { return random_() % n; }
  bool chance(unsigned percent) { return below(100) < percent; }
  void expect(status s, const char* what);

  // Updates.
  place pick_place();
  gfn_range pick_range(const place& p);
  void update();
  void update_at(const place& p, gfn_range r, wish what);
  void submit(unsigned space, const deed& d, wish what, unsigned level, runtime::guard g);
  status call(unsigned space, const deed& d, wish what, unsigned level, runtime::guard g);
  void fill_queue();
  void update_huge();
  void update_slot();
  void change_slot();

  // Sections.
  lazy_state* state(unsigned space);
  bool queues(unsigned space) const { return open_[space].depth > 0 && open_[space].paused == 0; }
  void change_section();
  void took_effect(unsigned space);
  void publish(const deed& d, const std::vector<gfn_range>& given_back);
  void drain();
  void hand_over();
  void take_over();
  void leave_all();
  void come_and_go();
  void other_space();

  // Looking.
  void look();
  void look_at_shared();
  void check_leaves();
  void nap();
  void access();
  void access(gfn g, bool write);
  bool stale(const soft_tlb::entry& e, bool write);
  void walked(gfn g, const walk_result& r, std::uint64_t oldest_slot);
  void compare(const place& p, const char* what);
  std::vector<page_run> in_tables(const place& p);

  world& w_;
  const unsigned index_;
  unsigned cpu_;
  std::mt19937_64 random_;
  oracle own_[world::spaces], beside_, strided_, huge_;
  open_section open_[world::spaces];
  deeds log_;
  std::vector<sighting> sightings_;
  std::atomic<const char*> doing_{"nothing"};
};

}  // namespace quire::tests
