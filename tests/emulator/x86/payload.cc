// What the payload does once the CPU is in 64-bit mode: loads memory, answers one request after the other, stops.
#include "tests/emulator/x86/disk.h"
#include "tests/emulator/x86/guest.h"
#include "tests/emulator/x86/ports.h"
#include "tests/emulator/x86/stub.h"
#include "tests/emulator/x86/vmx.h"

namespace quire::tests::x86 {
namespace {

std::uint64_t ram_bytes = 0;

volatile std::uint64_t& word_at(std::uint64_t address) {
  if (address % 8 || address >= ram_bytes) fail("no word of memory at", address);
  return *reinterpret_cast<volatile std::uint64_t*>(address);
}

/// Loads everything from the disk.
const run_head& load() {
  static std::uint8_t sector[sector_bytes];
  read_disk(0, sizeof sector, sector);
  const auto& header = *reinterpret_cast<const disk_header*>(sector);
  if (header.magic != disk_magic) fail("not a disk of the runner, it starts with", header.magic);
  ram_bytes = header.ram_bytes;
  read_disk(1, header.blobs * sizeof(disk_blob), reinterpret_cast<void*>(blob_list_address));
  const auto* blobs = reinterpret_cast<const disk_blob*>(blob_list_address);
  for (std::uint64_t i = 0; i < header.blobs; ++i)
    read_disk(blobs[i].sector, blobs[i].bytes, reinterpret_cast<void*>(blobs[i].address));
  read_disk(header.run_sector, header.run_bytes, reinterpret_cast<void*>(run_address));
  return *reinterpret_cast<const run_head*>(run_address);
}

void fill(const run_landing& area) {
  for (std::uint64_t at = area.address; at != area.address + area.bytes; at += 4096) word_at(at) = at;
}

outcome probe_write(const run_request& r, std::uint64_t unique) {
  outcome o = access_guest(access::write, r.operand[0], unique);
  const std::uint64_t expected = r.operand[1];
  const bool in_ram = expected % 8 == 0 && expected < ram_bytes - 8;
  if (o.done && in_ram && word_at(expected + 8) == unique) o.value = expected;
  return o;
}

outcome execute_invept(std::uint64_t type, std::uint64_t eptp) {
  if (invept(type, eptp)) return {true, 0, 0, 0};
  return {false, 0, vmread(field::instruction_error), 0};
}

outcome execute_command(const run_request& r) {
  switch (static_cast<run_command>(r.operand[0])) {
    case run_command::invept_single: return execute_invept(1, r.operand[1]);
    case run_command::invept: return execute_invept(r.operand[1], r.operand[2]);
    case run_command::invept_global: return execute_invept(2, 0);
    case run_command::load_eptp: change_tables(r.operand[1]); return {true, 0, 0, 0};
    case run_command::read_poke_read: return read_poke_read(r.operand[1], r.operand[2], r.operand[3]);
  }
  fail("unknown command", r.operand[0]);
}

outcome answer(const run_request& r, std::uint64_t unique) {
  switch (r.what) {
    case run_probe::read: return access_guest(access::read, r.operand[0], 0);
    case run_probe::write: return probe_write(r, unique);
    case run_probe::fetch: return access_guest(access::fetch, r.operand[0], 0);
    case run_probe::translate_read:
    case run_probe::translate_write: return {};  // no instruction does this
    case run_probe::poke: word_at(r.operand[0]) = r.operand[1]; return {true, 0, 0, 0};
    case run_probe::command: return execute_command(r);
    case run_probe::peek: return {true, word_at(r.operand[0]), 0, 0};
  }
  fail("unknown request", static_cast<std::uint64_t>(r.what));
}

void print_answer(const outcome& o) {
  print(o.done ? "A 1 " : "A 0 ");
  print_hex(o.value);
  print(" ");
  print_hex(o.reason);
  print(" ");
  print_hex(o.qualification);
  print("\n");
}

}  // namespace

extern "C" [[noreturn]] void payload_main() {
  const run_head& head = load();
  const auto* landings = reinterpret_cast<const run_landing*>(&head + 1);
  const auto* requests = reinterpret_cast<const run_request*>(landings + head.landings);
  for (std::uint64_t i = 0; i < head.landings; ++i) fill(landings[i]);
  start_guest(head.eptp);
  print("\n");  // the emulator may have begun a line
  for (std::uint64_t i = 0; i < head.requests; ++i) print_answer(answer(requests[i], 0x5157'0000'0000'0001 + i));
  stop();
}

}  // namespace quire::tests::x86
