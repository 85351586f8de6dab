// tests/emulator/arm64/payload.cc: a program for EL2 that carries out requests on stage 2 and prints answers.
//
// It reads the block that pack_run() made for VTTBR_EL2, VTCR_EL2 and HCR_EL2, little-endian, at block_first.
#include "tests/emulator/arm64/payload.h"

#include "tests/emulator/arm64/layout.h"
#include "tests/emulator/emulator.h"

namespace quire::tests::arm64 {
namespace {

struct landing {
  u64 address, bytes;
};

/// Each frame of a landing area holds its address, room for a write probe, and NOP for a fetch probe.
void fill(const landing& l) {
  constexpr u64 NOP_twice = 0xd503'201f'd503'201f;
  for (u64 frame = l.address; frame < l.address + l.bytes; frame += 4096) {
    physical_store(frame, frame);
    physical_store(frame + 16, NOP_twice);
  }
}

/// [armarm] "PAR_EL1, Physical Address Register": F is bit 0, PA is 51:12. ESR_EL2 if AT itself had a fault.
reply translated(u64 address, bool at_done) {
  u64 par = 0;
  if (!at_done) {
    asm volatile("mrs %0, esr_el2" : "=r"(par));
    return {0, 0, {par, 0}};
  }
  asm volatile("mrs %0, par_el1" : "=r"(par));
  if ((par & 1) != 0) return {0, 0, {par, 0}};
  return {1, (par & 0xf'ffff'ffff'f000) | (address & 0xfff), {par, 0}};
}

reply run_command(u64 op, u64 operand, u64 second) {
  switch (static_cast<command>(op)) {
    case command::dsb_ishst:
      asm volatile("dsb ishst" ::: "memory");
      break;
    case command::dsb_ish:
      asm volatile("dsb ish" ::: "memory");
      break;
    case command::isb:
      asm volatile("isb" ::: "memory");
      break;
    case command::tlbi_ipas2e1is:
      asm volatile("tlbi ipas2e1is, %0" ::"r"(operand) : "memory");
      break;
    case command::tlbi_ripas2e1is:
      asm volatile("tlbi ripas2e1is, %0" ::"r"(operand) : "memory");
      break;
    case command::tlbi_vmalle1is:
      asm volatile("tlbi vmalle1is" ::: "memory");
      break;
    case command::tlbi_vmalls12e1is:
      asm volatile("tlbi vmalls12e1is" ::: "memory");
      break;
    case command::load_tables:
      set_tested_tables(operand, second);
      break;
    default:
      return {};
  }
  return {1, 0, {}};
}

reply perform(const packed_request& r) {
  const u64* operand = r.operand;
  const bool el0 = operand[2] == at_el0;
  reply result;
  switch (static_cast<probe>(r.what)) {
    case probe::read:
      return guest_read(operand[0], el0);
    case probe::write:
      return guest_write(operand[0], operand[1], el0);
    case probe::fetch:
      return guest_fetch(operand[0], el0);
    case probe::translate_read:
      return translated(operand[0], at_read(operand[0]));
    case probe::translate_write:
      return translated(operand[0], at_write(operand[0]));
    case probe::poke:
      result.done = physical_store(operand[0], operand[1]) ? 1 : 0;
      return result;
    case probe::command:
      return run_command(operand[0], operand[1], operand[2]);
    case probe::peek:
      result.done = physical_load(operand[0], &result.value) ? 1 : 0;
      return result;
    default:
      return result;
  }
}

void print_answer(const reply& r) {
  print(r.done != 0 ? "A 1" : "A 0");
  const u64 words[] = {r.value, r.detail[0], r.detail[1]};
  for (const u64 word : words) {
    print(" ");
    print_hex(word);
  }
  print("\n");
}

}  // namespace
}  // namespace quire::tests::arm64

using namespace quire::tests::arm64;

void payload_main() {
  open_output();
  const u64* block = reinterpret_cast<const u64*>(block_first);
  const u64 requests = block[0], landings = block[1];
  const auto* l = reinterpret_cast<const landing*>(block + 5);
  const auto* r = reinterpret_cast<const packed_request*>(l + landings);
  for (u64 i = 0; i < landings; ++i) fill(l[i]);
  set_up_guest(block[2], block[3], block[4]);
  for (u64 i = 0; i < requests; ++i) print_answer(perform(r[i]));
  leave(0);
}

void unexpected_exception() {
  u64 esr = 0, elr = 0, far = 0;
  asm volatile("mrs %0, esr_el2\n mrs %1, elr_el2\n mrs %2, far_el2" : "=r"(esr), "=r"(elr), "=r"(far));
  print("E unexpected exception: ESR_EL2 ");
  print_hex(esr);
  print(" ELR_EL2 ");
  print_hex(elr);
  print(" FAR_EL2 ");
  print_hex(far);
  print("\n");
  leave(1);
}
