// How DAT entries are invalidated and their translations cleared: IPTE, IDTE and CRDTE, each of which does both.
#pragma once

#include "arch/flush.h"
#include "arch/s390/dat.h"

namespace quire::arch {

/// flush_command::op. Even ones clear the TLBs of all CPUs, odd ones those of the CPU that executes them (the
/// local-clearing control of M4). [pop] "INVALIDATE PAGE TABLE ENTRY", "INVALIDATE DAT TABLE ENTRY", "COMPARE AND
/// REPLACE DAT TABLE ENTRY", "COMPARE AND SWAP AND PURGE", "PURGE TLB".
enum class dat_flush : std::uint16_t {
  /// Operands: page-table origin (R1), guest address (R2), additional entries 0..255 (R3), all of one page table. With
  /// additional entries the instruction is interruptible: a sink repeats it until R3 reads 255.
  ipte,
  ipte_local,
  /// Operands: table designation (R1: origin, type, length), guest address, additional entries 0..2047, all of one
  /// table. R2 is address | additional entries.
  idte,
  idte_local,
  /// Clears by ASCE and leaves entries alone. Operand: ASCE (R3), with 2048, the clearing-by-ASCE option, in R2.
  idte_asce,
  idte_asce_local,
  /// Compares, replaces and purges. Operands: expected entry (R1), new entry (R1 + 1), table origin with 1 in bit 59
  /// and the type in bits 60 and 61 (R2; the type of a page table would be 0 without bit 59), guest address (R2 + 1).
  crdte,
  crdte_local,
  /// Clears everything: CSP on a word of the sink's own, or PTLB. Where common segments make TLB entries outlive
  /// clearing by ASCE.
  purge,
  purge_local,
};

/// Entries change by these commands alone, so none can be widened or left out: what a request names as entries fits
/// the list: a commit holds back no more changes than command_list::capacity.
constexpr void plan_flush(const dat& f, std::uint64_t asce, const flush_request& r, command_list& out) {
  const auto op = [&r](dat_flush o) { return static_cast<std::uint16_t>(static_cast<unsigned>(o) + r.local); };
  out.clear();
  for (const entry_run& e : r.entries) {
    const std::uint64_t gpa = e.first.byte();
    if (e.replace) {
      out.add({op(dat_flush::crdte), {e.from, e.to, e.table.byte | zbit(59) | dat::TT::make(e.level - 1u), gpa}});
    } else if (e.level > 0) {
      out.add({op(dat_flush::idte), {dat::designation(e.table, e.level), gpa, e.entries - 1u}});
    } else {
      out.add({op(dat_flush::ipte), {e.table.byte, gpa, e.entries - 1u}});
    }
  }
  if (!r.whole) return;
  const bool all = f.common_segments;
  out.add({op(all ? dat_flush::purge : dat_flush::idte_asce), {all ? 0 : asce}});
}

constexpr text_line describe(const dat& /*f*/, const flush_command& c) {
  text_line line;
  const char* local = c.op & 1 ? " local" : "";
  switch (static_cast<dat_flush>(c.op & ~1u)) {
    case dat_flush::ipte:
      return line << "ipte pto=" << c.operand[0] << " address=" << c.operand[1] << " additional=" << c.operand[2] << local;
    case dat_flush::idte:
      return line << "idte table=" << c.operand[0] << " address=" << c.operand[1] << " additional=" << c.operand[2] << local;
    case dat_flush::idte_asce: return line << "idte asce=" << c.operand[0] << local;
    case dat_flush::crdte:
      return line << "crdte from=" << c.operand[0] << " to=" << c.operand[1] << " table=" << c.operand[2]
                  << " address=" << c.operand[3] << local;
    case dat_flush::purge: return line << (c.op & 1 ? "ptlb" : "csp");
    default: return line << "unknown command " << c.op;
  }
}

static_assert(flushing_format<dat>);

}  // namespace quire::arch
