//! early_ioremap: a few windows on devices for the time before there are areas.
//!
//! Theory.      The fixmap has [`FIXMAP_EARLY_WINDOWS`] windows of [`FIXMAP_EARLY_PAGES`] pages. Whoever takes one
//!              gives it back before the boot ends, since the addresses are needed by nobody later; one that was not is
//!              a leak and is told of with its physical address.
//! Invariants.  On `Err` nothing has changed.
//! Not here.    The table words (the kernel's early tables), what is mapped.
//! Source.      Linux `mm/early_ioremap.c`: `__early_ioremap`, `early_iounmap`, `check_early_ioremap_leak`.
#![forbid(unsafe_code)]

use core::fmt;

use crate::addr::{PAGE_SIZE, PhysAddr, VirtAddr};
use crate::layout::{FIXMAP_EARLY_PAGES, FIXMAP_EARLY_WINDOWS, FixmapSlot};

const WINDOWS: usize = FIXMAP_EARLY_WINDOWS as usize;

/// Why no window was taken or given back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EarlyIoError {
    /// No bytes, more than a window has, or past 4 GiB.
    Size {
        /// Where they begin.
        pa: PhysAddr,
        /// How many.
        bytes: u32,
    },
    /// Every window is taken.
    NoWindow(PhysAddr),
    /// The boot is over: ioremap is there.
    Over(PhysAddr),
    /// No window that is taken lies here.
    NotMapped(VirtAddr),
}

impl fmt::Display for EarlyIoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Size { pa, bytes } => write!(f, "early_ioremap: {bytes} bytes at {pa} fit no window"),
            Self::NoWindow(pa) => write!(f, "early_ioremap: no window is left for {pa}"),
            Self::Over(pa) => write!(f, "early_ioremap: too late for {pa}: the boot is over"),
            Self::NotMapped(va) => write!(f, "early_iounmap: no window is mapped at {va}"),
        }
    }
}

/// A window that is taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EarlyWindow {
    /// Its number.
    pub window: u32,
    /// The first frame's address.
    pub base: PhysAddr,
    /// How many pages of it are used.
    pub pages: u32,
}

impl EarlyWindow {
    /// Its pages, each with the fixmap's slot and the frame that belongs there.
    pub fn slots(self) -> impl Iterator<Item = (FixmapSlot, PhysAddr)> {
        (0..self.pages).map(move |page| {
            let frame = self.base.saturating_add(u64::from(page) * u64::from(PAGE_SIZE));
            (FixmapSlot::EarlyIoremap { window: self.window, page }, frame)
        })
    }

    /// Where its first page is; `None` for a number that no window has.
    #[must_use]
    pub const fn address(self) -> Option<VirtAddr> {
        FixmapSlot::EarlyIoremap { window: self.window, page: 0 }.address()
    }
}

/// Which windows are taken.
#[derive(Debug, Default)]
pub struct EarlyIo {
    windows: [Option<EarlyWindow>; WINDOWS],
    over: bool,
}

impl EarlyIo {
    /// All windows are free.
    #[must_use]
    pub const fn new() -> Self {
        Self { windows: [None; WINDOWS], over: false }
    }

    /// Takes a window for `bytes` bytes at `pa`, which need not be whole pages.
    ///
    /// # Errors
    /// [`EarlyIoError`].
    pub fn take(&mut self, pa: PhysAddr, bytes: u32) -> Result<EarlyWindow, EarlyIoError> {
        if self.over {
            return Err(EarlyIoError::Over(pa));
        }
        let page = u64::from(PAGE_SIZE);
        let base = pa.align_down(page);
        let end = pa.checked_add(u64::from(bytes)).and_then(|end| end.align_up(page));
        let end = end.filter(|end| bytes > 0 && end.raw() <= 1 << 32);
        let pages = end.and_then(|end| u32::try_from(end.bytes_since(base) / page).ok());
        let pages = pages.filter(|pages| *pages <= FIXMAP_EARLY_PAGES).ok_or(EarlyIoError::Size { pa, bytes })?;
        let free = (0u32..).zip(&mut self.windows).find(|(_, window)| window.is_none());
        let (window, place) = free.ok_or(EarlyIoError::NoWindow(pa))?;
        Ok(*place.insert(EarlyWindow { window, base, pages }))
    }

