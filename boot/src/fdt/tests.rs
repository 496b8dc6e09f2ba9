//! What a blob's faults are called, and what well-formed trees say.

mod chosen;
mod header;
mod machine;
mod memory;
mod structure;

use mm::addr::{PhysAddr, PhysRange};

use super::builder::{Blob, Builder};
use super::{FdtError, validate};
use crate::info::BootInfo;

fn range(start: u64, end: u64) -> PhysRange {
    PhysRange::new(PhysAddr::new(start), PhysAddr::new(end))
}

fn fault(blob: &Blob) -> FdtError {
    validate(blob).expect_err("the blob is broken")
}

fn info(tree: &mut Builder, check: impl FnOnce(BootInfo<'_>)) {
    let blob = tree.finish();
    check(BootInfo::parse(&validate(&blob).unwrap()));
}
