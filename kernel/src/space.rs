//! Address spaces of the running machine: their tables, who runs which, and the way to their pages.
//!
//! Theory.      A [`UserSpace`] owns 16 KiB of first-level table and the tables below; pages stay their owner's. All
//!              spaces are on one list, linked through their frames' book-keeping, along which each change of the
//!              kernel's half is stored ([`follow`]) and each audit goes. [`UserSpace::switch_to`] gives the space an
//!              ASID of the current generation and the MMU its table.
//! Lock order.  A space's own lock, then zones; the list after the kernel's tables (`vm`), before zones
//!              (docs/locks.md). The ASIDs' lock masks interrupts and is a leaf. No path takes a space's lock together
//!              with one of `vm`.
//! Not here.    The pure parts (`mm::space`), registers (`arch::armv7::asid`), unprivileged accesses
//!              (`arch::armv7::uaccess`).
//! Source.      Linux `arch/arm/mm/{pgd,context}.c`, `arch/arm/include/asm/mmu_context.h`.

use core::fmt;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use boot::head::HeadInfo;
use mm::addr::{Pfn, PhysAddr, PhysRange, VirtAddr};
use mm::gfp::GfpFlags;
use mm::memmap::{NO_FRAME, PageState};
use mm::order::Order;
use mm::paging::regs::TTBR0_S;
use mm::paging::{FIRST_LEVEL_SIZE, Prot, TableError, TableSource, Tables, Translation};
use mm::platform::TlbControl;
use mm::space::{
    AddressSpace, AsidAllocator, AsidBroken, ContextId, SpaceError, SpaceFault, SpaceTlb, UserHalf, audit,
    copy_kernel_half,
};
use mm::sync::{CurrentCpu, InitOnce, IrqLock, TaskLock};

use crate::arch::armv7::asid;
use crate::arch::armv7::irq::ArmIrq;
use crate::arch::armv7::mmu::ArmTlb;
use crate::arch::armv7::uaccess::{self, UserWord};
use crate::ram::{LinearRam, RAM};
use crate::ranks;
use crate::system::Zones;

/// CPUs that the ASIDs are shared by, at most.
const CPUS: usize = 8;
/// The user half.
pub const USER: UserHalf = UserHalf::BUILT;

static SPACES: InitOnce<Spaces> = InitOnce::new();

/// What all spaces share.
#[derive(Debug)]
struct Spaces {
    zones: &'static Zones,
    tlb: ArmTlb,
    kernel: Tables<'static, LinearRam>,
    /// TTBR0 of the kernel's own table.
    kernel_ttbr: u32,
    pxn: bool,
    shareable: bool,
    /// The first space's table; the next one's frame number is in its page's private word.
    list: TaskLock<u32>,
    asids: IrqLock<AsidAllocator<CPUS>, ArmIrq>,
}

/// Why there is no space.
#[derive(Clone, Copy, Debug)]
pub enum NewSpaceError {
    /// The boot is not over.
    TooEarly,
    /// No 16 KiB for the first level.
    NoTable,
    /// The first level is out of reach.
    Table(TableError),
}

impl fmt::Display for NewSpaceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooEarly => f.write_str("address spaces are not set up yet"),
            Self::NoTable => f.write_str("no 16 KiB for a first-level table"),
            Self::Table(error) => error.fmt(f),
        }
    }
}

/// A user address that the kernel could not access as the user would.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UserFault {
    /// Some of the bytes from here on are no user's.
    NotUser(VirtAddr),
    /// The access at this address, or up to 31 bytes behind it, faulted; what is before it was done.
    At(VirtAddr),
}

impl fmt::Display for UserFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotUser(va) => write!(f, "bytes at {va} are outside the user half"),
            Self::At(va) => write!(f, "user access at {va} faulted"),
        }
    }
}

/// Sets up what spaces share. `zones`: the page allocator.
///
/// # Errors
/// The kernel's tables are out of reach, or this was done before.
pub fn start(head: &HeadInfo, zones: &'static Zones) -> Result<(), NewSpaceError> {
    // SAFETY: the boot's table stays the kernel's for ever; this value reads it.
    let kernel = unsafe { Tables::new(&RAM, PhysAddr::new(u64::from(head.table))) }.map_err(NewSpaceError::Table)?;
    let spaces = Spaces {
        zones,
        tlb: ArmTlb::detect(),
        kernel,
        kernel_ttbr: head.ttbr0,
        pxn: asid::has_pxn(),
        shareable: head.ttbr0 & TTBR0_S != 0,
        list: TaskLock::ranked(NO_FRAME, ranks::SPACES),
        asids: IrqLock::ranked(AsidAllocator::new(), ranks::ASIDS),
    };
    SPACES.set(spaces).map(drop).map_err(|_| NewSpaceError::TooEarly)
}

