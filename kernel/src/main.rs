//! The Quire image.
#![no_std]
#![no_main]
use boot::head::HeadInfo;
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! { loop {} }
fn put(s: &str) { for b in s.bytes() { unsafe { core::ptr::write_volatile(0x7000_0000 as *mut u32, b as u32); } } }
#[unsafe(no_mangle)]
extern "C" fn quire_main(info: &'static HeadInfo) -> ! {
    // map uart section at 0x70000000 PA 0x1c000000
    let uart: u32 = match info.machine { 0x8e0 => 0x1c09_0000, 0xc42 => 0x3f20_1000, _ => 0x0900_0000 };
    unsafe {
        let t = (0x8000_4000) as *mut u32;
        t.add(0x700).write_volatile((uart & 0xfff0_0000) | 0x40e | 0x10 & !0xc | 0x4);
        core::arch::asm!("dsb", "mcr p15,0,{0},c8,c7,0", "dsb", "isb", in(reg) 0);
        let u = (0x7000_0000 + (uart & 0xfffff)) as *mut u32;
        for b in b"hello from head\n" { u.write_volatile(*b as u32); }
        for w in [info.load, info.phys_offset, info.run, info.dtb, info.dtb_size, info.entry_mode, info.from_tree, info.clash_index] {
            for i in (0..8).rev() { let n = (w >> (i*4)) & 15; u.write_volatile(if n < 10 { 48 + n } else { 87 + n }); }
            u.write_volatile(32);
        }
        u.write_volatile(10);
        let _ = put;
    }
    loop {}
}
