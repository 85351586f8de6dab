// Memory and timing of limits.h.
#include "perf/compare/limits.h"

#include <algorithm>

#include "perf/compare/kernels.h"
#include "perf/compare/memory.h"
#include "perf/compare/stopwatch.h"

namespace quire::perf {

namespace {

constexpr std::uint64_t first_word = 0x1000'0037, word_step = 0x1000, write_bit = 2;

/// Words as leaf tables would have them: those of the dense pages, or of all sparse ones.
struct leaf_words {
  leaf_words(layout l, std::uint64_t pages)
      : memory((l == layout::sparse ? sparse_pages : pages) * sizeof(std::uint64_t)),
        words(memory.words(), pages) {
    if (l == layout::dense) return;
    working_set set = make_working_set(l == layout::sparse ? l : layout::dense, pages, table_words);
    for (const std::uint64_t p : set.shuffled.pages) index.push_back(static_cast<std::uint32_t>(p - first_page));
  }

  present_memory memory;
  std::span<std::uint64_t> words;  // the first ones: all if pages are dense
  std::vector<std::uint32_t> index;
  std::vector<std::uint64_t> found;
};

using step = void (*)(leaf_words& m);
using test = bool (*)(const leaf_words& m);

struct limit {
  std::string_view operation;
  bool with_status;  ///< for rows with A and D
  layout pages;      ///< kept: in random order
  step start, run;
  test good;  ///< the words are as `run` has to leave them
};

void clear_all(leaf_words& m) { zero(m.words); }
void clear_shuffled(leaf_words& m) {
  for (const std::uint32_t i : m.index) m.memory.words()[i] = 0;
}
void fill_all(leaf_words& m) {
  zero(m.words);
  check_and_fill(m.words, first_word, word_step);
}
void scatter_all(leaf_words& m) { scatter(m.memory.words(), m.index); }
void gather_all(leaf_words& m) {
  m.found.resize(m.index.size());
  const std::span<const std::uint32_t> index(m.index);
  for (std::size_t i = 0; i < index.size(); i += lookup_batch) {
    const std::size_t n = std::min<std::size_t>(lookup_batch, index.size() - i);
    gather(m.memory.words(), index.subspan(i, n), std::span(m.found).subspan(i, n));
  }
}

void fill_empty(leaf_words& m) { check_and_fill(m.words, first_word, word_step); }

// `expected(i)` for the i-th word, a function without state.
template <class Expected>
bool all_are(const leaf_words& m, Expected expected) {
  for (std::size_t i = 0; i < m.words.size(); ++i) {
    if (m.words[i] != expected(i)) return false;
  }
  return true;
}
bool all_filled(const leaf_words& m) {
  return all_are(m, [](std::size_t i) { return first_word + i * word_step; });
}
bool all_protected(const leaf_words& m) {
  return all_are(m, [](std::size_t i) { return (first_word + i * word_step) & ~write_bit; });
}
bool all_zero(const leaf_words& m) {
  return all_are(m, [](std::size_t) { return std::uint64_t{0}; });
}
bool all_scattered(const leaf_words& m) {
  return std::all_of(m.index.begin(), m.index.end(),
                     [&](std::uint32_t i) { return m.memory.words()[i] == i; });
}
bool all_gathered(const leaf_words& m) {
  for (std::size_t i = 0; i < m.index.size(); ++i) {
    if (m.found[i] != m.index[i]) return false;
  }
  return true;
}

void protect_all(leaf_words& m) { and_not(m.words, write_bit); }
void protect_locked(leaf_words& m) { locked_and_each(m.words, ~write_bit); }
void unmap_locked(leaf_words& m) { exchange_each(m.words, 0); }
void scatter_and_gather(leaf_words& m) {
  scatter_all(m);
  gather_all(m);
}

const limit all_limits[] = {
    {"map_single_seq", false, layout::dense, clear_all, fill_empty, all_filled},
    {"map_range", false, layout::dense, clear_all, fill_empty, all_filled},
    {"map_random_1g", false, layout::kept, clear_shuffled, scatter_all, all_scattered},
    {"map_random_64g", false, layout::sparse, clear_shuffled, scatter_all, all_scattered},
    {"protect_range", false, layout::dense, fill_all, protect_all, all_protected},
    {"protect_range", true, layout::dense, fill_all, protect_locked, all_protected},
    {"unmap_range", false, layout::dense, fill_all, clear_all, all_zero},
    {"unmap_range", true, layout::dense, fill_all, unmap_locked, all_zero},
    {"unmap_single_seq", false, layout::dense, fill_all, clear_all, all_zero},
    {"unmap_single_seq", true, layout::dense, fill_all, unmap_locked, all_zero},
    {"lookup_1g", false, layout::kept, scatter_and_gather, gather_all, all_gathered},
    {"lookup_64g", false, layout::sparse, scatter_and_gather, gather_all, all_gathered},
};

lane make_lane(const limit& l, const std::string& format, std::uint64_t pages) {
  lane made;
  made.column = "limit";
  made.format = format;
  const auto memory = std::make_shared<leaf_words>(l.pages, pages);
  made.check = [memory, &l](lane& /*own*/) {
    l.start(*memory);
    l.run(*memory);
    return l.good(*memory) ? std::string()
                           : std::string(l.operation) + ", limit: the words are not what they should be";
  };
  made.run = [memory, &l, pages] {
    l.start(*memory);
    const stopwatch watch;
    l.run(*memory);
    return watch.ns() / static_cast<double>(pages);
  };
  return made;
}

}  // namespace

void add_limits(const table_operation& o, const std::vector<row_format>& formats, contest& c) {
  for (const limit& l : all_limits) {
    if (l.operation != o.name) continue;
    if (!o.with_status) {
      c.lanes.push_back(make_lane(l, "", c.pages));
      continue;
    }
    for (const row_format& f : formats) {
      if (f.tracks_status == l.with_status) c.lanes.push_back(make_lane(l, f.name, c.pages));
    }
  }
}

}  // namespace quire::perf
