# The instructions of the s390 payload that C++ cannot say, and its program-interruption handler.
#
# The payload runs in the primary-space mode; its primary space is the real space. The address space under test is the
# secondary and the home space. A "guarded" function returns in r2 zero, or the program-interruption code when the
# instruction that it tries was interrupted; [pop] "Translation Modes", "Program Interruption".

        .machine "z9-109"

        .set    LOWCORE_PGM_CODE, 0x8e
        .set    PRIMARY, 0x000          # operands of SET ADDRESS SPACE CONTROL
        .set    SECONDARY, 0x100

        # r1 and r14 stay as they are until `unguard`.
        .macro  guard
        larl    %r1, resume
        stg     %r14, 0(%r1)
        .endm

        .macro  unguard
        xc      0(8,%r1), 0(%r1)
        lghi    %r2, 0
        br      %r14
        .endm

        .macro  function name
        .balign 16
        .globl  \name
        .type   \name, @function
\name:
        .endm

        .section .text.start, "ax"
        function _start
        larl    %r15, stack_end
        aghi    %r15, -160
        larl    %r1, pgm_new_psw
        mvc     0x1d0(16,%r0), 0(%r1)   # program new PSW
        brasl   %r14, payload_main

# A disabled wait that QEMU takes for a shutdown.
        larl    %r1, good_psw
        lpswe   0(%r1)

        .text
# The only handler: back to the caller of the guarded function. An interruption anywhere else ends the run.
        function pgm_interruption
        larl    %r1, resume
        lg      %r14, 0(%r1)
        xc      0(8,%r1), 0(%r1)
        ltgr    %r14, %r14
        jz      stop_unexpected
        llgh    %r2, LOWCORE_PGM_CODE(%r0)
        br      %r14
stop_unexpected:
        larl    %r15, stack_end
        aghi    %r15, -160
        brasl   %r14, payload_interrupted
        larl    %r1, bad_psw
        lpswe   0(%r1)

# void load_spaces(std::uint64_t asce)
# Before the first request, and where a test asks for it: QEMU drops its whole TLB at each LCTLG.
        function load_spaces
        larl    %r1, controls
        stg     %r2, 8(%r1)
        stctg   %c0, %c0, 0(%r1)
        lg      %r3, 0(%r1)
        larl    %r4, control_bits
        og      %r3, 0(%r4)
        stg     %r3, 0(%r1)
        lctlg   %c0, %c0, 0(%r1)
        lctlg   %c7, %c7, 8(%r1)
        lctlg   %c13, %c13, 8(%r1)
        larl    %r1, real_space
        lctlg   %c1, %c1, 0(%r1)
        larl    %r1, dat_on_psw
        larl    %r3, 0f
        stg     %r3, 8(%r1)
        lpswe   0(%r1)
0:      br      %r14

# std::uint64_t real_read(std::uint64_t address, std::uint64_t* value)
        function real_read
        guard
        lg      %r4, 0(%r2)
        stg     %r4, 0(%r3)
        unguard

# std::uint64_t real_write(std::uint64_t address, std::uint64_t value)
        function real_write
        guard
        stg     %r3, 0(%r2)
        unguard

# std::uint64_t guest_read(std::uint64_t address, std::uint64_t* value)
        function guest_read
        guard
        sacf    SECONDARY
        lg      %r4, 0(%r2)
        sacf    PRIMARY
        stg     %r4, 0(%r3)
        unguard

# std::uint64_t guest_write(std::uint64_t address, std::uint64_t value)
        function guest_write
        guard
        sacf    SECONDARY
        stg     %r3, 0(%r2)
        sacf    PRIMARY
        unguard

# std::uint64_t guest_fetch(std::uint64_t address)
# The landing's first halfword is zero, which is no instruction: an operation exception tells that the fetch arrived.
        function guest_fetch
        guard
        larl    %r3, home_psw
        stg     %r2, 8(%r3)
        lpswe   0(%r3)

# std::uint64_t guest_lra(std::uint64_t address, std::uint64_t* r1, std::uint64_t* cc)
        function guest_lra
        guard
        lghi    %r0, 0
        sacf    SECONDARY
        lrag    %r0, 0(%r2)
        ipm     %r5
        sacf    PRIMARY
        stg     %r0, 0(%r3)
        srl     %r5, 28
        llgfr   %r5, %r5
        stg     %r5, 0(%r4)
        unguard

