//! The operations: what fills a slot, and what gives it back.

use mm::addr::{NodeId, PAGE_SIZE, Pfn, PfnRange, PhysAddr, VirtAddr};
use mm::gfp::GfpFlags;
use mm::order::Order;
use mm::page_alloc::{AllocError, CmaError};
use mm::paging::{MapError, Prot};
use mm::space::SpaceError;
use mm::vmalloc::{IoKind, Request, VmallocError};

use super::held::{Held, Table};
use super::mark::{self, mark};
use super::story::Story;
use super::tally::{Kind, Tally};
use super::{Defect, REQUESTS, owner};
use crate::arch::armv7::clock;
use crate::bench::rng::Xorshift32;
use crate::space::{NewSpaceError, UserSpace, get_user, put_user, switch_to_kernel};
use crate::system::{System, Zones};
use crate::vm::KmapError;

/// Bytes of outer space that ioremap maps parts of.
const DEVICE: u32 = 1 << 20;
/// Address spaces at a time, each with one page at [`USER_PAGE`].
const SPACES: usize = 8;
const USER_PAGE: VirtAddr = VirtAddr::new(0x0040_0000);
/// Pages of a bulk request, at most.
const BULK: usize = 48;

/// An operation's end: done or refused, or a defect.
type Outcome = Result<bool, Defect>;
const DONE: Outcome = Ok(true);
const REFUSED: Outcome = Ok(false);

/// What a stretch of operations tends to.
#[derive(Clone, Copy, Debug)]
enum Tendency {
    Take,
    Give,
    Both,
}

/// Everything that operations work on.
pub(super) struct Work<'a> {
    system: &'a System,
    zones: &'a Zones,
    table: &'static Table,
    device: Option<PhysAddr>,
    spaces: [Option<(UserSpace, Pfn)>; SPACES],
    tendency: Tendency,
    chance: Xorshift32,
    tally: &'a mut Tally,
    /// Only requests and frees: what a replay can repeat.
    plain: bool,
}

/// Names a defect.
fn defect(what: &dyn core::fmt::Display) -> Defect {
    log::error!("torture: {what}");
    Defect
}

/// Whether pages, or addresses or nodes for them, were wanting; every other error is a defect.
fn refused_pages(error: AllocError) -> Outcome {
    match error {
        AllocError::NoMemory { .. } | AllocError::Injected { .. } => REFUSED,
        error => Err(defect(&error)),
    }
}

fn refused_area(error: VmallocError) -> Outcome {
    match error {
        VmallocError::NoAddresses { .. } | VmallocError::NoNode { .. } | VmallocError::NoFrames { .. } => REFUSED,
        VmallocError::Map { error: MapError::NoTable(_), .. } => REFUSED,
        error => Err(defect(&error)),
    }
}

impl<'a> Work<'a> {
    pub(super) fn new(
        system: &'a System,
        table: &'static Table,
        chance: Xorshift32,
        tally: &'a mut Tally,
        plain: bool,
    ) -> Self {
        let device = system.device_space(DEVICE);
        let spaces = [const { None }; SPACES];
        let zones = system.booted.mm.allocator();
        Self { system, zones, table, device, spaces, tendency: Tendency::Both, chance, tally, plain }
    }

    /// Where chance stands.
    pub(super) fn chance(&mut self) -> &mut Xorshift32 {
        &mut self.chance
    }

    /// Draws what the next operations tend to, and whether allocations fail meanwhile.
    pub(super) fn next_stretch(&mut self) -> bool {
        self.tendency = match self.chance.below(4) {
            0 => Tendency::Take,
            1 => Tendency::Give,
            _ => Tendency::Both,
        };
        self.chance.below(3) == 0
    }

    /// One operation.
    pub(super) fn step(&mut self) -> Result<(), Defect> {
        let slot = self.draw();
        let start = clock::microseconds();
        let held = self.table.get(slot);
        let (kind, done) = if held == Held::Nothing { self.fill(slot) } else { self.give_back(slot, held) };
        self.tally.count(kind, !done?, start);
        Ok(())
    }

