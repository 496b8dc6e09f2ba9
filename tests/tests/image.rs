//! What must hold of the image's file, whatever it does when it runs.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as the test does")]

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

/// Where a branch or a word of the linked image leads, by its relocation; `None` for what leads nowhere.
fn destination(bytes: &[u8], at: usize, address: u64, kind: elf::RelocationType) -> Option<u64> {
    let word = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let immediate = |word: u32| word >> 4 & 0xf000 | word & 0xfff;
    match kind {
        elf::R_ARM_CALL | elf::R_ARM_JUMP24 | elf::R_ARM_PC24 => {
            let offset = (word(at)? << 8).cast_signed() >> 6;
            Some(address.wrapping_add_signed(i64::from(offset) + 8) & 0xffff_ffff)
        }
        elf::R_ARM_ABS32 | elf::R_ARM_TARGET1 => word(at).map(u64::from),
        elf::R_ARM_MOVW_ABS_NC => {
            // The upper half follows, into the same register.
            let low = word(at)?;
            let is_pair = |word: &u32| word & 0x0ff0_f000 == 0x0340_0000 | low & 0xf000;
            let high = (1..64).filter_map(|next| word(at + next * 4)).find(is_pair)?;
            Some(u64::from(immediate(high) << 16 | immediate(low)))
        }
        _ => None,
    }
}

/// Who refers to whom in a linked image, by its relocations: symbol to symbol, each with its address and name.
struct References<'f> {
    symbols: Vec<(u64, &'f str)>,
    /// Places in ascending order, each with where it leads.
    edges: Vec<(u64, u64)>,
}

impl<'f> References<'f> {
    fn of(file: &'f object::File<'_>) -> Self {
        let named = |symbol: &object::Symbol<'f, '_>| !symbol.name().unwrap_or("$").starts_with('$');
        let symbols = file.symbols().filter(named).map(|symbol| (symbol.address(), symbol.name().unwrap_or_default()));
        let mut symbols: Vec<_> = symbols.collect();
        symbols.sort_unstable();
        let mut edges = Vec::new();
        for section in [".text", ".rodata", ".data"].map(|name| file.section_by_name(name).unwrap()) {
            for (at, relocation) in section.relocations() {
                let RelocationFlags::Elf { r_type } = relocation.flags() else { continue };
                let offset = usize::try_from(at - section.address()).unwrap();
                edges.extend(destination(section.data().unwrap(), offset, at, r_type).map(|to| (at, to)));
            }
        }
        edges.sort_unstable();
        Self { symbols, edges }
    }

    /// The symbol around an address.
    fn around(&self, at: u64) -> (u64, &'f str) {
        self.symbols[self.symbols.partition_point(|(start, _)| *start <= at) - 1]
    }

    /// Where the symbol at `start` leads.
    fn from(&self, start: u64) -> impl Iterator<Item = u64> {
        let end =
            self.symbols.get(self.symbols.partition_point(|(at, _)| *at <= start)).map_or(u64::MAX, |next| next.0);
        let first = self.edges.partition_point(|(at, _)| *at < start);
        self.edges[first..].iter().take_while(move |(at, _)| *at < end).map(|(_, to)| *to)
    }

    /// Every symbol that can be reached from `roots`, with the one that led there.
    fn reachable(&self, roots: &[u64]) -> std::collections::BTreeMap<u64, u64> {
        let mut seen: std::collections::BTreeMap<u64, u64> = roots.iter().map(|root| (*root, *root)).collect();
        let mut left = roots.to_vec();
        while let Some(from) = left.pop() {
            for to in self.from(from).map(|to| self.around(to).0) {
                seen.entry(to).or_insert_with(|| {
                    left.push(to);
                    from
                });
            }
        }
        seen
    }
}

