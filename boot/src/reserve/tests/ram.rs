//! The rules of banks, usable-memory ranges and `mem=`.

use super::*;

/// Start and end of each bank.
type Ends = Vec<(u64, u64)>;
/// A bank, what is left of it, and the lines.
type Case = (u64, u64, Option<(u64, u64)>, &'static [&'static str]);

/// Banks and what was said, after `add_banks` and `edit`.
fn with_banks(
    banks: &[(u64, u64)],
    edit: impl FnOnce(&mut Memblock<'_>) -> Result<(), ReserveError>,
) -> (Result<Ends, ReserveError>, Vec<String>) {
    let (mut memory, mut reserved) = ([Region::EMPTY; 16], [Region::EMPTY; 4]);
    let mut memblock = Memblock::new(&mut memory, &mut reserved);
    with_log(|| {
        add_banks(&mut memblock, banks.iter().map(|&(start, end)| bank(start, end)), addr(0x8000_0000))?;
        edit(&mut memblock)?;
        Ok(memblock.memory().iter().map(|r| (r.range().start.raw(), r.range().end.raw())).collect())
    })
}

#[test]
fn banks_are_cut_to_whole_pages_between_phys_offset_and_4_gib() {
    let cases: [Case; 6] = [
        (0x8000_0800, 0x9000_0800, Some((0x8000_1000, 0x9000_0000)), &[]),
        (0x8000_0000, 0x1_0000_0000, Some((0x8000_0000, 0x1_0000_0000)), &[]),
        (
            0xf000_0000,
            0x1_4000_0000,
            Some((0xf000_0000, 0x1_0000_0000)),
            &["OF: fdt: Ignoring memory range 0x100000000 - 0x140000000"],
        ),
        (
            0x7ff0_0000,
            0x9000_0000,
            Some((0x8000_0000, 0x9000_0000)),
            &["OF: fdt: Ignoring memory range 0x7ff00000 - 0x80000000"],
        ),
        (0x1_0000_0000, 0x2_0000_0000, None, &["OF: fdt: Ignoring memory block 0x100000000 - 0x200000000"]),
        (0x8000_0800, 0x8000_1800, None, &["OF: fdt: Ignoring memory block 0x80000800 - 0x80001800"]),
    ];
    for (start, end, expected, lines) in cases {
        let (got, log) = with_banks(&[(start, end)], |_| Ok(()));
        assert_eq!(got, expected.map(|bank| vec![bank]).ok_or(ReserveError::NoRam));
        assert_eq!(log, lines);
    }
    assert_eq!(with_banks(&[], |_| Ok(())).0, Err(ReserveError::NoRam));
    assert_eq!(with_banks(&[(0x9000_0000, 0x9000_0000)], |_| Ok(())).0, Err(ReserveError::NoRam));
}

#[test]
fn banks_in_any_order_and_overlapping_ones_make_one_map() {
    let (got, log) = with_banks(&[(0x9000_0000, 0xa000_0000), (0x8000_0000, 0x9100_0000)], |_| Ok(()));
    assert_eq!(got, Ok(vec![(0x8000_0000, 0xa000_0000)]));
    assert_eq!(log, ["/memory: reg: [mem 0x80000000-0x90ffffff] overlaps RAM that is known already"]);
}

#[test]
fn usable_memory_ranges_cap_and_add() {
    let cap = |ranges: Vec<PhysRange>| {
        let base = addr(0x8000_0000);
        with_banks(&[(0x8000_0000, 0xa000_0000)], |memblock| cap_usable(memblock, ranges.into_iter(), base, Some)).0
    };
    assert_eq!(cap(vec![]), Ok(vec![(0x8000_0000, 0xa000_0000)]));
    assert_eq!(cap(vec![range(0x9000_0000, 0x9800_0000)]), Ok(vec![(0x9000_0000, 0x9800_0000)]));
    let two = vec![range(0x9000_0000, 0x9800_0000), range(0x8000_0000, 0x8100_0000)];
    assert_eq!(cap(two), Ok(vec![(0x8000_0000, 0x8100_0000), (0x9000_0000, 0x9800_0000)]));
    assert_eq!(cap(vec![range(0x1000_0000, 0x2000_0000)]), Err(ReserveError::NoRam));
    // What has no linear address is not added.
    let below = vec![range(0x9000_0000, 0x9800_0000), range(0x7000_0000, 0x8010_0000)];
    assert_eq!(cap(below), Ok(vec![(0x8000_0000, 0x8010_0000), (0x9000_0000, 0x9800_0000)]));
}

#[test]
fn mem_trims_from_the_end_and_names_banks_of_its_own() {
    let banks = [(0x8000_0000, 0x9000_0000), (0x9800_0000, 0xa000_0000)];
    let mem = |options: &[(u64, Option<u64>)]| {
        let options: Vec<_> = options.iter().map(|&(size, start)| MemOption { size, start: start.map(addr) }).collect();
        with_banks(&banks, |memblock| apply_mem_options(memblock, options.iter().copied(), addr(0x8000_0000), Some))
    };
    assert_eq!(mem(&[]).0, Ok(banks.to_vec()));
    assert_eq!(mem(&[(128 * MIB, None)]).0, Ok(vec![(0x8000_0000, 0x8800_0000)]));
    // Trimming invents no RAM: neither in the hole nor behind the end.
    assert_eq!(mem(&[(448 * MIB, None)]).0, Ok(vec![(0x8000_0000, 0x9000_0000), (0x9800_0000, 0x9c00_0000)]));
    assert_eq!(mem(&[(2048 * MIB, None)]).0, Ok(banks.to_vec()));
    // SIZE@START replaces RAM; several add up.
    assert_eq!(mem(&[(64 * MIB, Some(0xb000_0000))]).0, Ok(vec![(0xb000_0000, 0xb400_0000)]));
    let several = [(64 * MIB, Some(0x9c00_0000)), (64 * MIB, Some(0x8000_0000)), (32 * MIB, Some(0x8200_0000))];
    assert_eq!(mem(&several).0, Ok(vec![(0x8000_0000, 0x8400_0000), (0x9c00_0000, 0xa000_0000)]));
    assert_eq!(
        mem(&[(64 * MIB, None), (64 * MIB, Some(0x9c00_0000))]).0,
        Ok(vec![(0x8000_0000, 0x8400_0000), (0x9c00_0000, 0xa000_0000),])
    );
}

#[test]
fn a_bank_that_mem_names_is_cut_to_what_answers() {
    let banks = [(0x8000_0000, 0x9000_0000)];
    let options = [(64 * MIB, 0x8000_0000), (64 * MIB, 0xb000_0000), (64 * MIB, 0xf800_0000)];
    let options = options.map(|(size, start)| MemOption { size, start: Some(addr(start)) });
    let ram = range(0x8000_0000, 0xb100_0000);
    let live = |bank: PhysRange| Some(bank.intersection(ram)).filter(|bank| !bank.is_empty());
    let edit =
        |memblock: &mut Memblock<'_>| apply_mem_options(memblock, options.iter().copied(), addr(0x8000_0000), live);
    assert_eq!(with_banks(&banks, edit).0, Ok(vec![(0x8000_0000, 0x8400_0000), (0xb000_0000, 0xb100_0000)]));
}

#[test]
fn mem_nonsense_is_told_once_and_leaves_ram_as_it_is() {
    let mem = |size, start: Option<u64>| {
        let options = [MemOption { size, start: start.map(addr) }];
        let edit =
            |memblock: &mut Memblock<'_>| apply_mem_options(memblock, options.iter().copied(), addr(0x8000_0000), Some);
        with_banks(&[(0x8000_0000, 0xa000_0000)], edit)
    };
    let all = Ok(vec![(0x8000_0000, 0xa000_0000)]);
    assert_eq!(mem(0, None), (all.clone(), vec!["mem=0x0@0x80000000: no whole page, ignored".into()]));
    let outside = "Ignoring memory at 0x200000000 outside 32-bit physical address space".to_string();
    assert_eq!(mem(MIB, Some(0x2_0000_0000)), (all.clone(), vec![outside]));
    let below = "Ignoring memory below PHYS_OFFSET: 0x10000000-0x10100000".to_string();
    assert_eq!(mem(MIB, Some(0x1000_0000)), (all, vec![below]));
    let (ram, log) = mem(u64::MAX, Some(0xf000_0000));
    assert_eq!(ram, Ok(vec![(0xf000_0000, 0x1_0000_0000)]));
    assert_eq!(log, ["Truncating memory at 0xf0000000 to fit in 32-bit physical address space"]);
}
