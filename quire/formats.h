// What the C ABI says about formats: their options, memory types, leaf options and flush commands. Included
// by quire/types.h.
#ifndef QUIRE_FORMATS_H
#define QUIRE_FORMATS_H

#include <stdint.h>

/// Of structs that the library lays over its own, to spare a copy.
#ifdef __GNUC__
#define QUIRE_MAY_ALIAS __attribute__((may_alias))
#else
#define QUIRE_MAY_ALIAS
#endif

/// Formats of tables.
typedef enum quire_format {
  QUIRE_EPT,         ///< Intel VMX; root register: EPTP
  QUIRE_STAGE2_4K,   ///< Arm stage 2, granule of 4 KiB; root register: VTTBR_EL2
  QUIRE_STAGE2_16K,  ///< granule of 16 KiB
  QUIRE_STAGE2_64K,  ///< granule of 64 KiB
  QUIRE_DAT,         ///< z/Architecture; root register: ASCE
  QUIRE_NPT          ///< AMD-V; root register: nCR3
} quire_format;

/// quire_attributes::type of EPT.
enum quire_ept_type { QUIRE_EPT_WB, QUIRE_EPT_WT, QUIRE_EPT_WP, QUIRE_EPT_WC, QUIRE_EPT_UC };
/// quire_attributes::options of EPT; combine with |.
enum quire_ept_leaf_option {
  QUIRE_EPT_IGNORE_PAT = 1,
  QUIRE_EPT_SUPPRESS_VE = 2,
  QUIRE_EPT_VERIFY_GUEST_PAGING = 4,
  QUIRE_EPT_PAGING_WRITE = 8,
  QUIRE_EPT_SUPERVISOR_SHADOW_STACK = 16,
  QUIRE_EPT_SUB_PAGE_WRITE = 32
};
/// quire_attributes::type of stage 2: write-back, non-cacheable, Device-nGnRE.
enum quire_stage2_type { QUIRE_STAGE2_NORMAL, QUIRE_STAGE2_NC, QUIRE_STAGE2_DEVICE };
/// quire_attributes::type of NPT, by PAT entry as reset leaves it.
enum quire_npt_type { QUIRE_NPT_WB, QUIRE_NPT_WT, QUIRE_NPT_UC_MINUS, QUIRE_NPT_UC };

/// Options of an EPT space; not 0 = yes.
typedef struct quire_ept_options {
  uint8_t five_levels;         ///< EPT page-walk length 5
  uint8_t access_dirty;        ///< EPTP bit 6: hardware sets A and D
  uint8_t mode_based_execute;  ///< VM-execution control "mode-based execute control for EPT"
  uint8_t execute_only;        ///< IA32_VMX_EPT_VPID_CAP bit 0: X without R is legal; default 1
  uint8_t shadow_stack;        ///< EPTP bit 7: enforce access rights of supervisor shadow-stack pages
  uint8_t hyperv;              ///< nested under Hyper-V: flush by hypercall
} quire_ept_options;

/// Options of a stage-2 space of any granule; flags: not 0 = yes.
typedef struct quire_stage2_options {
  uint32_t ipa_bits;    ///< input size, 32..48; to 52 with lpa2, or with the 64K granule; default 40
  uint32_t oa_bits;     ///< output size: 32, 36, 40, 42, 44, 48; 52 as ipa_bits; default 48
  uint16_t vmid;        ///< in the root register; above 255: VTCR_EL2.VS is set; default 1
  uint8_t lpa2;         ///< FEAT_LPA2, 4K and 16K granules
  uint8_t fwb;          ///< FEAT_S2FWB: HCR_EL2.FWB is set
  uint8_t dbm;          ///< FEAT_HAFDBS: hardware sets AF, and dirty state by DBM
  uint8_t contiguous;   ///< set the contiguous hint on aligned groups of leaves that one map covers
  uint8_t xnx;          ///< FEAT_XNX: execution is allowed for EL1 (x) and EL0 (ux) apart
  uint8_t tlbi_ranges;  ///< FEAT_TLBIRANGE; default 1
} quire_stage2_options;

/// Options of a DAT space; flags: not 0 = yes.
typedef struct quire_dat_options {
  uint8_t asce;  ///< the ASCE designates: 0 segment, 1 region-third, 2 region-second, 3 region-first table;
                 ///< default 1
  uint8_t edat;  ///< 1: 1 MiB frames, protection in region entries; 2: 2 GiB frames and CRDTE too
  uint8_t iep;   ///< instruction-execution protection
  uint8_t common_segments;  ///< all segments are common
  uint8_t ipte_ranges;      ///< facility 13: IPTE takes a count of additional entries; default 1
} quire_dat_options;

/// Options of an NPT space.
typedef struct quire_npt_options {
  uint32_t asid;  ///< what TLB_CONTROL flushes, from 1; default 1
} quire_npt_options;

/// One instruction or one hypercall word of a flush.
///
/// `op` is an enumerator of the plan's format: quire_ept_command, quire_stage2_command, quire_dat_command or
/// quire_npt_command; these say what the operands are, mostly registers as the instruction takes them.
typedef struct QUIRE_MAY_ALIAS quire_command {
  uint16_t op;          ///< what it does
  uint64_t operand[4];  ///< 0 where it takes fewer
} quire_command;

/// quire_command::op of EPT.
enum quire_ept_command {
  QUIRE_INVEPT_SINGLE,  ///< INVEPT type 1; operand 0: EPTP
  QUIRE_HYPERV_SPACE,   ///< HvCallFlushGuestPhysicalAddressSpace; operand 0: root table's address
  QUIRE_HYPERV_RANGE    ///< one range word of HvCallFlushGuestPhysicalAddressList; operands: root, word
};

/// quire_command::op of stage 2. TLBI acts on the VMID in VTTBR_EL2: switch to the space's first. Operand 0
/// is the register that a TLBI by IPA takes: bits 39:0 (single) are the IPA in units of 4 KiB.
enum quire_stage2_command {
  QUIRE_DSB_ISHST,
  QUIRE_DSB_ISH,
  QUIRE_ISB,
  QUIRE_TLBI_IPAS2E1IS,
  QUIRE_TLBI_RIPAS2E1IS,
  QUIRE_TLBI_VMALLE1IS,
  QUIRE_TLBI_VMALLS12E1IS
};

/// quire_command::op of DAT. Those named LOCAL clear the TLB of the CPU that executes them alone.
enum quire_dat_command {
  QUIRE_IPTE,  ///< operands: page-table origin (R1), guest address (R2), additional entries 0..255 (R3)
  QUIRE_IPTE_LOCAL,
  QUIRE_IDTE,  ///< operands: table designation (R1), guest address, additional entries; R2 is the sum of the
               ///< last two
  QUIRE_IDTE_LOCAL,
  QUIRE_IDTE_ASCE,  ///< operand 0: ASCE (R3), with 2048 in R2
  QUIRE_IDTE_ASCE_LOCAL,
  QUIRE_CRDTE,  ///< operands: expected entry (R1), new entry (R1 + 1), table (R2), guest address (R2 + 1)
  QUIRE_CRDTE_LOCAL,
  QUIRE_PURGE,       ///< CSP on a word of the sink's own
  QUIRE_PURGE_LOCAL  ///< PTLB
};

/// quire_command::op of NPT.
enum quire_npt_command {
  QUIRE_NPT_ASID  ///< TLB_CONTROL = 3 at the next VMRUN; operand 0: ASID
};

#endif  // QUIRE_FORMATS_H
