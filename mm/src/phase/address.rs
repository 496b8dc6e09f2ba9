//! Pages by their address in the linear mapping: Linux's functions that return one.
//!
//! Theory.      A page of lowmem has one kernel address for good, which is its physical one plus an offset; a page of
//!              highmem has none. So a request for an address must not allow highmem, and an address says which page it
//!              is.
//! Source.      Linux 4.1: `__get_free_pages`, `get_zeroed_page`, `free_pages`, `page_address`, `virt_to_page`.
#![forbid(unsafe_code)]

use core::fmt;

use crate::addr::{PAGE_SIZE, Pfn, VirtAddr};
use crate::buddy::{FreeCore, FreeError};
use crate::gfp::GfpFlags;
use crate::order::Order;
use crate::page_alloc::AllocError;
use crate::phase::Mm;
use crate::sync::CurrentCpu;

/// Why there is no page for an address, or no address for a page. Nothing has changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AddressError {
    /// The request allows highmem, whose pages have no address.
    HighMem {
        /// The request's flags.
        gfp: GfpFlags,
        /// The request's order.
        order: Order,
    },
    /// The request got no pages.
    Alloc(AllocError),
    /// The block that the request got is not all in the linear mapping; it was given back.
    Unmapped {
        /// The block's first frame.
        pfn: Pfn,
        /// The request's order.
        order: Order,
    },
    /// No page of the linear mapping begins there.
    NoPage(VirtAddr),
    /// The block at that address cannot be freed.
    Free(FreeError),
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HighMem { gfp, order } => write!(
                f,
                "a block of order {} with flags {:#x} may be in highmem and has no address then",
                order.raw(),
                gfp.bits()
            ),
            Self::Alloc(error) => error.fmt(f),
            Self::Unmapped { pfn, order } => {
                write!(f, "pfn {pfn}: a block of order {} is not in the linear mapping", order.raw())
            }
            Self::NoPage(address) => write!(f, "no page of the linear mapping begins at {address}"),
            Self::Free(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for AddressError {}

impl From<AllocError> for AddressError {
    fn from(error: AllocError) -> Self {
        Self::Alloc(error)
    }
}

impl From<FreeError> for AddressError {
    fn from(error: FreeError) -> Self {
        Self::Free(error)
    }
}

impl<'m, M: CurrentCpu, C: FreeCore<'m>> Mm<'m, M, C> {
    /// Allocates a block and returns its address in the linear mapping (Linux: `__get_free_pages`).
    ///
    /// Context: that of [`crate::page_alloc::PageAllocator::alloc_pages`].
    ///
    /// # Errors
    /// [`AddressError::HighMem`] for flags that allow highmem, [`AddressError::Alloc`], [`AddressError::Unmapped`].
    pub fn get_free_pages(&self, gfp: GfpFlags, order: Order) -> Result<VirtAddr, AddressError> {
        if gfp.contains(GfpFlags::HIGHMEM) {
            return Err(AddressError::HighMem { gfp, order });
        }
        let pfn = self.allocator.alloc_pages(gfp, order)?;
        let last = Pfn::new(pfn.raw() | (order.pages() - 1));
        if let (Some(address), Some(_)) = (self.page_address(pfn), self.page_address(last)) {
            return Ok(address);
        }
        self.allocator.free_pages(pfn, order)?;
        Err(AddressError::Unmapped { pfn, order })
    }

    /// Allocates one page (Linux: `__get_free_page`).
    ///
    /// # Errors
    /// See [`Self::get_free_pages`].
    pub fn get_free_page(&self, gfp: GfpFlags) -> Result<VirtAddr, AddressError> {
        self.get_free_pages(gfp, Order::ZERO)
    }

    /// Allocates one page, zeroed (Linux: `get_zeroed_page`).
    ///
    /// # Errors
    /// See [`Self::get_free_pages`].
    pub fn get_zeroed_page(&self, gfp: GfpFlags) -> Result<VirtAddr, AddressError> {
        self.get_free_pages(gfp | GfpFlags::ZERO, Order::ZERO)
    }

    /// Gives up one reference to the block at `address` (Linux: `free_pages`).
    ///
    /// # Errors
    /// [`AddressError::NoPage`], or [`AddressError::Free`] with what was found.
    pub fn free_pages(&self, address: VirtAddr, order: Order) -> Result<(), AddressError> {
        let pfn = self.virt_to_pfn(address).ok_or(AddressError::NoPage(address))?;
        Ok(self.allocator.free_pages(pfn, order)?)
    }

    /// Gives up one reference to the page at `address` (Linux: `free_page`).
    ///
    /// # Errors
    /// See [`Self::free_pages`].
    pub fn free_page(&self, address: VirtAddr) -> Result<(), AddressError> {
        self.free_pages(address, Order::ZERO)
    }

    /// The address of a page in the linear mapping; `None` for highmem, holes and what is no page
    /// (Linux: `page_address`).
    #[must_use]
    pub fn page_address(&self, pfn: Pfn) -> Option<VirtAddr> {
        let is_page = self.allocator.map().is_present(pfn);
        if is_page { self.layout.linear.phys_to_virt(pfn.base()) } else { None }
    }

    /// The page that begins at `address` of the linear mapping; `None` when none does (Linux: `virt_to_page`).
    #[must_use]
    pub fn virt_to_pfn(&self, address: VirtAddr) -> Option<Pfn> {
        if !address.is_aligned(PAGE_SIZE) {
            return None;
        }
        let pfn = Pfn::containing(self.layout.linear.virt_to_phys(address)?)?;
        self.allocator.map().is_present(pfn).then_some(pfn)
    }
}