/// Stores first-level words that changed in the kernel's table in that of every space. Whoever changes the kernel's
/// table calls this before the flush that belongs to the change.
pub fn follow(first: usize, words: &[AtomicU32]) {
    let Some(spaces) = SPACES.get() else { return };
    spaces.each(*spaces.list.lock(), |space| {
        mm::space::follow(space, USER, &spaces.tlb, first, words);
        true
    });
}

/// Judges the tables of every space; returns the pages that users have.
///
/// # Errors
/// [`SpaceFault`]: the first thing that is wrong.
pub fn audit_all() -> Result<u32, SpaceFault> {
    let Some(spaces) = SPACES.get() else { return Ok(0) };
    let mut result = Ok(0);
    spaces.each(*spaces.list.lock(), |space| {
        let pages = audit(space, &spaces.kernel, USER, &|range| spaces.is_kernels(range));
        result = result.and_then(|sum: u32| pages.map(|pages| sum.saturating_add(pages)));
        result.is_ok()
    });
    result
}

/// Tests the ASIDs.
///
/// # Errors
/// [`AsidBroken`]: the first thing that is wrong.
pub fn validate_asids() -> Result<(), AsidBroken> {
    SPACES.get().map_or(Ok(()), |spaces| spaces.asids.lock().validate())
}

/// Makes this CPU run no space: the kernel's own table, ASID 0.
pub fn switch_to_kernel() {
    let Some(spaces) = SPACES.get() else { return };
    let mut asids = spaces.asids.lock();
    asids.leave(ArmIrq::current_cpu());
    // SAFETY: the kernel's own table has no pages that an ASID tags; the lock masks interrupts.
    unsafe { asid::switch(spaces.kernel_ttbr, 0, spaces.kernel_ttbr, false) }
}