# INVALIDATE PAGE TABLE ENTRY, INVALIDATE DAT TABLE ENTRY, COMPARE AND REPLACE DAT TABLE ENTRY: operands in general
# registers, local clearing by the low bit of M4.

# std::uint64_t ipte(std::uint64_t table, std::uint64_t address)
        .macro  ipte_function name, m4
        function \name
        guard
        .insn   rrf, 0xb2210000, %r2, %r3, %r0, \m4
        unguard
        .endm
        ipte_function ipte_global, 0
        ipte_function ipte_local, 1

# std::uint64_t ipte_range(std::uint64_t table, std::uint64_t address, std::uint64_t additional)
        .macro  ipte_range_function name, m4
        function \name
        guard
0:      lgr     %r5, %r4
        .insn   rrf, 0xb2210000, %r2, %r3, %r4, \m4
        lghi    %r0, 0xff
        ngr     %r0, %r4
        cghi    %r0, 0xff               # the last entry is done
        je      1f
        cgr     %r5, %r4                # Hercules does all of them and leaves the count as it was
        jne     0b
1:      unguard
        .endm
        ipte_range_function ipte_range_global, 0
        ipte_range_function ipte_range_local, 1

# std::uint64_t idte(std::uint64_t r1, std::uint64_t r2, std::uint64_t r3)
        .macro  idte_function name, m4
        function \name
        guard
        .insn   rrf, 0xb98e0000, %r2, %r3, %r4, \m4
        unguard
        .endm
        idte_function idte_global, 0
        idte_function idte_local, 1

# std::uint64_t crdte(std::uint64_t old, std::uint64_t new, std::uint64_t table, std::uint64_t address,
#                     std::uint64_t* cc)
# R1 and R2 are even-odd pairs. R3 = 0: for every address-space-control element.
        .macro  crdte_function name, m4
        function \name
        guard
        .insn   rrf, 0xb98f0000, %r2, %r4, %r0, \m4
        ipm     %r5
        srl     %r5, 28
        llgfr   %r5, %r5
        stg     %r5, 0(%r6)
        unguard
        .endm
        crdte_function crdte_global, 0
        crdte_function crdte_local, 1

# void csp_purge(std::uint32_t* word): COMPARE AND SWAP AND PURGE, which purges where the comparison is equal
        function csp_purge
        l       %r4, 0(%r2)
        lr      %r5, %r4
        lghi    %r3, 1                  # bit 63: purge the TLBs
        ogr     %r3, %r2
        csp     %r4, %r3
        br      %r14

# void ptlb()
        function ptlb
        .insn   s, 0xb20d0000, 0
        br      %r14

# Storage keys: SET STORAGE KEY EXTENDED, INSERT STORAGE KEY EXTENDED, RESET REFERENCE BIT EXTENDED.

# void sske(std::uint64_t address, std::uint64_t key)
        function sske
        .insn   rre, 0xb22b0000, %r3, %r2
        br      %r14

# std::uint64_t iske(std::uint64_t address)
        function iske
        lghi    %r3, 0
        .insn   rre, 0xb2290000, %r3, %r2
        lgr     %r2, %r3
        br      %r14

# std::uint64_t rrbe(std::uint64_t address): the condition code
        function rrbe
        .insn   rre, 0xb22a0000, %r0, %r2
        ipm     %r2
        srl     %r2, 28
        llgfr   %r2, %r2
        br      %r14

# std::uint64_t service_call(std::uint64_t command, void* sccb): the condition code of SERVC
        function service_call
        .insn   rre, 0xb2200000, %r2, %r3
        ipm     %r2
        srl     %r2, 28
        llgfr   %r2, %r2
        br      %r14

# void virtual_console(const char* command, std::uint64_t length): DIAGNOSE code 8
        function virtual_console
        diag    %r2, %r3, 8
        br      %r14

        .data
        .balign 16
pgm_new_psw:
        .quad   0x0400000180000000      # DAT, primary space, 64-bit addresses
        .quad   pgm_interruption
dat_on_psw:
        .quad   0x0400000180000000, 0
home_psw:
        .quad   0x0400c00180000000, 0
good_psw:
        .quad   0x0002000180000000, 0xfff
bad_psw:
        .quad   0x0002000180000000, 0xbad
control_bits:
        .quad   0x0000000004900000      # CR0: secondary space, enhanced DAT, instruction-execution protection
real_space:
        .quad   0x20                    # ASCE.R
resume:
        .quad   0
controls:
        .quad   0, 0
        .balign 16
        .space  0x4000
stack_end:

        .section .note.GNU-stack, "", @progbits
