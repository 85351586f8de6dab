// VM entry and exit, and the code that the guest runs.

        .text
        .code64

// bool enter_guest(guest_registers* r, bool launched): enters the guest with RAX, RBX, RCX and RDX of `r`,
// all other registers 0, and stores RAX back after the exit. False: the VM entry failed.
        .globl enter_guest
enter_guest:
        push %rbx
        push %rbp
        push %r12
        push %r13
        push %r14
        push %r15
        push %rdi
        mov $0x6c14, %ecx                       // host RSP
        vmwrite %rsp, %rcx
        test %esi, %esi
        mov (%rdi), %rax
        mov 8(%rdi), %rbx
        mov 16(%rdi), %rcx
        mov 24(%rdi), %rdx
        mov $0, %esi                            // mov keeps the flags
        mov $0, %edi
        mov $0, %ebp
        mov $0, %r8d
        mov $0, %r9d
        mov $0, %r10d
        mov $0, %r11d
        mov $0, %r12d
        mov $0, %r13d
        mov $0, %r14d
        mov $0, %r15d
        jnz 1f
        vmlaunch
        jmp 2f
1:      vmresume
2:      xor %eax, %eax
        pop %rdi
        jmp 3f

// The host RIP of every VM exit.
        .globl guest_exit
guest_exit:
        pop %rdi
        mov %rax, (%rdi)
        mov $1, %eax
3:      pop %r15
        pop %r14
        pop %r13
        pop %r12
        pop %rbp
        pop %rbx
        ret

// Copied into the stub page. RBX is the address of the probe, RCX that of an entry.
        .globl guest_code, guest_code_end, guest_read, guest_write, guest_read_poke_read
guest_code:
guest_read:
        mov (%rbx), %rax
        vmcall
guest_write:
        mov %rax, 8(%rbx)
        vmcall
guest_read_poke_read:
        mov (%rbx), %rax
        mov %rdx, (%rcx)
        mov (%rbx), %rax
        vmcall
guest_code_end:

        .section .note.GNU-stack, "", @progbits
