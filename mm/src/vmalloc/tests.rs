//! vmalloc, vmap and ioremap against the model MMU, with frames, tables and nodes that are counted.
#![expect(clippy::cast_possible_truncation, reason = "the numbers of the tests are small")]

use std::collections::{BTreeMap, BTreeSet};
use std::vec::Vec;

use super::tree_tests::Random;
use super::*;
use crate::addr::{PAGE_SIZE, Pfn, PhysAddr, PhysRange, VirtAddr};
use crate::order::Order;
use crate::paging::model::ModelMmu;
use crate::paging::{Editor, MapError, Mapper, MemType, PageSize, Prot, TableSource, Tables};
use crate::testing::{CountingTlb, FakeRam, scaled};

const ROOT: u64 = 0x4000_0000;
/// Frames that the source has: blocks are cut from here, lowest first; only tables are ever touched.
const FIRST: u32 = 0x4_0010;
const START: u32 = 0xf000_0000;
const END: u32 = 0xf100_0000;
const MIB: u32 = 1 << 20;

/// A page allocator of a few lines: single frames that are free.
struct Frames {
    free: BTreeSet<u32>,
    total: usize,
}

impl Frames {
    fn new(pages: u32) -> Self {
        Self { free: (FIRST..FIRST + pages).collect(), total: pages as usize }
    }

    fn taken(&self) -> usize {
        self.total - self.free.len()
    }

    fn take(&mut self, order: Order) -> Option<Pfn> {
        let pages = order.pages();
        let whole = |first: &&u32| {
            first.is_multiple_of(pages) && (**first..**first + pages).all(|pfn| self.free.contains(&pfn))
        };
        let first = *self.free.iter().find(whole)?;
        self.free.retain(|pfn| !(first..first + pages).contains(pfn));
        Some(Pfn::new(first))
    }

    fn give(&mut self, first: Pfn, order: Order) {
        assert!(order.aligns(first));
        for pfn in first.raw()..first.raw() + order.pages() {
            assert!(self.free.insert(pfn), "frame {pfn:#x} was freed twice");
        }
    }
}

impl TableSource for Frames {
    fn take_table(&mut self) -> Option<PhysAddr> {
        self.take(Order::ZERO).map(Pfn::base)
    }

    fn give_back(&mut self, table: PhysAddr) {
        self.give(Pfn::containing(table).unwrap(), Order::ZERO);
    }
}

impl FrameSource for Frames {
    fn alloc_blocks(&mut self, order: Order, out: &mut [Pfn]) -> usize {
        let mut had = 0;
        for place in out {
            let Some(pfn) = self.take(order) else { break };
            *place = pfn;
            had += 1;
        }
        had
    }

    fn free_blocks(&mut self, order: Order, blocks: &[Pfn]) {
        blocks.iter().for_each(|block| self.give(*block, order));
    }
}

/// A machine with `frames` frames and `nodes` nodes; `body` gets everything.
fn with(
    frames: u32,
    nodes: usize,
    retired_max: u32,
    body: impl FnOnce(&mut Vmalloc<NodeArena<'_>>, &mut Space<'_, '_, FakeRam, CountingTlb, Frames>, &FakeRam, &CountingTlb),
) {
    let end = ROOT + u64::from(FIRST - 0x4_0000 + frames) * 4096;
    let ram = FakeRam::new(&[PhysRange::new(PhysAddr::new(ROOT), PhysAddr::new(end))]);
    let tlb = CountingTlb::default();
    // SAFETY: the test uses these frames as tables only.
    let tables = unsafe { Tables::new(&ram, PhysAddr::new(ROOT)) }.unwrap();
    // SAFETY: the only editor; no MMU walks these tables.
    let mut mapper = Mapper::new(unsafe { Editor::new(tables, &tlb) });
    let (mut frames, mut nodes) = (Frames::new(frames), vec![Node::empty(); nodes]);
    let areas = Areas::new(NodeArena::new(&mut nodes), VirtAddr::new(START), VirtAddr::new(END));
    let mut vmalloc = Vmalloc::new(areas, Config { retired_max, shareable: true });
    let mut space = Space { mapper: &mut mapper, frames: &mut frames };
    body(&mut vmalloc, &mut space, &ram, &tlb);
    vmalloc.purge(&mut space).unwrap();
    assert_eq!(vmalloc.areas().validate(), Ok(()));
    assert_eq!((space.frames.taken(), vmalloc.areas().store().used(), vmalloc.retired_pages()), (0, 0, 0), "no leak");
    assert_eq!(space.mapper.tables().mappings().count(), 0);
}

fn model(ram: &FakeRam) -> ModelMmu<'_, FakeRam> {
    ModelMmu { ram, ttbr: ROOT, prrr: 0xff0a_81a8, nmrr: 0x40e0_40e0, dacr: 1 }
}

