// From the reset vector to 64-bit mode; VM entry and exit.

// Memory is mapped to itself up to 4 GiB by four 1 GiB pages.
        .bss
        .balign 4096
own_pml4:
        .skip 4096
own_pdpt:
        .skip 4096
        .skip 32768
stack_end:

        .section .reset, "ax"
        .code16
        .globl reset
reset:  jmp start16

        .section .rom, "ax"
        .code16
rom_start:                                      // 0xfffff000; CS has base 0xffff0000 since reset
start16:
        cli
        lgdtl %cs:(gdt_pointer - rom_start + 0xf000)
        mov %cr0, %eax
        or $1, %eax                             // PE
        mov %eax, %cr0
        ljmpl $0x08, $start32

        .code32
start32:                                        // the image goes from ROM to RAM, and begins to run there
        mov $0x10, %eax
        mov %eax, %ds
        mov %eax, %es
        mov %eax, %ss
        cld
        mov $rom_address, %esi
        mov $image_address, %edi
        mov $image_bytes, %ecx
        rep movsb
        mov $bss_start, %edi
        mov $bss_end, %ecx
        sub %edi, %ecx
        xor %eax, %eax
        rep stosb
        movl $own_pdpt + 3, own_pml4            // P, R/W
        mov $own_pdpt, %edi
        mov $0x83, %eax                         // P, R/W, PS
1:      mov %eax, (%edi)
        add $8, %edi
        add $0x40000000, %eax
        jnc 1b
        mov $own_pml4, %eax
        mov %eax, %cr3
        mov $0x20, %eax                         // PAE
        mov %eax, %cr4
        mov $0xc0000080, %ecx                   // IA32_EFER
        rdmsr
        or $0x100, %eax                         // LME
        wrmsr
        mov $0x80000021, %eax                   // PG, NE, PE: caches on
        mov %eax, %cr0
        ljmp $0x18, $start64

        .code64
start64:
        mov $stack_end, %esp
        mov $vmx_main, %eax
        call *%rax

        .balign 8
gdt:    .quad 0
        .quad 0x00cf9b000000ffff                // 0x08: 32-bit code, accessed
        .quad 0x00cf93000000ffff                // 0x10: data, accessed
        .quad 0x00af9b000000ffff                // 0x18: 64-bit code, accessed
gdt_pointer:
        .word gdt_pointer - gdt - 1
        .long gdt

// bool enter_guest(uint64_t* registers, bool launched): loads the guest's RAX, RCX, RDX, RBX, RBP, RSI, RDI, R8 to R15,
// enters, and stores them back after the exit; RIP, RSP and RFLAGS are in the VMCS. False: the VM entry failed.
        .text
        .globl enter_guest, vm_exit
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
        test %esi, %esi                         // the flags last until the jump: mov keeps them
        mov (%rdi), %rax
        mov 8(%rdi), %rcx
        mov 16(%rdi), %rdx
        mov 24(%rdi), %rbx
        mov 32(%rdi), %rbp
        mov 40(%rdi), %rsi
        mov 56(%rdi), %r8
        mov 64(%rdi), %r9
        mov 72(%rdi), %r10
        mov 80(%rdi), %r11
        mov 88(%rdi), %r12
        mov 96(%rdi), %r13
        mov 104(%rdi), %r14
        mov 112(%rdi), %r15
        mov 48(%rdi), %rdi
        jnz 1f
        vmlaunch
        jmp 2f
1:      vmresume
2:      pop %rdi
        xor %eax, %eax
        jmp 3f
vm_exit:                                        // the host RIP of every VM exit
        xchg %rdi, (%rsp)
        mov %rax, (%rdi)
        mov %rcx, 8(%rdi)
        mov %rdx, 16(%rdi)
        mov %rbx, 24(%rdi)
        mov %rbp, 32(%rdi)
        mov %rsi, 40(%rdi)
        pop %rax
        mov %rax, 48(%rdi)                      // RDI
        mov %r8, 56(%rdi)
        mov %r9, 64(%rdi)
        mov %r10, 72(%rdi)
        mov %r11, 80(%rdi)
        mov %r12, 88(%rdi)
        mov %r13, 96(%rdi)
        mov %r14, 104(%rdi)
        mov %r15, 112(%rdi)
        mov $1, %eax
3:      pop %r15
        pop %r14
        pop %r13
        pop %r12
        pop %rbp
        pop %rbx
        ret

        .section .note.GNU-stack, "", @progbits
