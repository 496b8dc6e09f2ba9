//! vmalloc, vmap and ioremap, as the MMU sees them, with frames and nodes that are counted.

use std::collections::{BTreeMap, BTreeSet};

use mm::addr::{PAGE_SIZE, Pfn, PhysAddr, VirtAddr};
use mm::paging::Prot;
use mm::testing::{CountingTlb, FakeRam};
use mm::vmalloc::{Areas, Config, IoKind, Node, NodeArena, Request, Space, Vmalloc};

use super::Choices;
use super::tables::{Frames, mmu, ram, with_mapper};

const START: u32 = 0xf000_0000;
const END: u32 = 0xf080_0000;
/// Frames and nodes: fewer than the window has room for.
const FRAMES: u32 = 600;
const NODES: usize = 24;
const RETIRED_MAX: u32 = 200;

/// Frame of each page.
type Seen = Vec<Option<u64>>;

fn seen(ram: &FakeRam, va: VirtAddr, bytes: u32) -> Seen {
    let pages = (va.raw()..va.raw() + bytes).step_by(PAGE_SIZE as usize);
    pages.map(|va| mmu(ram).translate(va).map(|answer| answer.pa)).collect()
}

/// Sort of an area.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Vmalloc,
    Vmap,
    Io,
}

struct Model<'a> {
    ram: &'a FakeRam,
    /// Start of an area to its bytes, its kind, and what it maps.
    areas: BTreeMap<u32, (u32, Kind, Seen)>,
}

type Arena<'a> = Vmalloc<NodeArena<'a>>;
type Where<'a, 'm> = Space<'a, 'm, FakeRam, CountingTlb, Frames>;

impl Model<'_> {
    fn make(&mut self, vmalloc: &mut Arena<'_>, space: &mut Where<'_, '_>, choices: &mut Choices<'_>) {
        let pages = 1 + if choices.flag() { choices.below(20) } else { choices.below(600) };
        let bytes = pages * PAGE_SIZE;
        let (taken, used) = (space.frames.taken(), vmalloc.areas().store().used());
        let kind = choices.pick(&[Kind::Vmalloc, Kind::Vmalloc, Kind::Vmap, Kind::Io]);
        let result = match kind {
            Kind::Vmalloc if choices.flag() => vmalloc.vmalloc(space, Request::new(bytes).large()),
            Kind::Vmalloc => vmalloc.vmalloc(space, Request::new(bytes - choices.below(PAGE_SIZE))),
            Kind::Vmap => {
                let frames: Vec<_> = (0..pages).map(|i| Pfn::new(0x9_0000 + i * 3)).collect();
                vmalloc.vmap(space, &frames, Prot::KERNEL_RO)
            }
            Kind::Io => {
                let at = 0x1c00_0000 + u64::from(choices.below(1 << 20));
                vmalloc.ioremap(space, PhysAddr::new(at), bytes, IoKind::Device, &|_| false)
            }
        };
        match result {
            Ok(va) => {
                let area = *vmalloc.areas().containing(va).unwrap();
                let start = VirtAddr::new(va.raw() / PAGE_SIZE * PAGE_SIZE);
                let pages = seen(self.ram, start, area.bytes);
                assert!(pages.iter().all(Option::is_some));
                assert_eq!(seen(self.ram, VirtAddr::new(start.raw() + area.bytes), PAGE_SIZE), [None], "no guard");
                self.areas.insert(va.raw(), (area.bytes, kind, pages));
            }
            // A purge may have freed more than there was.
            Err(_) => assert!(space.frames.taken() <= taken && vmalloc.areas().store().used() <= used),
        }
    }

    fn end(&mut self, vmalloc: &mut Arena<'_>, space: &mut Where<'_, '_>, at: u32) {
        let (bytes, kind, pages) = self.areas.remove(&at).unwrap();
        let (va, start) = (VirtAddr::new(at), VirtAddr::new(at / PAGE_SIZE * PAGE_SIZE));
        assert_eq!(seen(self.ram, start, bytes), pages, "an area changed by itself");
        match kind {
            Kind::Vmalloc => vmalloc.vfree(space, va).unwrap(),
            Kind::Vmap => vmalloc.vunmap(space, va).unwrap(),
            Kind::Io => vmalloc.iounmap(space, va).unwrap(),
        }
        assert!(seen(self.ram, start, bytes).iter().all(Option::is_none));
    }

    /// Every frame of a vmalloc area is in that area only.
    fn check(&self) {
        let mut own = BTreeSet::new();
        let areas = self.areas.values().filter(|(_, kind, _)| *kind == Kind::Vmalloc);
        for pa in areas.flat_map(|(_, _, pages)| pages.iter().flatten()) {
            assert!(own.insert(pa / u64::from(PAGE_SIZE)), "a frame is in two areas");
        }
    }
}

/// Areas made and ended; at the end every frame, table and node is back.
pub(super) fn run(data: &[u8]) {
    let mut choices = Choices::new(data);
    let ram = ram(FRAMES);
    let mut nodes = vec![Node::empty(); NODES];
    let areas = Areas::new(NodeArena::new(&mut nodes), VirtAddr::new(START), VirtAddr::new(END));
    let mut vmalloc = Vmalloc::new(areas, Config { retired_max: RETIRED_MAX, shareable: true });
    with_mapper(&ram, |mapper| {
        let mut frames = Frames::new(FRAMES);
        let mut space = Space { mapper, frames: &mut frames };
        let mut model = Model { ram: &ram, areas: BTreeMap::new() };
        while !choices.is_empty() {
            if choices.below(5) < 3 {
                model.make(&mut vmalloc, &mut space, &mut choices);
            } else if let Some(at) = model.areas.keys().nth(choices.below(model.areas.len() as u32) as usize).copied() {
                model.end(&mut vmalloc, &mut space, at);
            } else {
                let wrong = VirtAddr::new(START + choices.below(END - START));
                assert!(vmalloc.vfree(&mut space, wrong).is_err());
            }
            assert_eq!(vmalloc.areas().validate(), Ok(()));
            assert!(vmalloc.retired_pages() <= RETIRED_MAX);
            model.check();
        }
        while let Some((&at, _)) = model.areas.first_key_value() {
            model.end(&mut vmalloc, &mut space, at);
        }
        vmalloc.purge(&mut space).unwrap();
        assert_eq!(space.mapper.tables().mappings().count(), 0);
        assert_eq!(
            (space.frames.taken(), vmalloc.areas().store().used(), vmalloc.retired_pages()),
            (0, 0, 0),
            "a leak"
        );
    });
}