/// What each page maps to: frame, log2 of its descriptor.
type Seen = Vec<Option<(u64, u32)>>;

/// Frame and size of each page of `bytes` bytes at `va`.
fn seen(ram: &FakeRam, va: VirtAddr, bytes: u32) -> Seen {
    let pages = (va.raw()..va.raw() + bytes).step_by(4096);
    pages.map(|va| model(ram).translate(va).map(|answer| (answer.pa, answer.shift))).collect()
}

#[test]
fn random_areas_of_every_kind_are_what_the_mmu_sees_and_nothing_leaks() {
    let wanted = scaled(1500).max(1500);
    with(2048, 48, 300, |vmalloc, space, ram, _| {
        let mut random = Random(0x2545_f491_4f6c_dd1d);
        // Start of an area to its bytes and kind, and what its first and last page map to.
        let mut model = BTreeMap::<u32, (u32, u32, Seen)>::new();
        let (mut made, mut refused) = (0, 0);
        while made < wanted {
            let (frames, nodes) = (space.frames.taken(), vmalloc.areas().store().used());
            if random.below(2) == 0 || model.is_empty() {
                made += 1;
                let kind = random.below(4);
                let pages = if random.below(6) == 0 { 1 + random.below(700) } else { 1 + random.below(20) };
                let result = match kind {
                    0 => vmalloc.vmalloc(space, Request::new(pages * PAGE_SIZE)),
                    1 => vmalloc.vmalloc(space, Request::new(pages.next_multiple_of(16) * PAGE_SIZE).large()),
                    2 => {
                        let frames: Vec<_> = (0..pages).map(|i| Pfn::new(0x9_0000 + i * 3)).collect();
                        vmalloc.vmap(space, &frames, Prot::KERNEL_RO)
                    }
                    _ => {
                        let pa = 0x1c00_0000 + u64::from(random.below(4)) * 0x1_0000;
                        vmalloc.ioremap(space, PhysAddr::new(pa), pages * PAGE_SIZE, IoKind::Device, &|_| false)
                    }
                };
                match result {
                    Ok(va) => {
                        let area = *vmalloc.areas().get(va).unwrap();
                        let pages = seen(ram, va, area.bytes);
                        assert!(pages.iter().all(Option::is_some));
                        assert_eq!(seen(ram, VirtAddr::new(area.end().raw() - PAGE_SIZE), PAGE_SIZE), [None], "guard");
                        model.insert(va.raw(), (area.bytes, kind, pages));
                    }
                    Err(_) => {
                        refused += 1;
                        // A purge may have freed more than there was.
                        assert!(space.frames.taken() <= frames && vmalloc.areas().store().used() <= nodes);
                    }
                }
            } else {
                let from = START + random.below(END - START);
                let (&at, _) = model.range(from..).next().or(model.iter().next()).unwrap();
                let (bytes, kind, _) = model.remove(&at).unwrap();
                let va = VirtAddr::new(at);
                match kind {
                    0 | 1 => vmalloc.vfree(space, va).unwrap(),
                    2 => vmalloc.vunmap(space, va).unwrap(),
                    _ => vmalloc.iounmap(space, va).unwrap(),
                }
                assert!(seen(ram, va, bytes).iter().all(Option::is_none));
            }
            assert_eq!(vmalloc.areas().validate(), Ok(()));
            assert!(vmalloc.retired_pages() <= 300);
        }
        assert!(refused > 0, "something ran out on the way");
        // Every frame is in one vmalloc area only, and all areas are as they were made.
        let mut own = BTreeSet::new();
        for (at, (bytes, kind, pages)) in &model {
            assert_eq!(&seen(ram, VirtAddr::new(*at), *bytes), pages);
            let new = pages.iter().flatten().all(|(pa, _)| *kind > 1 || own.insert(pa >> 12));
            assert!(new, "a frame is in two areas");
        }
        for (at, (_, kind, _)) in model {
            let va = VirtAddr::new(at);
            match kind {
                0 | 1 => vmalloc.vfree(space, va).unwrap(),
                2 => vmalloc.vunmap(space, va).unwrap(),
                _ => vmalloc.iounmap(space, va).unwrap(),
            }
        }
    });
}

