//! What errors say.

use core::fmt::Display;
use std::string::ToString;

use super::{PAGE, range};
use crate::memblock::{Flaw, List, MemblockBroken, MemblockError};

#[test]
fn an_error_names_the_list_the_size_or_the_range() {
    let cases: [(&dyn Display, &str); 8] = [
        (&MemblockError::Full { list: List::Memory, capacity: 128 }, "the memory list is full with 128 regions"),
        (&MemblockError::Full { list: List::Reserved, capacity: 4 }, "the reserved list is full with 4 regions"),
        (&MemblockError::OutOfMemory { size: 5, align: 16 }, "no free range has 5 bytes aligned to 0x10"),
        (&MemblockError::BadAlign(12), "the alignment 0xc is not a power of two"),
        (&MemblockError::NoSize, "an allocation of 0 bytes"),
        (&MemblockError::NotMapped(range(0x1000, 0x2000)), "[mem 0x00001000-0x00001fff] is not in the linear mapping"),
        (&MemblockBroken::Form { list: List::Memory, flaw: Flaw::Empty, index: 10 }, "memblock.memory[0xa]: Empty"),
        (
            &MemblockBroken::ArrayNotReserved(range(0x1000, 0x2000)),
            "memblock: the array at [mem 0x00001000-0x00001fff] is not reserved",
        ),
    ];
    for (error, words) in cases {
        assert_eq!(error.to_string(), words);
    }
}

#[test]
fn errors_name_what_was_asked_for_and_what_is_broken() {
    let told: [(&dyn Display, &str); 7] = [
        (&MemblockError::Full { list: List::Reserved, capacity: 128 }, "the reserved list is full with 128 regions"),
        (&MemblockError::OutOfMemory { size: 4096, align: 64 }, "no free range has 4096 bytes aligned to 0x40"),
        (&MemblockError::BadAlign(24), "the alignment 0x18 is not a power of two"),
        (&MemblockError::NoSize, "an allocation of 0 bytes"),
        (&MemblockError::NotMapped(range(PAGE, 2 * PAGE)), "[mem 0x00001000-0x00001fff] is not in the linear mapping"),
        (
            &MemblockBroken::Form { list: List::Memory, flaw: Flaw::NotMerged, index: 18 },
            "memblock.memory[0x12]: NotMerged",
        ),
        (
            &MemblockBroken::ArrayNotReserved(range(PAGE, 2 * PAGE)),
            "memblock: the array at [mem 0x00001000-0x00001fff] is not reserved",
        ),
    ];
    for (error, text) in told {
        assert_eq!(error.to_string(), text);
    }
}
