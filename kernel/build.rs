//! Hands the linker script and the user/kernel split to the linker.

use std::path::Path;

fn main() {
    let manifest = std::env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
    let script = Path::new(&manifest).join("../linker.ld");
    println!("cargo:rerun-if-changed={}", script.display());
    println!("cargo:rerun-if-changed={}", Path::new(&manifest).join("../scripts/ld-symbols.sh").display());
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("none") {
        println!("cargo:rustc-link-arg-bins=-T{}", script.display());
        // As `mm::layout::PAGE_OFFSET` has it; the linker cannot ask Rust.
        let three_to_one = std::env::var_os("CARGO_FEATURE_VMSPLIT_3G").is_some();
        let page_offset: u32 = if three_to_one { 0xc000_0000 } else { 0x8000_0000 };
        println!("cargo:rustc-link-arg-bins=--defsym=PAGE_OFFSET={page_offset:#x}");
        println!("cargo:rustc-link-arg-bins=--emit-relocs");
        println!("cargo:rustc-link-arg-bins=--no-rosegment");
    }
}
