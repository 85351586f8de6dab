// The C ABI: updates, lookups and walks.
#include "quire/convert.h"
#include "quire/registry.h"

namespace quire::abi {

namespace {

runtime::status map_with(runtime::machine& m, runtime::lazy_state* l, arch::gfn_range r, arch::hfn out,
                         arch::attributes a, const quire_map_options& o) {
  const runtime::guard g = {o.guard, o.guard_sequence};
  if (o.mode == QUIRE_MAP_REPLACE) return m.map(l, r, out, a, o.level, g);
  if (o.mode == QUIRE_MAP_KEEP_PRESENT) return m.map_keep_present(l, r, out, a, o.level, g);
  return m.map_exact(l, r, out, a, o.level, g);
}

struct each {
  quire_visitor visit;
  void* context;
};
bool visit_each(void* context, const runtime::mapping& m) {
  const each& to = *static_cast<each*>(context);
  const quire_mapping out = foreign(true, m);
  return to.visit(to.context, &out);
}

struct applied {
  quire_range_visitor visit;
  void* context;
};
bool visit_applied(void* context, runtime::lazy_state* l, bool present, const runtime::mapping& m) {
  const applied& to = *static_cast<applied*>(context);
  const quire_mapping out = foreign(present, m);
  return to.visit(to.context, foreign(l), &out);
}

constexpr std::uint32_t all_harvest =
    QUIRE_HARVEST_ACCESSED | QUIRE_HARVEST_DIRTY | QUIRE_HARVEST_WRITE_PROTECT;
constexpr std::uint32_t all_walk = QUIRE_WALK_NO_LAZY | QUIRE_WALK_HOLES;
static_assert(QUIRE_HARVEST_WRITE_PROTECT == static_cast<int>(runtime::harvest::write_protect) &&
              QUIRE_HARVEST_DIRTY == static_cast<int>(runtime::harvest::dirty) &&
              QUIRE_WALK_NO_LAZY == static_cast<int>(runtime::walk_flags::no_lazy) &&
              QUIRE_WALK_HOLES == static_cast<int>(runtime::walk_flags::holes) &&
              QUIRE_UX == static_cast<int>(arch::perm::ux) && QUIRE_ANY_LEVEL == arch::level_limit - 1);

}  // namespace

}  // namespace quire::abi

using namespace quire;
using namespace quire::abi;

quire_status quire_map(quire_machine* machine, quire_lazy_state* state, quire_range range, uint64_t hfn,
                       quire_attributes attributes) noexcept {
  embedded_machine* m = find(machine);
  if (!m) return QUIRE_BAD_MACHINE;
  return code(m->machine.map(native(state), native(range), arch::hfn{hfn}, native(attributes)));
}

quire_status quire_map_with(quire_machine* machine, quire_lazy_state* state, quire_range range, uint64_t hfn,
                            quire_attributes attributes, const quire_map_options* options) noexcept {
  embedded_machine* m = find(machine);
  if (!m) return QUIRE_BAD_MACHINE;
  if (const quire_status bad = check_struct(options); bad != QUIRE_OK) return bad;
  if (options->mode > QUIRE_MAP_EXACT || options->guard >= QUIRE_GUARDS ||
      options->guard_sequence > runtime::guard::sequence_mask) {
    return QUIRE_BAD_OPTION;
  }
  return code(
      map_with(m->machine, native(state), native(range), arch::hfn{hfn}, native(attributes), *options));
}

quire_status quire_unmap(quire_machine* machine, quire_lazy_state* state, quire_range range) noexcept {
  embedded_machine* m = find(machine);
  return m ? code(m->machine.unmap(native(state), native(range))) : QUIRE_BAD_MACHINE;
}

quire_status quire_protect(quire_machine* machine, quire_lazy_state* state, quire_range range,
                           uint32_t access) noexcept {
  embedded_machine* m = find(machine);
  if (!m) return QUIRE_BAD_MACHINE;
  if (access >= arch::perm_values) return QUIRE_BAD_ATTRIBUTES;
  return code(m->machine.protect(native(state), native(range), static_cast<arch::perm>(access)));
}

quire_status quire_harvest_status(quire_machine* machine, quire_lazy_state* state, quire_range range,
                                  uint32_t what) noexcept {
  embedded_machine* m = find(machine);
  if (!m) return QUIRE_BAD_MACHINE;
  if (what & ~all_harvest) return QUIRE_BAD_OPTION;
  return code(m->machine.harvest_status(native(state), native(range), static_cast<runtime::harvest>(what)));
}

quire_status quire_lookup(quire_machine* machine, quire_lazy_state* state, uint64_t gfn,
                          quire_mapping* mapping) noexcept {
  embedded_machine* m = find(machine);
  if (!m) return QUIRE_BAD_MACHINE;
  if (const quire_status bad = check_struct(mapping); bad != QUIRE_OK) return bad;
  bool present = false;
  const runtime::status done = m->machine.lookup(native(state), arch::gfn{gfn}, native(*mapping), present);
  if (done == runtime::status::ok) mapping->present = present;
  return code(done);
}

quire_status quire_for_each(quire_machine* machine, quire_lazy_state* state, quire_range range,
                            quire_visitor visit, void* context) noexcept {
  embedded_machine* m = find(machine);
  if (!m) return QUIRE_BAD_MACHINE;
  if (!visit) return QUIRE_BAD_POINTER;
  each to{visit, context};
  return code(m->machine.for_each(native(state), native(range), visit_each, &to));
}

quire_status quire_apply_to_range(quire_machine* machine, quire_lazy_state* state, quire_range range,
                                  uint32_t flags, quire_range_visitor visit, void* context) noexcept {
  embedded_machine* m = find(machine);
  if (!m) return QUIRE_BAD_MACHINE;
  if (!visit) return QUIRE_BAD_POINTER;
  if (flags & ~all_walk) return QUIRE_BAD_OPTION;
  applied to{visit, context};
  return code(m->machine.apply_to_range(native(state), native(range), static_cast<runtime::walk_flags>(flags),
                                        visit_applied, &to));
}