/// After the boot run `after_boot`, which never returns, and the vectors. Nothing that they can reach, by calls and by
/// pointers, is freed. Beside them there are vtables that the boot left in a value: those of its closures borrow from
/// its frames and are gone with them; others must not lead into what is freed.
#[test]
fn nothing_that_stays_leads_into_init_memory() {
    for (name, elf) in &images() {
        let file = object::File::parse(&**elf).unwrap();
        let address = |symbol_name: &str| symbol(&file, symbol_name).unwrap();
        let init = address("_init_text_start")..address("_init_text_end");
        let variables = address("_init_bss_start")..address("_init_bss_end");
        assert!(init.end - init.start >= 64 << 10, "{name}: only {} bytes of init text", init.end - init.start);
        let references = References::of(&file);
        let after_boot = references.symbols.iter().find(|(_, name)| name.contains("kernel10after_boot")).unwrap().0;
        let tests = address("__start_linkme_TESTS")..address("__stop_linkme_TESTS");
        let tests = references.edges.iter().filter(|(at, _)| tests.contains(at)).map(|(_, test)| *test);
        let roots: Vec<_> = tests.chain([after_boot, address("quire_vectors")]).collect();
        assert!(roots.len() > 20, "{name}: {} self-tests", roots.len() - 2);
        let reached = references.reachable(&roots);
        assert!(reached.len() > 300, "{name}: {} symbols can be reached", reached.len());
        let freed = |at: &u64| init.contains(at) || variables.contains(at);
        let show = |at: u64| format!("{} ({at:#x})", references.around(at).1);
        let bounds = [init.start, variables.start];
        let wrong = reached.iter().filter(|(to, _)| freed(to) && !bounds.contains(to));
        let wrong: Vec<_> = wrong.map(|(to, from)| format!("{} -> {}", show(*from), show(*to))).collect();
        assert!(wrong.is_empty(), "{name}: {} references: {wrong:#?}", wrong.len());
        let constants = file.section_by_name(".rodata").unwrap();
        let constants = constants.address()..constants.address() + constants.size();
        let pointers = references.edges.iter().filter(|(at, to)| constants.contains(at) && freed(to));
        let lasting: Vec<_> = pointers.filter(|(_, to)| !references.around(*to).1.contains("closure")).collect();
        let lasting: Vec<_> = lasting.into_iter().map(|(at, to)| format!("{} -> {}", show(*at), show(*to))).collect();
        assert!(lasting.is_empty(), "{name}: {lasting:#?}");
    }
}

/// Bytes by which `instruction` moves the stack pointer down: `sub sp, sp, #n` (Arm ARM DDI 0406C A8.8.225).
fn taken_from_the_stack(instruction: u32) -> u32 {
    let immediate = (instruction & 0xff).rotate_right(2 * (instruction >> 8 & 0xf));
    if instruction >> 12 == 0xe_24dd { immediate } else { 0 }
}

/// A stack that is too short is told by its guard page, which a larger frame could step over. What only the boot runs,
/// and the few that run where the stack is nearly empty, may be larger.
#[test]
fn no_function_that_runs_deep_has_a_frame_as_large_as_a_guard_page() {
    const GUARD: u32 = 4096;
    /// `after_boot`, with which the stack begins, and what it or the self-tests' loop calls.
    const SHALLOW: [&str; 4] = ["kernel10after_boot", "kernel5bench", "kernel7torture", "kernel8selftest"];
    for (name, elf) in images().iter().filter(|(name, _)| name.contains("release")) {
        let file = object::File::parse(&**elf).unwrap();
        let init = symbol(&file, "_init_text_start").unwrap()..symbol(&file, "_init_text_end").unwrap();
        let (text, references) = (file.section_by_name(".text").unwrap(), References::of(&file));
        let mut frames = std::collections::BTreeMap::<u64, u32>::new();
        for (at, word) in (text.address()..).step_by(4).zip(text.data().unwrap().chunks_exact(4)) {
            let bytes = taken_from_the_stack(u32::from_le_bytes(word.try_into().unwrap()));
            if bytes > 0 && at >= init.end {
                *frames.entry(references.around(at).0).or_default() += bytes;
            }
        }
        assert!(frames.len() > 100, "{name}: {} functions have frames", frames.len());
        let deep = frames.iter().map(|(at, bytes)| (references.around(*at).1, *bytes));
        let large: Vec<_> = deep
            .filter(|(function, bytes)| *bytes >= GUARD && !SHALLOW.iter().any(|path| function.contains(path)))
            .collect();
        assert!(large.is_empty(), "{name}: {large:#?}");
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
