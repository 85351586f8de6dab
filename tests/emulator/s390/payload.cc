// The s390 payload: has the machine use the tables under test, request by request.
//
// It runs in the real space. The tables under test give the secondary space, for loads, stores and LRA, and
// the home space, for fetches: the payload needs no page of its own in them. Between requests it flushes
// nothing.
#include "tests/emulator/emulator.h"
#include "tests/emulator/s390/payload_output.h"

namespace quire::tests::s390 {
// payload.S. Each std::uint64_t is 0 or the code of the program interruption that the instruction met; not so
// those about storage keys.
extern "C" {
void load_spaces(std::uint64_t asce);
std::uint64_t real_read(std::uint64_t address, std::uint64_t* value);
std::uint64_t real_write(std::uint64_t address, std::uint64_t value);
std::uint64_t guest_read(std::uint64_t address, std::uint64_t* value);
std::uint64_t guest_write(std::uint64_t address, std::uint64_t value);
std::uint64_t guest_fetch(std::uint64_t address);
std::uint64_t guest_lra(std::uint64_t address, std::uint64_t* r1, std::uint64_t* cc);
std::uint64_t ipte_global(std::uint64_t table, std::uint64_t address);
std::uint64_t ipte_local(std::uint64_t table, std::uint64_t address);
std::uint64_t ipte_range_global(std::uint64_t table, std::uint64_t address, std::uint64_t additional);
std::uint64_t ipte_range_local(std::uint64_t table, std::uint64_t address, std::uint64_t additional);
std::uint64_t idte_global(std::uint64_t r1, std::uint64_t r2, std::uint64_t r3);
std::uint64_t idte_local(std::uint64_t r1, std::uint64_t r2, std::uint64_t r3);
std::uint64_t crdte_global(std::uint64_t old, std::uint64_t made, std::uint64_t table, std::uint64_t address,
                           std::uint64_t* cc);
std::uint64_t crdte_local(std::uint64_t old, std::uint64_t made, std::uint64_t table, std::uint64_t address,
                          std::uint64_t* cc);
void csp_purge(std::uint32_t* word);
void ptlb();
void sske(std::uint64_t address, std::uint64_t key);
std::uint64_t iske(std::uint64_t address);
std::uint64_t rrbe(std::uint64_t address);
void payload_main();
void payload_interrupted();
}

namespace {

// [pop] "Assigned Storage Locations". `teid` is the translation-exception identification.
const volatile std::uint16_t& program_interruption_code = *reinterpret_cast<std::uint16_t*>(0x8e);
volatile std::uint64_t& teid = *reinterpret_cast<std::uint64_t*>(0xa8);
const volatile std::uint64_t& program_old_address = *reinterpret_cast<std::uint64_t*>(0x158);

const run_header& run = *reinterpret_cast<const run_header*>(run_address);

machine on() { return static_cast<machine>(run.machine); }

/// Done with `value`, or the fault.
probe_answer outcome(std::uint64_t code, std::uint64_t value) {
  if (code != 0) return {.done = 0, .value = 0, .detail = {code, teid}};
  return {.done = 1, .value = value, .detail = {}};
}

/// [pop] "Access Exceptions" recognized by translation, protection and addressing.
bool access_exception(std::uint64_t code) {
  switch (code) {
    case 0x04:  // protection
    case 0x05:  // addressing
    case 0x10:  // segment translation
    case 0x11:  // page translation
    case 0x12:  // translation specification
    case 0x38:  // ASCE type
    case 0x39:  // region-first translation
    case 0x3a:  // region-second translation
    case 0x3b:  // region-third translation
      return true;
    default:
      return false;
  }
}

probe_answer read(const packed_request& r) {
  std::uint64_t value = 0;
  const auto code = guest_read(r.operand[0], &value);
  return outcome(code, value);
}

/// Stores a value that was never stored before, then looks for it where it should be.
probe_answer write(const packed_request& r) {
  static std::uint64_t unique = 0x5175697265000000;
  const auto code = guest_write(r.operand[0] + 8, ++unique);
  std::uint64_t found = 0;
  const bool arrived = code == 0 && real_read(r.operand[1] + 8, &found) == 0 && found == unique;
  return outcome(code, arrived ? r.operand[1] : 0);
}

probe_answer fetch(const packed_request& r) {
  const auto code = guest_fetch(r.operand[0]);
  return outcome(access_exception(code) ? code : 0, 0);
}

/// LRA looks at no protection bit: reads and writes are the same.
probe_answer translate(const packed_request& r) {
  std::uint64_t r1 = 0, cc = 0;
  const auto code = guest_lra(r.operand[0], &r1, &cc);
  if (code != 0) return outcome(code, 0);
  return {.done = cc == 0, .value = cc == 0 ? r1 : 0, .detail = {cc, r1}};
}

probe_answer peek(const packed_request& r) {
  std::uint64_t value = 0;
  const auto code = real_read(r.operand[0], &value);
  return outcome(code, value);
}

/// QEMU has no IPTE-range facility: there, one instruction for each entry. Hercules has it, but does not
/// report it.
probe_answer ipte(const std::uint64_t* operand, bool local) {
  const std::uint64_t table = operand[0], address = operand[1], additional = operand[2];
  if (on() == machine::hercules && additional != 0)
    return outcome((local ? ipte_range_local : ipte_range_global)(table, address, additional), 0);
  for (std::uint64_t i = 0; i <= additional; ++i)
    if (const auto code = (local ? ipte_local : ipte_global)(table, address + (i << 12)); code != 0)
      return outcome(code, 0);
  return outcome(0, 0);
}

probe_answer idte(const std::uint64_t* operand, bool local) {
  const std::uint64_t table = operand[0], address = operand[1] & ~0xfffUL, additional = operand[2];
  return outcome((local ? idte_local : idte_global)(table, address | additional, 0), 0);
}

probe_answer idte_asce(const std::uint64_t* operand, bool local) {
  constexpr std::uint64_t clearing_by_asce = 0x800;
  return outcome((local ? idte_local : idte_global)(0, clearing_by_asce, operand[0]), 0);
}

probe_answer crdte(const std::uint64_t* operand, bool local) {
  std::uint64_t cc = 0;
  const auto code = (local ? crdte_local : crdte_global)(operand[0], operand[1], operand[2], operand[3], &cc);
  if (code != 0) return outcome(code, 0);
  return {.done = 1, .value = 0, .detail = {cc, 0}};
}

probe_answer purge(bool local) {
  static std::uint32_t word = 0;
  if (local) {
    ptlb();
  } else {
    csp_purge(&word);
  }
  return outcome(0, 0);
}

probe_answer set_key(const std::uint64_t* operand) {
  sske(operand[0], operand[1]);
  return outcome(0, 0);
}

probe_answer load_asce(const std::uint64_t* operand) {
  load_spaces(operand[0]);
  return outcome(0, 0);
}

probe_answer command(const packed_request& r) {
  const std::uint64_t* operand = r.operand + 1;
  switch (static_cast<op>(r.operand[0])) {
    case op::ipte:
      return ipte(operand, false);
    case op::ipte_local:
      return ipte(operand, true);
    case op::idte:
      return idte(operand, false);
    case op::idte_local:
      return idte(operand, true);
    case op::idte_asce:
      return idte_asce(operand, false);
    case op::idte_asce_local:
      return idte_asce(operand, true);
    case op::crdte:
      return crdte(operand, false);
    case op::crdte_local:
      return crdte(operand, true);
    case op::purge:
      return purge(false);
    case op::purge_local:
      return purge(true);
    case op::load_asce:
      return load_asce(operand);
    case op::set_key:
      return set_key(operand);
    case op::key:
      return outcome(0, iske(operand[0]));
    case op::reset_reference:
      return {.done = 1, .value = 0, .detail = {rrbe(operand[0]), 0}};
  }
  return {};
}

probe_answer execute(const packed_request& r) {
  teid = 0;
  switch (static_cast<probe>(r.what)) {
    case probe::read:
      return read(r);
    case probe::write:
      return write(r);
    case probe::fetch:
      return fetch(r);
    case probe::translate_read:
    case probe::translate_write:
      return translate(r);
    case probe::poke:
      return outcome(real_write(r.operand[0], r.operand[1]), 0);
    case probe::command:
      return command(r);
    case probe::peek:
      return peek(r);
  }
  return {};
}

/// Word 0 of each frame is its own address. Its first halfword, 0, is no instruction: see guest_fetch.
void fill(const landing& l) {
  for (std::uint64_t at = l.address; at < l.address + l.bytes; at += 4096) real_write(at, at);
}

}  // namespace

void payload_main() {
  const auto* landings = reinterpret_cast<const landing*>(&run + 1);
  const auto* requests = reinterpret_cast<const packed_request*>(landings + run.landings);
  load_spaces(run.asce);
  for (std::uint64_t i = 0; i < run.landings; ++i) fill(landings[i]);
  for (std::uint64_t i = 0; i < run.requests; ++i) put(execute(requests[i]));
  finish(on());
}

/// An interruption that no guarded function expected.
void payload_interrupted() {
  put_interruption(program_interruption_code, program_old_address);
  finish(on());
}

}  // namespace quire::tests::s390
