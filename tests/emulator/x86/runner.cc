// Runs bochs: writes the disk and the configuration for the payload, takes the answers from its console.
#include <algorithm>
#include <cstring>

#include "tests/emulator/process.h"
#include "tests/emulator/x86/disk.h"
#include "tests/emulator/x86/stub.h"

namespace quire::tests {
namespace {

using namespace x86;

static_assert(static_cast<int>(probe::read) == static_cast<int>(run_probe::read));
static_assert(static_cast<int>(probe::write) == static_cast<int>(run_probe::write));
static_assert(static_cast<int>(probe::fetch) == static_cast<int>(run_probe::fetch));
static_assert(static_cast<int>(probe::translate_read) == static_cast<int>(run_probe::translate_read));
static_assert(static_cast<int>(probe::translate_write) == static_cast<int>(run_probe::translate_write));
static_assert(static_cast<int>(probe::poke) == static_cast<int>(run_probe::poke));
static_assert(static_cast<int>(probe::command) == static_cast<int>(run_probe::command));
static_assert(static_cast<int>(probe::peek) == static_cast<int>(run_probe::peek));
static_assert(sizeof(run_request) == 48, "as pack_run() writes it");

constexpr unsigned timeout_s = 60;
constexpr std::uint64_t mib = 1 << 20;

constexpr std::uint64_t sectors(std::uint64_t bytes) { return (bytes + sector_bytes - 1) / sector_bytes; }

/// Empty, or why the payload could not hold this run.
std::string refusal(const emulator_run& run, std::span<const memory_blob> blobs, std::size_t run_bytes) {
  const auto in_memory = [](std::uint64_t address, std::uint64_t bytes) {
    return address >= free_memory_start && address <= free_memory_end && bytes <= free_memory_end - address;
  };
  for (const auto& b : blobs)
    if (b.address % 8 || !in_memory(b.address, b.bytes.size())) return "a blob lies outside of 16 MiB .. 1 GiB";
  for (const auto& l : run.landings)
    if (l.address % 4096 || l.bytes % 4096 || !in_memory(l.address, l.bytes))
      return "a landing area lies outside of 16 MiB .. 1 GiB";
  if (blobs.size() * sizeof(disk_blob) > blob_list_limit) return "too many blobs";
  if (run_bytes > run_limit) return "too many requests";
  return {};
}

/// The least memory that holds everything; the emulator starts slower with more.
std::uint64_t ram_bytes(const emulator_run& run) {
  std::uint64_t end = free_memory_start;
  for (const auto& b : run.memory) end = std::max(end, b.address + b.bytes.size());
  for (const auto& l : run.landings) end = std::max(end, l.address + l.bytes);
  return (end + mib - 1) / mib * mib;
}

/// Sector 0, the list of blobs, the blobs, the packed run; filled up to whole cylinders of 16 * 63 sectors.
std::string make_disk(std::span<const memory_blob> blobs, std::uint64_t ram, std::string_view packed) {
  constexpr std::uint64_t cylinder_bytes = 16 * 63 * sector_bytes;
  std::vector<disk_blob> list;
  std::uint64_t sector = 1 + sectors(blobs.size() * sizeof(disk_blob));
  for (const auto& b : blobs) {
    list.push_back({b.address, b.bytes.size(), sector});
    sector += sectors(b.bytes.size());
  }
  const disk_header header{disk_magic, ram, list.size(), sector, packed.size()};
  const std::uint64_t end = (sector + sectors(packed.size())) * sector_bytes;
  std::string disk((end + cylinder_bytes - 1) / cylinder_bytes * cylinder_bytes, '\0');
  std::memcpy(disk.data(), &header, sizeof header);
  if (!list.empty()) std::memcpy(disk.data() + sector_bytes, list.data(), list.size() * sizeof(disk_blob));
  for (std::size_t i = 0; i < list.size(); ++i)
    std::memcpy(disk.data() + list[i].sector * sector_bytes, blobs[i].bytes.data(), blobs[i].bytes.size());
  std::memcpy(disk.data() + header.run_sector * sector_bytes, packed.data(), packed.size());
  return disk;
}

/// No BIOS: the ROM is all that runs. corei7_skylake_x has EPT with 1 GiB pages and A/D flags. The rfb display opens no
/// window and waits for nobody, and takes the next port if another run has one. Without the dummy sound driver bochs
/// dies where there is no sound card. Memory comes on a disk, for the payload to load: `optramimage` loads a file right
/// only up to 128 KiB. A disk is fast when ips is low.
std::string make_configuration(const std::filesystem::path& rom, std::uint64_t ram) {
  const std::string megabytes = std::to_string(ram / mib);
  return "cpu: model=corei7_skylake_x, count=1, ips=4000000, reset_on_triple_fault=0\n"
         "memory: guest=" + megabytes + ", host=" + megabytes + "\n"
         "romimage: file=\"" + rom.string() + "\", address=0xffff0000\n"
         "vgaromimage: file=vga-rom.bin\n"
         "ata0: enabled=1, ioaddr1=0x1f0, ioaddr2=0x3f0, irq=14\n"
         "ata0-master: type=disk, mode=flat, path=disk.img, cylinders=0\n"
         "boot: disk\n"
         "display_library: rfb, options=\"timeout=0\"\n"
         "clock: sync=none\n"
         "magic_break: enabled=1\n"
         "port_e9_hack: enabled=1\n"
         "sound: waveoutdrv=dummy\n"
         "log: bochs.log\n"
         "panic: action=fatal\n"
         "error: action=report\n"
         "info: action=ignore\n";
}

}  // namespace

emulator_result run_bochs(const emulator_run& run) {
  const auto rom = find_payload("x86-rom.bin");
  if (!rom) return {"no x86-rom.bin in $QUIRE_PAYLOADS", {}};
  const auto eptp = register_value(run, "eptp");
  if (!eptp) return {"the run gives no eptp", {}};
  const std::uint64_t registers[] = {*eptp};
  const std::string packed = pack_run(run, registers, std::endian::little);
  const auto blobs = merge_blobs(run.memory);
  if (auto why = refusal(run, blobs, packed.size()); !why.empty()) return {std::move(why), {}};

  scratch_folder folder;
  const std::uint64_t ram = ram_bytes(run);
  folder.write("disk.img", make_disk(blobs, ram, packed));
  folder.write("vga-rom.bin", std::string(512, '\0'));
  folder.write("bochsrc", make_configuration(*rom, ram));
  folder.write("commands", "c\nq\n");
  if (!folder.error().empty()) return {folder.error(), {}};
  const auto output = run_program({"bochs", "-f", "bochsrc", "-rc", "commands"}, folder.path(), timeout_s);
  auto result = to_result(output, run.requests.size());
  if (!result.error.empty()) {
    const std::string log = folder.read("bochs.log");
    result.error += "\nthe log ends:\n" + log.substr(log.size() - std::min<std::size_t>(log.size(), 1000));
  }
  return result;
}

}  // namespace quire::tests
