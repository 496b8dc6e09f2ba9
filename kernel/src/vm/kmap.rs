//! Windows on highmem: `kmap` for long uses, `kmap_local` for short ones; lowmem's pages have an address anyway.
//!
//! Theory.      `kmap_local` writes to its CPU's own windows of the fixmap, takes no lock and flushes its own TLB
//!              alone: no other CPU ever uses the address. Nor does it look whether the CPU must clean its words: one
//!              that must keeps another kind of depth, by which the short way finds no window. It works in interrupt
//!              handlers, which give back what they took before they return. `kmap` hands out an address for all CPUs.
//! Invariants.  A window's word is 0 and no TLB knows it when the window is taken.
//! Source.      Linux `kmap_local_page`, `kunmap_local`, `kmap`, `kunmap`, `clear_highpage`, `copy_highpage`.

use core::fmt;
use core::marker::PhantomData;
use core::num::NonZeroU32;
use core::ptr::NonNull;
use core::sync::atomic::Ordering;

use mm::addr::{PAGE_SIZE, PGDIR_SIZE, Pfn, VirtAddr};
use mm::highmem::{LocalError, LocalStack, PkmapError, PkmapTable, Refuse, WindowWait, get_window, put_window};
use mm::layout::{FIXADDR_START, FIXMAP_CPUS, FIXMAP_KMAPS_PER_CPU, FixmapSlot};
use mm::memmap::{MemMap, Page};
use mm::paging::{SLOTS, SlotWords, Slots};
use mm::platform::{PageAccess, PhysMap, TlbControl};
use mm::sync::CurrentCpu;

use super::Vm;
use crate::arch::armv7::irq::ArmIrq;
use crate::arch::armv7::mmu::ArmTlb;
use crate::arch::armv7::page;
use crate::percpu::Counter;
use crate::ram::{LinearPages, RAM};

/// Windows that this CPU uses, counted from its base: see [`stack`]. No base has the first value, so until
/// [`Vm::open_windows`] there are none.
#[unsafe(link_section = ".percpu")]
static DEPTH: Counter = Counter::new(NO_WINDOWS);
const NO_WINDOWS: u32 = 0x8000_0000;

/// The first of the 2 MiB that the fixmap's table serves.
pub(super) const fn fixmap_base() -> VirtAddr {
    FIXADDR_START.align_down(PGDIR_SIZE)
}

/// Page of the fixmap's 2 MiB where the windows of CPU 0 begin.
const FIRST: usize = match (FixmapSlot::Kmap { cpu: 0, depth: 0 }).address() {
    Some(va) => ((va.raw() - fixmap_base().raw()) / PAGE_SIZE) as usize,
    None => 0,
};
const _: () = assert!(FIRST > 0, "the fixmap has windows");

/// More than the highest number of a window, which are counted from 1 on over all CPUs.
const NUMBERS: usize = 2 * (FIXMAP_CPUS * FIXMAP_KMAPS_PER_CPU) as usize;
const _: () = assert!(NUMBERS.is_power_of_two() && FIRST - 1 + NUMBERS <= SLOTS);

/// Why a frame was not mapped or unmapped; nothing has changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KmapError {
    /// The frame is no RAM, or in a no-map region.
    NotRam(Pfn),
    /// This CPU has no windows (yet).
    NoCpu,
    /// A window of this CPU.
    Local(LocalError),
    /// A window of all CPUs.
    Pkmap(PkmapError),
}

impl fmt::Display for KmapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotRam(pfn) => write!(f, "kmap: frame {pfn} is no RAM that may be mapped"),
            Self::NoCpu => f.write_str("kmap_local: this CPU has no windows"),
            Self::Local(error) => error.fmt(f),
            Self::Pkmap(error) => error.fmt(f),
        }
    }
}

/// A frame that is mapped for this CPU until [`Vm::kunmap_local`].
#[derive(Debug)]
#[must_use = "a window that is not given back is lost"]
pub struct LocalMap {
    page: NonNull<u8>,
    /// Its number, from 1 on; `None` where none was needed.
    window: Option<NonZeroU32>,
    /// Not `Send`: no other CPU knows the address.
    on_this_cpu: PhantomData<*mut ()>,
}

impl LocalMap {
    /// The first byte of the frame.
    #[inline]
    pub const fn page(&self) -> NonNull<u8> {
        self.page
    }
}

