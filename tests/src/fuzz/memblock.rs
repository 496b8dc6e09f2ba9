//! Memblock against an array of pages.

use mm::addr::{NodeId, PAGE_SIZE, PhysAddr, PhysRange};
use mm::memblock::{AllocRequest, Direction, Memblock, MemblockError, Region, RegionFlags};

use super::Choices;

/// Pages of the model.
const PAGES: u32 = 96;
/// Where they begin: at the start, in the middle, and at the end of 32 bits.
const FIRST: [u64; 3] = [0, 0x8000_0000, (1 << 32) - PAGES as u64 * PAGE_SIZE as u64];

/// A page of the model: flags and node when it is memory, and whether it is taken.
type Page = (Option<(u32, u32)>, bool);

struct Model {
    first: u64,
    pages: Vec<Page>,
}

impl Model {
    fn bytes(&self, from: u32, pages: u32) -> PhysRange {
        let at = |page: u32| PhysAddr::new(self.first + u64::from(page * PAGE_SIZE));
        PhysRange::new(at(from), at(from + pages))
    }

    /// The pages, read back from the lists.
    fn of(&self, memblock: &Memblock<'_>) -> Vec<Page> {
        let page = |index| {
            let start = self.bytes(index, 1).start;
            let memory = memblock.memory_at(start).map(|region| (region.flags().bits(), region.node().raw()));
            (memory, memblock.is_reserved(start))
        };
        (0..PAGES).map(page).collect()
    }
}

fn node(raw: u32) -> NodeId {
    NodeId::new(raw).unwrap_or(NodeId::ZERO)
}

/// Makes one change to the lists, and the same to the array when it was not refused.
fn edit(memblock: &mut Memblock<'_>, model: &mut Model, choices: &mut Choices<'_>) -> Result<(), MemblockError> {
    let what = choices.below(9);
    let from = choices.below(PAGES);
    let pages = choices.below(17).min(PAGES - from);
    let bytes = model.bytes(from, pages);
    let mut change: Box<dyn FnMut(&mut Page)> = match what {
        0 | 1 => {
            let (on, flags) = (choices.below(3), choices.pick(&[0, 1, 4]));
            memblock.add_node(bytes, node(on), RegionFlags::from_bits_retain(flags))?;
            Box::new(move |page| page.0 = page.0.or(Some((flags, on))))
        }
        2 => {
            memblock.remove(bytes)?;
            Box::new(|page| page.0 = None)
        }
        3 | 4 => {
            memblock.reserve(bytes)?;
            Box::new(|page| page.1 = true)
        }
        5 => {
            memblock.free(bytes)?;
            Box::new(|page| page.1 = false)
        }
        6 => {
            memblock.mark_nomap(bytes)?;
            Box::new(|page| page.0 = page.0.map(|(flags, on)| (flags | 4, on)))
        }
        7 => {
            memblock.clear_nomap(bytes)?;
            Box::new(|page| page.0 = page.0.map(|(flags, on)| (flags & !4, on)))
        }
        _ => {
            let on = choices.below(3);
            memblock.set_node(bytes, node(on))?;
            Box::new(move |page| page.0 = page.0.map(|(flags, _)| (flags, on)))
        }
    };
    model.pages[from as usize..(from + pages) as usize].iter_mut().for_each(&mut change);
    Ok(())
}

/// Allocates; what was given must have been free, and when nothing was given nothing fitted.
fn alloc(memblock: &mut Memblock<'_>, model: &mut Model, choices: &mut Choices<'_>) {
    let pages = 1 + choices.below(6);
    let align = u64::from(PAGE_SIZE) << choices.below(3);
    let bottom_up = choices.flag();
    memblock.set_direction(if bottom_up { Direction::BottomUp } else { Direction::TopDown });
    let fits = |from: u32| {
        let run = &model.pages[from as usize..(from + pages) as usize];
        let usable = |page: &Page| matches!(page, (Some((flags, _)), false) if flags & 4 == 0);
        let start = model.bytes(from, 1).start.raw();
        // Nobody is given page 0, and no place crosses from one region into another.
        start != 0 && start.is_multiple_of(align) && run.iter().all(|page| usable(page) && page.0 == run[0].0)
    };
    let mut places = (0..=PAGES - pages).filter(|from| fits(*from));
    let wanted = if bottom_up { places.next() } else { places.next_back() };
    match memblock.alloc(&AllocRequest::new(u64::from(pages * PAGE_SIZE), align)) {
        Ok(at) => {
            let from = wanted.unwrap();
            assert_eq!(at, model.bytes(from, 1).start);
            model.pages[from as usize..(from + pages) as usize].iter_mut().for_each(|page| page.1 = true);
        }
        // A list that is full may refuse what would fit.
        Err(MemblockError::OutOfMemory { .. }) => assert_eq!(wanted, None),
        Err(_) => {}
    }
}

/// Edits and allocations.
pub(super) fn run(data: &[u8]) {
    let mut choices = Choices::new(data);
    // Short lists are full soon.
    let slots = choices.pick(&[4, 8, 128]);
    let (mut memory, mut reserved) = (vec![Region::EMPTY; slots], vec![Region::EMPTY; slots]);
    let mut memblock = Memblock::new(&mut memory, &mut reserved);
    memblock.set_current_limit(PhysAddr::MAX);
    let mut model = Model { first: choices.pick(&FIRST), pages: vec![(None, false); PAGES as usize] };
    while !choices.is_empty() {
        if choices.below(3) == 0 {
            alloc(&mut memblock, &mut model, &mut choices);
        } else {
            // Refused or not: the lists and the array are the same.
            let _ = edit(&mut memblock, &mut model, &mut choices);
        }
        memblock.validate().unwrap();
        assert_eq!(model.of(&memblock), model.pages);
        let memory = model.pages.iter().filter(|page| page.0.is_some()).count() as u64;
        assert_eq!(memblock.phys_mem_size(), memory * u64::from(PAGE_SIZE));
    }
}
