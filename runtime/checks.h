// What is checked of an update before anything is queued or changed.
#pragma once

#include "runtime/space.h"
#include "runtime/status.h"

namespace quire::runtime {

inline status check_range(const geometry& s, gfn_range r) {
  if (r.pages == 0 || !s.holds(r)) return status::bad_range;
  return ((r.first.value | r.pages) & (s.slot_pages(0) - 1)) ? status::misaligned : status::ok;
}

inline bool has_access(const geometry& s, perm p) {
  const auto i = static_cast<unsigned>(p);
  return i < arch::perm_values && (s.access_set >> i & 1);
}

inline status check_map(const geometry& s, gfn_range r, hfn out, attributes a) {
  if (const status bad = check_range(s, r); bad != status::ok) return bad;
  if (out.value >= s.output_pages || r.pages > s.output_pages - out.value) return status::bad_range;
  if (out.value & (s.slot_pages(0) - 1)) return status::misaligned;
  const bool known = has_access(s, a.access) && a.type < s.memory_types && (a.options & ~s.option_set) == 0;
  return known ? status::ok : status::bad_attributes;
}

}  // namespace quire::runtime
