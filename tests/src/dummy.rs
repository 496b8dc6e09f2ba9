//! An image of a dozen instructions for the vexpress-a15 machine: prints a text, then ends or hangs.
//!
//! It stands in for the real image where a test is about what runs it: each way to fail can be had at will.
//!
//! Source.      ARM DDI 0406C A8; semihosting SYS_EXIT (0x18); PL011 data register at 0x1c09_0000.

/// What the image does after its text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ending {
    /// Leaves with status 0.
    Success,
    /// Leaves with status 1.
    Failure,
    /// Runs on.
    Hang,
}

/// The image's bytes.
#[must_use]
pub fn image(text: &str, ending: Ending) -> Vec<u8> {
    const UART: u32 = 0x1c09_0000;
    const SVC: u32 = 0xef12_3456;
    const NOP: u32 = 0xe1a0_0000;
    let (leave, reason) = match ending {
        Ending::Success => (SVC, 0x2_0026),
        Ending::Failure => (SVC, 0x2_0023),
        Ending::Hang => (NOP, 0),
    };
    let code = [
        0xe59f_0020, // ldr r0, [pc, #32]: the UART
        0xe28f_1024, // add r1, pc, #36: the text
        0xe4d1_2001, // ldrb r2, [r1], #1
        0xe352_0000, // cmp r2, #0
        0x15c0_2000, // strbne r2, [r0]
        0x1aff_fffb, // bne to the ldrb
        0xe3a0_0018, // mov r0, #0x18
        0xe59f_1008, // ldr r1, [pc, #8]: the reason
        leave,
        0xeaff_fffe, // b here
        UART,
        reason,
    ];
    let mut bytes: Vec<u8> = code.into_iter().flat_map(u32::to_le_bytes).collect();
    bytes.extend_from_slice(text.as_bytes());
    bytes.push(0);
    bytes
}
