//! What a mapping allows, in words: the same for every level of the tables.
//!
//! Not here.    Bits (`descriptor`), registers (`regs`).
#![forbid(unsafe_code)]

/// Who may read and write (Arm ARM DDI 0406C table B3-8, SCTLR.AFE = 0). PL1 is the kernel, PL0 the user.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Access {
    /// Nobody: every access is a permission fault.
    None,
    /// The kernel reads and writes.
    KernelRw,
    /// The kernel reads and writes, users read.
    KernelRwUserRo,
    /// Everybody reads and writes.
    UserRw,
    /// The kernel reads.
    KernelRo,
    /// Everybody reads.
    UserRo,
}

impl Access {
    /// Every value.
    pub const ALL: [Self; 6] =
        [Self::None, Self::KernelRw, Self::KernelRwUserRo, Self::UserRw, Self::KernelRo, Self::UserRo];

    /// `AP[2:0]`.
    pub(crate) const fn ap(self) -> u32 {
        match self {
            Self::None => 0b000,
            Self::KernelRw => 0b001,
            Self::KernelRwUserRo => 0b010,
            Self::UserRw => 0b011,
            Self::KernelRo => 0b101,
            Self::UserRo => 0b111,
        }
    }

    /// The meaning of `AP[2:0]`; `None` for the reserved 0b100. The deprecated 0b110 reads as 0b111.
    pub(crate) const fn from_ap(ap: u32) -> Option<Self> {
        Some(match ap & 7 {
            0b000 => Self::None,
            0b001 => Self::KernelRw,
            0b010 => Self::KernelRwUserRo,
            0b011 => Self::UserRw,
            0b101 => Self::KernelRo,
            0b110 | 0b111 => Self::UserRo,
            _ => return None,
        })
    }

    /// Whether the kernel or a user may write.
    #[must_use]
    pub const fn writable(self) -> bool {
        matches!(self, Self::KernelRw | Self::KernelRwUserRo | Self::UserRw)
    }

    /// The same rights to read, and none to write.
    #[must_use]
    pub const fn without_writing(self) -> Self {
        match self {
            Self::KernelRw => Self::KernelRo,
            Self::KernelRwUserRo | Self::UserRw => Self::UserRo,
            Self::None | Self::KernelRo | Self::UserRo => self,
        }
    }

    /// Whether a user may read or write.
    #[must_use]
    pub const fn user(self) -> bool {
        matches!(self, Self::KernelRwUserRo | Self::UserRw | Self::UserRo)
    }
}

/// Who may fetch instructions, where reading is allowed (XN and PXN, Arm ARM DDI 0406C B3.7.2).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Exec {
    /// Whoever may read.
    Allowed,
    /// Users only (PXN): a section has the bit itself, small and large pages take it from their first-level entry.
    UserOnly,
    /// Nobody (XN).
    Never,
}

/// Kinds of memory; each has one index of TEX remap (`regs`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum MemType {
    /// Every access happens, in order, uncached.
    StronglyOrdered = 0,
    /// RAM without caches; writes may be merged.
    NormalNonCacheable = 1,
    /// RAM, cached, each write also goes to memory.
    WriteThrough = 2,
    /// RAM, cached, lines are allocated on reads.
    WriteBack = 3,
    /// Registers: as strongly ordered, but writes may be acknowledged early.
    Device = 4,
    /// RAM, cached, lines are allocated on reads and on writes.
    WriteBackWriteAllocate = 7,
}

impl MemType {
    /// Every value.
    pub const ALL: [Self; 6] = [
        Self::StronglyOrdered,
        Self::NormalNonCacheable,
        Self::WriteThrough,
        Self::WriteBack,
        Self::Device,
        Self::WriteBackWriteAllocate,
    ];

    /// The index n of TEX remap: `TEX[0]`, C, B (Arm ARM DDI 0406C B3.8.3).
    #[must_use]
    pub const fn remap_index(self) -> u32 {
        self as u32
    }

