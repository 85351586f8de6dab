// Making, recording and checking the scenarios of scenario.h.
#include "tests/emulator/scenario.h"

#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstring>

namespace quire::tests {

namespace {

constexpr gfn_range stub{gfn{0xfffffff}, 1};  // see tests/emulator/x86/stub.h
constexpr hfn stub_frame{0x200};

perm need_of(probe p) { return p == probe::write ? perm::w : p == probe::fetch ? perm::x : perm::r; }

std::uint64_t in_order_of(const any_format& f, std::uint64_t word) {
  return std::holds_alternative<arch::dat>(f) ? __builtin_bswap64(word) : word;
}

}  // namespace

scenario::scenario(const emulated_machine& m, const any_format& f, std::uint64_t seed)
    : machine_(m), format_(f), random_(seed) {
  guest_ = make_guest(f, {.cpus = 1,
                          .table_bytes = std::size_t{8} << 20,
                          .base = m.tables,
                          .sink_writes_entries = m.writes_entries});
  REQUIRE(guest_);
  guest_->recording = false;
  if (m.stub_page) {
    REQUIRE(guest_->m().map_exact(guest_->state(), stub, stub_frame, {perm::rwx}, 0) == status::ok);
  }
  guest_->on_flush = [this](const runtime::flush_plan& plan) { record_flush(plan); };
}

perm scenario::random_access() {
  for (;;) {
    const auto p = static_cast<unsigned>(1 + below(7));
    if (guest_->s().shape.access_set >> p & 1) return static_cast<perm>(p);
  }
}

// A leaf of any size that the emulator's memory allows, in one of a few regions of the guest.
page_run scenario::random_leaf() {
  const arch::geometry& s = guest_->s().shape;
  unsigned levels = 0;
  while (levels < s.levels && s.leaf[levels] && s.slot_pages(levels) << arch::page_shift <= machine_.largest_leaf) ++levels;
  const auto level = static_cast<unsigned>(below(3) ? 0 : below(levels));
  const std::uint64_t pages = s.slot_pages(level);
  const std::uint64_t limit = std::min(s.input_pages, std::uint64_t{1} << (machine_.guest_bits - arch::page_shift));
  const std::uint64_t regions[] = {0, limit / 2, limit / 4 * 3, limit / 8};
  const std::uint64_t window = std::min<std::uint64_t>(limit / 8, pages * 64);
  const std::uint64_t first = (regions[below(4)] + below(window)) / pages * pages;
  const std::uint64_t land = machine_.landings >> arch::page_shift;
  const std::uint64_t room = std::max<std::uint64_t>(machine_.landing_bytes >> arch::page_shift, pages);
  page_run r{{gfn{first}, pages}, hfn{(land + below(room)) / pages * pages}, {random_access(), 0, 0}};
  if (r.out.value < land) r.out = {land};
  r.attr.type = static_cast<std::uint8_t>(below(guest_->s().shape.memory_types));
  return r;
}

void scenario::map_random(unsigned count) {
  for (unsigned i = 0; i < count; ++i) {
    const page_run r = random_leaf();
    if (machine_.stub_page && r.range.contains(stub.first)) continue;
    REQUIRE(guest_->m().map(guest_->state(), r.range, r.out, r.attr) == status::ok);
    model_.map(r, false);
    mapped_.push_back(r);
  }
}

void scenario::ask(const request& r, const expectation& e) {
  requests_.push_back(r);
  expected_.push_back(e);
}

void scenario::probe(gfn page, tests::probe how) {
  const auto known = model_.find(page);
  const std::uint64_t out = known ? (known->out + (page - known->range.first)).byte() : 0;
  const bool done = known && includes(known->attr.access, need_of(how));
  if (known && out - machine_.landings >= machine_.landing_bytes) return;  // no landing there
  (done ? hits_ : faults_)++;
  request r{how, {page.byte(), out}};
  ask(r, {done, out, done && how != tests::probe::fetch});
}

void scenario::probe_random(unsigned count) {
  const std::uint64_t limit = std::min(guest_->s().shape.input_pages, std::uint64_t{1} << (machine_.guest_bits - arch::page_shift));
  for (unsigned i = 0; i < count; ++i) {
    const page_run& near = mapped_[below(mapped_.size())];
    const std::uint64_t landing = machine_.landing_bytes >> arch::page_shift;
    const std::uint64_t inside = below(std::min(near.range.pages, landing));
    gfn page = near.range.first + inside;
    if (below(4) == 0) page = {(near.range.first.value + below(3 * near.range.pages)) % limit};
    if (machine_.stub_page && page == stub.first) continue;
    constexpr tests::probe kinds[] = {probe::read, probe::write, probe::fetch};
    probe(page, kinds[below(3)]);
  }
}

// Stores since the last look become pokes.
void scenario::record_stores() {
  const auto now = guest_->table_memory();
  shadow_.resize(now.size());
  for (std::size_t at = 0; at < now.size(); at += 8) {
    if (std::memcmp(shadow_.data() + at, now.data() + at, 8) == 0) continue;
    std::uint64_t word = 0;
    std::memcpy(&word, now.data() + at, 8);
    std::memcpy(shadow_.data() + at, now.data() + at, 8);
    ask({probe::poke, {machine_.tables + at, in_order_of(format_, word)}}, {true, 0, false});
  }
}

void scenario::record_flush(const runtime::flush_plan& plan) {
  if (recording_) record_stores();
  recorded_flush_at f;
  f.first = requests_.size();
  for (const arch::flush_command& c : plan.commands) execute(c, f);
  f.end = requests_.size();
  for (const gfn page : touched_) f.needed = f.needed || covers(format_, plan, page);
  if (recording_) flushes_.push_back(f);
}

// Makes a command a request. What it does to entries is done to our memory too, so that it is no store of ours.
void scenario::execute(const arch::flush_command& c, recorded_flush_at& f) {
  if (recording_) ask({probe::command, {c.op, c.operand[0], c.operand[1], c.operand[2], c.operand[3]}}, {true, 0, false});
  const auto* dat = std::get_if<arch::dat>(&format_);
  const auto op = static_cast<arch::dat_flush>(c.op & ~1u);
  if (!dat || !machine_.writes_entries || (op != arch::dat_flush::ipte && op != arch::dat_flush::idte)) return;
  const unsigned level = op == arch::dat_flush::ipte ? 0 : static_cast<unsigned>(arch::dat::TT::get(c.operand[0])) + 1;
  const std::uint64_t table = c.operand[0] & (level ? ~std::uint64_t{0xfff} : ~std::uint64_t{0x7ff});
  const std::uint32_t first = guest_->s().shape.index({c.operand[1] >> arch::page_shift}, level);
  cut_off_ += level == 1 && c.operand[2] > 0;
  for (std::uint64_t i = first; i <= first + c.operand[2]; ++i) {
    const std::uint64_t at = table - machine_.tables + 8 * i;
    std::uint64_t word = 0;
    std::memcpy(&word, guest_->table_memory().data() + at, 8);
    word = in_order_of(format_, dat->invalidated(in_order_of(format_, word), level));
    std::memcpy(guest_->table_memory().data() + at, &word, 8);
    if (shadow_.size() >= at + 8) std::memcpy(shadow_.data() + at, &word, 8);
    f.instead.push_back({probe::poke, {table + 8 * i, in_order_of(format_, word)}});
  }
}

// One of the first pages under a level-0 table.
gfn scenario::near_page(std::uint64_t pages) {
  const arch::geometry& s = guest_->s().shape;
  const std::uint64_t table = two_tables_ && below(4) == 0 ? s.slot_pages(1) : 0;
  return {table + below(pages) * s.slot_pages(0)};
}

// Updates of most of both tables. In formats whose entries change by instruction they are cut off meanwhile.
void scenario::change_tables(lazy_state* l) {
  const arch::geometry& s = guest_->s().shape;
  machine& m = guest_->m();
  const gfn_range most{gfn{s.slot_pages(0)}, 2 * (s.slot_pages(1) - s.slot_pages(0))};
  if (below(4) == 0) {
    REQUIRE(m.unmap(l, most) == status::ok);
    model_.unmap(most);
    return;
  }
  const perm p = random_access();
  REQUIRE(m.protect(l, most, p) == status::ok);
  model_.protect(most, p);
}

// One or a few updates of the guest, in a section.
void scenario::change() {
  machine& m = guest_->m();
  const std::uint64_t page = guest_->s().shape.slot_pages(0);
  const std::uint64_t land = machine_.landings >> arch::page_shift;
  lazy_state* l = guest_->enter();
  for (std::uint64_t n = 1 + below(3); n > 0; --n) {
    const gfn first = near_page(80);
    const gfn_range r{first, (1 + below(below(4) ? 4 : 16)) * page};
    switch (below(4)) {
      case 0:
        REQUIRE(m.unmap(l, r) == status::ok);
        model_.unmap(r);
        break;
      case 1: {
        const perm p = random_access();
        REQUIRE(m.protect(l, r, p) == status::ok);
        model_.protect(r, p);
        break;
      }
      default: {
        const page_run to{r, hfn{land + (below(8) ? below(64) * page : first.value)}, {random_access(), 0, 0}};
        REQUIRE(m.map(l, to.range, to.out, to.attr) == status::ok);
        model_.map(to, false);
      }
    }
    // A leaf of the next size appears over the small ones at times, or all of them go with their table.
    const std::uint64_t large = guest_->s().shape.levels > 1 ? guest_->s().shape.slot_pages(1) : 0;
    if (two_tables_ && below(4) == 0) change_tables(l);
    if (large == 0 || below(6) != 0) continue;
    if (below(2) == 0 || large << arch::page_shift > machine_.landing_bytes) {
      REQUIRE(m.unmap(l, {gfn{0}, large}) == status::ok);
      model_.unmap({gfn{0}, large});
    } else {
      const page_run to{{gfn{0}, large}, hfn{land}, {random_access(), 0, 0}};
      REQUIRE(m.map(l, to.range, to.out, to.attr) == status::ok);
      model_.map(to, false);
    }
  }
  REQUIRE(m.leave(l) == status::ok);
}

void scenario::play(unsigned rounds, bool two_tables) {
  two_tables_ = two_tables && guest_->s().shape.levels > 1;
  initial_ = shadow_ = std::string(reinterpret_cast<const char*>(guest_->table_memory().data()), guest_->table_memory().size());
  recording_ = true;
  constexpr tests::probe kinds[] = {probe::read, probe::read, probe::write, probe::fetch};
  for (unsigned i = 0; i < rounds; ++i) {
    touched_.clear();
    for (unsigned n = 0; n < 12; ++n) {
      const gfn at = near_page(90);
      probe(at, kinds[below(4)]);
      if (expected_.back().done) touched_.push_back(at);
    }
    change();
    record_stores();
    for (const gfn at : touched_) probe(at, kinds[below(4)]);
  }
  recording_ = false;
}

emulator_run scenario::start() const {
  emulator_run r;
  const auto tables = guest_->table_memory();
  const std::string now(reinterpret_cast<const char*>(tables.data()), tables.size());
  r.memory = {{machine_.tables, initial_.empty() ? now : initial_}};
  r.memory[0].bytes.resize(std::max(tables.size(), std::size_t{1} << 20), '\0');  // tables taken later lie there
  r.landings = {{machine_.landings, machine_.landing_bytes}};
  const auto registers = [&](const auto& f) {
    const std::uint64_t root = f.root_register(guest_->s().root);
    if constexpr (requires { f.control_register(); }) {
      r.registers = {{"vttbr_el2", root}, {"vtcr_el2", f.control_register()}};
    } else {
      r.registers = {{std::holds_alternative<arch::dat>(format_) ? "asce" : "eptp", root}};
    }
  };
  std::visit(registers, format_);
  return r;
}

emulator_result scenario::run(const std::vector<request>& requests) const {
  emulator_run r = start();
  r.requests = requests;
  return machine_.run(r);
}

std::string scenario::difference(const emulator_result& r, const std::vector<expectation>& expected) const {
  if (!r.error.empty()) return r.error;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const expectation& e = expected[i];
    const answer& a = r.answers[i];
    if (a.done == e.done && (!e.checked || a.value == e.value)) continue;
    return fmt::format("{}: request {}, kind {}, {:#x} {:#x}: done {} value {:#x} (detail {:#x} {:#x}), expected {} {:#x}", machine_.name, i,
                       static_cast<unsigned>(requests_[i].what), requests_[i].operand[0], requests_[i].operand[1], a.done, a.value,
                       a.detail[0], a.detail[1], e.done, e.value);
  }
  return {};
}

