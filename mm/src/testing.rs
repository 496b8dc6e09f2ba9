//! Stand-ins for a machine: RAM on the host's heap, an interrupt flag that counts, a log that is kept. Feature
//! `testing`.

use core::cell::{Cell, RefCell};
use core::ptr::NonNull;
use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::boxed::Box;
use std::string::String;
use std::sync::Once;
use std::vec::Vec;

use crate::addr::{PAGE_SIZE, Pfn, PfnRange, PhysAddr, PhysRange, VirtAddr};
use crate::layout::{LinearMap, PAGE_OFFSET, VirtualLayout};
use crate::memblock::{Memblock, Region};
use crate::phase::{EarlyMm, Mm, Setup};
use crate::platform::{IrqControl, PhysMap, TlbControl};
use crate::sync::CurrentCpu;

/// How many cases a randomised test tries that tries `cases` by default: `QUIRE_TEST_SCALE`, a factor such as `10` or a
/// part such as `1/10`, makes it more or fewer; one at least. Tests that must get somewhere take the larger of it and
/// what that needs.
#[must_use]
pub fn scaled(cases: u32) -> u32 {
    let text = std::env::var("QUIRE_TEST_SCALE").unwrap_or_default();
    let (factor, part) = text.split_once('/').unwrap_or((&text, "1"));
    let or_one = |number: &str| number.trim().parse().unwrap_or(1_u32).max(1);
    (cases.saturating_mul(or_one(factor)) / or_one(part)).max(1)
}

/// One bank of host memory that stands for physical frames.
#[derive(Debug)]
struct Bank {
    frames: PfnRange,
    /// The first frame, on a page of the host.
    bytes: NonNull<u8>,
    /// What the host's allocator gave.
    given: NonNull<u8>,
    layout: Layout,
}

/// Physical memory on the host's heap: zeroed, and committed by the host only where it is touched.
#[derive(Debug, Default)]
pub struct FakeRam {
    banks: Vec<Bank>,
}

// SAFETY: a `FakeRam` owns its banks; the pointers that it hands out are used under the same rules as on metal.
unsafe impl Send for FakeRam {}
// SAFETY: `&FakeRam` only reads the table of banks, which never changes after construction.
unsafe impl Sync for FakeRam {}

impl FakeRam {
    /// RAM at `ranges`, which must not overlap; partial frames are left out.
    ///
    /// # Panics
    /// When the host has no memory for it.
    #[must_use]
    #[expect(clippy::expect_used, reason = "a test that has no memory cannot go on")]
    pub fn new(ranges: &[PhysRange]) -> Self {
        let bank = |range: &PhysRange| {
            let frames = range.whole_frames();
            let size = frames.pages() as usize * PAGE_SIZE as usize;
            // A page more, and aligned by hand: only for a small alignment does the host leave zeroed pages untouched.
            let layout = Layout::from_size_align(size + PAGE_SIZE as usize, 16).expect("a bank fits the host");
            // SAFETY: `layout` has a size of at least a page.
            let given = NonNull::new(unsafe { alloc_zeroed(layout) }).expect("the host has memory for the bank");
            // SAFETY: the next multiple of a page is less than a page away, and a page was added.
            let bytes = unsafe { given.add(given.align_offset(PAGE_SIZE as usize)) };
            Bank { frames, bytes, given, layout }
        };
        Self { banks: ranges.iter().map(bank).collect() }
    }

    /// One bank of `mib` MiB at 0x8000_0000.
    ///
    /// # Panics
    /// As [`Self::new`].
    #[must_use]
    pub fn of_mib(mib: u32) -> Self {
        let start = PhysAddr::new(0x8000_0000);
        Self::new(&[PhysRange::new(start, start.saturating_add(u64::from(mib) << 20))])
    }
}

impl Drop for FakeRam {
    fn drop(&mut self) {
        for bank in &self.banks {
            // SAFETY: `given` came from `alloc_zeroed` with this very layout and is freed once.
            unsafe { dealloc(bank.given.as_ptr(), bank.layout) }
        }
    }
}

// SAFETY: every pointer lies in one bank's allocation, which lives as long as `self` and is contiguous by frame number.
unsafe impl PhysMap for FakeRam {
    fn frames_ptr(&self, first: Pfn, pages: u32) -> Option<NonNull<u8>> {
        let end = first.checked_add(pages)?;
        let bank = self.banks.iter().find(|bank| bank.frames.start <= first && end <= bank.frames.end)?;
        let offset = first.pages_since(bank.frames.start) as usize * PAGE_SIZE as usize;
        // SAFETY: `first..end` lies inside the bank, so the offset lies inside its allocation.
        Some(unsafe { bank.bytes.add(offset) })
    }
}

