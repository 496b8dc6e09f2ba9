//! Where the image lies in memory, by permission.
#![forbid(unsafe_code)]

use mm::addr::{PhysAddr, PhysRange};

/// The physical places of the running image's parts; each begins and ends on a page and they follow each other.
#[derive(Clone, Copy, Debug)]
pub struct ImageLayout {
    /// Everything from the first byte of text to the end of `.bss` and stacks.
    pub whole: PhysRange,
    /// Instructions: mapped read-only and executable.
    pub text: PhysRange,
    /// Constants: mapped read-only.
    pub rodata: PhysRange,
    /// Variables, `.bss`, stacks: mapped writable.
    pub data: PhysRange,
    /// What only the boot needs, in `text` and `data`: mapped by pages, since its rights change at the boot's end.
    pub init: [PhysRange; 2],
    /// Guard pages inside `data` that must stay unmapped (below the boot stack, below the emergency stack).
    pub guards: [PhysRange; 2],
    /// The page inside `text` with the exception vectors; mapped again at 0xffff_0000.
    pub vectors: PhysAddr,
    /// The second-level table page inside `data` that maps the fixmap's first 2 MiB (console) from early on.
    pub fixmap_table: PhysAddr,
}
