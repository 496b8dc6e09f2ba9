//! The tables as text, in the style of Linux's `/sys/kernel/debug/kernel_page_tables`.
//!
//! ```text
//! ---[ Kernel Mapping ]---
//! 0x80000000-0x80100000           1M PMD        RW NX SHD MEM/CACHED/WBWA
//! ```
//! Neighbours of one level with equal attributes are one line, also when their frames do not follow each other, as in
//! Linux. A line never crosses a marker. Supersections show as `SPM`, large pages as `LPG`, both unknown to Linux here.
#![forbid(unsafe_code)]

use core::fmt;
use core::iter::Peekable;

use super::prot::{Access, Domain, Exec, MemType, Prot};
use super::table::{TableError, Tables};
use super::walk::{Mappings, PageSize};
use crate::addr::VirtAddr;
use crate::platform::PhysMap;

/// A name for what begins at an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Marker {
    /// Where it begins.
    pub va: VirtAddr,
    /// Linux's name of it.
    pub name: &'static str,
}

/// One line of the dump.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DumpLine {
    /// A marker was passed.
    Marker(&'static str),
    /// Addresses from `start` up to `end` (at most 2^32) are mapped alike.
    Range {
        /// First address.
        start: VirtAddr,
        /// One past the last, which may be 2^32.
        end: u64,
        /// By which descriptors.
        size: PageSize,
        /// What they allow.
        prot: Prot,
        /// Their domain.
        domain: Domain,
    },
    /// The tables are broken here.
    Broken(TableError),
}

impl fmt::Display for DumpLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (start, end, size, prot, domain) = match *self {
            Self::Marker(name) => return write!(f, "---[ {name} ]---"),
            Self::Broken(error) => return write!(f, "broken: {error}"),
            Self::Range { start, end, size, prot, domain } => (start, end, size, prot, domain),
        };
        let (amount, unit) = scaled(end.saturating_sub(u64::from(start.raw())));
        let level = match size {
            PageSize::Small => "PTE",
            PageSize::Large => "LPG",
            PageSize::Section => "PMD",
            PageSize::Supersection => "SPM",
        };
        let user = if prot.access.user() { "USR" } else { "   " };
        // A page that the kernel may write and users read shows as Linux would show the kernel's side.
        let write = match prot.access {
            Access::None => "--",
            _ if prot.writable() => "RW",
            _ => "ro",
        };
        let exec = match prot.exec {
            Exec::Allowed => "x ",
            Exec::UserOnly => "ux",
            Exec::Never => "NX",
        };
        let share = if prot.shareable { "SHD" } else { "   " };
        let mem = if prot.mem == MemType::Device && !prot.shareable { "DEV/NONSHARED" } else { prot.mem.name() };
        write!(f, "{start}-{end:#010x}   {amount:>9}{unit} {level}    {user} {write} {exec} {share} {mem}")?;
        if !prot.global {
            f.write_str(" nG")?;
        }
        if domain != Domain::KERNEL {
            write!(f, " domain {}", domain.raw())?;
        }
        Ok(())
    }
}

/// `bytes` in the largest unit that divides it, from K on.
fn scaled(bytes: u64) -> (u64, char) {
    let kib = bytes >> 10;
    match kib {
        _ if kib != 0 && kib.is_multiple_of(1 << 20) => (kib >> 20, 'G'),
        _ if kib != 0 && kib.is_multiple_of(1 << 10) => (kib >> 10, 'M'),
        _ => (kib, 'K'),
    }
}

/// The lines of a dump, from [`Tables::dump`].
#[derive(Debug)]
pub struct Dump<'m, 'n, P: PhysMap + ?Sized> {
    mappings: Peekable<Mappings<'m, P>>,
    markers: &'n [Marker],
}

impl<'m, P: PhysMap + ?Sized> Tables<'m, P> {
    /// Everything that is mapped, line by line, between `markers` (in ascending order).
    #[must_use]
    pub fn dump<'n>(&self, markers: &'n [Marker]) -> Dump<'m, 'n, P> {
        Dump { mappings: self.mappings().peekable(), markers }
    }
}

impl<P: PhysMap + ?Sized> Iterator for Dump<'_, '_, P> {
    type Item = DumpLine;

    fn next(&mut self) -> Option<DumpLine> {
        let next_va = match self.mappings.peek() {
            Some(Err(_)) => return self.mappings.next().and_then(Result::err).map(DumpLine::Broken),
            Some(Ok(mapping)) => Some(mapping.va),
            None => None,
        };
        if let Some((marker, rest)) = self.markers.split_first()
            && next_va.is_none_or(|va| marker.va <= va)
        {
            self.markers = rest;
            return Some(DumpLine::Marker(marker.name));
        }
        let first = self.mappings.next()?.ok()?;
        let stop = self.markers.first().map_or(1 << 32, |marker| u64::from(marker.va.raw()));
        let mut end = u64::from(first.va.raw()) + u64::from(first.bytes());
        let (size, prot, domain) = (first.to.size, first.to.prot, first.to.domain);
        let alike = |end: u64| {
            move |next: &Result<super::walk::Mapping, TableError>| {
                next.as_ref().is_ok_and(|next| {
                    u64::from(next.va.raw()) == end
                        && end < stop
                        && (next.to.size, next.to.prot, next.to.domain) == (size, prot, domain)
                })
            }
        };
        while let Some(Ok(next)) = self.mappings.next_if(alike(end)) {
            end += u64::from(next.bytes());
        }
        Some(DumpLine::Range { start: first.va, end, size, prot, domain })
    }
}

#[cfg(test)]
#[path = "tests/dump.rs"]
mod tests;
