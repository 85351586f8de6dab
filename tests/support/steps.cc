// The dice behind steps.h.
#include "tests/support/steps.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace quire::tests {

namespace {

// By action, out of 100.
constexpr unsigned weights[] = {20, 6, 6, 16, 9, 6, 7, 7, 3, 4, 3, 2, 11};
constexpr const char* names[] = {"map",   "map_keep", "map_exact", "unmap", "protect",   "harvest", "enter",
                                 "leave", "pause",    "resume",    "flush", "interrupt", "touch"};

}  // namespace

std::string describe(const step& s) {
  return fmt::format(
      "{} first={:#x} pages={:#x} out={:#x} access={} type={} level={} harvest={} need={} page={:#x}",
      names[static_cast<unsigned>(s.what)], s.run.range.first.value, s.run.range.pages, s.run.out.value,
      static_cast<unsigned>(s.run.attr.access), s.run.attr.type, s.level, static_cast<unsigned>(s.harvest),
      static_cast<unsigned>(s.need), s.page.value);
}

step_maker::step_maker(const arch::geometry& shape, std::uint64_t seed)
    : shape_(shape), top_leaf_(shape.top()), random_(seed) {
  small_ = shape.levels > 1 ? shape.slot_pages(1) >> shape.shift[0] : shape.entries(0) / 16;
  large_ = shape.levels > 2 ? shape.slot_pages(2) >> shape.shift[0] : 4 * small_;
  for (top_leaf_ = shape.top(); !shape.leaf[top_leaf_];) --top_leaf_;
  if (top_leaf_ == 0) large_ = std::min(large_, 16 * small_);  // or there would be very many leaves
  window_ = std::min(shape.input_pages >> shape.shift[0] >> 2, large_) * 3;
  while (!shape.leaf[top_leaf_] || shape.slot_pages(top_leaf_) >> shape.shift[0] > window_) --top_leaf_;
}

action step_maker::pick() {
  std::uint64_t dice = below(100);
  unsigned i = 0;
  for (; dice >= weights[i]; ++i) dice -= weights[i];
  return static_cast<action>(i);
}

// On or close to an end of a leaf or table; these are few, so that steps meet.
std::uint64_t step_maker::place() {
  std::uint64_t at = below(3) * large_ + (below(2) ? below(3) * small_ : large_ - (1 + below(2)) * small_);
  switch (below(8)) {
    case 0:
      at += below(small_);
      break;
    case 1:
      at += small_ - 1 - below(3);
      break;
    case 2:
    case 3:
      at += below(4);
      break;
    case 4:
      at += small_ / 2;
      break;
    default:
      break;
  }
  return at % window_;
}

gfn_range step_maker::range() {
  const std::uint64_t first = place();
  std::uint64_t pages = 1;
  switch (below(12)) {
    case 0:
      break;
    case 1:
    case 2:
    case 3:
      pages = 1 + below(8);
      break;
    case 4:
      pages = small_ / 2;
      break;
    case 5:
    case 6:
    case 7:
      pages = small_;
      break;
    case 8:
      pages = small_ + below(4);
      break;
    case 9:
      pages = 2 * small_;
      break;
    case 10:
      pages = 3 * small_ - below(2);
      break;
    default:
      pages = below(3) ? place() + 1 : large_;
      break;
  }
  pages = std::min(pages, window_ - first);
  return {{first << shape_.shift[0]}, pages << shape_.shift[0]};
}

perm step_maker::access() {
  constexpr std::array choice = {perm::rw, perm::rw, perm::r, perm::rwx, perm::rx, perm::w, perm::x};
  for (;;) {
    const perm p = choice[below(choice.size())];
    if (shape_.access_set >> static_cast<unsigned>(p) & 1) return p;
  }
}

// Output frames lie at few distances from the guest's, so that a translation comes again.
void step_maker::fill_map(step& s) {
  const std::array distance = {std::uint64_t{0}, large_,     window_,          small_,
                               small_,           3 * small_, std::uint64_t{1}, std::uint64_t{5}};
  const bool long_run =
      s.run.range.pages >> shape_.shift[0] > 3 * small_;  // it must not take very many leaves
  const std::uint64_t d = distance[below(long_run ? 3 : distance.size())];
  s.run.out = {s.run.range.first.value + (d << shape_.shift[0])};
  s.level = long_run || below(3) ? arch::level_limit - 1 : static_cast<unsigned>(below(2));
  s.run.attr.type = below(6) == 0 && shape_.memory_types > 1;
  if (s.what == action::map_exact) fill_map_exact(s);
}

// Aligns what fill_map() made.
void step_maker::fill_map_exact(step& s) {
  s.level = below(8) ? static_cast<unsigned>(below(top_leaf_ ? 2 : 1)) : top_leaf_;
  const std::uint64_t leaf = shape_.slot_pages(s.level);
  gfn_range& r = s.run.range;
  const std::uint64_t distance = s.run.out.value - r.first.value;
  const std::uint64_t leaves = std::clamp(r.pages / leaf, std::uint64_t{1}, s.level ? 4 : 2 * small_);
  const std::uint64_t first = r.first.value / leaf;
  r.first = {first * leaf};
  r.pages = std::min(leaves, (window_ << shape_.shift[0]) / leaf - first) * leaf;
  s.run.out = {r.first.value + distance / leaf * leaf};
}

// Makes the update that continues the last one, as loops over pages do. False if there is no room for it.
bool step_maker::follow(step& s) {
  const std::uint64_t left = window_ - (last_.run.range.end().value >> shape_.shift[0]);
  if (last_.what > action::harvest || left == 0) return false;
  s = last_;
  const std::uint64_t unit = s.what == action::map_exact ? shape_.slot_pages(s.level) : shape_.slot_pages(0);
  constexpr std::uint64_t most[] = {1, 2, 8};
  const std::uint64_t pages = (1 + below(below(4) ? most[below(3)] : small_)) * unit;
  s.run.range = {last_.run.range.end(), std::min(pages, left << shape_.shift[0])};
  s.run.out = last_.run.out + last_.run.range.pages;
  s.page = s.run.range.first;
  return s.run.range.pages % unit == 0;
}

step step_maker::fresh() {
  step s;
  s.what = pick();
  s.run.range = range();
  const std::uint64_t unit = shape_.slot_pages(0);
  const std::uint64_t inside = below(std::min<std::uint64_t>(s.run.range.pages / unit, 64)) * unit;
  s.page = below(4) ? s.run.range.first + inside : gfn{place() * unit};
  s.run.attr.access = access();
  if (s.what <= action::map_exact) fill_map(s);
  constexpr std::array needs = {perm::w, perm::w, perm::r, perm::x};
  s.need = needs[below(needs.size())];
  s.harvest = static_cast<runtime::harvest>(1 + below(7));
  return s;
}

step step_maker::make() {
  step s;
  if (below(4) || !follow(s)) s = fresh();
  if (s.what <= action::harvest) last_ = s;
  return s;
}

step step_maker::make_apart() {
  constexpr std::array choice = {action::map, action::map, action::unmap, action::protect, action::map_keep};
  step s;
  s.what = choice[below(choice.size())];
  const std::uint64_t first = window_ + below(2 * small_);
  s.run.range = {{first << shape_.shift[0]}, (1 + below(2 * small_)) << shape_.shift[0]};
  s.run.out = {s.run.range.first.value + (below(2) && shape_.levels > 1 ? shape_.slot_pages(1) : 0)};
  s.run.attr.access = access();
  s.level = arch::level_limit - 1;
  s.page = s.run.range.first;
  return s;
}

}  // namespace quire::tests
