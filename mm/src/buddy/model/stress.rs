//! Everything that can be done to a core, on zones of several pageblocks, in any mixture.

use super::*;

/// What a run is like.
#[derive(Clone, Copy, Debug)]
struct Plan {
    /// Which orders are asked for.
    orders: u32,
    /// One step in so many begins or makes a change of a pageblock's type.
    retypes: u32,
    /// One in so many goes on with a change.
    moves: u32,
    guards: bool,
    keeps_reserve: bool,
}

impl<C: FreeCore<'static>> Model<C> {
    fn draw_order(&mut self, orders: u32) -> Order {
        let any = self.rng.below(11);
        let large = 5 + self.rng.below(6);
        let small = self.rng.next().trailing_ones().min(10);
        let chance = self.rng.below(8);
        let log2 = match orders {
            0 => small,
            1 if chance < 6 => 0,
            2 if chance < 4 => small,
            1 | 3 => any,
            2 => large,
            _ if chance < 7 => 0,
            _ => large,
        };
        Order::of_log2(log2).unwrap()
    }

    /// Whether nothing that there is could be had: what a change has not reached yet may still be isolated.
    fn assert_exhausted(&self, order: Order, kind: MigrateType, plan: Plan) {
        let is_excused = plan.guards || self.core.is_moving() || plan.keeps_reserve;
        assert!(is_excused || !self.could_serve(order, kind), "a block of order {order:?} was free");
    }

    fn own(&mut self, pfn: Pfn, order: Order) {
        assert!(order.aligns(pfn));
        let cells = self.cells_of(pfn, order);
        assert!(cells.iter().all(|cell| *cell == Cell::Free), "{pfn} is handed out twice");
        cells.fill(Cell::Taken);
        self.live.push((pfn, order));
    }

    fn take_one(&mut self, plan: Plan) {
        let order = self.draw_order(plan.orders);
        let kind = MigrateType::ALL[self.rng.below(3) as usize];
        match self.core.take(order, kind, Holder::Caller(kind)) {
            Some(pfn) => self.own(pfn, order),
            None => self.assert_exhausted(order, kind, plan),
        }
    }

    fn take_several(&mut self, plan: Plan) {
        let order = Order::of_log2(self.rng.below(4)).unwrap();
        let kind = MigrateType::ALL[self.rng.below(3) as usize];
        let least = 1 + self.rng.below(40);
        let wanted = Wanted { least, most: least + self.rng.below(30) };
        let mut runs = Vec::new();
        let taken = self.core.take_many(order, wanted, kind, Holder::Pageset, |pfn, blocks| runs.push((pfn, blocks)));
        assert_eq!(taken, runs.iter().map(|(_, blocks)| blocks).sum());
        assert!(taken <= wanted.most);
        if taken == 0 {
            self.assert_exhausted(order, kind, plan);
        }
        for (first, blocks) in runs {
            for pfn in (first.raw()..).step_by(order.pages() as usize).take(blocks as usize).map(Pfn::new) {
                let page = self.core.frames().map.at(pfn);
                assert_eq!(page.word(), Holder::Pageset.word(order));
                page.set_word(Holder::Caller(kind).word(order));
                self.own(pfn, order);
            }
        }
    }

    /// Takes the first free block behind a frame of chance.
    fn take_there(&mut self) {
        let span = self.core.frames().span;
        let start = self.rng.below(span.pages());
        for pfn in span.iter().skip(start as usize).take(300) {
            if let Some(order) = self.core.take_at(pfn, Holder::Caller(MigrateType::Movable)) {
                self.own(pfn, order);
                return;
            }
        }
    }

    /// Gives a block back: as it is, or cut into pieces, or as a run of frames whose front stays.
    fn give_some(&mut self) {
        if self.live.is_empty() {
            return;
        }
        let victim = self.rng.pick(self.live.len());
        let (pfn, order) = self.live.swap_remove(victim);
        match self.rng.below(8) {
            0 if order > Order::ZERO => {
                let piece = Order::of_log2(self.rng.below(order.log2())).unwrap();
                self.keep_pieces(pfn, order.pages(), piece);
            }
            1 if order > Order::ZERO => {
                let (kept, end) = (self.rng.below(order.pages() / 2), Pfn::new(pfn.raw() + order.pages()));
                let mut next = Pfn::new(pfn.raw() + kept);
                self.core.frames().map.at(pfn).set_word(StateWord::INSIDE);
                self.keep_pieces(pfn, kept, Order::ZERO);
                while next < end {
                    next = self.core.give_run(PfnRange::new(next, end), C::WORK).0;
                }
                self.cells_of(pfn, order)[kept as usize..].fill(Cell::Free);
            }
            2 if order == Order::ZERO => {
                self.core.give_page(pfn);
                self.cells_of(pfn, order).fill(Cell::Free);
            }
            _ => {
                self.core.give(pfn, order).unwrap();
                self.cells_of(pfn, order).fill(Cell::Free);
            }
        }
    }

    fn keep_pieces(&mut self, first: Pfn, pages: u32, piece: Order) {
        for pfn in (first.raw()..first.raw() + pages).step_by(piece.pages() as usize).map(Pfn::new) {
            self.core.frames().map.at(pfn).set_word(Holder::Caller(MigrateType::Movable).word(piece));
            self.live.push((pfn, piece));
        }
    }

    fn retype_any(&mut self, plan: Plan) {
        let span = self.core.frames().span;
        let pfn = Pfn::new(span.start.raw() + self.rng.below(span.pages()));
        // Movable more often than others, so that there is memory for all.
        let kind = MigrateType::ALL.get(self.rng.pick(9)).copied().unwrap_or(MigrateType::Movable);
        let kind = if kind == MigrateType::Reserve && plan.keeps_reserve { MigrateType::Unmovable } else { kind };
        if self.rng.below(3) > 0 {
            self.core.start_move(pfn, kind);
        } else {
            self.core.set_block_type(pfn, kind);
        }
    }

    fn stress(&mut self, steps: u32, plan: Plan) {
        let mut filling = true;
        for _ in 0..steps {
            if self.rng.below(300) == 0 {
                filling = !filling;
            }
            if self.rng.below(plan.retypes) == 0 {
                self.retype_any(plan);
            }
            match self.rng.below(16) {
                0 => self.take_there(),
                1..=2 if filling => self.take_several(plan),
                3..=9 if filling => self.take_one(plan),
                10..=11 => self.take_one(plan),
                _ => self.give_some(),
            }
            if self.rng.below(plan.moves) == 0 {
                self.core.move_some();
            }
            self.check();
        }
        while self.core.move_some().is_some() {
            self.check();
        }
        while !self.live.is_empty() {
            self.give_some();
        }
        self.check();
        self.assert_whole_pageblocks_are_blocks();
    }

    fn assert_whole_pageblocks_are_blocks(&self) {
        let most = Order::LARGEST.pages();
        let first = (most - self.base % most) % most;
        let all = self.cells.get(first as usize..).unwrap_or_default().chunks_exact(most as usize);
        let whole = all.filter(|cells| cells.iter().all(|cell| *cell == Cell::Free)).count();
        let found: u32 = MigrateType::ALL.iter().map(|kind| self.core.free_blocks(Order::LARGEST, *kind)).sum();
        assert_eq!(found as usize, whole);
    }
}

