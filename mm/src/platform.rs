//! All that `mm` asks of a machine: a few small traits.
//!
//! `mm` holds no `asm!`, no `cfg(target_arch)` and no `static`: the kernel (or a test) implements these and hands the
//! values in. Reach a frame's bytes: [`PhysMap`]. Mask interrupts: [`IrqControl`]. Flush translations: [`TlbControl`].
//! Have another CPU do something: [`CrossCall`].

use core::hint::black_box;
use core::mem::MaybeUninit;
use core::ptr::NonNull;
use core::sync::atomic::AtomicU32;

use crate::addr::{PAGE_SIZE, Pfn, VirtAddr};
use crate::sync::CpuId;

/// Reaches the bytes of page frames through a linear mapping.
///
/// # Safety
/// For every run that [`PhysMap::frames_ptr`] answers with a pointer, all of the run's bytes must be readable and
/// writable through that pointer for as long as `self` lives, frames that follow each other must follow each other in
/// memory, and the same frame must always have the same address. [`PhysMap::fill_units`] must write every unit.
pub unsafe trait PhysMap {
    /// Pointer to the first byte of `pages` frames from `first`; `None` when any of them is outside the linear
    /// mapping. Aligned to the page size.
    fn frames_ptr(&self, first: Pfn, pages: u32) -> Option<NonNull<u8>>;

    /// Writes `byte` to all bytes of a frame, by the machine's fastest stores (Linux: `clear_page`).
    ///
    /// # Safety
    /// `bytes` must be the begin of a whole frame that can be written, wherever it is mapped, and that nobody else
    /// uses.
    unsafe fn fill_frame(&self, bytes: NonNull<u8>, byte: u8) {
        // SAFETY: the caller answers for the frame.
        unsafe { bytes.write_bytes(byte, PAGE_SIZE as usize) }
    }

    /// Writes `unit` to each of `units`, by the machine's fastest stores: most of what a boot writes is the memory map.
    fn fill_units(&self, units: &mut [MaybeUninit<[u32; 8]>], unit: &[u32; 8]) {
        fill_units(units, unit);
    }
}

/// [`PhysMap::fill_units`] on a machine of which nothing is known.
pub(crate) fn fill_units(units: &mut [MaybeUninit<[u32; 8]>], unit: &[u32; 8]) {
    let (eights, odd) = units.as_chunks_mut::<8>();
    // A copy from memory is moved in multiple-register loads and stores, at about 4 instructions a unit; words that the
    // compiler knows would be stored one by one.
    let pair = [*unit, *unit];
    let template = black_box(&pair);
    for eight in eights {
        eight.as_chunks_mut::<2>().0.iter_mut().for_each(|[first, second]| {
            first.write(template[0]);
            second.write(template[1]);
        });
    }
    odd.iter_mut().for_each(|place| {
        place.write(*unit);
    });
}

/// Masks interrupts on the CPU that it runs on.
///
/// # Safety
/// After `save_and_disable`, no interrupt handler may run on this CPU until the matching `restore`.
pub unsafe trait IrqControl {
    /// What `restore` needs to put the mask back.
    type Saved: Copy;

    /// Masks interrupts; returns the mask as it was.
    fn save_and_disable() -> Self::Saved;

    /// Puts the mask back.
    ///
    /// # Safety
    /// `saved` must come from the latest `save_and_disable` on this CPU that has not been restored yet.
    unsafe fn restore(saved: Self::Saved);
}

/// Cache and TLB maintenance around changes of the translation tables (Arm ARM DDI 0406C B3.10).
pub trait TlbControl {
    /// Makes table bytes that were just written visible to the table walk: cleans `bytes` bytes from `ptr` to the
    /// point of unification where the walk is not coherent, then a data barrier.
    fn sync_table(&self, ptr: NonNull<u8>, bytes: usize);

    /// As [`TlbControl::sync_table`], for the first-level words `words` of the MiBs from `first` on. Every change of a
    /// first level is told here, and before the flush that belongs to it: who keeps copies changes them now.
    fn sync_first(&self, first: usize, words: &[AtomicU32]) {
        let _ = first;
        self.sync_table(NonNull::from(words).cast(), size_of_val(words));
    }

    /// Drops every TLB entry of the page at `va`, on all CPUs, with the barriers before and after.
    fn flush_page(&self, va: VirtAddr);

    /// Drops every TLB entry, on all CPUs, with the barriers before and after.
    fn flush_all(&self);

    /// Drops every TLB entry that is not global and belongs to `asid`, on all CPUs, with the barriers before and after
    /// (Linux: `flush_tlb_mm`).
    fn flush_asid(&self, asid: u8) {
        let _ = asid;
        self.flush_all();
    }

    /// Drops every TLB entry of the page at `va` on this CPU, with the barriers before and after: for mappings that no
    /// other CPU uses (Linux: `local_flush_tlb_kernel_page`).
    fn flush_page_local(&self, va: VirtAddr) {
        self.flush_page(va);
    }
}

/// Reaches the bytes of any frame of RAM, also of one outside the linear map (Linux: `kmap_local_page`).
///
/// # Safety
/// `use_it` must be called once at most, with a pointer through which all bytes of the frame can be read and written
/// until it returns.
pub unsafe trait PageAccess: Sync {
    /// Maps one frame for the time of `use_it`; false when it cannot.
    fn with_frame(&self, pfn: Pfn, use_it: &mut dyn FnMut(NonNull<u8>)) -> bool;
}

/// Has work done on other CPUs.
pub trait CrossCall: Sync {
    /// Runs `work` on CPU `cpu`, which may be the caller's own, and returns when it is done; `false`, and nothing done,
    /// when there is no such CPU or it does not run.
    ///
    /// Context: interrupts on, no lock held: the other CPU may be waiting for this one to answer such a call. There
    /// `work` runs as an interrupt handler does: it must not wait either. Linux: `smp_call_function_single`.
    fn run_on(&self, cpu: CpuId, work: &(dyn Fn() + Sync)) -> bool;
}
