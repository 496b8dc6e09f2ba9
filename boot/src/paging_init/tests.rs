//! Whole boots on the host: tables as the head code leaves them, `paging_init`, then every page of the 4 GiB judged.
#![expect(clippy::cast_possible_truncation, reason = "addresses of the tests are below 4 GiB")]

mod board;
mod judge;
mod layouts;
mod live;
mod memory;
mod refusals;

use core::ptr::NonNull;

use mm::addr::{Pfn, PhysAddr, PhysRange, VirtAddr};
use mm::paging::model::ModelMmu;
use mm::paging::{Editor, Tables};
use mm::platform::{PhysMap, TlbControl};
use mm::testing::FakeRam;

const PAGE: u64 = 0x1000;
const CONSOLE_VA: u32 = 0xffc8_0000;

fn range(start: u64, end: u64) -> PhysRange {
    PhysRange::new(PhysAddr::new(start), PhysAddr::new(end))
}

fn model(ram: &FakeRam, root: u64) -> ModelMmu<'_, FakeRam> {
    ModelMmu { ram, ttbr: root, prrr: 0xff0a_81a8, nmrr: 0x40e0_40e0, dacr: 1 }
}

/// The words of one frame.
#[expect(clippy::mut_from_ref, reason = "a test looks at and spoils RAM while nobody else does")]
fn words(ram: &FakeRam, frame: u64) -> &mut [u32] {
    let page = ram.frames_ptr(Pfn::containing(PhysAddr::new(frame)).unwrap(), 1).unwrap();
    // SAFETY: the frame is in the fake RAM, and this thread alone uses it.
    unsafe { NonNull::slice_from_raw_parts(page.cast(), 1024).as_mut() }
}

fn editor(ram: &FakeRam, root: u64) -> Editor<'_, FakeRam, NoTlb> {
    // SAFETY: the test uses the table frames as tables only.
    let tables = unsafe { Tables::new(ram, PhysAddr::new(root)) }.unwrap();
    // SAFETY: one editor at a time, by the borrow of each test; nothing runs behind these tables.
    unsafe { Editor::new(tables, &NoTlb) }
}

struct NoTlb;

impl TlbControl for NoTlb {
    fn sync_table(&self, _ptr: NonNull<u8>, _bytes: usize) {}
    fn flush_page(&self, _va: VirtAddr) {}
    fn flush_all(&self) {}
}
