// Entry of the image: from the Linux/ARM boot protocol to the first Rust code at its linked address.
//
// In:   r0 = 0, r1 = machine type, r2 = device tree (physical); MMU and D-cache off; SVC or HYP; any load address that
//       is a multiple of 4. (Linux Documentation/arch/arm/booting.rst.)
// Out:  SVC mode, MMU and caches on, running at the linked address, .bss cleared, r0 = &HeadInfo; never returns.
//
// Everything up to `high_entry` is position-independent: addresses come from `adr` or from differences of symbols.
// Register use up to there: r10 = where the image lies now, r11 = &HeadInfo at that place.

    .syntax unified
    .arch_extension sec
    .arch_extension virt
    .arm

    .equ MODE_SVC,      0x13
    .equ MODE_HYP,      0x1a
    .equ MASK_AIF,      0x1c0
    .equ SCTLR_PLAIN,   0x00c50078      // what ARMv7 has as ones: no MMU, no caches, low vectors, no alignment faults
    .equ SCTLR_RUN,     0x10c5187d      // and TRE, I, Z, C, M
    .equ SYS_WRITE0,    0x04
    .equ SYS_EXIT_EXTENDED, 0x20
    .equ ACTLR_SMP,     0x40

// Offsets in HeadInfo (head/mod.rs asserts them).
    .equ HI_LOAD,       0
    .equ HI_FILE_SIZE,  4
    .equ HI_MEM_SIZE,   8
    .equ HI_MACHINE,    12
    .equ HI_DTB_GIVEN,  16
    .equ HI_ENTRY_MODE, 20
    .equ HI_DTB,        24
    .equ HI_PHYS_OFFSET,28
    .equ HI_RUN,        32
    .equ HI_DTB_SIZE,   36
    .equ HI_TABLE,      40
    .equ HI_STUB,       44
    .equ HI_TTBR0,      48
    .equ HI_CLASH_INDEX,52
    .equ HI_CLASH_ENTRY,56
    .equ HI_ENTRY_SCTLR,60
    .equ HI_PRRR,       64
    .equ HI_NMRR,       68

// reg = where `symbol` lies now, at any distance.
    .macro  here reg, symbol
    ldr     \reg, =(\symbol - .Lhere\@ - 8)
.Lhere\@:
    add     \reg, pc, \reg
    .endm

    .section .head.text, "ax", %progbits
    .global _start
    .type _start, %function
_start:
    .rept 8
    mov     r0, r0
    .endr
    b       entry
    .word   0x016f2818                  // zImage magic at 0x24: U-Boot's bootz asks for it
    .word   0                           // start 0: runs anywhere
    .word   _end - _start               // end: .bss and stacks are ours too
    .word   0x04030201                  // little-endian

entry:
    mrs     r4, cpsr
    and     r5, r4, #0x1f
    cmp     r5, #MODE_HYP
    bne     1f

    // HYP: hand the CPU's features to PL1, then return to SVC (Arm ARM DDI 0406C B1.5, B4.1).
    mov     r3, #0
    mcr     p15, 4, r3, c1, c1, 0       // HCR: nothing trapped or routed
    mcr     p15, 4, r3, c1, c1, 3       // HSTR
    mrc     p15, 4, r3, c1, c1, 2       // HCPTR: coprocessors 10, 11 and trace not trapped
    bic     r3, r3, #0x00000c00
    bic     r3, r3, #0x00100000
    bic     r3, r3, #0x80000000
    mcr     p15, 4, r3, c1, c1, 2
    mrc     p15, 0, r3, c0, c0, 0
    mcr     p15, 4, r3, c0, c0, 0       // VPIDR = MIDR
    mrc     p15, 0, r3, c0, c0, 5
    mcr     p15, 4, r3, c0, c0, 5       // VMPIDR = MPIDR
    mrc     p15, 0, r3, c0, c1, 1       // ID_PFR1[19:16]: generic timer
    tst     r3, #0x000f0000
    beq     2f
    mov     r3, #3
    mcr     p15, 4, r3, c14, c1, 0      // CNTHCTL: PL1 reads the physical counter and timer
    mov     r3, #0
    mcrr    p15, 4, r3, r3, c14         // CNTVOFF = 0