/// The page that is mapped at `va`.
#[inline(always)]
pub(super) fn pointer(va: VirtAddr) -> NonNull<u8> {
    let pointer = core::ptr::with_exposed_provenance_mut(va.raw() as usize);
    // SAFETY: windows lie in pkmap and in the fixmap, far above address 0.
    unsafe { NonNull::new_unchecked(pointer) }
}

/// Bases of the depth: of CPUs whose table walks look into the data cache, and of those that have to clean what was
/// stored.
const COHERENT: u32 = 0;
const CLEANING: u32 = 0x100;

/// This CPU's stack of windows, if it is of this base; else, and before it has any, one that gives and takes none.
#[inline(always)]
fn stack(base: u32) -> LocalStack<'static> {
    // SAFETY: by either base the first value is no depth that a window could be taken at or given back.
    LocalStack::new(unsafe { DEPTH.here() }, base, FIXMAP_KMAPS_PER_CPU)
}

/// What a window is made of, side by side: each map and unmap of a page needs all of it.
#[derive(Debug)]
pub(super) struct LocalWindows {
    /// The first frame above lowmem.
    high: u32,
    /// Of the frames from there on.
    pages: &'static [Page],
    linear: LinearPages,
    slots: Slots<'static>,
    /// The page below the first window of CPU 0.
    below: VirtAddr,
}

impl LocalWindows {
    /// `slots`: the fixmap's. The boot must be over: lowmem grows no more.
    pub(super) fn new(map: MemMap<'static>, slots: Slots<'static>) -> Self {
        let linear = RAM.now();
        let high = linear.end();
        Self { high: high.raw(), pages: map.pages_from(high), linear, slots, below: slots.address(FIRST - 1) }
    }

    /// The fixmap's pages.
    pub(super) const fn slots(&self) -> Slots<'static> {
        self.slots
    }

    /// The map of a frame that is not above lowmem.
    #[inline(always)]
    fn linear_map(&self, frame: Pfn) -> Result<LocalMap, KmapError> {
        let page = self.linear.at(self.linear.offset(frame), 1).ok_or(KmapError::NotRam(frame))?;
        Ok(LocalMap { page, window: None, on_this_cpu: PhantomData })
    }

    /// Number of `window` of the CPU that this runs on, over all CPUs, from 1 on.
    #[inline(always)]
    fn number(window: NonZeroU32) -> u32 {
        #[expect(clippy::cast_possible_truncation, reason = "CPUs that have windows are few")]
        let cpu = ArmIrq::current_cpu().index() as u32;
        cpu * FIXMAP_KMAPS_PER_CPU + window.get()
    }

    /// The words of `window`.
    #[inline(always)]
    fn words(&self, window: NonZeroU32) -> SlotWords<'static> {
        // That the page is one of the table's needs no check.
        self.slots.words(FIRST - 1 + Self::number(window) as usize % NUMBERS)
    }

    /// The address of `window`.
    #[inline(always)]
    fn address(&self, window: NonZeroU32) -> VirtAddr {
        VirtAddr::new(self.below.raw().wrapping_add(Self::number(window) * PAGE_SIZE))
    }
}

/// Whether this CPU has windows of its own.
fn has_windows() -> bool {
    DEPTH.of_this_cpu().is_some() && ArmIrq::current_cpu().index() < FIXMAP_CPUS as usize
}

impl Vm {
    /// Maps `frame` for this CPU; the map made last is given back first. Context: any.
    ///
    /// # Errors
    /// [`KmapError`].
    #[inline(always)]
    pub fn kmap_local(&self, frame: Pfn) -> Result<LocalMap, KmapError> {
        let local = &self.local;
        match local.pages.get(frame.raw().wrapping_sub(local.high) as usize) {
            Some(page) if page.heads_block() => {}
            Some(_) => self.judge(frame)?,
            None => return self.lowmem_map(frame),
        }
        let slots = local.slots;
        let window = match stack(COHERENT).push() {
            Ok(window) => {
                slots.set_words(local.words(window), frame);
                self.tlb.sync_coherent();
                window
            }
            Err(_) => self.kmap_local_rarely(frame)?,
        };
        Ok(LocalMap { page: pointer(local.address(window)), window: Some(window), on_this_cpu: PhantomData })
    }

