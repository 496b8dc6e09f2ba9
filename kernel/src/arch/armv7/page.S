@ Whole pages, eight registers at a time. Arguments by the procedure call standard (AAPCS).

.section .text.quire_pages, "ax"
.arm

@ quire_clear_page(r0: page)
.global quire_clear_page
.type quire_clear_page, %function
.p2align 6
quire_clear_page:
    push    {r4-r8, lr}
    mov     r1, #0
    mov     r2, #0
    mov     r3, #0
    mov     r4, #0
    mov     r5, #0
    mov     r6, #0
    mov     r7, #0
    mov     r8, #0
    mov     lr, #2
1:
    .rept 64
    stmia   r0!, {r1-r8}
    .endr
    subs    lr, lr, #1
    bne     1b
    pop     {r4-r8, pc}
.size quire_clear_page, . - quire_clear_page

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
