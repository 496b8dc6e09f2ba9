@ Copies between the kernel and a user half by unprivileged loads and stores. Each of these has an entry in `.fixups`:
@ where it faults, the handler goes on at `quire_user_fault`. All return the number of bytes that were not done.

.section .text.quire_uaccess, "ax"
.arm

@ An instruction that may fault.
    .macro  user insn:vararg
9999:
    \insn
    .pushsection .fixups, "a"
    .balign 4
    .word   9999b, quire_user_fault
    .popsection
    .endm

@ The kernel's side is r0 + bytes done, so that what is not done can be told from r0 alone: [sp] is where r0 began,
@ [sp, #4] how many bytes were asked for. r0 is the side that is written.
    .macro  enter
    push    {r0, r2, r4-r9, r10, lr}
    .endm
    .macro  leave
    mov     r0, #0
    add     sp, sp, #8
    pop     {r4-r9, r10, pc}
    .endm

@ quire_copy_from_user(r0: to, r1: from, r2: bytes)
.global quire_copy_from_user
.type quire_copy_from_user, %function
.p2align 5
quire_copy_from_user:
    enter
    orr     r3, r0, r1
    tst     r3, #3
    bne     4f
    subs    r2, r2, #32
    blo     2f
1:
    user    ldrt r3, [r1], #4
    user    ldrt r4, [r1], #4
    user    ldrt r5, [r1], #4
    user    ldrt r6, [r1], #4
    user    ldrt r7, [r1], #4
    user    ldrt r8, [r1], #4
    user    ldrt r9, [r1], #4
    user    ldrt r10, [r1], #4
    stmia   r0!, {r3-r10}
    subs    r2, r2, #32
    bhs     1b
2:
    add     r2, r2, #32
3:
    cmp     r2, #4
    blo     4f
    user    ldrt r3, [r1], #4
    str     r3, [r0], #4
    sub     r2, r2, #4
    b       3b
4:
    subs    r2, r2, #1
    blo     5f
    user    ldrbt r3, [r1], #1
    strb    r3, [r0], #1
    b       4b
5:
    leave
.size quire_copy_from_user, . - quire_copy_from_user

@ quire_copy_to_user(r0: to, r1: from, r2: bytes)
.global quire_copy_to_user
.type quire_copy_to_user, %function
.p2align 5
quire_copy_to_user:
    enter
    orr     r3, r0, r1
    tst     r3, #3
    bne     4f
    subs    r2, r2, #32
    blo     2f
1:
    ldmia   r1!, {r3-r10}
    user    strt r3, [r0], #4
    user    strt r4, [r0], #4
    user    strt r5, [r0], #4
    user    strt r6, [r0], #4
    user    strt r7, [r0], #4
    user    strt r8, [r0], #4
    user    strt r9, [r0], #4
    user    strt r10, [r0], #4
    subs    r2, r2, #32
    bhs     1b
2:
    add     r2, r2, #32
3:
    cmp     r2, #4
    blo     4f
    ldr     r3, [r1], #4
    user    strt r3, [r0], #4
    sub     r2, r2, #4
    b       3b
4:
    subs    r2, r2, #1
    blo     5f
    ldrb    r3, [r1], #1
    user    strbt r3, [r0], #1
    b       4b
5:
    leave
.size quire_copy_to_user, . - quire_copy_to_user

@ quire_clear_user(r0: to, r1: bytes)
.global quire_clear_user
.type quire_clear_user, %function
.p2align 5
quire_clear_user:
    mov     r2, r1
    enter
    mov     r3, #0
    tst     r0, #3
    bne     4f
    subs    r2, r2, #32
    blo     2f
1:
    .rept 8
    user    strt r3, [r0], #4
    .endr
    subs    r2, r2, #32
    bhs     1b
2:
    add     r2, r2, #32
3:
    cmp     r2, #4
    blo     4f
    user    strt r3, [r0], #4
    sub     r2, r2, #4
    b       3b
4:
    subs    r2, r2, #1
    blo     5f
    user    strbt r3, [r0], #1
    b       4b
5:
    leave
.size quire_clear_user, . - quire_clear_user

@ An access faulted, which left its address register as it was.
.type quire_user_fault, %function
quire_user_fault:
    pop     {r1, r2}
    sub     r0, r0, r1
    sub     r0, r2, r0
    pop     {r4-r9, r10, pc}
.size quire_user_fault, . - quire_user_fault