/// A zone without holes, whose first pageblock may be another zone's, too.
fn arena(first: u32, pages: u32, has_neighbour: bool) -> (ZoneFrames<'static>, [PfnRange; 1]) {
    let (own, other) = (range(first, first + pages), range(first.saturating_sub(200), first));
    let map = if has_neighbour && first > 0 {
        let map = map_of(&[FrameRun { frames: other, zone: HIGH }, FrameRun { frames: own, zone: NORMAL }]);
        let mut high: Classic<'_> = core_over(zone_of(map, HIGH, other), CoreOptions::default());
        give_all(&mut high, other);
        map
    } else {
        map_of(&[FrameRun { frames: own, zone: NORMAL }])
    };
    (zone_of(map, NORMAL, own), [own])
}

fn stress<C: FreeCore<'static>>(cases: u32, steps: u32) {
    let config = ProptestConfig { cases, failure_persistence: None, max_shrink_iters: 0, ..ProptestConfig::default() };
    let starts = prop::sample::select(&[0, 1024, 1000, 1500, 3 * 1024 + 32][..]);
    let sizes = prop::sample::select(&[1024, 2048, 2500, 3072, 3100][..]);
    let often = prop::sample::select(&[20, 60, 200, 100_000][..]);
    let options = (0..4u8, any::<bool>(), any::<bool>(), any::<bool>());
    proptest!(config, |(
        first in starts,
        pages in sizes,
        retypes in often,
        (guards, keeps_reserve, is_traced, has_neighbour) in options,
        (orders, moves, seed) in (0..5u32, prop::sample::select(&[2, 8, 30][..]), any::<u32>()),
    )| {
        let (mut frames, parts) = arena(first, pages, has_neighbour);
        frames.trace = is_traced.then(ring);
        // Three in four without.
        let guard_minorder = if guards == 3 { order((seed % 7) as u8 + 1) } else { Order::ZERO };
        let options = CoreOptions { guard_minorder, keeps_reserve };
        let plan = Plan { orders, retypes, moves, guards: guard_minorder > Order::ZERO, keeps_reserve };
        Model::<C>::new(frames, &parts, options, seed).stress(steps, plan);
    });
}

#[test]
fn whatever_is_done_to_whole_pageblocks_no_page_is_lost_and_every_invariant_holds() {
    stress::<Classic<'static>>(scaled(10), 2_000);
    stress::<Compact<'static>>(scaled(40), 2_000);
}