std::string scenario::check() const { return difference(run(requests_), expected_); }

std::pair<unsigned, unsigned> scenario::omissions(unsigned most) const {
  unsigned shown = 0;
  unsigned runs = 0;
  for (const recorded_flush_at& f : flushes_) {
    if (!f.needed || runs == most) continue;
    std::vector<request> requests(requests_.begin(), requests_.begin() + static_cast<std::ptrdiff_t>(f.first));
    requests.insert(requests.end(), f.instead.begin(), f.instead.end());
    requests.insert(requests.end(), requests_.begin() + static_cast<std::ptrdiff_t>(f.end), requests_.end());
    std::vector<expectation> expected(expected_.begin(), expected_.begin() + static_cast<std::ptrdiff_t>(f.first));
    expected.insert(expected.end(), f.instead.size(), {true, 0, false});
    expected.insert(expected.end(), expected_.begin() + static_cast<std::ptrdiff_t>(f.end), expected_.end());
    const emulator_result r = run(requests);
    ++runs;
    if (r.error.empty()) {
      bool stale = false;
      for (std::size_t i = 0; i < expected.size(); ++i) {
        stale = stale || r.answers[i].done != expected[i].done || (expected[i].checked && r.answers[i].value != expected[i].value);
      }
      shown += stale;
    }
  }
  return {shown, runs};
}

}  // namespace quire::tests
