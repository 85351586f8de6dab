// What a page-table format must tell generic code: the `entry_format` concept.
#pragma once

#include <bit>
#include <concepts>
#include <cstdint>

#include "arch/address.h"
#include "arch/attributes.h"
#include "arch/level_rule.h"

namespace quire::arch {

/// Physical byte address of a table. Tables may be smaller than a frame, so a frame number would not do.
struct table_address {
  std::uint64_t byte = 0;
  friend constexpr auto operator<=>(table_address, table_address) = default;
};

enum class entry_kind : std::uint8_t { empty, leaf, table };

/// What has to happen around the change of one entry.
enum class transition : std::uint8_t {
  store,              ///< nothing can be cached: store, no flush
  store_then_flush,   ///< store now, flush at the end of the batch
  break_before_make,  ///< store an invalid entry, flush, store the new one
  invalidate_by_instruction,  ///< an instruction makes the entry invalid and flushes; then store the new one
  replace_by_instruction,     ///< an instruction puts the new entry in place and flushes
};

/// No format has more levels; sizes arrays that are indexed by level.
inline constexpr unsigned level_limit = 6;

/// A format is a small literal type. Its static members hold for every table of the format, its data members
/// are the options of one space (levels, A/D and so on). `w` is an entry, `l` the level that it sits in; level 0
/// holds only leaves.
template <class F>
concept entry_format = std::copyable<F> && requires(const F f, typename F::word w, unsigned l, hfn h,
                                                    table_address t, attributes a, perm p, unsigned i, bool b) {
  requires std::same_as<typename F::word, std::uint64_t>;
  { F::name } -> std::convertible_to<const char*>;
  requires std::same_as<std::remove_cvref_t<decltype(F::byte_order)>, std::endian>;
  // log2 of the bytes that a level-0 leaf maps, and of the entries of a full table.
  { F::base_shift } -> std::convertible_to<unsigned>;
  { F::index_bits(l) } -> std::same_as<unsigned>;
  // True if classify() can answer break_before_make; then park() and friends exist (see parking_format).
  { F::breaks } -> std::convertible_to<bool>;

  // Why the options of a space make no sense, or null. Only then do the other members hold.
  { f.bad_options() } -> std::same_as<const char*>;
  { f.levels() } -> std::same_as<unsigned>;
  { f.input_bits() } -> std::same_as<unsigned>;   // guest-physical address bits
  { f.output_bits() } -> std::same_as<unsigned>;  // host-physical address bits
  { f.leaf_allowed(l) } -> std::same_as<bool>;  // from level 0 up to some level, without gaps
  { f.access_set() } -> std::same_as<std::uint32_t>;  // bit p: leaves can express perm p
  { f.memory_types() } -> std::same_as<unsigned>;     // attributes::type is below this
  { f.option_set() } -> std::same_as<std::uint16_t>;  // attributes::options is a subset of this
  { f.level0_options() } -> std::same_as<std::uint16_t>;  // those that only level-0 leaves can express

  { f.empty(l) } -> std::same_as<typename F::word>;  // what unmapped slots hold
  { f.kind(w, l) } -> std::same_as<entry_kind>;
  { f.make_leaf(h, a, l) } -> std::same_as<typename F::word>;
  { f.make_table(t, l) } -> std::same_as<typename F::word>;
  { f.output(w, l) } -> std::same_as<hfn>;           // of a leaf
  { f.table(w, l) } -> std::same_as<table_address>;  // of a table entry
  { f.rule(l) } -> std::same_as<level_rule>;         // of the level, what the three above say
  { f.attributes_of(w, l) } -> std::same_as<attributes>;
  { f.with_access(w, p, l) } -> std::same_as<typename F::word>;
  // The i-th of the leaves one level down that together equal the leaf `w`, A and D included.
  { f.leaf_piece(w, l, i) } -> std::same_as<typename F::word>;
  // Why hardware would fault on the entry's form, or null.
  { f.malformed(w, l) } -> std::same_as<const char*>;

  // A and D. All of them are inert where the space does not track them.
  { f.status_bits() } -> std::same_as<typename F::word>;  // what hardware may set at any time
  { f.accessed(w) } -> std::same_as<bool>;
  { f.dirty(w) } -> std::same_as<bool>;
  { f.without_status(w, b, b) } -> std::same_as<typename F::word>;  // clears A, clears D
  { f.touched(w, l, b) } -> std::same_as<typename F::word>;         // as hardware leaves it after a read / write

  { f.classify(w, w, l) } -> std::same_as<transition>;
  { f.root_register(t) } -> std::same_as<std::uint64_t>;
};

/// A format whose entries can be broken. A parked word is invalid to hardware yet keeps the word that replaces
/// the old one, so that the make step of a commit needs no memory of its own.
template <class F>
concept parking_format = entry_format<F> && requires(typename F::word w) {
  { F::park(w) } -> std::same_as<typename F::word>;
  { F::unpark(w) } -> std::same_as<typename F::word>;
  { F::parked(w) } -> std::same_as<bool>;
};

/// A format whose valid entries change by instruction only: classify() answers ..._by_instruction, and never
/// store_then_flush or break_before_make.
template <class F>
concept instructed_format = entry_format<F> && F::by_instruction && requires(const F f, typename F::word w, unsigned l) {
  { f.invalidated(w, l) } -> std::same_as<typename F::word>;  // what the instruction leaves of `w`
  { f.restored(w, l) } -> std::same_as<typename F::word>;     // the inverse; what is empty or valid stays as it is
  { f.run_limit(l) } -> std::same_as<std::uint32_t>;          // entries of one table that one instruction takes
};

/// A format that marks aligned groups of neighbouring leaves which one TLB entry may hold. All leaves of a group carry
/// the mark, and the same attributes; hardware may keep A and D of any page of the group in any of them.
template <class F>
concept grouping_format = parking_format<F> && F::groups && requires(const F f, typename F::word w, unsigned l, bool b) {
  { f.group_bits(l) } -> std::same_as<unsigned>;  // log2 of the leaves of a group; 0 = the space has none
  { F::grouped(w) } -> std::same_as<bool>;
  { f.with_status_of(w, w) } -> std::same_as<typename F::word>;  // A and D of the second added to the first
  { F::with_group(w, b) } -> std::same_as<typename F::word>;
};

}  // namespace quire::arch
