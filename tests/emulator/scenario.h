// Guests whose tables an emulator executes: random mappings beside an oracle, and recorded flush sequences.
#pragma once

#include <random>

#include "tests/emulator/emulator.h"
#include "tests/support/guest.h"
#include "tests/support/oracle.h"

namespace quire::tests {

/// How an emulator is asked, and where its memory lies.
struct emulated_machine {
  std::string name;
  emulator run = nullptr;
  std::uint64_t tables = 0;    ///< physical address of table memory; a multiple of 1 MiB
  std::uint64_t landings = 0;  ///< physical address of frames that mappings lead to; a multiple of 1 GiB or of 64 MiB
  std::uint64_t landing_bytes = std::uint64_t{64} << 20;
  unsigned guest_bits = 64;      ///< guest addresses that it can use
  std::uint64_t largest_leaf = std::uint64_t{1} << 30;  ///< bytes; larger ones would lead out of its memory
  bool stub_page = false;        ///< the tables have to map the payload's page (Bochs)
  bool writes_entries = false;   ///< instructions change entries themselves (s390)
};

/// What an answer has to be.
struct expectation {
  bool done = false;
  std::uint64_t value = 0;  ///< meaningful if `checked`
  bool checked = false;
};

/// One guest, its oracle and the requests made so far with what has to come of them.
class scenario {
 public:
  scenario(const emulated_machine& m, const any_format& f, std::uint64_t seed);

  /// Maps random leaves of every size, access and type.
  void map_random(unsigned count);
  /// Asks for `count` reads, writes and fetches: hits, holes and what is not allowed.
  void probe_random(unsigned count);
  /// Records `rounds` of touching pages, changing some of them in a section, and probing them again: stores to tables
  /// and commands become requests, in the order in which the runtime made them.
  /// @param two_tables  pages lie in two neighbouring level-0 tables, most of which changes at times
  void play(unsigned rounds, bool two_tables = false);

  /// Runs the emulator and returns what is wrong first, or nothing.
  std::string check() const;
  /// Runs it once for each of up to `most` flushes that a touched page needed, each time without the purge of that
  /// flush, and returns how many runs showed a stale translation, and how many there were.
  std::pair<unsigned, unsigned> omissions(unsigned most) const;

  unsigned hits() const { return hits_; }
  unsigned faults() const { return faults_; }
  /// Instructions that have cut off neighbouring level-0 tables (DAT).
  unsigned cut_off() const { return cut_off_; }

 private:
  struct recorded_flush_at {
    std::size_t first = 0, end = 0;  // requests of its commands
    std::vector<request> instead;    // stores that the instructions would have made
    bool needed = false;
  };

  emulator_run start() const;
  emulator_result run(const std::vector<request>& requests) const;
  std::string difference(const emulator_result& r, const std::vector<expectation>& expected) const;
  void ask(const request& r, const expectation& e);
  void probe(gfn page, probe how);
  page_run random_leaf();
  void change();
  void change_tables(lazy_state* l);
  gfn near_page(std::uint64_t pages);
  void record_stores();
  void record_flush(const runtime::flush_plan& plan);
  void execute(const arch::flush_command& c, recorded_flush_at& f);
  std::uint64_t below(std::uint64_t n) { return random_() % n; }
  perm random_access();

  const emulated_machine& machine_;
  const any_format format_;
  std::mt19937_64 random_;
  std::unique_ptr<guest_base> guest_;
  oracle model_;
  std::vector<page_run> mapped_;
  std::string initial_;  // table memory when the emulator starts
  std::string shadow_;   // as the emulator has it after the requests so far
  std::vector<request> requests_;
  std::vector<expectation> expected_;
  std::vector<recorded_flush_at> flushes_;
  std::vector<gfn> touched_;  // pages of play(), since read
  bool recording_ = false, two_tables_ = false;
  unsigned hits_ = 0, faults_ = 0, cut_off_ = 0;
};

}  // namespace quire::tests