2:  mrc     p15, 0, r6, c1, c0, 0       // SCTLR of PL1, which nobody may have set up
    ldr     r3, =SCTLR_PLAIN
    mcr     p15, 0, r3, c1, c0, 0
    mov     r3, #(MASK_AIF | MODE_SVC)
    msr     spsr_cxsf, r3
    here    r3, in_svc
    msr     elr_hyp, r3
    eret

1:  cpsid   aif, #MODE_SVC
    mrc     p15, 0, r6, c1, c0, 0       // SCTLR as the loader left it
    ldr     r3, =SCTLR_PLAIN
    mcr     p15, 0, r3, c1, c0, 0
in_svc:
    isb
    here    r3, early_vectors
    mcr     p15, 0, r3, c12, c0, 0      // VBAR: a fault from here on means "no tree there" or "no RAM there"
    bl      forget_old_code

    // The cycle counter from here on: boot figures are counted from the entry (Arm ARM C12, ID_DFR0[27:24]).
    mrc     p15, 0, r3, c0, c1, 2
    ubfx    r3, r3, #24, #4
    cmp     r3, #0
    cmpne   r3, #0xf
    beq     1f
    mov     r3, #5
    mcr     p15, 0, r3, c9, c12, 0      // PMCR: enable, cycle counter to 0, one tick a cycle
    mov     r3, #0x80000000
    mcr     p15, 0, r3, c9, c12, 1      // PMCNTENSET: the cycle counter

