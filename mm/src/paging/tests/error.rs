//! What each error says, and what a failed edit becomes.

use super::*;
use crate::paging::Exec;

const VA: VirtAddr = VirtAddr::new(0x9000_1000);
const PA: PhysAddr = PhysAddr::new(0x1_8000_0000);

#[test]
fn every_error_says_what_is_wrong_and_where() {
    let prot = Prot { exec: Exec::UserOnly, ..Prot::KERNEL_RW };
    let no_prot = format!("{prot:?} is no protection of a page");
    let table = [
        (MapError::Unaligned(VA), "range at 0x90001000 is not whole pages"),
        (MapError::TooLong(VA), "range at 0x90001000 passes the end of the address space"),
        (MapError::BadFrame(PA), "physical range at 0x180000000 is not whole pages below 4 GiB"),
        (MapError::BadProt(prot), &no_prot),
        (MapError::Kept(VA), "range at 0x90001000 touches the user half, windows or vectors"),
        (MapError::AlreadyMapped(VA), "0x90001000 is mapped already"),
        (MapError::NotMapped(VA), "0x90001000 is not mapped"),
        (MapError::CutsLarger(VA), "range cuts the larger mapping of 0x90001000"),
        (MapError::NoTable(VA), "no frame for the table of 0x90001000"),
        (TableError::Unreachable(PA).into(), "translation table at 0x180000000 cannot be reached"),
        (TableError::Undecodable(VA, 0x8002).into(), "descriptor 0x00008002 of 0x90001000 has no meaning"),
    ];
    for (error, text) in table {
        assert_eq!(error.to_string(), text);
    }
}

#[test]
fn a_failed_edit_is_an_error_of_its_range() {
    let at = VirtAddr::new(0xa000_0000);
    let broken = TableError::Unreachable(PA);
    for (failed, error) in [
        (broken.into(), MapError::Table(broken)),
        (EncodeError::Unaligned(PA).into(), MapError::BadFrame(PA)),
        (EncodeError::OutOfReach(PA).into(), MapError::BadFrame(PA)),
        (EncodeError::UserOnlyPage.into(), MapError::AlreadyMapped(VA)),
        (EditError::Run(at), MapError::TooLong(at)),
    ] {
        assert_eq!(edit(VA, failed), error);
    }
}