    /// The type of index `n`; `None` for the two that are not given out (6 is implementation defined).
    #[must_use]
    pub const fn from_remap_index(n: u32) -> Option<Self> {
        Some(match n {
            0 => Self::StronglyOrdered,
            1 => Self::NormalNonCacheable,
            2 => Self::WriteThrough,
            3 => Self::WriteBack,
            4 => Self::Device,
            7 => Self::WriteBackWriteAllocate,
            _ => return None,
        })
    }

    /// Whether it is RAM-like: speculation, caching and unaligned accesses are allowed.
    #[must_use]
    pub const fn is_normal(self) -> bool {
        !matches!(self, Self::StronglyOrdered | Self::Device)
    }

    /// The name in a dump (Linux: the `pte_bits` of `arch/arm/mm/dump.c`).
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::StronglyOrdered => "SO/UNCACHED",
            Self::NormalNonCacheable => "MEM/BUFFERABLE/WC",
            Self::WriteThrough => "MEM/CACHED/WT",
            Self::WriteBack => "MEM/CACHED/WBRA",
            Self::Device => "DEV/SHARED",
            Self::WriteBackWriteAllocate => "MEM/CACHED/WBWA",
        }
    }
}

/// What a mapping allows.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Prot {
    /// Reads and writes.
    pub access: Access,
    /// Instruction fetches.
    pub exec: Exec,
    /// Kind of memory.
    pub mem: MemType,
    /// Kept coherent among the CPUs (S). Linux sets it on machines with several.
    pub shareable: bool,
    /// Valid in every address space (nG = 0).
    pub global: bool,
}

impl Prot {
    /// Data of the kernel (Linux: `MT_MEMORY_RW`, without execution).
    pub const KERNEL_RW: Self = Self {
        access: Access::KernelRw,
        exec: Exec::Never,
        mem: MemType::WriteBackWriteAllocate,
        shareable: true,
        global: true,
    };
    /// Constants of the kernel (Linux: `MT_ROM`-like, without execution).
    pub const KERNEL_RO: Self = Self { access: Access::KernelRo, ..Self::KERNEL_RW };
    /// Instructions of the kernel.
    pub const KERNEL_RX: Self = Self { exec: Exec::Allowed, ..Self::KERNEL_RO };
    /// Everything allowed: only for the first tables of the boot, never after `paging_init`.
    pub const EARLY_RWX: Self = Self { exec: Exec::Allowed, ..Self::KERNEL_RW };
    /// Registers of a device (Linux: `MT_DEVICE`).
    pub const DEVICE_RW: Self = Self { mem: MemType::Device, ..Self::KERNEL_RW };

    /// Data of a user (nG: of one address space).
    pub const USER_RW: Self = Self { access: Access::UserRw, global: false, ..Self::KERNEL_RW };
    /// Constants of a user.
    pub const USER_RO: Self = Self { access: Access::UserRo, ..Self::USER_RW };
    /// Instructions of a user. The kernel never executes them: its domain and PXN are the tables' business.
    pub const USER_RX: Self = Self { exec: Exec::Allowed, ..Self::USER_RO };

    /// The same, shareable or not.
    #[must_use]
    pub const fn with_shareable(self, shareable: bool) -> Self {
        Self { shareable, ..self }
    }

    /// Whether the kernel or a user may write.
    #[must_use]
    pub const fn writable(self) -> bool {
        self.access.writable()
    }

    /// Whether anyone may fetch instructions.
    #[must_use]
    pub const fn executable(self) -> bool {
        !matches!(self.exec, Exec::Never) && !matches!(self.access, Access::None)
    }
}

/// A domain's number, 0 to 15 (Arm ARM DDI 0406C B3.12.1).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Domain(u8);

impl Domain {
    /// The one that everything of the kernel is in.
    pub const KERNEL: Self = Self(0);
    /// The one of every user half: the kernel has no access to it but in the windows of its user accessors.
    pub const USER: Self = Self(1);

    /// Domain `raw`; `None` above 15.
    #[must_use]
    pub const fn new(raw: u8) -> Option<Self> {
        if raw < 16 { Some(Self(raw)) } else { None }
    }

    /// The number.
    #[must_use]
    pub const fn raw(self) -> u8 {
        self.0
    }
}

#[cfg(test)]
#[path = "tests/prot.rs"]
mod tests;
