// Values of the C ABI as the runtime has them, and back; checks of pointers and sizes.
#pragma once

#include <cstddef>

#include "quire/types.h"
#include "runtime/machine.h"

namespace quire::abi {

/// True if `p` cannot point to a T.
template <class T>
bool unusable(const T* p) {
  return !p || reinterpret_cast<std::uintptr_t>(p) % alignof(T) != 0;
}

/// QUIRE_OK if `p` points to a struct of a size that is known.
template <class T>
quire_status check_struct(const T* p) {
  if (unusable(p)) return QUIRE_BAD_POINTER;
  return p->size == sizeof(T) ? QUIRE_OK : QUIRE_BAD_SIZE;
}

inline quire_status code(runtime::status s) { return static_cast<quire_status>(s); }

static_assert(QUIRE_BAD_STATE == static_cast<int>(runtime::status::bad_state) &&
              QUIRE_BAD_CPU == static_cast<int>(runtime::status::bad_cpu) &&
              QUIRE_BAD_LEAF_LEVEL == static_cast<int>(runtime::status::bad_leaf_level) &&
              QUIRE_IN_SECTION == static_cast<int>(runtime::status::in_section) &&
              QUIRE_STOPPED == static_cast<int>(runtime::status::stopped));

inline runtime::lazy_state* native(quire_lazy_state* s) { return reinterpret_cast<runtime::lazy_state*>(s); }
inline quire_lazy_state* foreign(runtime::lazy_state* s) { return reinterpret_cast<quire_lazy_state*>(s); }

inline arch::gfn_range native(quire_range r) { return {arch::gfn{r.first}, r.pages}; }
inline quire_range foreign(arch::gfn_range r) { return {r.first.value, r.pages}; }

inline arch::attributes native(quire_attributes a) {
  return {static_cast<arch::perm>(a.access), a.type, a.options};
}
inline quire_attributes foreign(arch::attributes a) {
  return {static_cast<std::uint8_t>(a.access), a.type, a.options};
}

inline quire_mapping foreign(bool present, const runtime::mapping& m) {
  return {sizeof(quire_mapping),
          foreign(m.range),
          m.out.value,
          foreign(m.attr),
          m.accessed,
          m.dirty,
          m.level,
          present};
}

constexpr std::size_t mapping_at = offsetof(quire_mapping, range);
/// The runtime's mapping in the middle of a quire_mapping, so that a lookup writes it in place.
inline runtime::mapping& native(quire_mapping& m) {
  return *reinterpret_cast<runtime::mapping*>(reinterpret_cast<std::byte*>(&m) + mapping_at);
}
static_assert(offsetof(quire_mapping, hfn) == mapping_at + offsetof(runtime::mapping, out) &&
              offsetof(quire_mapping, attributes) == mapping_at + offsetof(runtime::mapping, attr) &&
              offsetof(quire_mapping, accessed) == mapping_at + offsetof(runtime::mapping, accessed) &&
              offsetof(quire_mapping, dirty) == mapping_at + offsetof(runtime::mapping, dirty) &&
              offsetof(quire_mapping, level) == mapping_at + offsetof(runtime::mapping, level) &&
              offsetof(quire_mapping, present) ==
                  mapping_at + offsetof(runtime::mapping, level) + sizeof(unsigned) &&
              offsetof(quire_attributes, options) == offsetof(arch::attributes, options));

}  // namespace quire::abi
