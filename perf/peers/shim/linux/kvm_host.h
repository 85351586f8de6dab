// Shim for linux/kvm_host.h: arm64 with 4 KiB pages and FWB, whose invalidations are counted.
#pragma once

#include "perf/peers/shim/kernel.h"

#define CONFIG_ARM64_4K_PAGES 1
#define PTRS_PER_PTE 512
#define ARM64_HW_PGTABLE_LEVEL_SHIFT(level) (9 * (4 - (level)) + 3)
#define ARM64_HW_PGTABLE_LEVELS(bits) (((bits)-4) / 9)

#define ID_AA64MMFR0_EL1_PARANGE_SHIFT 0
#define ID_AA64MMFR0_EL1_PARANGE_MAX 5
#define cpuid_feature_extract_unsigned_field(word, shift) ((word) >> (shift)&15)
#define id_aa64mmfr0_parange_to_phys_shift(range) 48
#define get_vmid_bits(word) 16
#define ARM64_HAS_STAGE2_FWB 0
#define cpus_have_const_cap(capability) true

// [armarm] "VTCR_EL2": T0SZ 5:0, SL0 7:6 (2 - start level with 4 KiB granules), PS 18:16, VS 19.
#define VTCR_EL2_FLAGS 0UL
#define VTCR_EL2_PS_SHIFT 16
#define VTCR_EL2_T0SZ(bits) (64UL - (bits))
#define VTCR_EL2_IPA(vtcr) (64 - ((vtcr)&63))
#define VTCR_EL2_SL0_MASK GENMASK(7, 6)
#define VTCR_EL2_TGRAN_SL0_BASE 2U
#define VTCR_EL2_LVLS_TO_SL0(levels) FIELD_PREP(VTCR_EL2_SL0_MASK, VTCR_EL2_TGRAN_SL0_BASE - (4 - (levels)))
#define VTCR_EL2_VS_16BIT BIT(19)
#define VTCR_EL2_VS_8BIT 0UL

#define MT_NORMAL 0
#define MT_DEVICE_nGnRE 4
// [armarm] "Stage 2 memory type with FEAT_S2FWB": MemAttr 6 is write-back, 1 is device memory.
#define PAGE_S2_MEMATTR(type, fwb) ((u64)PAGE_S2_##type << 2)
#define PAGE_S2_NORMAL 6
#define PAGE_S2_DEVICE_nGnRE 1

struct kvm_pgtable;
struct kvm_arch {
  u64 vtcr;
};
struct kvm_s2_mmu {
  struct kvm_pgtable* pgt;
  struct kvm_arch* arch;
};

// What `arch/arm64/kvm/hyp/nvhe/tlb.c` issues: its TLBI and barriers, counted.
#define kvm_call_hyp(function, ...) function(__VA_ARGS__)
static inline void __kvm_tlb_flush_vmid_ipa(struct kvm_s2_mmu* mmu, u64 ipa, u32 level) {
  (void)mmu, (void)ipa, (void)level;
  dsb(ishst);
  ++peer_commands;  // IPAS2E1IS
  dsb(ish);
  ++peer_commands;  // VMALLE1IS
  dsb(ish);
  isb();
}
static inline void __kvm_tlb_flush_vmid(struct kvm_s2_mmu* mmu) {
  (void)mmu;
  dsb(ishst);
  ++peer_commands;  // VMALLS12E1IS
  dsb(ish);
  isb();
}
// For the hypervisor's own tables, which nobody uses here.
#define __TLBI_VADDR(address, asid) (address)
#define __tlbi_level(operation, address, level) ((void)(address), (void)(level))
#define __tlbi_sync_s1ish_hyp() dsb(ish)
