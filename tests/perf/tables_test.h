// tests/perf/tables_test.h: what a script of `quire tables` means and how hardware reads an image, told anew.
#pragma once

#include <xxhash.h>

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

#include <fmt/format.h>

namespace quire::tests {

/// Pages that follow one another in the guest and in the host, with the same rights.
struct page_run {
  std::uint64_t gfn = 0, pages = 0, hfn = 0;
  unsigned access = 0;  // r = 1, w = 2, x = 4
  unsigned type = 0;    // index in wb, wt, wp, wc, uc

  friend bool operator==(const page_run&, const page_run&) = default;
  std::string text() const {
    return fmt::format("{:#x}+{:#x} -> {:#x}, {}, {}", gfn, pages, hfn, access, type);
  }
};

/// Appends in ascending order; what continues the last run makes it longer.
inline void append(std::vector<page_run>& runs, const page_run& r) {
  if (!runs.empty()) {
    page_run& last = runs.back();
    const bool next = last.gfn + last.pages == r.gfn && last.hfn + last.pages == r.hfn;
    if (next && last.access == r.access && last.type == r.type) {
      last.pages += r.pages;
      return;
    }
  }
  runs.push_back(r);
}

/// XXH3-128 over u64 gfn, u64 pages, u64 hfn, u32 access, u32 type of each maximal run, little-endian.
inline std::string digest_of(const std::vector<page_run>& runs) {
  std::string bytes;
  const auto put = [&bytes](std::uint64_t value, unsigned size) {
    for (; size > 0; --size, value >>= 8) bytes += static_cast<char>(value & 0xff);
  };
  for (const page_run& r : runs) {
    for (const std::uint64_t value : {r.gfn, r.pages, r.hfn}) put(value, 8);
    for (const unsigned value : {r.access, r.type}) put(value, 4);
  }
  const XXH128_hash_t h = XXH3_128bits(bytes.data(), bytes.size());
  return fmt::format("{:016x}{:016x}", h.high64, h.low64);
}

struct operation {
  enum class kind { map, unmap, protect, enter, leave, pause, resume, flush } what;
  page_run run = {};
  std::optional<unsigned> exact = {};  // page=: 0, 1, 2 for 4k, 2m, 1g; none for auto
};

/// Pages mapped by one line, or what later lines left of them.
struct mapped_piece {
  page_run run;
  std::optional<unsigned> exact;

  /// Level of the largest leaf that may lie at a page of it.
  unsigned leaf_level(std::uint64_t gfn) const {
    unsigned level = exact.value_or(2);
    for (; level > 0; --level) {
      const std::uint64_t mask = (std::uint64_t{1} << (9 * level)) - 1;
      const std::uint64_t first = gfn & ~mask;
      const bool inside = first >= run.gfn && first + mask < run.gfn + run.pages;
      if (inside && !((first - run.gfn + run.hfn) & mask)) break;
    }
    return level;
  }
};

/// What the lines of a script leave behind, regardless of tables; pieces lie by their first page.
class script_model {
 public:
  void apply(const operation& o) {
    using enum operation::kind;
    switch (o.what) {
      case map:
        overlaps(o.run, ~0u);
        carve(o.run);
        pieces_[o.run.gfn] = {o.run, o.exact};
        break;
      case unmap:
        overlaps(o.run, ~0u);
        carve(o.run);
        break;
      case protect:
        overlaps(o.run, o.run.access);
        set_access(o.run);
        break;
      case enter:
        depth_ += !paused_;
        break;
      case leave:
        depth_ -= !paused_;
        break;
      case pause:
        ++paused_;
        break;
      case resume:
        --paused_;
        break;
      case flush:
        break;
    }
    const bool queued =
        depth_ > 0 && !paused_ && (o.what == map || o.what == unmap || o.what == protect || o.what == enter);
    if (!queued) commit();
  }