    /// A slot; in a stretch with a tendency a second one where the first would go the other way.
    fn draw(&mut self) -> u32 {
        let any = |chance: &mut Xorshift32, table: &Table| chance.next() % table.len().max(1);
        let slot = any(&mut self.chance, self.table);
        let is_full = self.table.get(slot) != Held::Nothing;
        match self.tendency {
            Tendency::Take if is_full => any(&mut self.chance, self.table),
            Tendency::Give if !is_full => any(&mut self.chance, self.table),
            _ => slot,
        }
    }

    /// Small orders are common, as in life; each order has about as many pages.
    fn order(&mut self) -> Order {
        let ones = self.chance.next().trailing_ones();
        u8::try_from(ones).ok().and_then(Order::new).unwrap_or(Order::LARGEST)
    }

    fn gfp(&mut self) -> GfpFlags {
        let flags = REQUESTS.get(self.chance.below(REQUESTS.len())).copied().unwrap_or(GfpFlags::GFP_KERNEL);
        // A failure is no news here, and one that must not come to nothing would wait for ever.
        let retry = if self.chance.below(2) == 0 { GfpFlags::NORETRY } else { GfpFlags::empty() };
        flags | GfpFlags::NOWARN | retry
    }

    fn fill(&mut self, slot: u32) -> (Kind, Outcome) {
        match self.chance.below(64) {
            26..42 if !self.plain => (Kind::Movable, self.take_movable(slot)),
            42..45 if !self.plain => (Kind::Bulk, self.take_bulk(slot)),
            45..48 => (Kind::Exact, self.take_exact(slot)),
            48..50 if !self.plain => (Kind::Contiguous, self.take_contiguous(slot)),
            50..54 => (Kind::Vmalloc, self.take_area(slot)),
            54..57 => (Kind::Vmap, self.take_window(slot)),
            57..59 => (Kind::Ioremap, self.take_device(slot)),
            59..61 => (Kind::Kmap, self.take_mapped(slot)),
            61..63 => (Kind::Space, self.space()),
            63.. => (Kind::Settle, self.settle()),
            _ => (Kind::Pages, self.take_block(slot)),
        }
    }

    fn take_block(&mut self, slot: u32) -> Outcome {
        let (gfp, order) = (self.gfp(), self.order());
        let block = match self.zones.alloc_pages(gfp, order) {
            Ok(block) => block,
            Err(error) => return refused_pages(error),
        };
        self.mark_ends(slot, block, order.pages())?;
        let splits = order > Order::ZERO && !gfp.contains(GfpFlags::COMP) && self.chance.below(16) == 0;
        if splits {
            self.zones.split_page(block, order).map_err(|error| defect(&error))?;
            let end = Pfn::new(block.raw() + order.pages());
            self.table.set(slot, Held::Exact(PfnRange::new(block, end)));
        } else {
            self.table.set(slot, Held::Block(block, order));
        }
        DONE
    }

    fn take_movable(&mut self, slot: u32) -> Outcome {
        let gfp = GfpFlags::GFP_HIGHUSER_MOVABLE | GfpFlags::NOWARN | GfpFlags::NORETRY;
        let page = match self.zones.alloc_page(gfp) {
            Ok(page) => page,
            Err(error) => return refused_pages(error),
        };
        mark::write(self.system.vm, page, mark(slot, 0))?;
        self.table.set(slot, Held::Movable(page));
        let id = owner::id().ok_or(Defect)?;
        self.zones.set_movable(page, Order::ZERO, id, slot).map_err(|error| defect(&error))?;
        DONE
    }