impl Spaces {
    /// Calls `look` with the tables of each space from the one at `frame` on, until it says `false`. The caller holds
    /// the list.
    fn each(&self, frame: u32, mut look: impl FnMut(&Tables<'static, LinearRam>) -> bool) {
        let mut next = frame;
        while let Some(page) = self.zones.map().page(Pfn::new(next)) {
            // SAFETY: a frame that is on the list is the first level of a space, which takes itself off the list first.
            let Ok(space) = (unsafe { Tables::new(&RAM, Pfn::new(next).base()) }) else { return };
            if !look(&space) {
                return;
            }
            next = page.private();
        }
    }

    /// Takes the space at `root` off the list. Its page's private word is cleared: a page that is freed with something
    /// there is refused where pages are checked.
    fn forget(&self, root: Pfn) {
        let mut first = self.list.lock();
        let map = self.zones.map();
        let Some(page) = map.page(root) else { return };
        let behind = page.private();
        page.set_private(0);
        if *first == root.raw() {
            *first = behind;
            return;
        }
        let mut next = *first;
        while let Some(before) = map.page(Pfn::new(next)) {
            next = before.private();
            if next == root.raw() {
                before.set_private(behind);
                return;
            }
        }
    }

    /// Whether some frame of `range` is one that nobody may give to users: the image, memblock's, a free one.
    fn is_kernels(&self, range: PhysRange) -> bool {
        let (frames, map) = (range.whole_frames(), self.zones.map());
        (frames.start.raw()..frames.end.raw()).any(|frame| {
            let state = match map.state(Pfn::new(frame)) {
                Some(PageState::Tail { head, .. }) => map.state(head),
                other => other,
            };
            !matches!(state, None | Some(PageState::Hole | PageState::Allocated(_)))
        })
    }

    /// Gives back the block of a first level.
    fn give_root(&self, root: Pfn) {
        let freed = Order::new(2).map(|order| self.zones.free_pages(root, order));
        debug_assert!(matches!(freed, Some(Ok(()))), "{freed:?}");
    }
}

/// Tables of a user half come from the page allocator and go back to it.
#[derive(Debug)]
struct UserTables(&'static Zones);

impl TableSource for UserTables {
    fn take_table(&mut self) -> Option<PhysAddr> {
        self.0.alloc_page(GfpFlags::GFP_KERNEL).ok().map(Pfn::base)
    }

    fn give_back(&mut self, table: PhysAddr) {
        let freed = Pfn::containing(table).map(|frame| self.0.free_pages(frame, Order::ZERO));
        debug_assert!(matches!(freed, Some(Ok(()))), "{freed:?}");
    }
}

/// One address space (Linux: `mm_struct`). Dropping it unmaps all and gives its tables back.
#[derive(Debug)]
pub struct UserSpace {
    spaces: &'static Spaces,
    root: Pfn,
    tables: TaskLock<AddressSpace<'static, LinearRam>>,
    /// A [`ContextId`]; written under the ASIDs' lock.
    context: AtomicU64,
}

impl UserSpace {
    /// A space with nothing in its user half (Linux: `mm_alloc`).
    ///
    /// # Errors
    /// [`NewSpaceError`]; nothing is kept.
    pub fn new() -> Result<Self, NewSpaceError> {
        let spaces = SPACES.get().ok_or(NewSpaceError::TooEarly)?;
        let order = Order::new(2).ok_or(NewSpaceError::NoTable)?;
        let gfp = GfpFlags::GFP_KERNEL | GfpFlags::NOWARN;
        let root = spaces.zones.alloc_pages(gfp, order).map_err(|_| NewSpaceError::NoTable)?;
        // SAFETY: the block was just allocated, 16 KiB and aligned to as many; it goes back when the space is dropped.
        // `switch_to` runs it under the ASID that `tlb` names.
        let space = match unsafe { AddressSpace::new(&RAM, root.base(), USER, spaces.pxn) } {
            Ok(space) => space,
            Err(error) => {
                spaces.give_root(root);
                return Err(NewSpaceError::Table(error));
            }
        };
        // Under the list's lock: a change of the kernel half is either seen here or told to the list.
        let mut first = spaces.list.lock();
        copy_kernel_half(space.tables(), USER, &spaces.tlb, &spaces.kernel);
        if let Some(page) = spaces.zones.map().page(root) {
            page.set_private(*first);
            *first = root.raw();
        }
        drop(first);
        Ok(Self { spaces, root, tables: TaskLock::ranked(space, ranks::SPACE), context: AtomicU64::new(0) })
    }

    /// Maps `bytes` bytes at `va` to the frames from `to.0`, which stay the caller's. [`Prot::USER_RW`] and its like;
    /// shareability is set as the machine needs it.
    ///
    /// # Errors
    /// [`SpaceError`] with the address; nothing has changed.
    pub fn map(&self, va: VirtAddr, bytes: u64, to: (PhysAddr, Prot)) -> Result<(), SpaceError> {
        let to = (to.0, to.1.with_shareable(self.spaces.shareable));
        self.tables.lock().map(va, bytes, to, &self.tlb(), &mut UserTables(self.spaces.zones))
    }

    /// Unmaps `bytes` bytes at `va`.
    ///
    /// # Errors
    /// [`SpaceError`] with the address; nothing has changed.
    pub fn unmap(&self, va: VirtAddr, bytes: u64) -> Result<(), SpaceError> {
        self.tables.lock().unmap(va, bytes, &self.tlb(), &mut UserTables(self.spaces.zones))
    }

    /// Gives `bytes` bytes at `va` other rights.
    ///
    /// # Errors
    /// [`SpaceError`] with the address; nothing has changed.
    pub fn protect(&self, va: VirtAddr, bytes: u64, prot: Prot) -> Result<(), SpaceError> {
        let prot = prot.with_shareable(self.spaces.shareable);
        self.tables.lock().protect(va, bytes, prot, &self.tlb(), &mut UserTables(self.spaces.zones))
    }

    /// What is mapped at `va`, in either half.
    ///
    /// # Errors
    /// [`TableError`] when the tables are broken.
    pub fn walk(&self, va: VirtAddr) -> Result<Option<Translation>, TableError> {
        self.tables.lock().walk(va)
    }

    /// Drops what the TLBs hold of this space, and of no other (Linux: `flush_tlb_mm`).
    pub fn flush(&self) {
        self.tlb().flush_all();
    }

    /// Its ASID and the generation that it is of.
    pub fn context(&self) -> ContextId {
        ContextId::from_raw(self.context.load(Ordering::Relaxed))
    }

    /// Makes this CPU run the space (Linux: `switch_mm`); `false` on a CPU that the ASIDs do not know.
    pub fn switch_to(&self) -> bool {
        let spaces = self.spaces;
        let mut asids = spaces.asids.lock();
        let Some(turn) = asids.enter(ArmIrq::current_cpu(), self.context()) else { return false };
        self.context.store(turn.context.raw(), Ordering::Relaxed);
        // SAFETY: the table has the kernel half, kept so by `follow`, and stays until the space is dropped, which
        // leaves it first; the numbers' invariant 4 is what `switch` asks for. The lock masks interrupts.
        unsafe { asid::switch(self.ttbr(), turn.context.asid(), spaces.kernel_ttbr, turn.flush) }
        true
    }

    /// TTBR0 while the space runs: its table, with the attributes of the kernel's.
    fn ttbr(&self) -> u32 {
        self.root.base().as_u32().unwrap_or(0) | self.spaces.kernel_ttbr & (FIRST_LEVEL_SIZE - 1)
    }

    fn tlb(&self) -> SpaceTlb<'_, ArmTlb> {
        SpaceTlb::new(&self.spaces.tlb, &self.context)
    }
}

impl Drop for UserSpace {
    fn drop(&mut self) {
        let spaces = self.spaces;
        if asid::table() == self.ttbr() {
            switch_to_kernel();
        }
        if spaces.asids.lock().runs_beside(ArmIrq::current_cpu(), self.context()) {
            // Its tables are in use there: they are lost rather than freed under a walk.
            log::error!("space: {} is dropped while another CPU runs it; its tables are kept", self.context());
            return;
        }
        let tlb = self.tlb();
        self.tables.lock().clear(&tlb, &mut UserTables(spaces.zones));
        spaces.forget(self.root);
        spaces.give_root(self.root);
    }
}

/// Loads a word of the space that runs (Linux: `get_user`).
///
/// # Errors
/// [`UserFault`].
#[inline]
pub fn get_user<W: UserWord>(va: VirtAddr) -> Result<W, UserFault> {
    check(va, size_of::<W>())?;
    uaccess::with_window(|| W::load(va)).ok_or(UserFault::At(va))
}

/// Stores a word in the space that runs (Linux: `put_user`).
///
/// # Errors
/// [`UserFault`]; nothing is stored.
#[inline]
pub fn put_user<W: UserWord>(va: VirtAddr, word: W) -> Result<(), UserFault> {
    check(va, size_of::<W>())?;
    // SAFETY: the kernel depends on no byte of the user half.
    let stored = uaccess::with_window(|| unsafe { word.store(va) });
    if stored { Ok(()) } else { Err(UserFault::At(va)) }
}

/// Copies the bytes at `from` in the space that runs to all of `to` (Linux: `copy_from_user`).
///
/// # Errors
/// [`UserFault`]; what is behind the address that it names was not written.
pub fn copy_from_user(to: &mut [u8], from: VirtAddr) -> Result<(), UserFault> {
    check(from, to.len())?;
    let bytes = to.len();
    done(from, bytes, uaccess::with_window(|| uaccess::copy_from(to, from)))
}

/// Copies all of `from` to `to` in the space that runs (Linux: `copy_to_user`).
///
/// # Errors
/// [`UserFault`]; what is behind the address that it names was not written.
pub fn copy_to_user(to: VirtAddr, from: &[u8]) -> Result<(), UserFault> {
    check(to, from.len())?;
    // SAFETY: the kernel depends on no byte of the user half.
    done(to, from.len(), uaccess::with_window(|| unsafe { uaccess::copy_to(to, from) }))
}

/// Writes `bytes` zeros at `to` in the space that runs (Linux: `clear_user`).
///
/// # Errors
/// [`UserFault`]; what is behind the address that it names was not written.
pub fn clear_user(to: VirtAddr, bytes: usize) -> Result<(), UserFault> {
    check(to, bytes)?;
    // SAFETY: the kernel depends on no byte of the user half.
    done(to, bytes, uaccess::with_window(|| unsafe { uaccess::clear(to, bytes) }))
}

/// Whether all of the bytes may be a user's (Linux: `access_ok`).
#[inline]
fn check(va: VirtAddr, bytes: usize) -> Result<(), UserFault> {
    if USER.holds(va, bytes as u64) { Ok(()) } else { Err(UserFault::NotUser(va)) }
}

/// The result of an access to `bytes` bytes at `va` of which `left` were not done.
fn done(va: VirtAddr, bytes: usize, left: usize) -> Result<(), UserFault> {
    let offset = u32::try_from(bytes.saturating_sub(left)).unwrap_or(u32::MAX);
    let at = VirtAddr::new(va.raw().wrapping_add(offset));
    if left == 0 { Ok(()) } else { Err(UserFault::At(at)) }
}