  unsigned depth() const { return depth_; }
  unsigned paused() const { return paused_; }
  const std::map<std::uint64_t, mapped_piece>& pieces() const { return pieces_; }
  std::vector<page_run> runs() const {
    std::vector<page_run> all;
    for (const auto& [gfn, p] : pieces_) append(all, p.run);
    return all;
  }
  /// Some page lost a right, its place or its type between two moments that a guest can tell apart.
  bool narrowed() const { return narrowed_; }
  /// No line ever met a page that was mapped and changed it.
  bool calm() const { return calm_; }

 private:
  void cut(std::uint64_t at) {
    auto p = pieces_.lower_bound(at);
    if (p == pieces_.begin()) return;
    mapped_piece& left = (--p)->second;
    const std::uint64_t pages = at - left.run.gfn;
    if (pages >= left.run.pages) return;
    mapped_piece right = left;
    right.run.gfn += pages;
    right.run.hfn += pages;
    right.run.pages -= pages;
    left.run.pages = pages;
    pieces_[at] = right;
  }
  void carve(const page_run& r) {
    cut(r.gfn);
    cut(r.gfn + r.pages);
    pieces_.erase(pieces_.lower_bound(r.gfn), pieces_.lower_bound(r.gfn + r.pages));
  }
  void set_access(const page_run& r) {
    const std::uint64_t end = r.gfn + r.pages;
    for (const std::uint64_t at : {r.gfn, end}) {
      auto p = pieces_.lower_bound(at);
      if (p != pieces_.begin() && std::prev(p)->second.run.access != r.access) cut(at);
    }
    for (auto p = pieces_.lower_bound(r.gfn); p != pieces_.lower_bound(end); ++p)
      p->second.run.access = r.access;
  }
  void overlaps(const page_run& r, unsigned access) {
    for (const auto& [gfn, p] : pieces_) {
      if (gfn < r.gfn + r.pages && r.gfn < gfn + p.run.pages && p.run.access != access) calm_ = false;
    }
  }
  void commit() {
    for (const auto& [gfn, old] : committed_) {
      for (std::uint64_t at = gfn; at < gfn + old.run.pages;) {
        auto p = pieces_.upper_bound(at);
        if (p == pieces_.begin()) return void(narrowed_ = true);
        const page_run& now = std::prev(p)->second.run;
        if (now.gfn + now.pages <= at || now.hfn + (at - now.gfn) != old.run.hfn + (at - gfn) ||
            now.type != old.run.type || (old.run.access & ~now.access)) {
          return void(narrowed_ = true);
        }
        at = now.gfn + now.pages;
      }
    }
    committed_ = pieces_;
  }

  std::map<std::uint64_t, mapped_piece> pieces_, committed_;
  unsigned depth_ = 0, paused_ = 0;
  bool narrowed_ = false, calm_ = true;
};

/// Reads an image as a processor does. [sdm3] "The Extended Page Table Mechanism (EPT)".
class ept_image {
 public:
  struct leaf {
    page_run run;
    unsigned level;  // 0 = PTE, 1 = PDE, 2 = PDPTE
  };

  ept_image(const std::string& bytes, std::uint64_t base, std::uint64_t eptp)
      : bytes_(bytes), base_(base), eptp_(eptp) {
    if ((eptp & 7) != 6) throw std::runtime_error("EPTP 2:0 is not write-back");
    if (eptp >> 52 || (eptp & 0xf80)) throw std::runtime_error("reserved bits of the EPTP are set");
    top_ = (eptp >> 3 & 7);  // page-walk length - 1
    if (top_ != 3 && top_ != 4) throw std::runtime_error("page-walk length");
    visit(eptp & frame_mask, top_, 0, 7);
  }

  const std::vector<leaf>& leaves() const { return leaves_; }
  /// Addresses of the tables met on the way from the root, the root included.
  const std::set<std::uint64_t>& tables() const { return tables_; }
  std::vector<page_run> runs() const {
    std::vector<page_run> all;
    for (const leaf& l : leaves_) append(all, l.run);
    return all;
  }

