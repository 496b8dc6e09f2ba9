//! What must hold of the image's file, whatever it does when it runs.

use object::{Object, ObjectSection, ObjectSymbol, RelocationFlags, RelocationTarget, elf};

/// Absolute addresses that the head's assembly loads on purpose: for use once the MMU is on.
const LINKED_ADDRESSES: [&str; 6] =
    ["high_entry", "head_info", "_bss_start", "_bss_end", "_boot_stack_top", "PAGE_OFFSET"];

/// Functions outside the head that it may call: they use no absolute address themselves.
const PURE: [&str; 6] = ["memset", "memcpy", "memmove", "__aeabi_memclr", "__aeabi_memset", "__aeabi_memcpy"];

/// The images that `tests/run` built, by profile.
fn images() -> Vec<(String, Vec<u8>)> {
    ["release", "debug"]
        .iter()
        .map(|profile| tests::root().join("build").join(profile).join("quire.elf"))
        .filter_map(|path| Some((path.display().to_string(), std::fs::read(&path).ok()?)))
        .collect()
}

fn symbol(file: &object::File<'_>, name: &str) -> Option<u64> {
    Some(file.symbols().find(|symbol| symbol.name() == Ok(name))?.address())
}

/// The code that runs before the MMU is on, at an address that it was not linked for, holds no absolute address.
#[test]
fn the_head_is_position_independent() {
    let images = images();
    assert!(!images.is_empty(), "build/release/quire.elf is not there: run scripts/build.sh");
    for (name, bytes) in &images {
        let file = object::File::parse(&**bytes).unwrap();
        let head = symbol(&file, "_start").unwrap()..symbol(&file, "_head_end").unwrap();
        let text = file.section_by_name(".text").unwrap();
        let mut seen = 0;
        for (offset, relocation) in text.relocations().filter(|(offset, _)| head.contains(offset)) {
            let RelocationTarget::Symbol(target) = relocation.target() else { continue };
            let target = file.symbol_by_index(target).unwrap();
            let what = target.name().unwrap_or_default();
            let RelocationFlags::Elf { r_type } = relocation.flags() else { panic!("{name}: not ELF") };
            seen += 1;
            match r_type {
                elf::R_ARM_CALL | elf::R_ARM_JUMP24 | elf::R_ARM_PC24 => {
                    let inside = head.contains(&target.address());
                    let pure = PURE.iter().any(|pure| what.starts_with(pure));
                    let entry = what == "quire_main";
                    assert!(inside || pure || entry, "{name}: {offset:#x} calls {what}, which may need its address");
                }
                // Relative to the place itself.
                elf::R_ARM_REL32 | elf::R_ARM_PREL31 | elf::R_ARM_V4BX | elf::R_ARM_ALU_PC_G0 => {}
                elf::R_ARM_ABS32 => {
                    // The symbol may be the section's: the linked word tells what is meant.
                    let at = usize::try_from(offset - head.start).unwrap();
                    let word = u32::from_le_bytes(text.data().unwrap()[at..at + 4].try_into().unwrap());
                    let wanted = LINKED_ADDRESSES.iter().any(|known| symbol(&file, known) == Some(u64::from(word)));
                    assert!(wanted, "{name}: {offset:#x} holds {word:#x}, a linked address ({what})");
                }
                other => panic!("{name}: {offset:#x} has relocation {other} to {what}: an absolute address"),
            }
        }
        assert!(seen > 10, "{name}: only {seen} relocations in the head: was it linked with --emit-relocs?");
    }
}

/// A boot loader finds the zImage magic at 0x24, `start` 0 and an end that covers `.bss` and stacks.
#[test]
fn the_image_has_a_zimage_header() {
    for (name, elf) in &images() {
        let file = object::File::parse(&**elf).unwrap();
        let (start, text) = (symbol(&file, "_start").unwrap(), file.section_by_name(".text").unwrap());
        assert_eq!(text.address(), start, "{name}: the head comes first");
        let word = |at: usize| u32::from_le_bytes(text.data().unwrap()[at..at + 4].try_into().unwrap());
        assert_eq!(word(0x24), 0x016f_2818, "{name}: magic");
        assert_eq!(word(0x28), 0, "{name}: start");
        assert_eq!(u64::from(word(0x2c)), symbol(&file, "_end").unwrap() - start, "{name}: end");
        assert_eq!(word(0x30), 0x0403_0201, "{name}: byte order");
    }
}