#[test]
fn freed_areas_fault_at_once_and_their_frames_wait_for_one_flush() {
    with(256, 16, 64, |vmalloc, space, ram, tlb| {
        let all: Vec<_> = (0..8).map(|_| vmalloc.vmalloc(space, Request::new(4 * PAGE_SIZE)).unwrap()).collect();
        let taken = space.frames.taken();
        all.iter().for_each(|va| vmalloc.vfree(space, *va).unwrap());
        assert!(all.iter().all(|va| seen(ram, *va, PAGE_SIZE) == [None]));
        assert_eq!((space.frames.taken(), tlb.pages.get(), tlb.all.get()), (taken, 0, 0));
        let line = std::format!("{}", vmalloc.info().next().unwrap());
        assert_eq!(line, "0xf0000000-0xf0005000   20480 unpurged vm_area");
        assert!(matches!(vmalloc.vfree(space, all[0]), Err(VmallocError::WrongKind(_, AreaKind::Retired(_)))), "twice");
        let next = vmalloc.vmalloc(space, Request::new(PAGE_SIZE)).unwrap();
        assert!(next > all[7], "retired addresses are not used again");
        assert_eq!(vmalloc.purge(space), Ok(32));
        assert_eq!(tlb.all.get(), 1);
        assert_eq!(vmalloc.vmalloc(space, Request::new(PAGE_SIZE)), Ok(all[0]));
        vmalloc.vfree(space, all[0]).unwrap();
        vmalloc.vfree(space, next).unwrap();
    });
}

#[test]
fn a_retired_area_of_the_same_size_and_rights_comes_again_as_it_was() {
    with(600, 16, 1000, |vmalloc, space, ram, tlb| {
        let read_only = |bytes| Request { prot: Prot::KERNEL_RO, ..Request::new(bytes) };
        // What comes behind it is not aligned to a MiB.
        let lowest = vmalloc.vmalloc(space, Request::new(PAGE_SIZE)).unwrap();
        for request in [Request::new(3 * PAGE_SIZE), Request::new(1 << 16).large(), Request::new(40 * PAGE_SIZE)] {
            let (flushed, bytes) = ((tlb.pages.get(), tlb.all.get()), request.bytes);
            let first = vmalloc.vmalloc(space, request).unwrap();
            let (pages, taken) = (seen(ram, first, bytes), space.frames.taken());
            vmalloc.vfree(space, first).unwrap();
            assert_eq!(seen(ram, first, PAGE_SIZE), [None]);
            let other = vmalloc.vmalloc(space, read_only(bytes)).unwrap();
            assert_ne!(other, first, "a TLB may know other rights");
            let aligned = vmalloc.vmalloc(space, Request { align: MIB, ..request }).unwrap();
            assert!(aligned.is_aligned(MIB) && aligned != first);
            let line = line!() + 1;
            assert_eq!(vmalloc.vmalloc(space, request), Ok(first));
            assert_eq!((seen(ram, first, bytes), (tlb.pages.get(), tlb.all.get())), (pages.clone(), flushed));
            assert_eq!(vmalloc.areas().get(first).map(|area| area.caller.line()), Some(line), "it has a new owner");
            assert!(space.frames.taken() >= taken && vmalloc.retired_pages() == 0);
            for va in [first, other, aligned] {
                vmalloc.vfree(space, va).unwrap();
            }
            vmalloc.purge(space).unwrap();
        }
        vmalloc.vfree(space, lowest).unwrap();
    });
}