    /// Single pages for this slot and empty ones behind it; what finds no slot goes back in one call.
    fn take_bulk(&mut self, slot: u32) -> Outcome {
        let gfp = self.gfp() & !GfpFlags::COMP;
        let mut pages = [Pfn::new(0); BULK];
        let count = 1 + self.chance.below(BULK);
        let pages = pages.get_mut(..count).unwrap_or_default();
        let got = match self.zones.alloc_pages_bulk(gfp, pages) {
            Ok(got) => got,
            Err(error) => return refused_pages(error),
        };
        let pages = pages.get(..got).unwrap_or_default();
        let mut slots = (slot..self.table.len()).take(BULK).filter(|slot| self.table.get(*slot) == Held::Nothing);
        let mut kept = 0;
        for (page, slot) in pages.iter().take(got / 2).zip(&mut slots) {
            self.mark_ends(slot, *page, 1)?;
            self.table.set(slot, Held::Block(*page, Order::ZERO));
            kept += 1;
        }
        self.zones.free_pages_bulk(pages.get(kept..).unwrap_or_default()).map_err(|error| defect(&error))?;
        DONE
    }

    fn take_exact(&mut self, slot: u32) -> Outcome {
        let gfp = self.gfp() & !GfpFlags::COMP;
        let pages = 1 + self.chance.next() % 70;
        let range = match self.zones.alloc_pages_exact(gfp, pages) {
            Ok(range) => range,
            Err(error) => return refused_pages(error),
        };
        self.mark_ends(slot, range.start, pages)?;
        self.table.set(slot, Held::Exact(range));
        DONE
    }

    fn take_contiguous(&mut self, slot: u32) -> Outcome {
        let areas = self.system.booted.cma;
        let Some(number) = self.chance.next().checked_rem(u32::try_from(areas.len()).unwrap_or(0)) else {
            return REFUSED;
        };
        let Some(area) = areas.get(number as usize) else { return REFUSED };
        let (pages, align) = (1 + self.chance.next() % 300, self.order());
        match self.zones.cma_alloc(area, pages.min(area.frames().pages()), align) {
            Ok(range) => {
                self.mark_ends(slot, range.start, range.pages())?;
                self.table.set(slot, Held::Contiguous(number, range));
                DONE
            }
            Err(CmaError::Full { .. } | CmaError::Busy(_)) => REFUSED,
            Err(error) => Err(defect(&error)),
        }
    }

    fn take_area(&mut self, slot: u32) -> Outcome {
        let bytes = match self.chance.below(16) {
            0 => 2 << 20,
            1..4 => 1 + self.chance.next() % (256 << 10),
            _ => 1 + self.chance.next() % (32 << 10),
        };
        let request = Request::new(bytes);
        let request = if self.chance.below(2) == 0 { request.large() } else { request };
        match self.system.vm.vmalloc(request) {
            Ok(va) => {
                mark::write_at(va, mark(slot, 0))?;
                mark::write_at(last_page(va, bytes), mark(slot, 1))?;
                // What has one page bears the second mark alone.
                self.table.set(slot, Held::Area(va, bytes));
                DONE
            }
            Err(error) => refused_area(error),
        }
    }

    fn take_window(&mut self, slot: u32) -> Outcome {
        let page = match self.zones.alloc_page(self.gfp()) {
            Ok(page) => page,
            Err(error) => return refused_pages(error),
        };
        mark::write(self.system.vm, page, mark(slot, 0))?;
        match self.system.vm.vmap(&[page], Prot::KERNEL_RW) {
            Ok(va) => {
                self.table.set(slot, Held::Window(va, page));
                DONE
            }
            Err(error) => {
                self.free(page, Order::ZERO)?;
                refused_area(error)
            }
        }
    }

    fn take_device(&mut self, slot: u32) -> Outcome {
        let Some(device) = self.device else { return REFUSED };
        let offset = self.chance.next() % (DEVICE / 2);
        let bytes = 1 + self.chance.next() % (DEVICE / 2);
        let at = device.saturating_add(u64::from(offset));
        match self.system.vm.ioremap(at, bytes, IoKind::Device) {
            Ok(va) => {
                self.table.set(slot, Held::Device(va));
                DONE
            }
            Err(error) => refused_area(error),
        }
    }

