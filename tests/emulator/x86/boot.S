// From the reset vector to 64-bit mode: copies the payload from ROM to 1 MiB and calls payload_main.

// Memory is mapped to itself up to 4 GiB by four 1 GiB pages.
        .bss
        .balign 4096
root_pml4:
        .skip 4096
root_pdpt:
        .skip 4096
        .skip 16384
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
start32:
        mov $0x10, %eax
        mov %eax, %ds
        mov %eax, %es
        mov %eax, %ss
        mov %eax, %fs
        mov %eax, %gs
        cld
        mov $rom_address, %esi
        mov $payload_address, %edi
        mov $payload_bytes, %ecx
        rep movsb
        mov $bss_start, %edi
        mov $bss_end, %ecx
        sub %edi, %ecx
        xor %eax, %eax
        rep stosb

        movl $root_pdpt + 3, root_pml4          // P, R/W
        mov $root_pdpt, %edi
        mov $0x83, %eax                         // P, R/W, PS
1:      mov %eax, (%edi)
        add $8, %edi
        add $0x40000000, %eax
        jnc 1b

        mov $root_pml4, %eax
        mov %eax, %cr3
        mov %cr4, %eax
        or $0x20, %eax                          // PAE
        mov %eax, %cr4
        mov $0xc0000080, %ecx                   // IA32_EFER
        rdmsr
        or $0x100, %eax                         // LME
        wrmsr
        mov %cr0, %eax
        and $0x9fffffff, %eax                   // CD and NW off
        or $0x80000020, %eax                    // PG, NE
        mov %eax, %cr0
        ljmp $0x18, $start64

        .code64
start64:
        mov $stack_end, %esp
        mov $payload_main, %eax
        call *%rax
1:      hlt
        jmp 1b

        .balign 8
gdt:    .quad 0
        .quad 0x00cf9b000000ffff                // 0x08: 32-bit code, accessed
        .quad 0x00cf93000000ffff                // 0x10: data, accessed
        .quad 0x00af9b000000ffff                // 0x18: 64-bit code, accessed
gdt_pointer:
        .word gdt_pointer - gdt - 1
        .long gdt

        .section .note.GNU-stack, "", @progbits
