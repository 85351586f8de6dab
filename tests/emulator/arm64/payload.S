// What the arm64 payload cannot say in C++: start, vectors of EL2, entry into EL1, and the code that runs there.

  .section .text.start, "ax"
  .global _start
_start:
  ldr x0, =stack_top
  mov sp, x0
  ldr x0, =vectors_el2
  msr vbar_el2, x0
  isb
  bl payload_main
1:
  b 1b

// uint64_t semihost(uint64_t operation, const void* block): a call to the host, see payload.cc.
  .global semihost
semihost:
  hlt #0xf000
  ret

// uint64_t run_guest(uint64_t pc, uint64_t x0, uint64_t x1, uint64_t spsr): enters EL1 or wherever `spsr` says; comes
// back with the guest's x0 on the next synchronous exception that is taken to EL2.
  .global run_guest
run_guest:
  stp x29, x30, [sp, #-96]!
  stp x19, x20, [sp, #16]
  stp x21, x22, [sp, #32]
  stp x23, x24, [sp, #48]
  stp x25, x26, [sp, #64]
  stp x27, x28, [sp, #80]
  msr elr_el2, x0
  msr spsr_el2, x3
  mov x0, x1
  mov x1, x2
  eret
guest_left:
  ldp x19, x20, [sp, #16]
  ldp x21, x22, [sp, #32]
  ldp x23, x24, [sp, #48]
  ldp x25, x26, [sp, #64]
  ldp x27, x28, [sp, #80]
  ldp x29, x30, [sp], #96
  ret

// bool physical_load(uint64_t address, uint64_t* value), bool physical_store(uint64_t address, uint64_t value): false
// if nothing answers there. EL2 runs with its MMU off. bool at_read(uint64_t address), bool at_write(uint64_t address):
// AT S12E1R and AT S12E1W; false if nothing answers where a table should be, which AT does not report in PAR_EL1.
// Leaf functions: a fault in them returns through x30.
  .global physical_load
  .global physical_store
  .global at_read
  .global at_write
may_fault_first:
physical_load:
  ldr x2, [x0]
  str x2, [x1]
  mov x0, #1
  ret
physical_store:
  str x1, [x0]
  mov x0, #1
  ret
at_read:
  at s12e1r, x0
  isb
  mov x0, #1
  ret
at_write:
  at s12e1w, x0
  isb
  mov x0, #1
  ret
may_fault_end:

fault_el2:
  mrs x9, elr_el2
  adr x10, may_fault_first
  cmp x9, x10
  b.lo 1f
  adr x10, may_fault_end
  cmp x9, x10
  b.hs 1f
  mov x0, #0
  msr elr_el2, x30
  eret
1:
  b unexpected_exception

// [armarm] "Exception vectors": four groups of four; synchronous exceptions come first in each.
  .section .vectors, "ax"
  .balign 0x800
vectors_el2:
  .rept 4
  .balign 0x80
  b unexpected_exception  // from EL2 with SP_EL0: never used
  .endr
  .balign 0x80
  b fault_el2
  .rept 3
  .balign 0x80
  b unexpected_exception
  .endr
  .balign 0x80
  b guest_left
  .rept 7
  .balign 0x80
  b unexpected_exception
  .endr
  .balign 0x80

// The code at EL1. HVC #0: it got through; HVC #1: an exception was taken to EL1.
  .section .stub, "ax"
  .balign 0x1000
  .global stub_load
  .global stub_store
  .global stub_idle
  .global stub_vectors
stub_load:
  ldr x0, [x0]
stub_idle:
  hvc #0
stub_store:
  str x1, [x0]
  hvc #0
  .balign 0x800
stub_vectors:
  .rept 16
  .balign 0x80
  hvc #1
  .endr
  .balign 0x800