    fn take_mapped(&mut self, slot: u32) -> Outcome {
        let page = match self.zones.alloc_page(GfpFlags::GFP_HIGHUSER | GfpFlags::NOWARN | GfpFlags::NORETRY) {
            Ok(page) => page,
            Err(error) => return refused_pages(error),
        };
        match self.system.vm.kmap(page) {
            Ok(at) => {
                mark::write_at(VirtAddr::new(at.as_ptr() as u32), mark(slot, 0))?;
                self.table.set(slot, Held::Mapped(page));
                DONE
            }
            Err(KmapError::Pkmap(mm::highmem::PkmapError::Full)) => {
                self.free(page, Order::ZERO)?;
                REFUSED
            }
            Err(error) => Err(defect(&error)),
        }
    }

    /// Makes an address space with one page, or runs one that is there, looks at its page and drops it.
    fn space(&mut self) -> Outcome {
        let number = self.chance.below(SPACES);
        let word = mark(u32::try_from(number).unwrap_or(0), 2);
        match self.spaces.get_mut(number).and_then(Option::take) {
            Some(old) => self.drop_space(old, word),
            None => self.make_space(number, word),
        }
    }

    fn make_space(&mut self, number: usize, word: u32) -> Outcome {
        let page = match self.zones.alloc_page(self.gfp()) {
            Ok(page) => page,
            Err(error) => return refused_pages(error),
        };
        let space = match UserSpace::new() {
            Ok(space) => space,
            Err(NewSpaceError::NoTable) => {
                self.free(page, Order::ZERO)?;
                return REFUSED;
            }
            Err(error) => return Err(defect(&error)),
        };
        match space.map(USER_PAGE, u64::from(PAGE_SIZE), (page.base(), Prot::USER_RW)) {
            Ok(()) => {}
            Err(SpaceError::Map(MapError::NoTable(_))) => {
                drop(space);
                self.free(page, Order::ZERO)?;
                return REFUSED;
            }
            Err(error) => return Err(defect(&error)),
        }
        if !space.switch_to() {
            return Err(defect(&"this CPU cannot run an address space"));
        }
        put_user(USER_PAGE, word).map_err(|error| defect(&error))?;
        if let Some(place) = self.spaces.get_mut(number) {
            *place = Some((space, page));
        }
        DONE
    }

    fn drop_space(&mut self, (space, page): (UserSpace, Pfn), word: u32) -> Outcome {
        if !space.switch_to() {
            return Err(defect(&"this CPU cannot run an address space"));
        }
        let found = get_user::<u32>(USER_PAGE);
        switch_to_kernel();
        drop(space);
        if found != Ok(word) {
            return Err(defect(&format_args!("an address space shows {found:x?} in place of {word:#010x}")));
        }
        self.free(page, Order::ZERO)?;
        DONE
    }

    /// What takes things back from where they wait.
    fn settle(&mut self) -> Outcome {
        match self.chance.below(8) {
            0 => self.system.vm.purge().map(drop).map_err(|error| defect(&error))?,
            1 => self.system.vm.kmap_flush_unused(),
            2 if !self.plain => {
                if let Some(zone) = self.zones.zones().get(self.chance.below(self.zones.zones().len())) {
                    self.zones.compact_zone(zone.tag(), self.order());
                }
            }
            3 if !self.plain => {
                self.zones.set_compaction_proactiveness(self.chance.next() % 101);
                self.zones.compact_step(NodeId::ZERO);
            }
            _ => self.zones.drain_local(),
        }
        DONE
    }

    fn give_back(&mut self, slot: u32, held: Held) -> (Kind, Outcome) {
        let kind = match held {
            Held::Nothing | Held::Block(..) => Kind::Pages,
            Held::Movable(_) => Kind::Movable,
            Held::Exact(_) => Kind::Exact,
            Held::Contiguous(..) => Kind::Contiguous,
            Held::Area(..) => Kind::Vmalloc,
            Held::Window(..) => Kind::Vmap,
            Held::Device(_) => Kind::Ioremap,
            Held::Mapped(_) => Kind::Kmap,
        };
        (kind, self.release(slot, held).map(|()| true))
    }