#[test]
fn a_retired_area_whose_rights_were_changed_comes_again_with_those_rights_only() {
    with(64, 16, 1000, |vmalloc, space, _, _| {
        let request = Request::new(4 * PAGE_SIZE);
        let read_only = Request { prot: Prot::KERNEL_RO, ..request };
        let area = vmalloc.vmalloc(space, request).unwrap();
        let page = VirtAddr::new(area.raw() + PAGE_SIZE);
        space.mapper.protect(page, u64::from(PAGE_SIZE), Prot::KERNEL_RO, space.frames).unwrap();
        vmalloc.vfree(space, area).unwrap();
        let second = vmalloc.vmalloc(space, request).unwrap();
        let third = vmalloc.vmalloc(space, read_only).unwrap();
        assert!(second != area && third != area, "one page of it was read-only");
        space.mapper.protect(second, u64::from(request.bytes), Prot::KERNEL_RO, space.frames).unwrap();
        vmalloc.vfree(space, second).unwrap();
        assert_ne!(vmalloc.vmalloc(space, request).unwrap(), second);
        assert_eq!(vmalloc.vmalloc(space, read_only), Ok(second));
        let all: Vec<_> =
            vmalloc.areas().iter().filter(|area| matches!(area.kind, AreaKind::Vmalloc(_))).copied().collect();
        all.iter().for_each(|area| vmalloc.vfree(space, area.start).unwrap());
    });
}

#[test]
fn large_blocks_are_used_where_they_fit_and_small_ones_where_there_are_none() {
    with(900, 16, 0, |vmalloc, space, ram, _| {
        let shifts = |va, bytes| seen(ram, va, bytes).into_iter().map(|page| page.unwrap().1).collect::<BTreeSet<_>>();
        let whole = vmalloc.vmalloc(space, Request::new(2 * MIB).large()).unwrap();
        assert_eq!(shifts(whole, 2 * MIB), BTreeSet::from([20]));
        let large = vmalloc.vmalloc(space, Request::new(3 << 16).large()).unwrap();
        assert_eq!(shifts(large, 3 << 16), BTreeSet::from([16]));
        let small = vmalloc.vmalloc(space, Request::new(17 * PAGE_SIZE).large()).unwrap();
        assert_eq!(shifts(small, 17 * PAGE_SIZE), BTreeSet::from([12]));
        // Frames 0x40010 to 0x40393 have two aligned MiBs: for the third, large pages serve.
        let third = vmalloc.vmalloc(space, Request::new(MIB).large()).unwrap();
        assert_eq!(shifts(third, MIB), BTreeSet::from([16]));
        for va in [whole, large, small, third] {
            vmalloc.vfree(space, va).unwrap();
        }
    });
}

#[test]
fn when_frames_addresses_or_nodes_run_out_everything_comes_back() {
    with(300, 8, 1000, |vmalloc, space, _, _| {
        // 299 frames and a table for 300 pages: one is missing at the end.
        let bytes = 300 * PAGE_SIZE;
        let missing = VmallocError::NoFrames { bytes, had: 298 * PAGE_SIZE };
        let error = vmalloc.vmalloc(space, Request::new(bytes)).unwrap_err();
        assert!(
            error == missing || matches!(error, VmallocError::NoFrames { .. } | VmallocError::Map { .. }),
            "{error}"
        );
        assert_eq!((space.frames.taken(), vmalloc.areas().len()), (0, 0));
        let error = vmalloc.vmalloc(space, Request::new(END - START)).unwrap_err();
        assert_eq!(error, VmallocError::NoAddresses { bytes: END - START, align: PAGE_SIZE });
        let all: Vec<_> = (0..8).map(|_| vmalloc.vmalloc(space, Request::new(PAGE_SIZE)).unwrap()).collect();
        assert_eq!(vmalloc.vmalloc(space, Request::new(1)), Err(VmallocError::NoNode { bytes: PAGE_SIZE }));
        vmalloc.vfree(space, all[3]).unwrap();
        assert_eq!(vmalloc.vmalloc(space, Request::new(1)), Ok(all[3]), "a purge gives the node back");
        // No table for a mapping elsewhere.
        vmalloc.vfree(space, all[7]).unwrap();
        vmalloc.purge(space).unwrap();
        let held = 300 - space.frames.taken() as u32;
        let mut out = vec![Pfn::new(0); held as usize];
        assert_eq!(space.frames.alloc_blocks(Order::ZERO, &mut out), held as usize);
        let far = vmalloc.ioremap(space, PhysAddr::new(0x1c00_0000), 3 * MIB - PAGE_SIZE, IoKind::Device, &|_| false);
        assert!(matches!(far, Err(VmallocError::Map { error: MapError::NoTable(_), .. })), "{far:?}");
        assert_eq!(vmalloc.areas().len(), 7);
        space.frames.free_blocks(Order::ZERO, &out);
        all[..7].iter().for_each(|va| vmalloc.vfree(space, *va).unwrap());
    });
}