    /// The map of a frame of lowmem.
    #[inline]
    fn lowmem_map(&self, frame: Pfn) -> Result<LocalMap, KmapError> {
        let map = self.local.linear_map(frame)?;
        if !self.booted.mm.allocator().map().page(frame).is_some_and(Page::heads_block) {
            self.judge(frame)?;
        }
        Ok(map)
    }

    /// Whether a frame that heads no block of the allocator's may be mapped: it is RAM, and in no no-map region.
    #[cold]
    #[inline(never)]
    fn judge(&self, frame: Pfn) -> Result<(), KmapError> {
        let mm = &self.booted.mm;
        let mut regions = mm.frozen().memory().iter();
        let is_kept_out = regions.any(|region| region.is_nomap() && region.range().contains(frame.base()));
        if mm.allocator().map().is_present(frame) && !is_kept_out { Ok(()) } else { Err(KmapError::NotRam(frame)) }
    }

    /// Gives back the last map of this CPU.
    ///
    /// # Errors
    /// The map, and [`LocalError::NotLast`] when it is not the last one: it stays.
    #[inline(always)]
    pub fn kunmap_local(&self, map: LocalMap) -> Result<(), (LocalMap, KmapError)> {
        let Some(window) = map.window else { return Ok(()) };
        let unmap = || {
            self.local.words(window).clear();
            self.tlb.flush_page_local(VirtAddr::new(map.page.as_ptr() as u32));
        };
        match stack(COHERENT).pop(window, unmap) {
            Ok(()) => Ok(()),
            Err(_) => self.kunmap_local_rarely(map),
        }
    }

    /// [`Vm::kmap_local`] where the short way found no window: none is left, or the CPU is one that cleans.
    #[cold]
    #[inline(never)]
    fn kmap_local_rarely(&self, frame: Pfn) -> Result<NonZeroU32, KmapError> {
        if !has_windows() {
            return Err(KmapError::NoCpu);
        }
        let window = stack(CLEANING).push().map_err(KmapError::Local)?;
        let words = self.local.words(window);
        self.local.slots.set_words(words, frame);
        self.sync_words(words);
        Ok(window)
    }

    /// [`Vm::kunmap_local`] of a window that is not the last one, or on a CPU that cleans.
    #[cold]
    #[inline(never)]
    fn kunmap_local_rarely(&self, map: LocalMap) -> Result<(), (LocalMap, KmapError)> {
        let Some(window) = map.window else { return Ok(()) };
        let words = self.local.words(window);
        let unmap = || {
            words.clear();
            self.sync_words(words);
            self.tlb.flush_page_local(VirtAddr::new(map.page.as_ptr() as u32));
        };
        let unmapped = stack(CLEANING).pop(window, unmap);
        unmapped.map_err(|_| {
            let error = LocalError::NotLast { window: window.get(), depth: self.local_depth() };
            (map, KmapError::Local(error))
        })
    }

    /// Shows the words of a window to the MMU's walk, on any CPU.
    pub(super) fn sync_words(&self, words: SlotWords<'static>) {
        let (word, bytes) = words.bytes();
        self.tlb.sync_table(word, bytes);
    }

    /// Gives this CPU its windows, once it has its per-CPU area; `false` when there are none for it, or some are in
    /// use. `cleans`: whether the words of windows are cleaned from the data cache, as [`ArmTlb::cleans_tables`] says.
    pub fn open_windows(&self, cleans: bool) -> bool {
        let depth = DEPTH.of_this_cpu().filter(|_| has_windows() && self.local_depth() == 0);
        depth.inspect(|depth| depth.store(if cleans { CLEANING } else { COHERENT }, Ordering::Relaxed)).is_some()
    }

    /// Windows that this CPU uses.
    pub fn local_depth(&self) -> u32 {
        let depths = [COHERENT, CLEANING].map(|base| stack(base).depth());
        depths.into_iter().find(|depth| *depth <= FIXMAP_KMAPS_PER_CPU).unwrap_or(0)
    }

    /// Gives `frame` an address for all CPUs, or one user more of the one that it has. Context: tasks.
    ///
    /// # Errors
    /// [`KmapError`]; [`PkmapError::Full`] when every window is in use.
    pub fn kmap(&self, frame: Pfn) -> Result<NonNull<u8>, KmapError> {
        self.kmap_waiting(frame, &Refuse)
    }

    /// As [`Vm::kmap`], but while every window is in use the caller sleeps by `wait`.
    ///
    /// # Errors
    /// [`KmapError`]; [`PkmapError::Full`] when `wait` does not sleep.
    pub fn kmap_waiting(&self, frame: Pfn, wait: &dyn WindowWait) -> Result<NonNull<u8>, KmapError> {
        self.judge(frame)?;
        if let Some(page) = RAM.frames_ptr(frame, 1) {
            return Ok(page);
        }
        let slot = get_window(&self.pkmap, frame, &mut self.window_table(), wait).map_err(KmapError::Pkmap)?;
        Ok(pointer(self.pkmap_slots.address(slot)))
    }

    /// Gives up one user of `frame`'s address.
    ///
    /// # Errors
    /// [`PkmapError::NotMapped`].
    pub fn kunmap(&self, frame: Pfn) -> Result<(), KmapError> {
        self.kunmap_waking(frame, &Refuse)
    }

    /// As [`Vm::kunmap`]; wakes who sleeps by `wait` for a window.
    ///
    /// # Errors
    /// [`PkmapError::NotMapped`].
    pub fn kunmap_waking(&self, frame: Pfn, wait: &dyn WindowWait) -> Result<(), KmapError> {
        if RAM.frames_ptr(frame, 1).is_some() {
            return Ok(());
        }
        put_window(&self.pkmap, frame, wait).map_err(KmapError::Pkmap)
    }

    /// Unmaps every window of [`Vm::kmap`] that has no user (Linux: `kmap_flush_unused`).
    pub fn kmap_flush_unused(&self) {
        self.pkmap.lock().flush_unused(&mut self.window_table());
    }

    /// Writes zeros to `frame`, wherever it lies (Linux: `clear_highpage`).
    ///
    /// # Errors
    /// [`KmapError`]; nothing is written.
    ///
    /// # Safety
    /// The frame must be the caller's alone.
    pub unsafe fn clear_highpage(&self, frame: Pfn) -> Result<(), KmapError> {
        let map = self.kmap_local(frame)?;
        // SAFETY: the frame is mapped, and the caller's.
        unsafe { page::clear_page(map.page()) }
        self.kunmap_local(map).map_err(|(_, error)| error)
    }

    /// Copies frame `from` to frame `to`, wherever they lie (Linux: `copy_highpage`).
    ///
    /// # Errors
    /// [`KmapError`]; nothing is written.
    ///
    /// # Safety
    /// `to` must be the caller's alone, another frame than `from`, and nobody may write to `from`.
    pub unsafe fn copy_highpage(&self, to: Pfn, from: Pfn) -> Result<(), KmapError> {
        let source = self.kmap_local(from)?;
        let copied = self.kmap_local(to).and_then(|target| {
            // SAFETY: both frames are mapped, and the caller vouches for them.
            unsafe { page::copy_page(target.page(), source.page()) }
            self.kunmap_local(target).map_err(|(_, error)| error)
        });
        copied.and(self.kunmap_local(source).map_err(|(_, error)| error))
    }

    fn window_table(&self) -> WindowTable<'_> {
        WindowTable { slots: &self.pkmap_slots, tlb: &self.tlb }
    }
}

// SAFETY: the window maps the whole frame, readable and writable, until it is given up after the one call.
unsafe impl PageAccess for Vm {
    fn with_frame(&self, pfn: Pfn, use_it: &mut dyn FnMut(NonNull<u8>)) -> bool {
        let Ok(map) = self.kmap_local(pfn) else { return false };
        use_it(map.page());
        self.kunmap_local(map).is_ok()
    }
}

/// Pkmap's words.
struct WindowTable<'a> {
    slots: &'a Slots<'static>,
    tlb: &'a ArmTlb,
}

impl PkmapTable for WindowTable<'_> {
    fn set(&mut self, slot: usize, frame: Pfn) {
        self.slots.set(slot, frame);
        let (word, bytes) = self.slots.bytes(slot);
        self.tlb.sync_table(word, bytes);
    }

    fn clear(&mut self, slot: usize) {
        self.slots.clear(slot);
        let (word, bytes) = self.slots.bytes(slot);
        self.tlb.sync_table(word, bytes);
    }

    fn flush(&mut self) {
        self.tlb.flush_all();
    }
}