    fn release(&mut self, slot: u32, held: Held) -> Result<(), Defect> {
        let vm = self.system.vm;
        match held {
            Held::Nothing => {}
            Held::Block(pfn, order) => {
                self.expect_ends(slot, pfn, order.pages())?;
                if order == Order::ZERO && self.chance.below(8) == 0 {
                    self.zones.free_cold_page(pfn).map_err(|error| defect(&error))?;
                } else {
                    self.free(pfn, order)?;
                }
            }
            Held::Movable(pfn) => {
                mark::expect(vm, pfn, mark(slot, 0))?;
                self.free(pfn, Order::ZERO)?;
            }
            Held::Exact(range) => {
                self.expect_ends(slot, range.start, range.pages())?;
                self.zones.free_pages_exact(range).map_err(|error| defect(&error))?;
            }
            Held::Contiguous(number, range) => {
                self.expect_ends(slot, range.start, range.pages())?;
                let area = self.system.booted.cma.get(number as usize).ok_or(Defect)?;
                self.zones.cma_release(area, range).map_err(|error| defect(&error))?;
            }
            Held::Area(va, bytes) => {
                if last_page(va, bytes) != va {
                    mark::expect_at(va, mark(slot, 0))?;
                }
                mark::expect_at(last_page(va, bytes), mark(slot, 1))?;
                vm.vfree(va).map_err(|error| defect(&error))?;
            }
            Held::Window(va, pfn) => {
                mark::expect_at(va, mark(slot, 0))?;
                vm.vunmap(va).map_err(|error| defect(&error))?;
                self.free(pfn, Order::ZERO)?;
            }
            Held::Device(va) => vm.iounmap(va).map_err(|error| defect(&error))?,
            Held::Mapped(pfn) => {
                mark::expect(vm, pfn, mark(slot, 0))?;
                vm.kunmap(pfn).map_err(|error| defect(&error))?;
                self.free(pfn, Order::ZERO)?;
            }
        }
        self.table.set(slot, Held::Nothing);
        Ok(())
    }

    /// Gives everything back.
    pub(super) fn end(&mut self, story: &mut Option<Story>) -> Result<(), Defect> {
        for number in 0..SPACES {
            if let Some(old) = self.spaces.get_mut(number).and_then(Option::take) {
                self.drop_space(old, mark(u32::try_from(number).unwrap_or(0), 2))?;
            }
        }
        (0..self.table.len()).try_for_each(|slot| {
            self.release(slot, self.table.get(slot))?;
            story.as_mut().map_or(Ok(()), Story::pour)
        })
    }

    fn free(&self, pfn: Pfn, order: Order) -> Result<(), Defect> {
        self.zones.free_pages(pfn, order).map_err(|error| defect(&error))
    }

    fn mark_ends(&self, slot: u32, first: Pfn, pages: u32) -> Result<(), Defect> {
        let last = Pfn::new(first.raw() + pages.saturating_sub(1));
        mark::write(self.system.vm, first, mark(slot, 0))?;
        mark::write(self.system.vm, last, mark(slot, 1))
    }

    fn expect_ends(&self, slot: u32, first: Pfn, pages: u32) -> Result<(), Defect> {
        let last = Pfn::new(first.raw() + pages.saturating_sub(1));
        if pages > 1 {
            mark::expect(self.system.vm, first, mark(slot, 0))?;
        }
        mark::expect(self.system.vm, last, mark(slot, 1))
    }
}

/// The first word of the last page of `bytes` at `va`.
fn last_page(va: VirtAddr, bytes: u32) -> VirtAddr {
    VirtAddr::new(va.raw() + (bytes.saturating_sub(1)) / PAGE_SIZE * PAGE_SIZE)
}