#[test]
fn devices_keep_their_offset_their_kind_and_their_sections_and_ram_is_refused() {
    with(8, 8, 0, |vmalloc, space, ram, tlb| {
        let ram_at = PhysRange::new(PhysAddr::new(ROOT), PhysAddr::new(ROOT + 0x1000_0000));
        let is_ram = |range: PhysRange| range.overlaps(ram_at);
        let mut map = |pa, bytes, kind| vmalloc.ioremap(space, PhysAddr::new(pa), bytes, kind, &is_ram);
        let uart = map(0x1c09_0123, 0xff0, IoKind::Device).unwrap();
        assert_eq!(uart.raw() & 0xfff, 0x123);
        let screen = map(0x1800_0000, MIB, IoKind::WriteCombine).unwrap();
        let flash = map(0x1401_0000, 1 << 16, IoKind::Cached).unwrap();
        assert!(matches!(map(ROOT - 0x800, 0x1000, IoKind::Device), Err(VmallocError::MappedRam(_))));
        let beyond = VmallocError::OutOfReach { pa: PhysAddr::new(0xffff_f000), bytes: 0x1001 };
        assert_eq!(map(0xffff_f000, 0x1001, IoKind::Device), Err(beyond));
        let last = map(0xffff_f000, 0x1000, IoKind::Device).unwrap();
        let walk = |va| space.mapper.tables().walk(va).unwrap().unwrap();
        assert_eq!((walk(uart).pa.raw(), walk(uart).prot), (0x1c09_0123, Prot::DEVICE_RW));
        assert_eq!(seen(ram, uart.align_down(4096), 3 * 4096).iter().flatten().count(), 2, "two pages and a guard");
        assert_eq!((walk(screen).size, walk(screen).prot.mem), (PageSize::Section, MemType::NormalNonCacheable));
        assert_eq!((walk(flash).size, walk(flash).prot), (PageSize::Large, Prot::KERNEL_RW));
        let flushed = tlb.pages.get();
        vmalloc.iounmap(space, screen).unwrap();
        assert_eq!((tlb.pages.get() - flushed, tlb.all.get()), (1, 0), "one operation for a section");
        assert_eq!(
            vmalloc.vunmap(space, last),
            Err(VmallocError::WrongKind(last, AreaKind::Ioremap(PhysAddr::new(0xffff_f000))))
        );
        assert_eq!(vmalloc.iounmap(space, screen), Err(VmallocError::NoArea(screen)));
        for va in [uart, flash, last] {
            vmalloc.iounmap(space, va).unwrap();
        }
    });
}

#[test]
fn nothing_writable_and_executable_is_given_out() {
    with(8, 8, 0, |vmalloc, space, _, _| {
        let rwx = Prot::EARLY_RWX;
        let refused = VmallocError::WritableExecutable(rwx);
        assert_eq!(vmalloc.vmalloc(space, Request { prot: rwx, ..Request::new(4096) }), Err(refused));
        assert_eq!(vmalloc.vmap(space, &[Pfn::new(1)], rwx), Err(refused));
    });
}

