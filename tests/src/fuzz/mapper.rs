//! Maps, unmaps and protects, as the MMU sees them.

use std::collections::BTreeMap;

use mm::addr::{PhysAddr, VirtAddr};
use mm::paging::{MapError, Mapper, PageSize, Prot};
use mm::testing::{CountingTlb, FakeRam};

use super::Choices;
use super::tables::{Frames, mmu, ram, with_mapper};

const PAGE: u64 = 4096;
/// A window of 8 MiB at the top of the address space, in pages.
const WINDOW: u32 = 0x10_0000 - PAGES;
const PAGES: u32 = 2048;
/// Frames for tables: too few for the whole window in small pages.
const TABLES: u32 = 3;
const PROTS: [Prot; 3] = [Prot::KERNEL_RW, Prot::KERNEL_RO, Prot::DEVICE_RW];

/// Page number to frame number and whether it may be written.
type Wanted = BTreeMap<u64, (u64, bool)>;

fn may_write(prot: Prot) -> bool {
    prot.access == Prot::KERNEL_RW.access
}

/// Pages, often on borders of 64 KiB and 1 MiB.
fn place(choices: &mut Choices<'_>) -> (u64, u64) {
    let align = choices.pick(&[1, 1, 16, 256]);
    let page = choices.below(PAGES) / align * align;
    let pages = ((1 + choices.below(600)).next_multiple_of(align)).min(PAGES - page);
    (u64::from(WINDOW + page), u64::from(pages))
}

fn step(
    mapper: &mut Mapper<'_, FakeRam, CountingTlb>,
    frames: &mut Frames,
    wanted: &mut Wanted,
    choices: &mut Choices<'_>,
) {
    let (page, pages) = place(choices);
    let (at, bytes, prot) = (VirtAddr::new((page * PAGE) as u32), pages * PAGE, choices.pick(&PROTS));
    let taken = frames.taken();
    let result = match choices.below(4) {
        0 | 1 => {
            let mib = u64::from(choices.below(0xe00)) * 256;
            let frame = if choices.flag() { mib + page % 256 } else { mib + u64::from(choices.below(512)) };
            let largest = choices.pick(&[PageSize::Small, PageSize::Large, PageSize::Section]);
            let result = mapper.map(at, bytes, (PhysAddr::new(frame * PAGE), prot), largest, frames);
            let occupied = (page..page + pages).find(|page| wanted.contains_key(page));
            match (result, occupied) {
                (Ok(()), None) => wanted.extend((0..pages).map(|i| (page + i, (frame + i, may_write(prot))))),
                (Err(MapError::AlreadyMapped(at)), Some(first)) => assert_eq!(u64::from(at.raw()) / PAGE, first),
                (Err(MapError::NoTable(_)), None) => {}
                other => panic!("map: {other:?}"),
            }
            result
        }
        2 => {
            let result = mapper.unmap(at, bytes, frames);
            if result.is_ok() {
                (page..page + pages).for_each(|page| assert!(wanted.remove(&page).is_some()));
            }
            result
        }
        _ => {
            let result = mapper.protect(at, bytes, prot, frames);
            if result.is_ok() {
                (page..page + pages).for_each(|page| wanted.get_mut(&page).unwrap().1 = may_write(prot));
            }
            result
        }
    };
    match result {
        Ok(()) => {}
        Err(MapError::NotMapped(at)) => assert!(!wanted.contains_key(&(u64::from(at.raw()) / PAGE))),
        Err(MapError::NoTable(_) | MapError::AlreadyMapped(_)) => {}
        Err(other) => panic!("{other}"),
    }
    assert!(result.is_ok() || frames.taken() == taken, "an error changes nothing");
}

/// The MMU and the walk see exactly `wanted`.
fn check(ram: &FakeRam, mapper: &Mapper<'_, FakeRam, CountingTlb>, wanted: &Wanted) {
    for page in u64::from(WINDOW)..u64::from(WINDOW + PAGES) {
        let at = (page * PAGE) as u32;
        let seen = mmu(ram).translate(at).map(|answer| (answer.pa / PAGE, answer.access[1]));
        assert_eq!(seen, wanted.get(&page).copied(), "at {at:#x}");
    }
    let bytes: u64 = mapper.tables().mappings().map(|mapping| u64::from(mapping.unwrap().bytes())).sum();
    assert_eq!(bytes, wanted.len() as u64 * PAGE);
}

/// Changes of one window; at the end all is taken away, and every table comes back.
pub(super) fn run(data: &[u8]) {
    let mut choices = Choices::new(data);
    let ram = ram(TABLES);
    with_mapper(&ram, |mapper| {
        let (mut frames, mut wanted) = (Frames::new(TABLES), Wanted::new());
        while !choices.is_empty() {
            step(mapper, &mut frames, &mut wanted, &mut choices);
            check(&ram, mapper, &wanted);
        }
        while let Some((&page, _)) = wanted.first_key_value() {
            let at = VirtAddr::new((page * PAGE) as u32);
            let bytes = u64::from(mapper.tables().walk(at).unwrap().unwrap().size.bytes());
            mapper.unmap(at, bytes, &mut frames).unwrap();
            (0..bytes / PAGE).for_each(|i| assert!(wanted.remove(&(page + i)).is_some()));
        }
        assert_eq!(frames.taken(), 0, "a table is lost");
    });
}
