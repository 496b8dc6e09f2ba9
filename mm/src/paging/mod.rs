//! Translation tables of VMSAv7 with short descriptors: what they mean, how they are read, written, shown and judged.
//!
//! Theory.      A first level of 4,096 words covers 4 GiB, one word a MiB: nothing, a section of 1 MiB, a sixteenth
//!              of a supersection, or a second-level table of 256 words, one a 4 KiB page. TEX remap is on and the
//!              access flag off. Two neighbours of the first level are Linux's PGD (2 MiB), each of them a PMD; they
//!              share one 4 KiB table page of software and hardware entries (`table`).
//! Layers.      `prot` words, `descriptor`/`soft`/`regs` bits (pure), `table` reach the bytes, `walk` read, `edit`
//!              write one word or run, `map`, `change`, `split`, `sections`, `in_table` and `retire` whole ranges with
//!              checks first (`batch` collects their flushes), `slots` single pages of windows that always have a
//!              table, `dump` and `audit` show and judge.
//! Invariants.  No mapping is writable and executable; no-map frames are never in the linear map (`audit`).
//! Not here.    Which areas there are (`layout`), the boot's first final tables (`boot::paging_init`), instructions.
//! Source.      Arm ARM DDI 0406C B3; Linux `arch/arm/mm`.

mod audit;
mod batch;
mod change;
pub mod descriptor;
mod dump;
mod edit;
mod error;
mod in_table;
mod map;
#[cfg(any(test, feature = "testing"))]
pub mod model;
mod prot;
pub mod regs;
mod retire;
mod sections;
mod slots;
mod soft;
mod span;
mod split;
mod table;
mod walk;

pub(crate) use audit::twins_agree;
pub use audit::{Area, Audit, AuditError, Rules, audit};
pub use dump::{Dump, DumpLine, Marker};
pub use edit::{EditError, Editor, Run};
pub use error::MapError;
pub use map::{Mapper, TableSource};
pub use prot::{Access, Domain, Exec, MemType, Prot};
pub use retire::Said;
pub use slots::{SLOTS, SlotWords, Slots};
pub use soft::SoftEntry;
pub use split::Live;
pub use table::{
    FIRST_LEVEL_SIZE, FIRST_LEVEL_WORDS, HALF_WORDS, TableError, Tables, page_index, section_index, section_va,
};
pub use walk::{Mapping, Mappings, PageSize, Translation};

#[cfg(test)]
mod tests;
