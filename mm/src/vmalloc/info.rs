//! Lines of `vmallocinfo`.
//!
//! Source.      Linux `s_show` of `mm/vmalloc.c`. The caller is a place in the source, not a symbol.
#![forbid(unsafe_code)]

use core::fmt;

use super::node::{Area, AreaKind};
use crate::addr::PAGE_SIZE;

/// One area as a line: addresses and bytes with the guard page, caller, what it is.
#[derive(Clone, Copy, Debug)]
pub struct InfoLine(pub Area);

impl fmt::Display for InfoLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Area { start, bytes, kind, caller } = self.0;
        let (from, end) = (start.raw(), self.0.end().raw());
        write!(f, "{from:#010x}-{end:#010x} {:7}", end.wrapping_sub(from))?;
        let pages = bytes / PAGE_SIZE;
        let (file, line) = (caller.file(), caller.line());
        match kind {
            AreaKind::Retired(_) => write!(f, " unpurged vm_area"),
            AreaKind::Vmalloc(_) => write!(f, " {file}:{line} pages={pages} vmalloc"),
            AreaKind::Vmap => write!(f, " {file}:{line} pages={pages} vmap"),
            AreaKind::Ioremap(pa) => write!(f, " {file}:{line} phys={:#010x} ioremap", pa.raw()),
        }
    }
}
