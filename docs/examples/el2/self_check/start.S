// Start of both vCPUs of the self-check at EL1, its vectors, and its two calls downwards.

#define STACK_BYTES 0x4000

  .section .text.start, "ax"
  .global _start
  .global start_second
_start:
  mov x0, #0
start_second:              // by PSCI CPU_ON, x0 = 1
  adrp x1, guest_stacks
  add x1, x1, :lo12:guest_stacks
  mov x2, #STACK_BYTES
  add x3, x0, #1
  madd x1, x2, x3, x1
  mov sp, x1
  adrp x1, guest_vectors
  add x1, x1, :lo12:guest_vectors
  msr vbar_el1, x1
  isb
  bl vcpu_main             // does not return

// uint64_t call_hypervisor(number, x1, x2, x3), uint64_t call_firmware(number, x1, x2, x3)
  .text
  .global call_hypervisor
  .global call_firmware
call_hypervisor:
  hvc #0
  ret
call_firmware:
  smc #0
  ret

// bool try_read(const void* address): false if the access was answered with an exception.
  .global try_read
try_read:
  ldr x1, [x0]
  mov x0, #1
  ret

guest_fault:
  mrs x9, elr_el1
  adr x10, try_read
  cmp x9, x10
  b.ne guest_unexpected
  mov x0, #0
  msr elr_el1, x30
  eret

  .balign 0x800
guest_vectors:
  .rept 4
  .balign 0x80
  b guest_unexpected
  .endr
  .balign 0x80
  b guest_fault
  .rept 11
  .balign 0x80
  b guest_unexpected
  .endr

  .bss
  .balign 16
guest_stacks:
  .skip 2 * STACK_BYTES
