// Runs QEMU's and Hercules' z/Architecture machines on page tables.
#include <array>
#include <bit>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "tests/emulator/emulator.h"
#include "tests/emulator/process.h"
#include "tests/emulator/s390/layout.h"

namespace quire::tests {
namespace {

using s390::machine;

constexpr unsigned timeout_s = 60;

std::string hex(std::uint64_t value) {
  std::string digits;
  for (; value != 0 || digits.empty(); value >>= 4)
    digits.insert(digits.begin(), "0123456789abcdef"[value & 15]);
  return digits;
}

bool in_memory(std::uint64_t address, std::uint64_t bytes) {
  return address >= s390::tables_address && address <= s390::memory_bytes &&
         bytes <= s390::memory_bytes - address;
}

/// Why the payload could not serve this run; empty if it can.
std::string refusal(const emulator_run& run) {
  if (!register_value(run, "asce")) return "s390: the register asce is missing";
  if (!s390::fits(run.requests.size(), run.landings.size()))
    return "s390: too many requests or landing areas";
  for (const auto& m : run.memory)
    if (!in_memory(m.address, m.bytes.size())) return "s390: no room for tables at 0x" + hex(m.address);
  for (const auto& l : run.landings)
    if (!in_memory(l.address, l.bytes)) return "s390: no room for a landing area at 0x" + hex(l.address);
  return {};
}

struct loaded_file {
  std::uint64_t address;
  std::string name;
};

/// Writes what lies in memory at the start: the run itself for the payload, and the tables.
std::vector<loaded_file> write_memory(scratch_folder& folder, const emulator_run& run, machine on) {
  const std::array registers{static_cast<std::uint64_t>(on), *register_value(run, "asce")};
  std::vector<loaded_file> files{{s390::run_address, "run"}};
  folder.write("run", pack_run(run, registers, std::endian::big));
  for (const auto& blob : merge_blobs(run.memory)) {
    files.push_back({blob.address, "memory" + std::to_string(files.size())});
    folder.write(files.back().name, blob.bytes);
  }
  return files;
}

/// Hercules' commands from power-on to the payload's first instruction; the payload says the rest. Not
/// `sysclear`: memory is zero already, and to clear it again takes seconds.
std::string hercules_commands(const std::vector<loaded_file>& files) {
  std::string text = "archmode z/Arch\nsysreset\n";
  for (const auto& f : files) text += "loadcore " + f.name + " " + hex(f.address) + "\n";
  text += "r 1a0=0000000180000000\n";  // restart new PSW
  text += "r 1a8=00000000000" + hex(s390::payload_address) + "\n";
  return text + "restart\n";
}

/// Processor 1 never runs: the payload has Hercules save memory on behalf of it. The device is there because
/// Hercules wants one. OSTAILOR QUIET: no trace of program interruptions.
std::string hercules_configuration() {
  return "CPUSERIAL 000001\nCPUMODEL 2094\nNUMCPU 2\nMAINSIZE " + std::to_string(s390::memory_mib) +
         "\nARCHMODE z/Arch\nOSTAILOR QUIET\nDIAG8CMD ENABLE\n0009 3215-C\n";
}

std::string file_bytes(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

}  // namespace

emulator_result run_qemu_s390x(const emulator_run& run) {
  if (const auto why = refusal(run); !why.empty()) return {why, {}};
  const auto payload = find_payload("s390-payload.elf");
  if (!payload) return {"s390-payload.elf is not in $QUIRE_PAYLOADS", {}};
  scratch_folder folder;
  std::vector<std::string> argv{
      "qemu-system-s390x", "-nodefaults", "-display", "none", "-accel", "tcg", "-cpu", "max"};
  for (const std::string word : {"-chardev", "stdio,id=c0", "-device", "sclpconsole,chardev=c0", "-kernel"})
    argv.push_back(word);
  argv.insert(argv.end(), {payload->string(), "-m", std::to_string(s390::memory_mib)});
  for (const auto& f : write_memory(folder, run, machine::qemu))
    argv.insert(argv.end(),
                {"-device", "loader,file=" + f.name + ",addr=0x" + hex(f.address) + ",force-raw=on"});
  if (!folder.error().empty()) return {folder.error(), {}};
  return to_result(run_program(argv, folder.path(), timeout_s), run.requests.size());
}

emulator_result run_hercules(const emulator_run& run) {
  if (const auto why = refusal(run); !why.empty()) return {why, {}};
  const auto payload = find_payload("s390-payload.bin");
  if (!payload) return {"s390-payload.bin is not in $QUIRE_PAYLOADS", {}};
  scratch_folder folder;
  auto files = write_memory(folder, run, machine::hercules);
  files.push_back({s390::payload_address, "payload"});
  folder.write("payload", file_bytes(*payload));
  folder.write("hercules.cnf", hercules_configuration());
  folder.write("hercules.rc", hercules_commands(files));  // read from the working folder
  if (!folder.error().empty()) return {folder.error(), {}};
  auto output = run_program({"hercules", "-d", "-f", "hercules.cnf"}, folder.path(), timeout_s);
  const auto answers = folder.read("answers");
  output.text = answers.empty() ? output.text : answers.substr(0, answers.find('\0'));
  return to_result(output, run.requests.size());
}

}  // namespace quire::tests
