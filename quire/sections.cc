// The C ABI: states, sections and drains.
#include "quire/convert.h"
#include "quire/registry.h"

namespace quire::abi {

namespace {

// An empty range is refused, but only after the state was.
bool names_state(embedded_machine& m, quire_lazy_state* s) {
  return m.machine.unmap(native(s), {}) != runtime::status::bad_state;
}

// Stores a state that state() or enter() gave. They give null for two reasons.
quire_status answer(const embedded_machine& m, unsigned cpu, runtime::lazy_state* given,
                    quire_lazy_state** state) {
  if (!given) return m.registered(cpu) ? QUIRE_NO_MEMORY : QUIRE_BAD_CPU;
  *state = foreign(given);
  return QUIRE_OK;
}

}  // namespace

}  // namespace quire::abi

using namespace quire;
using namespace quire::abi;

quire_status quire_state(quire_machine* machine, unsigned cpu, quire_space* space,
                         quire_lazy_state** state) noexcept {
  embedded_machine* m = find(machine);
  if (!m) return QUIRE_BAD_MACHINE;
  runtime::space* s = find_space(*m, space);
  if (!s) return QUIRE_BAD_SPACE;
  if (unusable(state)) return QUIRE_BAD_POINTER;
  return answer(*m, cpu, m->machine.state(cpu, *s), state);
}

quire_status quire_enter(quire_machine* machine, unsigned cpu, quire_space* space, quire_range hint,
                         quire_lazy_state** state) noexcept {
  embedded_machine* m = find(machine);
  if (!m) return QUIRE_BAD_MACHINE;
  runtime::space* s = find_space(*m, space);
  if (!s) return QUIRE_BAD_SPACE;
  if (unusable(state)) return QUIRE_BAD_POINTER;
  return answer(*m, cpu, m->machine.enter(cpu, *s, native(hint)), state);
}

quire_status quire_leave(quire_machine* machine, quire_lazy_state* state) noexcept {
  embedded_machine* m = find(machine);
  return m ? code(m->machine.leave(native(state))) : QUIRE_BAD_MACHINE;
}

quire_status quire_flush(quire_machine* machine, quire_lazy_state* state) noexcept {
  embedded_machine* m = find(machine);
  return m ? code(m->machine.flush(native(state))) : QUIRE_BAD_MACHINE;
}

quire_status quire_pause(quire_machine* machine, quire_lazy_state* state) noexcept {
  embedded_machine* m = find(machine);
  return m ? code(m->machine.pause(native(state))) : QUIRE_BAD_MACHINE;
}

quire_status quire_resume(quire_machine* machine, quire_lazy_state* state) noexcept {
  embedded_machine* m = find(machine);
  return m ? code(m->machine.resume(native(state))) : QUIRE_BAD_MACHINE;
}

quire_status quire_drain(quire_machine* machine, unsigned cpu, quire_space* space,
                         const quire_range* range) noexcept {
  embedded_machine* m = find(machine);
  if (!m) return QUIRE_BAD_MACHINE;
  runtime::space* s = find_space(*m, space);
  if (!s) return QUIRE_BAD_SPACE;
  if (!range) return code(m->machine.drain(cpu, *s));
  if (unusable(range)) return QUIRE_BAD_POINTER;
  if (range->pages == 0 || !s->shape.holds(native(*range))) return QUIRE_BAD_RANGE;
  return code(m->machine.drain(cpu, *s, native(*range)));
}

quire_status quire_hand_over(quire_machine* machine, quire_lazy_state* state) noexcept {
  embedded_machine* m = find(machine);
  return m ? code(m->machine.hand_over(native(state))) : QUIRE_BAD_MACHINE;
}

quire_status quire_take_over(quire_machine* machine, unsigned cpu, quire_lazy_state* state,
                             quire_lazy_state** moved) noexcept {
  embedded_machine* m = find(machine);
  if (!m) return QUIRE_BAD_MACHINE;
  if (unusable(moved)) return QUIRE_BAD_POINTER;
  runtime::lazy_state* taken = nullptr;
  const runtime::status done = m->machine.take_over(cpu, native(state), taken);
  if (done == runtime::status::ok) *moved = foreign(taken);
  return code(done);
}

quire_status quire_hint(quire_machine* machine, quire_lazy_state* state, quire_range* hint) noexcept {
  embedded_machine* m = find(machine);
  if (!m) return QUIRE_BAD_MACHINE;
  if (!names_state(*m, state)) return QUIRE_BAD_STATE;
  if (unusable(hint)) return QUIRE_BAD_POINTER;
  *hint = foreign(m->machine.hint(native(state)));
  return QUIRE_OK;
}

quire_status quire_active(quire_machine* machine, quire_lazy_state* state, bool* answer) noexcept {
  embedded_machine* m = find(machine);
  if (!m) return QUIRE_BAD_MACHINE;
  if (!names_state(*m, state)) return QUIRE_BAD_STATE;
  if (unusable(answer)) return QUIRE_BAD_POINTER;
  *answer = m->machine.active(native(state));
  return QUIRE_OK;
}
