// What the runner lays on the disk that the payload reads: a header, a list of blobs, the blobs, the packed run.
#pragma once

#include <cstdint>

namespace quire::tests::x86 {

inline constexpr std::uint64_t sector_bytes = 512;
inline constexpr std::uint64_t disk_magic = 0x6b73'6964'6572'6975;

/// In sector 0. The list of blobs follows in sector 1 and after.
struct disk_header {
  std::uint64_t magic;
  std::uint64_t ram_bytes;
  std::uint64_t blobs;
  std::uint64_t run_sector;
  std::uint64_t run_bytes;
};

struct disk_blob {
  std::uint64_t address;  ///< physical
  std::uint64_t bytes;
  std::uint64_t sector;  ///< of the first byte; every blob starts in a sector of its own
};

/// The packed run, see pack_run(): this head, the landing areas, the requests.
struct run_head {
  std::uint64_t requests;
  std::uint64_t landings;
  std::uint64_t eptp;
};

struct run_landing {
  std::uint64_t address;
  std::uint64_t bytes;
};

/// Values of quire::tests::probe, which the payload cannot include; the runner checks that they agree.
enum class run_probe : std::uint64_t { read, write, fetch, translate_read, translate_write, poke, command, peek };

struct run_request {
  run_probe what;
  std::uint64_t operand[5];
};

/// First operand of run_probe::command: arch::ept_flush::invept_single, and those that only tests use.
enum class run_command : std::uint64_t {
  invept_single = 0,      ///< INVEPT type 1; next operand: EPTP
  load_eptp = 0xfc,       ///< next operand: EPTP of the VM entries that follow
  invept = 0xfd,          ///< next operands: type, EPTP
  read_poke_read = 0xfe,  ///< see guest.h; next operands: guest address, guest address of an entry, its new value
  invept_global = 0xff    ///< INVEPT type 2
};

/// Where the payload puts the list and the run: above the stub page, below free_memory_start.
inline constexpr std::uint64_t blob_list_address = 0x30'0000;
inline constexpr std::uint64_t blob_list_limit = 0x10'0000;
inline constexpr std::uint64_t run_address = 0x40'0000;
inline constexpr std::uint64_t run_limit = 0xc0'0000;

}  // namespace quire::tests::x86
