// tests/emulator/arm64/runner.cc: run_qemu_arm64(), which has QEMU's arm64 machine walk stage 2 tables.
//
// Registers: vttbr_el2 and vtcr_el2, both needed, loaded as they are; hcr_el2, or else RW, DC and VM are set.
// Memory and landing areas lie in [0x41000000, 0xc0000000). The tables under test need no entry for the
// payload, but no real access may go to stub_page (layout.h). A fetch is of the instruction 16 bytes into the
// page. operand[2] of a real access: at_el0, or 0 for EL1. Operands of a command: a number of `enum class
// command` (layout.h), Xt. A poke or peek where there is no memory is not done. A fault that is not stage 2's
// own (no memory behind the address, an address of more than 52 bits) is taken to EL1; then detail[0] is
// ESR_EL1 and detail[1] is 0. Where a table lies outside memory, a translation gives ESR_EL2, not PAR_EL1.
// QEMU keeps about 250 pages in its TLB: beyond that a stale page may go by itself.
#include <algorithm>
#include <array>

#include "tests/emulator/arm64/layout.h"
#include "tests/emulator/process.h"

namespace quire::tests {
namespace {

// [armarm] "HCR_EL2, Hypervisor Configuration Register": RW, VM. DC: stage 1 is off and its attributes are
// Normal write-back, so PAR_EL1.ATTR shows those of stage 2.
constexpr std::uint64_t default_hcr = 1u << 31 | 1u << 12 | 1u << 0;

std::string hex(std::uint64_t value) {
  std::string digits;
  do {
    digits.insert(digits.begin(), "0123456789abcdef"[value & 15]);
    value >>= 4;
  } while (value != 0);
  return "0x" + digits;
}

/// Empty if all memory and landing areas lie in RAM, off the payload, aligned and apart from each other.
std::string check_memory(const emulator_run& run) {
  struct region {
    std::uint64_t first, bytes, alignment;
  };
  std::vector<region> regions;
  for (const auto& m : run.memory) regions.push_back({m.address, m.bytes.size(), 8});
  for (const auto& l : run.landings) regions.push_back({l.address, l.bytes, 4096});
  std::sort(regions.begin(), regions.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  std::uint64_t free_from = arm64::payload_end;
  for (const auto& r : regions) {
    if (r.bytes == 0) continue;
    if (r.first % r.alignment != 0) return "not aligned: memory at " + hex(r.first);
    if (r.first < free_from) return "overlap: memory at " + hex(r.first);
    if (r.first >= arm64::ram_end || r.bytes > arm64::ram_end - r.first)
      return "not RAM: memory at " + hex(r.first);
    free_from = r.first + r.bytes;
  }
  return {};
}

/// Empty if no real access goes to the payload's own guest addresses.
std::string check_requests(const emulator_run& run) {
  for (const auto& r : run.requests) {
    const bool real = r.what == probe::read || r.what == probe::write || r.what == probe::fetch;
    if (real && (r.operand[0] & ~std::uint64_t{0xfff}) == arm64::stub_page)
      return "guest address of the payload itself: " + hex(r.operand[0]);
  }
  return {};
}

std::vector<std::string> command_line(const std::string& payload) {
  // virtualization: with EL2
  return {"qemu-system-aarch64",
          "-M",
          "virt,virtualization=on",
          "-cpu",
          "max",
          "-m",
          "2G",
          "-nodefaults",
          "-display",
          "none",
          "-serial",
          "none",
          "-monitor",
          "none",
          "-semihosting-config",
          "enable=on,target=native",
          "-kernel",
          payload};
}

}  // namespace

emulator_result run_qemu_arm64(const emulator_run& run) {
  const auto payload = find_payload("arm64-payload.elf");
  if (!payload) return {"no arm64-payload.elf in $QUIRE_PAYLOADS", {}};
  const auto vttbr = register_value(run, "vttbr_el2"), vtcr = register_value(run, "vtcr_el2");
  if (!vttbr || !vtcr) return {"vttbr_el2 or vtcr_el2 is missing", {}};
  for (const auto& wrong : {check_memory(run), check_requests(run)})
    if (!wrong.empty()) return {wrong, {}};
  const std::uint64_t hcr = register_value(run, "hcr_el2").value_or(default_hcr);
  const std::string block = pack_run(run, std::array{*vttbr, *vtcr, hcr}, std::endian::little);
  if (block.size() > arm64::block_end - arm64::block_first) return {"too many requests", {}};

  scratch_folder folder;
  auto argv = command_line(payload->string());
  const auto load = [&](std::uint64_t address, const std::string& bytes) {
    const std::string name = hex(address);
    folder.write(name, bytes);
    argv.insert(argv.end(), {"-device", "loader,file=" + name + ",addr=" + name + ",force-raw=on"});
  };
  load(arm64::block_first, block);
  for (const auto& m : merge_blobs(run.memory)) load(m.address, m.bytes);
  if (!folder.error().empty()) return {folder.error(), {}};
  return to_result(run_program(argv, folder.path(), 60), run.requests.size());
}

}  // namespace quire::tests
