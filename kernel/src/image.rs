//! Where the linker put the image's parts.

use boot::head::HeadInfo;
use boot::image::ImageLayout;
use mm::addr::{PAGE_SIZE, PhysAddr, PhysRange, VirtAddr};
use mm::layout::{ImageSections, PAGE_OFFSET};
use mm::report::ImageSizes;

unsafe extern "C" {
    static _image_start: u8;
    static _etext: u8;
    static _rodata_start: u8;
    static _rodata_end: u8;
    static _data_start: u8;
    static _edata: u8;
    static _bss_start: u8;
    static _bss_end: u8;
    static _end: u8;
    static _vectors: u8;
    static _fixmap_table: u8;
    static _boot_stack_guard: u8;
    static _boot_stack_bottom: u8;
    static _boot_stack_top: u8;
    static _exception_stack_guard: u8;
    static _exception_stack_bottom: u8;
    static _exception_stack_top: u8;
    static _exidx_start: u8;
    static _exidx_end: u8;
    static _symbols_start: u8;
    static _symbols_end: u8;
    static _init_text_start: u8;
    static _init_text_end: u8;
    static _init_bss_start: u8;
    static _init_bss_end: u8;
    static _percpu_start: u8;
    static _percpu_end: u8;
}

/// Address of a linker symbol.
macro_rules! at {
    ($symbol:ident) => {
        VirtAddr::new(&raw const $symbol as u32)
    };
}

/// The physical address of `va` in the image.
fn phys(head: &HeadInfo, va: VirtAddr) -> PhysAddr {
    PhysAddr::new(u64::from(va.raw().wrapping_sub(PAGE_OFFSET.raw()).wrapping_add(head.phys_offset)))
}

/// The parts of the running image.
pub fn layout(head: &HeadInfo) -> ImageLayout {
    let range = |start, end| PhysRange::new(phys(head, start), phys(head, end));
    let page = |start: VirtAddr| {
        let start = phys(head, start);
        PhysRange::new(start, start.saturating_add(u64::from(PAGE_SIZE)))
    };
    ImageLayout {
        whole: range(at!(_image_start), at!(_end)),
        text: range(at!(_image_start), at!(_etext)),
        rodata: range(at!(_etext), at!(_data_start)),
        data: range(at!(_data_start), at!(_end)),
        init: init_memory(head),
        guards: [page(at!(_boot_stack_guard)), page(at!(_exception_stack_guard))],
        vectors: phys(head, at!(_vectors)),
        fixmap_table: phys(head, at!(_fixmap_table)),
    }
}

/// The same for the log, as virtual addresses.
pub fn sections() -> ImageSections {
    ImageSections {
        text: (at!(_image_start), at!(_rodata_end)),
        init: (at!(_init_text_start), at!(_init_text_end)),
        data: (at!(_data_start), at!(_edata)),
        bss: (at!(_bss_start), at!(_end)),
    }
}

/// Bytes of the parts as the `Memory:` line counts them.
pub fn sizes() -> ImageSizes {
    let size = |start: VirtAddr, end: VirtAddr| u64::from(end.raw().wrapping_sub(start.raw()));
    let init_code = size(at!(_init_text_start), at!(_init_text_end));
    let init_variables = size(at!(_init_bss_start), at!(_init_bss_end));
    ImageSizes {
        code: size(at!(_image_start), at!(_etext)).saturating_sub(init_code),
        rodata: size(at!(_rodata_start), at!(_data_start)),
        rwdata: size(at!(_data_start), at!(_edata)),
        init: init_code.saturating_add(init_variables),
        bss: size(at!(_bss_start), at!(_end)).saturating_sub(init_variables),
    }
}

/// What only the boot uses: its code, its variables. Whole pages.
pub fn init_memory(head: &HeadInfo) -> [PhysRange; 2] {
    let range = |start, end| PhysRange::new(phys(head, start), phys(head, end));
    [range(at!(_init_text_start), at!(_init_text_end)), range(at!(_init_bss_start), at!(_init_bss_end))]
}

/// The template of the per-CPU variables; nothing writes it, each CPU has a copy of its own.
pub fn percpu_template() -> &'static [u8] {
    // SAFETY: the linker lays the section, which is read-only, between the two symbols.
    unsafe { bytes(at!(_percpu_start), at!(_percpu_end)) }
}

/// The table of the image's functions, as `mm::fault::symbols` reads it; empty in an image that was linked without.
pub fn symbols() -> &'static [u8] {
    // SAFETY: as above.
    unsafe { bytes(at!(_symbols_start), at!(_symbols_end)) }
}

/// The bytes between two symbols.
///
/// # Safety
/// They must be mapped, and never written.
unsafe fn bytes(start: VirtAddr, end: VirtAddr) -> &'static [u8] {
    let bytes = end.raw().wrapping_sub(start.raw()) as usize;
    // SAFETY: the caller's.
    unsafe { core::slice::from_raw_parts(core::ptr::with_exposed_provenance(start.raw() as usize), bytes) }
}

/// Begin and end of the index of the unwind tables.
pub fn unwind_index() -> (VirtAddr, VirtAddr) {
    (at!(_exidx_start), at!(_exidx_end))
}

/// The addresses of the image's instructions.
pub fn code() -> core::ops::Range<VirtAddr> {
    at!(_image_start)..at!(_etext)
}

/// A stack of the image, with the unmapped page below it.
#[derive(Clone, Copy, Debug)]
pub struct Stack {
    /// Whose it is.
    pub name: &'static str,
    /// The guard page, which ends at `bottom`.
    pub guard: VirtAddr,
    /// The lowest address.
    pub bottom: VirtAddr,
    /// One past the highest.
    pub top: VirtAddr,
}

/// Every stack: what the kernel runs on, and what exceptions are taken and reported on.
pub fn stacks() -> [Stack; 2] {
    let (guard, bottom, top) = (at!(_boot_stack_guard), at!(_boot_stack_bottom), at!(_boot_stack_top));
    let boot = Stack { name: "boot", guard, bottom, top };
    let (guard, bottom, top) = (at!(_exception_stack_guard), at!(_exception_stack_bottom), at!(_exception_stack_top));
    [boot, Stack { name: "exception", guard, bottom, top }]
}

/// The part of the image that `va` lies in.
pub fn part_of(va: VirtAddr) -> Option<&'static str> {
    if let Some(stack) = stacks().into_iter().find(|stack| stack.guard <= va && va < stack.top) {
        return Some(if va < stack.bottom { "guard page below a stack" } else { "stack" });
    }
    let parts = [
        ("init text, which the boot's end frees", at!(_init_text_start), at!(_init_text_end)),
        ("init variables, which the boot's end frees", at!(_init_bss_start), at!(_init_bss_end)),
        ("text", at!(_image_start), at!(_etext)),
        ("rodata", at!(_etext), at!(_data_start)),
        ("data", at!(_data_start), at!(_edata)),
        ("bss", at!(_edata), at!(_end)),
    ];
    parts.into_iter().find(|(_, start, end)| *start <= va && va < *end).map(|(name, ..)| name)
}
