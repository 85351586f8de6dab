// One record of a batch queue: a run of pages to map, unmap, protect or harvest.
#pragma once

#include <bit>

#include "arch/address.h"
#include "arch/attributes.h"
#include "arch/bits.h"

namespace quire::runtime {

using arch::attributes;
using arch::gfn;
using arch::gfn_range;
using arch::hfn;
using arch::perm;

enum class operation : std::uint8_t { map, unmap, protect, harvest };

/// What harvest() does to the leaves it finds; combine with |.
enum class harvest : std::uint8_t {
  none = 0,
  accessed = 1,       ///< report and clear A
  dirty = 2,          ///< report and clear D
  write_protect = 4,  ///< with `dirty`: take write access from the leaves that were dirty
};
constexpr harvest operator|(harvest a, harvest b) {
  return static_cast<harvest>(static_cast<unsigned>(a) | static_cast<unsigned>(b));
}
constexpr bool includes(harvest all, harvest some) {
  return (static_cast<unsigned>(all) & static_cast<unsigned>(some)) == static_cast<unsigned>(some);
}

/// Ties an update to something that may change before it is committed, such as the memory slot that it was resolved
/// against: if space::bump_guard(index) was called since guard_sequence() gave `sequence`, the commit leaves it out.
struct guard {
  static constexpr unsigned count = 64;
  static constexpr std::uint32_t sequence_mask = (1u << 18) - 1;  // an update does not stay queued for longer
  std::uint32_t index = 0;  ///< 1..63; 0 = no guard
  std::uint32_t sequence = 0;
};

/// Everything about an update but its place, packed: a record built from narrow stores would stall when copied. The
/// attributes lie as they are in memory, so that packing them is one shift.
class update_kind {
 public:
  constexpr update_kind() = default;
  /// @param keep_present, exact  of a map
  /// @param h                    of a harvest
  constexpr update_kind(operation o, attributes a, unsigned leaf_level, bool keep_present, harvest h, bool exact = false)
      : bits_(static_cast<std::uint64_t>(o) | op_leaf::make(leaf_level) | in_attributes::make(std::bit_cast<std::uint32_t>(a)) |
              (o == operation::map ? op_keep::make(keep_present) | op_exact::make(exact) : 0) |
              (o == operation::harvest ? op_harvest::make(static_cast<std::uint64_t>(h)) : 0)) {}

  constexpr operation op() const { return static_cast<operation>(bits_ & 3); }
  /// Largest leaf level that a map uses, or that another operation may meet; decided per call, so that merging runs
  /// never changes the tables.
  constexpr unsigned leaf_level() const { return static_cast<unsigned>(op_leaf::get(bits_)); }
  /// Of a map.
  constexpr bool keep_present() const { return op_keep::get(bits_); }
  /// A map that wants its leaf size even where a larger leaf maps the same already.
  constexpr bool exact() const { return op_exact::get(bits_); }
  /// Of a harvest.
  constexpr harvest what() const { return static_cast<harvest>(op_harvest::get(bits_)); }
  constexpr attributes attr() const { return std::bit_cast<attributes>(static_cast<std::uint32_t>(in_attributes::get(bits_))); }
  /// Of a kind that was made with no attributes and leaf level 0.
  constexpr update_kind with(attributes a, unsigned leaf_level) const {
    update_kind k = *this;
    k.bits_ |= in_attributes::make(std::bit_cast<std::uint32_t>(a)) | op_leaf::make(leaf_level);
    return k;
  }
  constexpr update_kind with(guard g) const {
    update_kind k = *this;
    k.bits_ |= op_guard::make(g.index) | op_sequence::make(g.sequence);
    return k;
  }
  constexpr guard guarded_by() const {
    return {static_cast<std::uint32_t>(op_guard::get(bits_)), static_cast<std::uint32_t>(op_sequence::get(bits_))};
  }
  /// One that no update has.
  static constexpr update_kind none() {
    update_kind k;
    k.bits_ = ~std::uint64_t{0};
    return k;
  }
  friend constexpr bool operator==(update_kind, update_kind) = default;

 private:
  using op_leaf = arch::field<4, 2>;
  using op_keep = arch::field<5, 5>;
  using op_exact = arch::field<6, 6>;
  using op_harvest = arch::field<7, 5>;  // where a map has the two before
  using op_guard = arch::field<13, 8>;
  using op_sequence = arch::field<31, 14>;
  using in_attributes = arch::field<63, 32>;
  std::uint64_t bits_ = 0;
};

struct update {
  gfn_range range;
  hfn out{};  ///< of the first page; map only
  update_kind kind;
};

}  // namespace quire::runtime
