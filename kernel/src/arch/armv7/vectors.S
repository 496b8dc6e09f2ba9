// The exception vectors, on a page of their own: used in place by VBAR at first, and at 0xffff_0000 once that is
// mapped. Every exception is taken on the exception stack (banked sp of Abort mode), never on the stack that faulted.

    .syntax unified
    .arm
    .equ MODE_ABT, 0x17
    .equ MODE_SVC, 0x13
    .equ FRAME_SIZE, 68
    .equ HAS_ROOM, 0x2000               // set in every address of the exception stack (linker.ld)
    .equ NO_ROOM, 0x10                  // in the vector's number: the exception stack was full

    .section .vectors, "ax", %progbits
    .balign 4096
    .global quire_vectors
quire_vectors:
    ldr     pc, [pc, #24]               // reset
    ldr     pc, [pc, #24]               // undefined instruction
    ldr     pc, [pc, #24]               // supervisor call
    ldr     pc, [pc, #24]               // prefetch abort
    ldr     pc, [pc, #24]               // data abort
    ldr     pc, [pc, #24]               // (hyp trap)
    ldr     pc, [pc, #24]               // IRQ
    ldr     pc, [pc, #24]               // FIQ
    .word   take_reset
    .word   take_undefined
    .word   take_svc
    .word   take_prefetch_abort
    .word   take_data_abort
    .word   take_reset
    .word   take_irq
    .word   take_fiq

    .text
    .balign 4
// Builds a Frame on the exception stack, calls quire_exception(&frame, kind), and returns by the frame.
// `back` is what the link register lies ahead of the instruction to return to. `abort`: the exception enters Abort mode
// itself, so that the stack can be looked at first. One that is full (a report that runs too deep faults on the guard
// page) begins anew from its top: what it held belongs to a report that will not go on.
    .macro  take name, kind, back, abort
\name:
    .if     \back
    sub     lr, lr, #\back
    .endif
    .if     \abort
    sub     sp, sp, #FRAME_SIZE
    tst     sp, #HAS_ROOM
    add     sp, sp, #FRAME_SIZE
    ldreq   sp, =_exception_stack_top
    .endif
    srsdb   sp!, #MODE_ABT              // pc, cpsr
    cpsid   aif, #MODE_ABT
    push    {r0-r12}
    cps     #MODE_SVC
    mov     r0, sp
    mov     r1, lr
    cps     #MODE_ABT
    push    {r0, r1}                    // sp and lr of SVC
    mov     r0, sp
    mov     r1, #\kind
    .if     \abort
    moveq   r1, #(\kind | NO_ROOM)
    .endif
    mov     r4, sp
    bic     sp, sp, #7
    bl      quire_exception
    mov     sp, r4
    pop     {r0, r1}
    cps     #MODE_SVC
    mov     sp, r0
    mov     lr, r1
    cps     #MODE_ABT
    pop     {r0-r12}
    rfeia   sp!
    .endm

    take    take_reset, 0, 0, 0
    take    take_undefined, 1, 4, 0
    take    take_svc, 2, 0, 0
    take    take_prefetch_abort, 3, 4, 1
    take    take_data_abort, 4, 8, 1
    take    take_irq, 6, 4, 0
    take    take_fiq, 7, 4, 0
    .ltorg

// u32 quire_catch(void (*call)(void *), void *data, u32 *resume): calls call(data) and returns 0. While it runs *resume is
// a stack pointer from which quire_caught returns 1 in its place (fault.rs sets pc and sp).
    .global quire_catch
quire_catch:
    push    {r3-r11, lr}
    str     sp, [r2]
    mov     r3, r0
    mov     r0, r1
    blx     r3
    mov     r0, #0
    pop     {r3-r11, pc}
    .global quire_caught
quire_caught:
    mov     r0, #1
    pop     {r3-r11, pc}