#[test]
fn nothing_that_users_could_read_is_given_out() {
    with(8, 8, 0, |vmalloc, space, _, _| {
        for prot in [Prot::USER_RW, Prot::USER_RX, Prot { global: true, ..Prot::USER_RO }] {
            let refused = VmallocError::OpenToUsers(prot);
            assert_eq!(vmalloc.vmalloc(space, Request { prot, ..Request::new(4096) }), Err(refused));
            assert_eq!(vmalloc.vmap(space, &[Pfn::new(1)], prot), Err(refused));
        }
    });
}

#[test]
fn every_area_is_as_shareable_as_the_machine_wants_its_memory() {
    with(16, 8, 0, |vmalloc, space, ram, _| {
        vmalloc.config.shareable = false;
        let own = vmalloc.vmalloc(space, Request::new(PAGE_SIZE)).unwrap();
        let lent = vmalloc.vmap(space, &[Pfn::new(0x9_0000)], Prot::KERNEL_RW).unwrap();
        let device = vmalloc.ioremap(space, PhysAddr::new(0x1c00_0000), 4, IoKind::Cached, &|_| false).unwrap();
        for va in [own, lent, device] {
            assert!(!model(ram).translate(va.raw()).unwrap().shareable, "{va} is another kind of memory than lowmem");
        }
        vmalloc.vfree(space, own).unwrap();
        vmalloc.vunmap(space, lent).unwrap();
        vmalloc.iounmap(space, device).unwrap();
    });
}

#[test]
fn an_alignment_that_is_none_is_refused_also_where_a_retired_area_would_do() {
    with(16, 8, 64, |vmalloc, space, _, _| {
        let (bytes, align) = (PAGE_SIZE, 0x1801);
        let odd = Request { align, ..Request::new(bytes) };
        assert_eq!(vmalloc.vmalloc(space, odd), Err(VmallocError::Size { bytes, align }));
        let va = vmalloc.vmalloc(space, Request::new(bytes)).unwrap();
        vmalloc.vfree(space, va).unwrap();
        assert_eq!(vmalloc.vmalloc(space, odd), Err(VmallocError::Size { bytes, align }));
        // As without a retired area, less than a page is a page.
        assert_eq!(vmalloc.vmalloc(space, Request { align: 0, ..odd }), Ok(va));
        vmalloc.vfree(space, va).unwrap();
    });
}

#[test]
fn pages_that_protect_joined_to_a_section_are_freed_one_by_one() {
    with(1024, 8, 0, |vmalloc, space, ram, _| {
        let first = vmalloc.vmalloc(space, Request::new(PAGE_SIZE)).unwrap();
        // Held until the next frame is 0x40100: the MiB's frames follow each other, aligned.
        let mut held = vec![Pfn::new(0); 238];
        assert_eq!(space.frames.alloc_blocks(Order::ZERO, &mut held), 238);
        let va = vmalloc.vmalloc(space, Request { align: MIB, ..Request::new(MIB) }).unwrap();
        assert_eq!(seen(ram, va, PAGE_SIZE), [Some((0x4010_0000, 12))]);
        space.mapper.protect(va, u64::from(MIB), Prot::KERNEL_RO, space.frames).unwrap();
        assert_eq!(seen(ram, va, PAGE_SIZE), [Some((0x4010_0000, 20))]);
        vmalloc.vfree(space, va).unwrap();
        vmalloc.vfree(space, first).unwrap();
        space.frames.free_blocks(Order::ZERO, &held);
    });
}

#[test]
fn frames_that_could_not_be_mapped_for_want_of_a_table_come_back() {
    with(32, 4, 0, |vmalloc, space, _, _| {
        let bytes = 32 * PAGE_SIZE;
        let error = MapError::NoTable(VirtAddr::new(START));
        for request in [Request::new(bytes), Request::new(bytes).large()] {
            assert_eq!(vmalloc.vmalloc(space, request), Err(VmallocError::Map { bytes, error }));
            assert_eq!((space.frames.taken(), vmalloc.areas().len()), (0, 0));
        }
    });
}
