pub const PAGE_OFFSET: u32 = 0x8000_0000;
pub const FDT_FIXED_BASE: u32 = 0xff80_0000;
pub const EARLY_RAM: u32 = 0x1140e;
pub const EARLY_RAM_RO: u32 = 0x1941e;
pub const PRRR: u32 = 0xff0a_81a8;
pub const NMRR: u32 = 0x40e0_40e0;
pub const fn ttbr0_bits(mp: bool) -> u32 { if mp {0x6a} else {0x09} }
