//! The program status register: mode, masks, flags.
//!
//! Source.      Arm ARM DDI 0406C B1.3.1 (modes), B1.3.3 (CPSR format); the words: Linux `__show_regs` of ARM.

use core::fmt;

/// A CPSR or SPSR; displays as Linux's `Flags:` line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Psr(u32);

/// Processor modes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// Unprivileged.
    User,
    /// Fast interrupt.
    Fiq,
    /// Interrupt.
    Irq,
    /// Supervisor: where the kernel runs.
    Supervisor,
    /// Secure monitor.
    Monitor,
    /// Data and prefetch aborts: where reports are made.
    Abort,
    /// Hypervisor.
    Hyp,
    /// Undefined instruction.
    Undefined,
    /// Privileged with the user's registers.
    System,
    /// No mode has this number.
    Unknown(u8),
}

impl Psr {
    /// The register's bits.
    #[must_use]
    pub const fn new(raw: u32) -> Self {
        Self(raw)
    }

    /// The bits.
    #[must_use]
    pub const fn raw(self) -> u32 {
        self.0
    }

    /// M\[4:0\].
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "five bits are left")]
    pub const fn mode(self) -> Mode {
        match self.0 & 0x1f {
            0x10 => Mode::User,
            0x11 => Mode::Fiq,
            0x12 => Mode::Irq,
            0x13 => Mode::Supervisor,
            0x16 => Mode::Monitor,
            0x17 => Mode::Abort,
            0x1a => Mode::Hyp,
            0x1b => Mode::Undefined,
            0x1f => Mode::System,
            other => Mode::Unknown(other as u8),
        }
    }

    /// Whether IRQs come in (I clear).
    #[must_use]
    pub const fn irqs_on(self) -> bool {
        self.0 & 1 << 7 == 0
    }

    /// Whether FIQs come in (F clear).
    #[must_use]
    pub const fn fiqs_on(self) -> bool {
        self.0 & 1 << 6 == 0
    }

    /// Instruction set, from J and T.
    const fn isa(self) -> &'static str {
        match (self.0 & 1 << 24 != 0, self.0 & 1 << 5 != 0) {
            (false, false) => "ARM",
            (false, true) => "Thumb",
            (true, false) => "Jazelle",
            (true, true) => "ThumbEE",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::User => "USER_32",
            Self::Fiq => "FIQ_32",
            Self::Irq => "IRQ_32",
            Self::Supervisor => "SVC_32",
            Self::Monitor => "MON_32",
            Self::Abort => "ABT_32",
            Self::Hyp => "HYP_32",
            Self::Undefined => "UND_32",
            Self::System => "SYS_32",
            Self::Unknown(bits) => return write!(f, "UK{bits}_32"),
        })
    }
}

impl fmt::Display for Psr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Flags: ")?;
        for (bit, set, clear) in [(31, "N", "n"), (30, "Z", "z"), (29, "C", "c"), (28, "V", "v")] {
            f.write_str(if self.0 >> bit & 1 == 1 { set } else { clear })?;
        }
        let switch = |on: bool| if on { "on" } else { "off" };
        let (irqs, fiqs) = (switch(self.irqs_on()), switch(self.fiqs_on()));
        write!(f, "  IRQs {irqs}  FIQs {fiqs}  Mode {}  ISA {}", self.mode(), self.isa())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_masks_and_mode_are_shown_as_linux_shows_them() {
        assert_eq!(Psr::new(0x6000_01d3).to_string(), "Flags: nZCv  IRQs off  FIQs off  Mode SVC_32  ISA ARM");
        assert_eq!(Psr::new(0x9000_0037).to_string(), "Flags: NzcV  IRQs on  FIQs on  Mode ABT_32  ISA Thumb");
    }

    #[test]
    fn each_mode_of_the_manual_has_its_number() {
        let modes = [(0x10, "USER"), (0x11, "FIQ"), (0x12, "IRQ"), (0x13, "SVC"), (0x16, "MON"), (0x17, "ABT")];
        for (raw, name) in modes.into_iter().chain([(0x1a, "HYP"), (0x1b, "UND"), (0x1f, "SYS"), (0x14, "UK20")]) {
            assert_eq!(Psr::new(raw).mode().to_string(), format!("{name}_32"));
        }
    }
}
