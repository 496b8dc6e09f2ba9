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
    static _exception_stack_guard: u8;
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
        guards: [page(at!(_boot_stack_guard)), page(at!(_exception_stack_guard))],
        vectors: phys(head, at!(_vectors)),
        fixmap_table: phys(head, at!(_fixmap_table)),
    }
}

/// The same for the log, as virtual addresses.
pub fn sections() -> ImageSections {
    ImageSections {
        text: (at!(_image_start), at!(_rodata_end)),
        init: (at!(_rodata_end), at!(_rodata_end)),
        data: (at!(_data_start), at!(_edata)),
        bss: (at!(_bss_start), at!(_end)),
    }
}

/// Bytes of the parts as the `Memory:` line counts them.
pub fn sizes() -> ImageSizes {
    let size = |start: VirtAddr, end: VirtAddr| u64::from(end.raw().wrapping_sub(start.raw()));
    ImageSizes {
        code: size(at!(_image_start), at!(_etext)),
        rodata: size(at!(_rodata_start), at!(_data_start)),
        rwdata: size(at!(_data_start), at!(_edata)),
        init: 0,
        bss: size(at!(_bss_start), at!(_end)),
    }
}

/// The template of the per-CPU variables.
pub fn percpu_template() -> &'static [u8] {
    let (start, end) = (at!(_percpu_start), at!(_percpu_end));
    let bytes = end.raw().wrapping_sub(start.raw()) as usize;
    // SAFETY: the linker lays the section between the two symbols; nothing writes it, each CPU has a copy of its own.
    unsafe { core::slice::from_raw_parts(core::ptr::with_exposed_provenance(start.raw() as usize), bytes) }
}
