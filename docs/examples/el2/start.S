// What the hypervisor cannot say in C++: start of a cpu, vectors of EL2, entry into the guest and exit from it.

#define FRAME_BYTES 272  // sizeof(el2::frame)
#define STACK_BYTES 0x8000

  .section .text.start, "ax"
  .global _start
  .global start_secondary
_start:                    // the first cpu, by QEMU; the loader has cleared .bss
  mov x0, #0
start_secondary:           // another one, by PSCI CPU_ON: x0 is what CPU_ON was given, the cpu's index
  adrp x1, stacks
  add x1, x1, :lo12:stacks
  mov x2, #STACK_BYTES
  add x3, x0, #1
  madd x1, x2, x3, x1
  sub x1, x1, #FRAME_BYTES // each exit saves the guest's registers here, at the very end of the stack
  mov sp, x1
  adrp x2, vectors
  add x2, x2, :lo12:vectors
  msr vbar_el2, x2
  isb
  bl cpu_main              // void cpu_main(unsigned index, frame*)

// All but x2, x3 and x30, from or to a frame: ELR and SPSR go through those two.
  .macro transfer op
  \op x0, x1, [sp]
  \op x4, x5, [sp, #32]
  \op x6, x7, [sp, #48]
  \op x8, x9, [sp, #64]
  \op x10, x11, [sp, #80]
  \op x12, x13, [sp, #96]
  \op x14, x15, [sp, #112]
  \op x16, x17, [sp, #128]
  \op x18, x19, [sp, #144]
  \op x20, x21, [sp, #160]
  \op x22, x23, [sp, #176]
  \op x24, x25, [sp, #192]
  \op x26, x27, [sp, #208]
  \op x28, x29, [sp, #224]
  .endm

// The guest goes on with the registers in the frame at the end of the stack.
resume:
  ldp x30, x2, [sp, #240]
  ldr x3, [sp, #256]
  msr elr_el2, x2
  msr spsr_el2, x3
  transfer ldp
  ldp x2, x3, [sp, #16]
  add sp, sp, #FRAME_BYTES
  eret

  .text
guest_exit:
  sub sp, sp, #FRAME_BYTES
  stp x2, x3, [sp, #16]
  transfer stp
  mrs x2, elr_el2
  mrs x3, spsr_el2
  stp x30, x2, [sp, #240]
  str x3, [sp, #256]
  mov x0, sp
  bl handle_exit
  b resume

// [armarm] "Exception vectors": four groups (EL2 with SP_EL0, EL2, lower AArch64, lower AArch32) of synchronous, IRQ,
// FIQ, SError. Interrupts belong to the guest and never come here.
  .balign 0x800
vectors:
  .rept 8
  .balign 0x80
  b unexpected_exception
  .endr
  .balign 0x80
  b guest_exit
  .rept 7
  .balign 0x80
  b unexpected_exception
  .endr

  .bss
  .balign 16
stacks:
  .skip 2 * STACK_BYTES    // one for each of el2::cpus
