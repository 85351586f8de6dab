// Where the payload and its runners meet in the emulated machine's memory; every word is big endian.
#pragma once

#include <cstdint>

namespace quire::tests::s390 {

inline constexpr std::uint64_t payload_address = 0x20000;  // QEMU takes an image at 0x10000 for Linux
inline constexpr std::uint64_t run_address = 0x100000;
inline constexpr std::uint64_t answers_address = 0x400000;
inline constexpr std::uint64_t tables_address = 0x1000000;  // tables and landing areas lie here and above
inline constexpr std::uint64_t memory_mib = 1024;
inline constexpr std::uint64_t memory_bytes = memory_mib << 20;

enum class machine : std::uint64_t {
  qemu,      ///< answers leave through the SCLP console; no IPTE-range facility
  hercules,  ///< answers are saved from memory by a command of the emulator's
};

/// At run_address, as pack_run() writes it; then the landing areas, then the requests.
struct run_header {
  std::uint64_t requests, landings;
  std::uint64_t machine;  // pack_run()'s registers: this one and the next
  std::uint64_t asce;
};

struct landing {
  std::uint64_t address, bytes;
};

struct packed_request {
  std::uint64_t what;
  std::uint64_t operand[5];
};

/// operand[0] of probe::command; the others in the order given. `table` has the designation type in its low
/// bits where the instruction wants it there.
enum class op : std::uint64_t {
  ipte,        ///< page-table origin, guest address, additional entries
  ipte_local,  ///< likewise
  idte,        ///< table, guest address, additional entries
  idte_local,  ///< likewise
  idte_asce,   ///< asce
  idte_asce_local,
  crdte,  ///< old, new, table, guest address; the answer's detail[0] is the condition code
  crdte_local,
  purge,        ///< COMPARE AND SWAP AND PURGE
  purge_local,  ///< PURGE TLB
  // Those that only tests use.
  load_asce = 0xf8,  ///< asce: that of the spaces under test from now on; QEMU drops its TLB
  set_key,           ///< absolute address, storage key
  key,               ///< absolute address; the answer's value is the storage key
  reset_reference,   ///< absolute address; the answer's detail[0] is the condition code
};

inline constexpr std::uint64_t answer_line_bytes =
    5 + 3 * 17;  // "A 1", three times " " and 16 digits, newline, zero

constexpr bool fits(std::uint64_t requests, std::uint64_t landings) {
  constexpr std::uint64_t most = 1 << 16;
  return requests < most && landings < most &&
         run_address + sizeof(run_header) + landings * sizeof(landing) + requests * sizeof(packed_request) <=
             answers_address &&
         answers_address + requests * answer_line_bytes < tables_address - 4096;
}
static_assert(fits(20'000, 1'000));

}  // namespace quire::tests::s390