    /// Gives back the window that `va`, any address of its first page, belongs to. The caller unmaps it.
    ///
    /// # Errors
    /// [`EarlyIoError::NotMapped`].
    pub fn give_back(&mut self, va: VirtAddr) -> Result<EarlyWindow, EarlyIoError> {
        let page = va.align_down(PAGE_SIZE);
        let taken = |window: &&mut Option<EarlyWindow>| window.and_then(EarlyWindow::address) == Some(page);
        let window = self.windows.iter_mut().find(taken).and_then(Option::take);
        window.ok_or(EarlyIoError::NotMapped(va))
    }

    /// Ends early_ioremap: nothing can be taken any more. Reports each window that was not given back and returns them.
    pub fn end(&mut self) -> impl Iterator<Item = EarlyWindow> {
        self.over = true;
        let leaked = core::mem::take(&mut self.windows);
        leaked.into_iter().flatten().inspect(|window| {
            log::warn!("early_ioremap: window {} leaked: {} pages at {}", window.window, window.pages, window.base);
        })
    }
}

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "the numbers of the tests are small")]
mod tests {
    use std::vec::Vec;

    use super::*;
    use crate::testing::{scaled, with_log};
    use crate::vmalloc::tree_tests::Random;

    #[test]
    fn windows_are_given_out_once_and_keep_what_they_map() {
        let (mut early, mut taken, mut random) = (EarlyIo::new(), Vec::<EarlyWindow>::new(), Random(7));
        for _ in 0..scaled(20_000) {
            let pa = PhysAddr::new(u64::from(random.below(1 << 30)) * 3);
            let bytes = random.below(40 * PAGE_SIZE);
            let pages = (pa.raw() % 4096 + u64::from(bytes)).div_ceil(4096);
            if random.below(2) == 0 {
                match early.take(pa, bytes) {
                    Ok(window) => {
                        assert!(taken.iter().all(|other| other.window != window.window));
                        assert_eq!(u64::from(window.pages), pages);
                        let slots: Vec<_> = window.slots().collect();
                        assert_eq!(slots[0].1, pa.align_down(4096));
                        assert!(slots.iter().all(|(slot, _)| slot.address().is_some()));
                        taken.push(window);
                    }
                    Err(EarlyIoError::Size { .. }) => assert!(bytes == 0 || pages > u64::from(FIXMAP_EARLY_PAGES)),
                    Err(error) => {
                        assert_eq!(error, EarlyIoError::NoWindow(pa));
                        assert_eq!(taken.len(), WINDOWS);
                    }
                }
            } else if let Some(at) = (!taken.is_empty()).then(|| random.below(taken.len() as u32) as usize) {
                let window = taken.swap_remove(at);
                let va = VirtAddr::new(window.address().unwrap().raw() + random.below(PAGE_SIZE));
                assert_eq!(early.give_back(va), Ok(window));
                assert_eq!(early.give_back(va), Err(EarlyIoError::NotMapped(va)));
            }
        }
    }

    #[test]
    fn what_passes_4_gib_or_a_window_is_refused() {
        let mut early = EarlyIo::new();
        let (last, page) = (PhysAddr::new(0xffff_f000), PAGE_SIZE);
        for (pa, bytes) in [(last, page + 1), (PhysAddr::MAX, 2), (PhysAddr::new(1), 32 * page), (last, 0)] {
            assert_eq!(early.take(pa, bytes), Err(EarlyIoError::Size { pa, bytes }));
        }
        assert_eq!(early.take(last, page).map(|window| window.pages), Ok(1));
        assert_eq!(early.take(PhysAddr::ZERO, 32 * page).map(|window| window.pages), Ok(32));
    }

    #[test]
    fn a_window_that_is_not_given_back_is_reported_at_the_end() {
        let mut early = EarlyIo::new();
        let kept = early.take(PhysAddr::new(0x1c09_0010), 0x1000).unwrap();
        let gone = early.take(PhysAddr::new(0x1c0a_0000), 0x1000).unwrap();
        assert_eq!(early.give_back(gone.address().unwrap()), Ok(gone));
        let (leaked, lines) = with_log(|| early.end().collect::<Vec<_>>());
        assert_eq!(leaked, [kept]);
        assert_eq!(lines, ["early_ioremap: window 0 leaked: 2 pages at 0x1c090000"]);
        let pa = PhysAddr::new(0x1c0b_0000);
        assert_eq!(early.take(pa, 4096), Err(EarlyIoError::Over(pa)));
    }
}