/// All of `ram`, below 0x9000_0000 lowmem, in the hands of the page allocator; memblock's lists are never given back.
///
/// # Panics
/// When there is too little of it.
#[must_use]
#[expect(clippy::expect_used, reason = "a test that has no machine cannot go on")]
pub fn small_machine<M: CurrentCpu>(ram: &FakeRam) -> Mm<'_, M> {
    let list = || Box::leak(Box::new([Region::EMPTY; 16])).as_mut_slice();
    let mut early = EarlyMm::new(Memblock::new(list(), list()));
    for bank in &ram.banks {
        early.memblock().add(bank.frames.bytes()).expect("16 banks at most");
    }
    let start = early.memblock().start_of_dram();
    let limit = early.memblock().end_of_dram().min(PhysAddr::new(0x9000_0000));
    let linear =
        LinearMap::new(PAGE_OFFSET, start, limit).expect("RAM begins on a multiple of 2 MiB below 0x9000_0000");
    early.paged(VirtualLayout::new(linear)).start(ram, &Setup::default()).expect("the machine has some MiB")
}

std::thread_local! {
    static IRQ_DEPTH: Cell<u32> = const { Cell::new(0) };
}

/// An interrupt mask for each host thread, which stands for a CPU.
#[derive(Clone, Copy, Debug)]
pub struct HostIrq;

impl HostIrq {
    /// How many masks are nested on this thread; 0 when interrupts are on.
    #[must_use]
    pub fn depth() -> u32 {
        IRQ_DEPTH.get()
    }
}

// SAFETY: no interrupt handler runs on a host thread at all.
unsafe impl IrqControl for HostIrq {
    type Saved = u32;

    fn save_and_disable() -> u32 {
        IRQ_DEPTH.replace(IRQ_DEPTH.get() + 1)
    }

    unsafe fn restore(saved: u32) {
        assert_eq!(IRQ_DEPTH.get(), saved + 1, "interrupt masks are restored in the order of their nesting");
        IRQ_DEPTH.set(saved);
    }
}

/// A TLB that counts what it is told.
#[derive(Debug, Default)]
pub struct CountingTlb {
    /// Calls of `flush_page`.
    pub pages: Cell<u32>,
    /// Calls of `flush_all`.
    pub all: Cell<u32>,
    /// Calls of `flush_asid`.
    pub asids: Cell<u32>,
}

impl TlbControl for CountingTlb {
    fn sync_table(&self, _ptr: NonNull<u8>, _bytes: usize) {}

    fn flush_page(&self, _va: VirtAddr) {
        self.pages.set(self.pages.get() + 1);
    }

    fn flush_all(&self) {
        self.all.set(self.all.get() + 1);
    }

    fn flush_asid(&self, _asid: u8) {
        self.asids.set(self.asids.get() + 1);
    }
}

std::thread_local! {
    static LINES: RefCell<Option<Vec<String>>> = const { RefCell::new(None) };
}

/// Keeps the lines of the thread that asked for them and drops all others.
struct Recorder;

impl log::Log for Recorder {
    fn enabled(&self, _metadata: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        LINES.with_borrow_mut(|lines| {
            if let Some(lines) = lines {
                lines.push(std::format!("{}", record.args()));
            }
        });
    }

    fn flush(&self) {}
}

/// Runs `body`; returns what it returned and every line that it logged on this thread, of any level.
pub fn with_log<R>(body: impl FnOnce() -> R) -> (R, Vec<String>) {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        if log::set_logger(&Recorder).is_ok() {
            log::set_max_level(log::LevelFilter::Trace);
        }
    });
    let outer = LINES.replace(Some(Vec::new()));
    let result = body();
    (result, LINES.replace(outer).unwrap_or_default())
}

/// Runs `body`; returns every line that it logged on this thread, of any level.
pub fn capture_log(body: impl FnOnce()) -> Vec<String> {
    with_log(body).1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gibibytes_of_ram_cost_nothing_until_they_are_touched() {
        // 64 banks of 2 GiB: no host here has that much.
        let banks: Vec<FakeRam> = (0..64)
            .map(|_| FakeRam::new(&[PhysRange::new(PhysAddr::new(0x8000_0000), PhysAddr::new(1 << 32))]))
            .collect();
        for ram in &banks {
            let last = ram.frames_ptr(Pfn::new(0xf_ffff), 1).unwrap();
            assert_eq!(last.align_offset(PAGE_SIZE as usize), 0);
            // SAFETY: the frame is ours.
            assert_eq!(unsafe { last.read() }, 0);
        }
    }
}