  /// One walk, for one page.
  std::optional<leaf> translate(std::uint64_t gfn) const {
    std::uint64_t table = eptp_ & frame_mask;
    unsigned access = 7;
    for (unsigned level = top_;; --level) {
      const std::uint64_t e = entry(table, gfn >> (9 * level) & 511);
      if (!(e & 7)) return std::nullopt;
      check(e, level);
      access &= e & 7;
      if (is_leaf(e, level)) {
        const std::uint64_t inside = gfn & ((std::uint64_t{1} << (9 * level)) - 1);
        return leaf{{gfn, 1, ((e & frame_mask) >> 12) + inside, access, type(e)}, level};
      }
      table = e & frame_mask;
    }
  }

 private:
  static constexpr std::uint64_t frame_mask = 0xffffffffff000;  // 51:12

  // An entry maps memory at the last level, and above it where bit 7 of a PDPTE or PDE is 1.
  static bool is_leaf(std::uint64_t e, unsigned level) { return level == 0 || (level <= 2 && (e & 0x80)); }

  static unsigned type(std::uint64_t e) {
    constexpr std::array<int, 8> index = {4, 3, -1, -1, 1, 2, 0, -1};  // 0 UC, 1 WC, 4 WT, 5 WP, 6 WB
    const int t = index[e >> 3 & 7];
    if (t < 0) throw std::runtime_error(fmt::format("entry {:#x}: reserved memory type", e));
    return static_cast<unsigned>(t);
  }

  static void check(std::uint64_t e, unsigned level) {
    const char* wrong = nullptr;
    if ((e & 3) == 2) wrong = "write without read";
    if (!is_leaf(e, level) && (e & 0xf8)) wrong = "reserved bits 7:3 of an entry that points to a table";
    if (is_leaf(e, level) && (e & frame_mask & ((std::uint64_t{0x1000} << (9 * level)) - 1)))
      wrong = "low address bits";
    if (e >> 52 || (e & 0xf40)) wrong = "bits that nobody asked for";
    if (wrong) throw std::runtime_error(fmt::format("entry {:#x} of level {}: {}", e, level, wrong));
  }

  std::uint64_t entry(std::uint64_t table, std::uint64_t index) const {
    const std::uint64_t at = table - base_ + index * 8;
    if (table < base_ || at + 8 > bytes_.size())
      throw std::runtime_error(fmt::format("table {:#x} is not in the image", table));
    std::uint64_t e = 0;
    for (unsigned i = 8; i-- > 0;) e = e << 8 | static_cast<unsigned char>(bytes_[at + i]);
    return e;
  }

  void visit(std::uint64_t table, unsigned level, std::uint64_t first, unsigned access) {
    if (!tables_.insert(table).second)
      throw std::runtime_error(fmt::format("table {:#x} is met twice", table));
    bool used = level == top_;
    for (std::uint64_t i = 0; i < 512; ++i) {
      const std::uint64_t e = entry(table, i);
      if (!(e & 7)) {
        if (e) throw std::runtime_error(fmt::format("entry {:#x} is not present and not 0", e));
        continue;
      }
      used = true;
      check(e, level);
      const std::uint64_t gfn = first + (i << (9 * level)), pages = std::uint64_t{1} << (9 * level);
      const unsigned rights = access & static_cast<unsigned>(e & 7);
      if (is_leaf(e, level)) {
        leaves_.push_back({{gfn, pages, (e & frame_mask) >> 12, rights, type(e)}, level});
      } else {
        visit(e & frame_mask, level - 1, gfn, rights);
      }
    }
    if (!used) throw std::runtime_error(fmt::format("table {:#x} is empty and still linked", table));
  }

  const std::string& bytes_;
  std::uint64_t base_, eptp_;
  unsigned top_ = 0;
  std::vector<leaf> leaves_;
  std::set<std::uint64_t> tables_;
};

}  // namespace quire::tests