1:  adr     r10, _start
    here    r11, head_info
    here    r3, head_stack_top
    mov     sp, r3
    str     r10, [r11, #HI_LOAD]
    str     r1, [r11, #HI_MACHINE]
    str     r2, [r11, #HI_DTB_GIVEN]
    str     r5, [r11, #HI_ENTRY_MODE]
    str     r6, [r11, #HI_ENTRY_SCTLR]
    ldr     r3, =(_edata - _start)
    str     r3, [r11, #HI_FILE_SIZE]
    ldr     r3, =(_end - _start)
    str     r3, [r11, #HI_MEM_SIZE]
    mov     r0, r11
    bl      quire_head_plan
    b       planned

// A fault in the scan: the loader's pointer led nowhere. A fault behind it: a bank is not there. Plan without.
plan_fault:
    cpsid   aif, #MODE_SVC
    here    r3, head_stack_top
    mov     sp, r3
    here    r11, head_info
    ldr     r10, [r11, #HI_LOAD]
    mov     r0, r11
    bl      quire_head_plan_after_fault

planned:
    here    r3, stuck_vectors
    mcr     p15, 0, r3, c12, c0, 0
    isb
    ldr     r0, [r11, #HI_RUN]
    cmp     r0, #0
    beq     no_place

    // The device tree out of the way of the run address and of the first-level table.
    ldr     r1, [r11, #HI_DTB_GIVEN]
    ldr     r0, [r11, #HI_DTB]
    cmp     r0, #0
    cmpne   r0, r1
    beq     1f
    ldr     r2, [r11, #HI_DTB_SIZE]
    add     r1, r0, r2
    bl      clean_lines                 // before a place is written: a dirty line of the loader's would land on it later
    ldr     r0, [r11, #HI_DTB]
    ldr     r1, [r11, #HI_DTB_GIVEN]
    ldr     r2, [r11, #HI_DTB_SIZE]
    bl      move_words

    // The image to its run address, by a copy of the loop that lies outside both places.
1:  ldr     r0, [r11, #HI_RUN]
    cmp     r0, r10
    beq     run_here
    ldr     r2, [r11, #HI_FILE_SIZE]
    add     r1, r0, r2
    bl      clean_lines
    ldr     r0, [r11, #HI_STUB]
    add     r1, r0, #(move_words_end - move_words)
    bl      clean_lines
    ldr     r4, [r11, #HI_STUB]
    here    r5, move_words
    here    r6, move_words_end
2:  ldr     r3, [r5], #4
    str     r3, [r4], #4
    cmp     r5, r6
    blo     2b
    bl      forget_old_code
    ldr     r0, [r11, #HI_RUN]
    mov     r1, r10
    ldr     r2, [r11, #HI_FILE_SIZE]
    ldr     r4, [r11, #HI_STUB]
    ldr     lr, =(run_here - _start)
    add     lr, lr, r0
    bx      r4

run_here:
    bl      forget_old_code
    here    r10, _start
    here    r11, head_info
    here    r3, head_stack_top
    mov     sp, r3
    here    r3, stuck_vectors
    mcr     p15, 0, r3, c12, c0, 0
    isb
    ldr     r0, [r11, #HI_TABLE]
    add     r1, r0, #0x4000
    bl      clean_lines
    mov     r0, r11
    bl      quire_head_tables

    // What was written with the D-cache off: drop (never clean) lines that could hide or overwrite it.
    ldr     r0, [r11, #HI_TABLE]
    add     r1, r0, #0x4000
    bl      drop_lines
    mov     r0, r10
    ldr     r2, [r11, #HI_MEM_SIZE]
    add     r1, r0, r2
    bl      drop_lines
    ldr     r0, [r11, #HI_DTB]
    ldr     r2, [r11, #HI_DTB_SIZE]
    ldr     r1, [r11, #HI_DTB_GIVEN]
    cmp     r0, r1
    addne   r1, r0, r2
    blne    drop_lines

    // Coherency before caches: ACTLR.SMP on Arm's cores that have it there: Cortex-A5, A7, A9, A12, A15, A17.
    mrc     p15, 0, r3, c0, c0, 0
    lsr     r4, r3, #24
    cmp     r4, #0x41
    bne     1f
    ubfx    r3, r3, #4, #12
    movw    r4, #0xc05
    cmp     r3, r4
    addne   r4, r4, #(0xc07 - 0xc05)
    cmpne   r3, r4
    addne   r4, r4, #(0xc09 - 0xc07)
    cmpne   r3, r4
    addne   r4, r4, #(0xc0d - 0xc09)
    cmpne   r3, r4
    addne   r4, r4, #(0xc0e - 0xc0d)
    cmpne   r3, r4
    addne   r4, r4, #(0xc0f - 0xc0e)
    cmpne   r3, r4
    bne     1f
    mrc     p15, 0, r3, c1, c0, 1
    tst     r3, #ACTLR_SMP
    orreq   r3, r3, #ACTLR_SMP
    mcreq   p15, 0, r3, c1, c0, 1
1:  mov     r3, #1
    mcr     p15, 0, r3, c3, c0, 0       // DACR: domain 0 is a client, permissions are checked
    mov     r3, #0
    mcr     p15, 0, r3, c2, c0, 2       // TTBCR: TTBR0 for all of the 4 GiB, short descriptors
    ldr     r3, [r11, #HI_TTBR0]
    mcr     p15, 0, r3, c2, c0, 0
    mcr     p15, 0, r3, c2, c0, 1
    ldr     r3, [r11, #HI_PRRR]
    mcr     p15, 0, r3, c10, c2, 0
    ldr     r3, [r11, #HI_NMRR]
    mcr     p15, 0, r3, c10, c2, 1
    isb
    bl      forget_old_code
    ldr     r4, =high_entry
    ldr     r5, =head_info
    ldr     r3, =SCTLR_RUN
    dsb
    mcr     p15, 0, r3, c1, c0, 0       // MMU and caches on; this code is mapped one to one
    isb
    bx      r4

// Neither the tree's RAM nor the load address's holds the image: there is no stack, no console and no way on. A debugger
// is told, if there is one; otherwise the call ends in `stuck_vectors`.
no_place:
    here    r1, no_place_text
    mov     r0, #SYS_WRITE0
    svc     #0x123456
    here    r1, no_place_exit
    mov     r0, #SYS_EXIT_EXTENDED
    svc     #0x123456
    b       .
no_place_exit:
    .word   0x20026                     // ADP_Stopped_ApplicationExit
    .word   1
no_place_text:
    .asciz  "boot: /memory: reg: no RAM at the image's run address, RAM base + 1 MiB\n"
    .balign 4

// At the linked address from here on.
high_entry:
    mov     r11, r5
    // The one-to-one section took the place of a linear one: put that back.
    ldr     r0, [r11, #HI_CLASH_INDEX]
    ldr     r1, [r11, #HI_CLASH_ENTRY]
    cmp     r1, #0
    beq     1f
    ldr     r2, [r11, #HI_TABLE]
    ldr     r3, [r11, #HI_PHYS_OFFSET]
    sub     r2, r2, r3
    ldr     r3, =PAGE_OFFSET
    add     r2, r2, r3
    str     r1, [r2, r0, lsl #2]
    add     r2, r2, r0, lsl #2
    mcr     p15, 0, r2, c7, c11, 1      // DCCMVAU: to where the walk sees it
    dsb
    mov     r0, #0
    mcr     p15, 0, r0, c8, c7, 0       // TLBIALL
    dsb
    isb
1:  ldr     r0, =_bss_start
    ldr     r1, =_bss_end
    mov     r2, #0
    mov     r3, #0
    mov     r4, #0
    mov     r5, #0
2:  cmp     r0, r1
    stmialo r0!, {r2-r5}
    blo     2b
    ldr     sp, =_boot_stack_top
    mov     r0, r11
    mov     r11, #0
    mov     lr, #0
    bl      quire_main
3:  wfi
    b       3b
    .ltorg

// Invalidates the instruction cache, the branch predictor and the TLB, with barriers. Clobbers r3.
forget_old_code:
    mov     r3, #0
    dsb
    mcr     p15, 0, r3, c7, c5, 0       // ICIALLU
    mcr     p15, 0, r3, c7, c5, 6       // BPIALL
    mcr     p15, 0, r3, c8, c7, 0       // TLBIALL
    dsb
    isb
    bx      lr

// Cleans and invalidates the data cache lines of r0..r1 to the point of coherency. Clobbers r0, r2, r3.
clean_lines:
    mrc     p15, 0, r3, c0, c0, 1       // CTR[19:16]: log2 of the words in the smallest line
    ubfx    r3, r3, #16, #4
    mov     r2, #4
    lsl     r2, r2, r3
    sub     r3, r2, #1
    bic     r0, r0, r3
    cmp     r0, r1
    bhs     2f
1:  mcr     p15, 0, r0, c7, c14, 1      // DCCIMVAC
    add     r0, r0, r2
    cmp     r0, r1
    blo     1b
2:  dsb
    bx      lr

// Invalidates the data cache lines of r0..r1 to the point of coherency. Clobbers r0, r2, r3.
drop_lines:
    mrc     p15, 0, r3, c0, c0, 1
    ubfx    r3, r3, #16, #4
    mov     r2, #4
    lsl     r2, r2, r3
    sub     r3, r2, #1
    bic     r0, r0, r3
    cmp     r0, r1
    bhs     2f
1:  mcr     p15, 0, r0, c7, c6, 1       // DCIMVAC
    add     r0, r0, r2
    cmp     r0, r1
    blo     1b
2:  dsb
    bx      lr

// Moves r2 bytes (rounded up to 32) from r1 to r0, which may overlap, and returns. Runs at any address.
// Clobbers r0-r9, r12.
move_words:
    add     r2, r2, #31
    bic     r2, r2, #31
    cmp     r0, r1
    bhi     2f
    subs    r2, r2, #64
    blo     5f
1:  ldmia   r1!, {r3-r9, r12}
    stmia   r0!, {r3-r9, r12}
    ldmia   r1!, {r3-r9, r12}
    stmia   r0!, {r3-r9, r12}
    subs    r2, r2, #64
    bhs     1b
5:  adds    r2, r2, #64                 // 0 or 32 are left
    beq     3f
    ldmia   r1!, {r3-r9, r12}
    stmia   r0!, {r3-r9, r12}
    b       3f
2:  add     r0, r0, r2
    add     r1, r1, r2
    subs    r2, r2, #64
    blo     6f
4:  ldmdb   r1!, {r3-r9, r12}
    stmdb   r0!, {r3-r9, r12}
    ldmdb   r1!, {r3-r9, r12}
    stmdb   r0!, {r3-r9, r12}
    subs    r2, r2, #64
    bhs     4b
6:  adds    r2, r2, #64
    beq     3f
    ldmdb   r1!, {r3-r9, r12}
    stmdb   r0!, {r3-r9, r12}
3:  dsb
    mov     r3, #0
    mcr     p15, 0, r3, c7, c5, 0       // ICIALLU: what lies there now may be code
    mcr     p15, 0, r3, c7, c5, 6
    dsb
    isb
    bx      lr
move_words_end:

    .balign 32
early_vectors:
    b       .
    b       .
    b       .
    b       plan_fault
    b       plan_fault
    b       .
    b       .
    b       .

    .balign 32
stuck_vectors:
    .rept 8
    b       .
    .endr

    .balign 8
head_info:
    .space  80
    .balign 8
head_stack:
    .space  1024
head_stack_top:
