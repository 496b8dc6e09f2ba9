//! Windows on highmem: `kmap` for long uses, `kmap_local` for short ones; lowmem's pages have an address anyway.
//!
//! Theory.      `kmap_local` writes to its CPU's own windows of the fixmap, takes no lock and flushes its own TLB alone:
//!              no other CPU ever uses the address. It works in interrupt handlers, which give back what they took before
//!              they return. `kmap` hands out an address for all CPUs.
//! Invariants.  A window's word is 0 and no TLB knows it when the window is taken.
//! Source.      Linux `kmap_local_page`, `kunmap_local`, `kmap`, `kunmap`, `clear_highpage`, `copy_highpage`.

use core::fmt;
use core::marker::PhantomData;
use core::ptr::NonNull;

use mm::addr::{PAGE_SIZE, PGDIR_SIZE, Pfn, VirtAddr};
use mm::highmem::{LocalError, LocalStack, PkmapError, PkmapTable, Refuse, WindowWait, get_window, put_window};
use mm::layout::{FIXADDR_START, FIXMAP_CPUS, FIXMAP_KMAPS_PER_CPU, FixmapSlot};
use mm::paging::Slots;
use mm::platform::{PageAccess, PhysMap, TlbControl};
use mm::sync::CurrentCpu;

use super::Vm;
use crate::arch::armv7::irq::ArmIrq;
use crate::arch::armv7::mmu::ArmTlb;
use crate::arch::armv7::page;
use crate::percpu::Counter;
use crate::ram::RAM;

/// Windows that this CPU uses.
#[unsafe(link_section = ".percpu")]
static DEPTH: Counter = Counter::new(0);

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
/// Of a [`LocalMap`] that needed no window.
const LINEAR: u32 = u32::MAX;

/// Why a frame was not mapped or unmapped; nothing has changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KmapError {
    /// The frame is no RAM of the page allocator's.
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
            Self::NotRam(pfn) => write!(f, "kmap: frame {pfn} is no RAM"),
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
    window: u32,
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
fn pointer(va: VirtAddr) -> NonNull<u8> {
    let pointer = core::ptr::with_exposed_provenance_mut(va.raw() as usize);
    // SAFETY: windows lie in pkmap and in the fixmap, far above address 0.
    unsafe { NonNull::new_unchecked(pointer) }
}

/// Page of the fixmap's 2 MiB of window `window` of the CPU that this runs on.
#[inline(always)]
fn slot_of(window: u32) -> usize {
    FIRST + ArmIrq::current_cpu().index() * FIXMAP_KMAPS_PER_CPU as usize + window as usize
}

/// This CPU's stack of windows.
#[inline(always)]
fn stack() -> Result<LocalStack<'static>, KmapError> {
    let depth = DEPTH.of_this_cpu().ok_or(KmapError::NoCpu)?;
    if ArmIrq::current_cpu().index() >= FIXMAP_CPUS as usize {
        return Err(KmapError::NoCpu);
    }
    Ok(LocalStack::new(depth, FIXMAP_KMAPS_PER_CPU))
}

impl Vm {
    /// Maps `frame` for this CPU; the map made last is given back first. Context: any.
    ///
    /// # Errors
    /// [`KmapError`].
    #[inline(always)]
    pub fn kmap_local(&self, frame: Pfn) -> Result<LocalMap, KmapError> {
        if let Some(page) = RAM.frames_ptr(frame, 1) {
            return Ok(LocalMap { page, window: LINEAR, on_this_cpu: PhantomData });
        }
        if !self.map.is_present(frame) {
            return Err(KmapError::NotRam(frame));
        }
        let window = stack()?.push().map_err(KmapError::Local)?;
        let slot = slot_of(window);
        self.fixmap_slots.set(slot, frame);
        let (word, bytes) = self.fixmap_slots.bytes(slot);
        self.tlb.sync_table(word, bytes);
        Ok(LocalMap { page: pointer(self.fixmap_slots.address(slot)), window, on_this_cpu: PhantomData })
    }

    /// Gives back the last map of this CPU.
    ///
    /// # Errors
    /// The map, and [`LocalError::NotLast`] when it is not the last one: it stays.
    #[inline(always)]
    pub fn kunmap_local(&self, map: LocalMap) -> Result<(), (LocalMap, KmapError)> {
        if map.window == LINEAR {
            return Ok(());
        }
        let unmapped = stack().and_then(|stack| {
            let unmap = || {
                let slot = slot_of(map.window);
                self.fixmap_slots.clear(slot);
                self.tlb.flush_page_local(self.fixmap_slots.address(slot));
            };
            stack.pop(map.window, unmap).map_err(KmapError::Local)
        });
        unmapped.map_err(|error| (map, error))
    }

    /// Windows that this CPU uses.
    pub fn local_depth(&self) -> u32 {
        stack().map_or(0, |stack| stack.depth())
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
        if let Some(page) = RAM.frames_ptr(frame, 1) {
            return Ok(page);
        }
        if !self.map.is_present(frame) {
            return Err(KmapError::NotRam(frame));
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
