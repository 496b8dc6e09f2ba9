//! What `validate` finds: each flaw of a list, spoilt alone.

use std::vec;

use super::{MIB, PAGE, arrays, range};
use crate::memblock::{Flaw, List, Memblock, MemblockBroken, Region};
use crate::testing::FakeRam;

#[test]
fn a_list_that_is_not_in_normal_form_is_found_by_its_region() {
    let good = [(0x1000, 0x2000), (0x3000, 0x4000), (0x5000, 0x6000)];
    let spoilt = [
        (0, (0x1000, 0x1000), Some((Flaw::Empty, 0))),
        (1, (0x1800, 0x2800), Some((Flaw::Disorder, 1))),
        (2, (0x2800, 0x2900), Some((Flaw::Disorder, 2))),
        (1, (0x2000, 0x2800), Some((Flaw::NotMerged, 1))),
        (2, (0x4000, 0x5000), Some((Flaw::NotMerged, 2))),
        (2, (0x4001, 0x5000), None),
    ];
    for list in [List::Memory, List::Reserved] {
        for (index, (start, end), flaw) in spoilt {
            let (mut m, mut r) = arrays();
            let mut mb = Memblock::new(&mut m, &mut r);
            for (start, end) in good {
                match list {
                    List::Memory => mb.add(range(start, end)).unwrap(),
                    List::Reserved => mb.reserve(range(start, end)).unwrap(),
                }
            }
            mb.validate().unwrap();
            let regions = if list == List::Memory { &mut mb.memory } else { &mut mb.reserved };
            regions.spoil(index, range(start, end));
            let broken = flaw.map_or(Ok(()), |(flaw, index)| Err(MemblockBroken::Form { list, flaw, index }));
            assert_eq!(mb.validate(), broken);
        }
    }
}

#[test]
fn a_doubled_array_that_is_not_reserved_is_found_by_its_place() {
    let ram = FakeRam::new(&[range(MIB, 2 * MIB)]);
    let (mut m, mut r) = (vec![Region::EMPTY; 4], vec![Region::EMPTY; 4]);
    let mut mb = Memblock::new(&mut m, &mut r);
    mb.add(range(MIB, 2 * MIB)).unwrap();
    mb.allow_resize(&ram);
    (0..6).for_each(|page| mb.reserve(range(MIB + 2 * page * PAGE, MIB + (2 * page + 1) * PAGE)).unwrap());
    mb.validate().unwrap();
    let place = mb.reserved.place().unwrap();
    mb.free(place).unwrap();
    assert_eq!(mb.validate(), Err(MemblockBroken::ArrayNotReserved(place)));
}
