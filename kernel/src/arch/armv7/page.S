@ Whole pages, eight registers at a time. Arguments by the procedure call standard (AAPCS).

.section .text.quire_pages, "ax"
.arm

@ quire_fill_page(r0: page, r1: word)
.global quire_fill_page
.type quire_fill_page, %function
.p2align 6
quire_fill_page:
    push    {r4-r8, lr}
    mov     r2, r1
    mov     r3, r1
    mov     r4, r1
    mov     r5, r1
    mov     r6, r1
    mov     r7, r1
    mov     r8, r1
    mov     lr, #2
1:
    .rept 64
    stmia   r0!, {r1-r8}
    .endr
    subs    lr, lr, #1
    bne     1b
    pop     {r4-r8, pc}
.size quire_fill_page, . - quire_fill_page

@ quire_fill_units(r0: units of 32 bytes, r1: how many, r2: the unit)
.global quire_fill_units
.type quire_fill_units, %function
.p2align 6
quire_fill_units:
    push    {r4-r10, lr}
    ldm     r2, {r3-r10}
    subs    r1, r1, #16
    blo     2f
1:
    .rept 16
    stmia   r0!, {r3-r10}
    .endr
    subs    r1, r1, #16
    bhs     1b
2:
    adds    r1, r1, #16
    beq     4f
3:
    stmia   r0!, {r3-r10}
    subs    r1, r1, #1
    bne     3b
4:
    pop     {r4-r10, pc}
.size quire_fill_units, . - quire_fill_units

@ quire_copy_page(r0: to, r1: from)
.global quire_copy_page
.type quire_copy_page, %function
.p2align 6
quire_copy_page:
    push    {r4-r9, lr}
    mov     lr, #8
1:
    .rept 16
    ldmia   r1!, {r2-r9}
    stmia   r0!, {r2-r9}
    .endr
    subs    lr, lr, #1
    bne     1b
    pop     {r4-r9, pc}
.size quire_copy_page, . - quire_copy_page
