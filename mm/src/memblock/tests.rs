//! Memblock by example, and its lines against Linux's.

mod alloc;
mod broken;
mod edit;
mod growth;
mod model;
mod told;
mod views;
mod words;

use std::vec;
use std::vec::Vec;

use super::Region;
use crate::addr::{NodeId, PAGE_SIZE, PhysAddr, PhysRange};
use crate::testing::FakeRam;

const PAGE: u64 = PAGE_SIZE as u64;
const MIB: u64 = 1 << 20;

fn addr(raw: u64) -> PhysAddr {
    PhysAddr::new(raw)
}

fn range(start: u64, end: u64) -> PhysRange {
    PhysRange::new(addr(start), addr(end))
}

fn node(raw: u32) -> NodeId {
    NodeId::new(raw).unwrap()
}

fn arrays() -> (Vec<Region>, Vec<Region>) {
    (vec![Region::EMPTY; 128], vec![Region::EMPTY; 128])
}

fn lines(regions: &[Region]) -> Vec<(u64, u64, u32)> {
    regions.iter().map(|r| (r.range().start.raw(), r.range().end.raw(), r.flags().bits())).collect()
}

/// 64 MiB of RAM at 0x8000_0000 on the host's heap.
fn fake_ram() -> (FakeRam, PhysRange) {
    let bank = range(0x8000_0000, 0x8400_0000);
    (FakeRam::new(&[bank]), bank)
}
