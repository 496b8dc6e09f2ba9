//! The plan against Linux's figures, and random memory against the plan's promises.

use std::format;
use std::string::String;
use std::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::addr::PhysAddr;
use crate::order::Order;
use crate::testing::scaled;
use crate::zone::movable::CoreSize;

/// The bytes of `start..end` as memory of node `node`.
fn bytes_of(node: u32, start: u64, end: u64) -> MemoryRange {
    MemoryRange::of_bytes(PhysRange::new(PhysAddr::new(start), PhysAddr::new(end)), NodeId::new(node).unwrap())
}

fn frames(node: u32, start: u32, end: u32) -> MemoryRange {
    let frames = PfnRange::new(Pfn::new(start), Pfn::new(end));
    MemoryRange { frames, node: NodeId::new(node).unwrap(), hotplug: false }
}

fn plan(ranges: &[MemoryRange], request: &PlanRequest) -> MachinePlan {
    let plan = MachinePlan::new(ranges.iter().copied(), request).unwrap();
    assert_eq!(plan.validate(ranges.iter().copied()), Ok(()));
    plan
}

fn lines(plan: &MachinePlan, ranges: &[MemoryRange]) -> Vec<String> {
    let mut lines = Vec::new();
    plan.write_log(ranges.iter().copied(), &mut |line| lines.push(format!("{line}")));
    lines
}

/// The AST2500's memory up to `end`: the flash's hole of attributes splits it, all of it is present.
fn ast2500(end: u64) -> Vec<MemoryRange> {
    let mut ranges = Vec::from([bytes_of(0, 0x8000_0000, 0x9800_0000), bytes_of(0, 0x9800_0000, 0x9c00_0000)]);
    ranges.push(bytes_of(0, 0x9c00_0000, end.min(0x9ef0_0000)));
    if end > 0x9ef0_0000 {
        ranges.push(bytes_of(0, 0x9ef0_0000, end));
    }
    ranges
}

#[test]
fn the_board_without_highmem_prints_the_notes_lines_and_total() {
    let ranges = ast2500(0x9ee0_0000);
    let plan = plan(&ranges, &PlanRequest::new(Pfn::new(0x9_ef00)));
    assert_eq!(
        lines(&plan, &ranges),
        [
            "Zone ranges:",
            "  Normal   [mem 0x0000000080000000-0x000000009eefffff]",
            "  HighMem  empty",
            "Movable zone start for each node",
            "Early memory node ranges",
            "  node   0: [mem 0x0000000080000000-0x0000000097ffffff]",
            "  node   0: [mem 0x0000000098000000-0x000000009bffffff]",
            "  node   0: [mem 0x000000009c000000-0x000000009edfffff]",
            "Initmem setup node 0 [mem 0x0000000080000000-0x000000009edfffff]",
        ]
    );
    // 0x1ee00 pages, 32 bytes each: 0x3dc pages of memmap.
    assert_eq!((plan.present_pages(), plan.total_pages()), (126_464, 126_464 - 988));
    assert_eq!(plan.nodes()[0].zones[ZoneType::Normal.index()].span.pages(), 126_464);
}

#[test]
fn the_board_with_highmem_has_a_zone_of_no_map_pages_that_pays_nothing() {
    let ranges = ast2500(0xa000_0000);
    let plan = plan(&ranges, &PlanRequest::new(Pfn::new(0x9_ef00)));
    let lines = lines(&plan, &ranges);
    assert_eq!(lines[2], "  HighMem  [mem 0x000000009ef00000-0x000000009fffffff]");
    assert_eq!(lines.last().unwrap(), "Initmem setup node 0 [mem 0x0000000080000000-0x000000009fffffff]");
    let highmem = plan.nodes()[0].zones[ZoneType::HighMem.index()];
    assert_eq!((highmem.present, highmem.real_size), (4352, 4352));
    assert_eq!(plan.total_pages(), 126_720 - 990 + 4352);
}

#[test]
fn two_gib_keep_their_last_page() {
    let ranges = [bytes_of(0, 0x8000_0000, 0x1_0000_0000)];
    let plan = plan(&ranges, &PlanRequest::new(Pfn::new(0xf_0000)));
    assert_eq!(lines(&plan, &ranges)[2], "  HighMem  [mem 0x00000000f0000000-0x00000000ffffffff]");
    // 458,752 pages of lowmem pay 3,584; 65,536 of highmem pay nothing.
    assert_eq!((plan.present_pages(), plan.total_pages()), (524_288, 520_704));
}

#[test]
fn linux_own_totals_come_out_with_its_pages_of_36_bytes() {
    let request = |lowmem| PlanRequest { page_bytes: 36, ..PlanRequest::new(Pfn::new(lowmem)) };
    let total = |ranges: &[MemoryRange], lowmem| plan(ranges, &request(lowmem)).total_pages();
    assert_eq!(total(&[bytes_of(0, 0x8000_0000, 0xa000_0000)], 0xa_0000), 129_920);
    assert_eq!(total(&ast2500(0xa000_0000), 0x9_ef00), 129_958);
    assert_eq!(total(&[bytes_of(0, 0x8000_0000, 0xffff_ffff)], 0xb_0000), 522_559);
}

#[test]
fn a_dma_zone_exists_only_below_the_lowmem_limit() {
    let ranges = [bytes_of(0, 0x8000_0000, 0xa000_0000)];
    let with_limit = |limit| PlanRequest { dma_limit: Some(Pfn::new(limit)), ..PlanRequest::new(Pfn::new(0xa_0000)) };
    let plan_with = plan(&ranges, &with_limit(0x9_0000));
    let text = lines(&plan_with, &ranges);
    assert_eq!(text[1], "  DMA      [mem 0x0000000080000000-0x000000008fffffff]");
    assert_eq!(text[2], "  Normal   [mem 0x0000000090000000-0x000000009fffffff]");
    // Each zone pays for its own pages: 65,536 * 32 bytes = 512 pages.
    assert!(plan_with.nodes()[0].zones.iter().take(2).all(|zone| zone.real_size == 65_536 - 512));
    for limit in [0xa_0000, 0xb_0000, 0x8_0000, 0] {
        assert_eq!(
            lines(&plan(&ranges, &with_limit(limit)), &ranges)[1],
            format!("  Normal   {}", Wide(ranges[0].frames))
        );
    }
}

#[test]
fn the_memmap_is_charged_for_the_span_with_its_holes() {
    // mem=64M@0x80000000 mem=64M@0x90000000: 320 MiB of span, 81,920 pages, 640 of memmap.
    let ranges = [bytes_of(0, 0x8000_0000, 0x8400_0000), bytes_of(0, 0x9000_0000, 0x9400_0000)];
    let plan = plan(&ranges, &PlanRequest::new(Pfn::new(0x9_4000)));
    let zone = plan.nodes()[0].zones[ZoneType::Normal.index()];
    assert_eq!((zone.span.pages(), zone.present, zone.absent()), (81_920, 32_768, 49_152));
    assert_eq!(zone.real_size, 32_768 - 640);
}

#[test]
fn a_zone_that_cannot_pay_for_its_memmap_says_so_and_pays_nothing() {
    let ranges = [frames(0, 0x8_0000, 0x8_0001), frames(0, 0xf_0000, 0xf_0001)];
    let plan = plan(&ranges, &PlanRequest::new(Pfn::new(0x10_0000)));
    assert_eq!(plan.nodes()[0].zones[ZoneType::Normal.index()].real_size, 2);
    assert_eq!(lines(&plan, &ranges).last().unwrap(), "  Normal zone: 3585 memmap pages exceeds freesize 2");
}

#[test]
fn sparse_nodes_and_one_without_memory_are_sized_and_told() {
    let ranges = [frames(0, 0x4_0000, 0x4_8000), frames(3, 0x4_8000, 0x5_0000)];
    let memoryless = NodeSet::of(NodeId::new(2).unwrap());
    let plan = plan(&ranges, &PlanRequest { memoryless, ..PlanRequest::new(Pfn::new(0x5_0000)) });
    let ids: Vec<u32> = plan.nodes().iter().map(|node| node.node.raw()).collect();
    assert_eq!(ids, [0, 2, 3]);
    assert!(plan.nodes()[1].zones.iter().all(|zone| *zone == ZoneSize::default()));
    assert_eq!(
        lines(&plan, &ranges)[5..],
        [
            "  node   0: [mem 0x0000000040000000-0x0000000047ffffff]",
            "  node   3: [mem 0x0000000048000000-0x000000004fffffff]",
            "Initmem setup node 0 [mem 0x0000000040000000-0x0000000047ffffff]",
            "Initmem setup node 2 as memoryless",
            "Initmem setup node 3 [mem 0x0000000048000000-0x000000004fffffff]",
        ]
    );
}

#[test]
fn interleaved_nodes_share_spans_but_not_pages() {
    let ranges = [frames(0, 0, 100), frames(1, 100, 300), frames(0, 300, 400)];
    let plan = plan(&ranges, &PlanRequest::new(Pfn::new(1000)));
    let zone = plan.nodes()[0].zones[ZoneType::Normal.index()];
    assert_eq!((zone.span.pages(), zone.present, zone.absent()), (400, 200, 200));
    assert_eq!(plan.nodes()[1].present(), 200);
}

#[test]
fn no_memory_and_unsorted_memory_are_refused() {
    let request = PlanRequest::new(Pfn::new(0x8_0000));
    assert_eq!(MachinePlan::new([].into_iter(), &request), Err(PlanError::NoMemory));
    assert_eq!(MachinePlan::new([frames(0, 7, 7)].into_iter(), &request), Err(PlanError::NoMemory));
    let unsorted = [frames(0, 10, 20), frames(0, 19, 30)];
    assert_eq!(MachinePlan::new(unsorted.into_iter(), &request), Err(PlanError::Unsorted(unsorted[1].frames)));
}

/// A request with `kernelcore=` and `movablecore=` on a machine whose lowmem ends at `lowmem`.
fn movable(lowmem: u32, kernelcore: Option<CoreSize>, movablecore: Option<CoreSize>) -> PlanRequest {
    let movable = MovableRequest { kernelcore, movablecore, movable_node: false };
    PlanRequest { movable, ..PlanRequest::new(Pfn::new(lowmem)) }
}

#[test]
fn kernelcore_leaves_the_rest_to_movable() {
    // 512 MiB, 128 MiB of them the kernel's.
    let ranges = [bytes_of(0, 0x8000_0000, 0xa000_0000)];
    for kernelcore in [CoreSize::Bytes(128 << 20), CoreSize::Percent(25)] {
        let plan = plan(&ranges, &movable(0xa_0000, Some(kernelcore), None));
        assert_eq!(lines(&plan, &ranges)[4], "  Node 0: 0x0000000088000000");
        let zones = plan.nodes()[0].zones;
        assert_eq!(zones.map(|zone| zone.present), [0, 32_768, 0, 98_304]);
        // Movable is lowmem here and pays: 98,304 * 32 = 768 pages.
        assert_eq!(zones[ZoneType::Movable.index()].real_size, 98_304 - 768);
        assert_eq!(plan.movable_source(), ZoneType::Normal);
    }
}

#[test]
fn movablecore_is_rounded_up_to_a_largest_block_and_the_larger_kernel_share_wins() {
    let ranges = [bytes_of(0, 0x8000_0000, 0xa000_0000)];
    let start = |kernelcore, movablecore| {
        plan(&ranges, &movable(0xa_0000, kernelcore, movablecore)).movable_start(NodeId::ZERO).map(Pfn::raw)
    };
    assert_eq!(start(None, Some(CoreSize::Bytes(1 << 20))), Some(0xa_0000 - 1024));
    assert_eq!(start(None, Some(CoreSize::Percent(50))), Some(0x9_0000));
    assert_eq!(start(Some(CoreSize::Percent(75)), Some(CoreSize::Percent(50))), Some(0x9_8000));
    assert_eq!(start(Some(CoreSize::Percent(100)), None), None);
    assert_eq!(start(None, Some(CoreSize::Percent(100))), None);
    assert_eq!(start(Some(CoreSize::Bytes(0)), None), None);
    assert_eq!(start(Some(CoreSize::Bytes(u64::MAX)), Some(CoreSize::Percent(u32::MAX))), None);
}

#[test]
fn movable_is_cut_from_highmem_only_where_there_is_some() {
    // 2 GiB, 1.75 of them lowmem: a kernel core of 512 MiB is met by lowmem, so all of highmem is movable.
    let ranges = [bytes_of(0, 0x8000_0000, 0x1_0000_0000)];
    let plan_small = plan(&ranges, &movable(0xf_0000, Some(CoreSize::Bytes(512 << 20)), None));
    assert_eq!(plan_small.movable_start(NodeId::ZERO), Some(Pfn::new(0xf_0000)));
    assert_eq!(plan_small.nodes()[0].zones.map(|zone| zone.present), [0, 0x7_0000, 0, 0x1_0000]);
    // It pays no memmap there.
    assert_eq!(plan_small.total_pages(), 520_704);
    // A core of 1.875 GiB takes half of highmem.
    let plan_large = plan(&ranges, &movable(0xf_0000, Some(CoreSize::Bytes(1920 << 20)), None));
    assert_eq!(plan_large.nodes()[0].zones.map(|zone| zone.present), [0, 0x7_0000, 0x8000, 0x8000]);
}

#[test]
fn a_node_too_small_for_its_share_passes_the_rest_on() {
    // 16,384 pages wanted of 4,096 + 32,768: node 0 has 4,096 of its 8,192, node 1 takes the 4,096 more.
    let ranges = [frames(0, 0x4_0000, 0x4_1000), frames(1, 0x4_1000, 0x4_9000)];
    let plan = plan(&ranges, &movable(0x4_9000, Some(CoreSize::Bytes(16_384 << 12)), None));
    assert_eq!(plan.movable_start(NodeId::ZERO), None);
    assert_eq!(plan.movable_start(NodeId::new(1).unwrap()), Some(Pfn::new(0x4_1000 + 12_288)));
}

#[test]
fn nodes_of_one_size_keep_the_same_share_for_the_kernel() {
    let ranges = [frames(0, 0x4_0000, 0x4_8000), frames(1, 0x4_8000, 0x5_0000)];
    let plan = plan(&ranges, &movable(0x5_0000, Some(CoreSize::Bytes(16_384 << 12)), None));
    let starts = [0, 1].map(|node| plan.movable_start(NodeId::new(node).unwrap()).map(Pfn::raw));
    assert_eq!(starts, [Some(0x4_0000 + 8192), Some(0x4_8000 + 8192)]);
}

#[test]
fn a_plan_error_names_the_memory() {
    let unsorted = PfnRange::new(Pfn::new(0x80000), Pfn::new(0x80001));
    assert_eq!(PlanError::NoMemory.to_string(), "zones: no whole page of memory");
    let words = "zones: memory [mem 0x80000000-0x80000fff] is out of order";
    assert_eq!(PlanError::Unsorted(unsorted).to_string(), words);
}

#[test]
fn a_plan_that_does_not_match_the_memory_is_found_out() {
    let ranges = [frames(0, 0x400, 0x1000)];
    let good = plan(&ranges, &PlanRequest::new(Pfn::new(0x1000)));
    let node = good.nodes()[0].node;
    let (at, kind) = { good.nodes()[0].zones.iter() }
        .zip(ZoneType::ALL)
        .enumerate()
        .find_map(|(at, (zone, kind))| (!zone.span.is_empty()).then_some((at, kind)))
        .unwrap();
    let with = |harm: &dyn Fn(&mut NodePlan)| {
        let mut plan = good;
        harm(&mut plan.nodes[0]);
        plan.validate(ranges.iter().copied())
    };
    assert_eq!(with(&|_| ()), Ok(()));
    let (overlap, size) = (Err(PlanBroken::Overlap(node, kind)), Err(PlanBroken::Size(node, kind)));
    assert_eq!(with(&|plan| plan.zones[at].span.start = Pfn::new(0x3ff)), overlap);
    assert_eq!(with(&|plan| plan.zones[at].span.end = Pfn::new(0x1001)), overlap);
    assert_eq!(with(&|plan| plan.zones[at].real_size = plan.zones[at].present + 1), size);
    assert_eq!(with(&|plan| plan.zones[at].present = 0xc01), size);
    let fewer = Err(PlanBroken::Present(0xbff, 0xc00));
    assert_eq!(
        with(&|plan| {
            plan.zones[at].present -= 1;
            plan.zones[at].real_size = plan.zones[at].real_size.min(plan.zones[at].present);
        }),
        fewer
    );
}

#[test]
fn lowmem_of_one_node_counts_for_the_kernels_share_of_all() {
    // Node 0 is lowmem and has more than the whole core of 24,576 pages: node 1, highmem, keeps nothing for it.
    let ranges = [frames(0, 0x8_0000, 0x8_8000), frames(1, 0x8_8000, 0x9_0000)];
    let plan = plan(&ranges, &movable(0x8_8000, Some(CoreSize::Bytes(24_576 << 12)), None));
    assert_eq!(plan.movable_start(NodeId::ZERO), None);
    assert_eq!(plan.movable_start(NodeId::new(1).unwrap()), Some(Pfn::new(0x8_8000)));
}

#[test]
fn memory_at_the_top_of_all_frame_numbers_is_sized_without_overflow() {
    let ranges = [frames(0, 0, 5), frames(3, u32::MAX - 5000, u32::MAX)];
    for request in [
        movable(u32::MAX, Some(CoreSize::Percent(50)), None),
        movable(0, None, Some(CoreSize::Bytes(u64::MAX))),
        PlanRequest {
            page_bytes: u32::MAX,
            dma_limit: Some(Pfn::new(u32::MAX - 1)),
            ..PlanRequest::new(Pfn::new(u32::MAX))
        },
    ] {
        plan(&ranges, &request);
    }
}

#[test]
fn hot_pluggable_memory_alone_is_movable_with_movable_node() {
    let mut ranges = [frames(0, 0x4_0000, 0x4_8000), frames(1, 0x4_8000, 0x5_0000), frames(1, 0x5_0000, 0x5_8000)];
    ranges[2].hotplug = true;
    let movable = MovableRequest { movable_node: true, kernelcore: Some(CoreSize::Percent(1)), movablecore: None };
    let plan = plan(&ranges, &PlanRequest { movable, ..PlanRequest::new(Pfn::new(0x5_8000)) });
    assert_eq!(lines(&plan, &ranges)[4], "  Node 1: 0x0000000050000000");
    assert_eq!(plan.nodes()[0].zones.map(|zone| zone.present), [0, 0x8000, 0, 0]);
    assert_eq!(plan.nodes()[1].zones.map(|zone| zone.present), [0, 0x8000, 0, 0x8000]);
}

/// Sorted ranges of up to four nodes with holes between, from gaps and lengths.
fn memory() -> impl Strategy<Value = Vec<MemoryRange>> {
    prop::collection::vec((0_u32..3000, 1_u32..9000, 0_u32..4, prop::bool::weighted(0.2)), 1..12).prop_map(|pieces| {
        let mut end = 0;
        let place = |(gap, pages, node, hotplug)| {
            let range = MemoryRange { hotplug, ..frames(node, end + gap, end + gap + pages) };
            end = range.frames.end.raw();
            range
        };
        pieces.into_iter().map(place).collect()
    })
}

fn core_size() -> impl Strategy<Value = Option<CoreSize>> {
    let size = prop_oneof![(0_u64..1 << 28).prop_map(CoreSize::Bytes), (0_u32..130).prop_map(CoreSize::Percent)];
    prop::option::of(size)
}

fn request() -> impl Strategy<Value = PlanRequest> {
    (prop::option::of(0_u32..80_000), 0_u32..120_000, core_size(), core_size(), prop::bool::weighted(0.2)).prop_map(
        |(dma, lowmem, kernelcore, movablecore, movable_node)| PlanRequest {
            dma_limit: dma.map(Pfn::new),
            movable: MovableRequest { kernelcore, movablecore, movable_node },
            ..PlanRequest::new(Pfn::new(lowmem))
        },
    )
}

/// Which zones of its own node have `pfn` in their span.
fn zones_at(plan: &MachinePlan, node: NodeId, pfn: Pfn) -> usize {
    let own = plan.nodes().iter().filter(|plan| plan.node == node).flat_map(|plan| plan.zones);
    own.filter(|zone| zone.span.contains(pfn)).count()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(scaled(512)))]

    #[test]
    fn every_page_lies_in_exactly_one_zone_and_the_sums_are_the_memory((ranges, request) in (memory(), request())) {
        let plan = MachinePlan::new(ranges.iter().copied(), &request).unwrap();
        prop_assert_eq!(plan.validate(ranges.iter().copied()), Ok(()));
        for range in &ranges {
            for pfn in range.frames.iter().step_by(97).chain(range.frames.end.checked_sub(1)) {
                prop_assert_eq!(zones_at(&plan, range.node, pfn), 1, "{:?}", pfn);
            }
        }
        for node in plan.nodes() {
            let zones = node.zones.iter().filter(|zone| !zone.span.is_empty());
            let spanned: u32 = zones.clone().map(|zone| zone.span.pages()).sum();
            prop_assert_eq!(spanned, node.span.pages(), "the zones' spans cover the node's");
            if let Some(start) = plan.movable_start(node.node) {
                prop_assert!(Order::LARGEST.aligns(start));
            }
        }
    }

    #[test]
    fn the_kernel_gets_at_least_the_core_it_asked_for((ranges, pages) in (memory(), 0_u64..40_000)) {
        let total: u64 = ranges.iter().map(|range| u64::from(range.frames.pages())).sum();
        let request = movable(u32::MAX >> 8, Some(CoreSize::Bytes(pages << 12)), None);
        let plan = MachinePlan::new(ranges.iter().copied(), &request).unwrap();
        let movable: u64 = plan.nodes().iter().map(|node| u64::from(node.zone(ZoneType::Movable).present)).sum();
        // The spreading stops when less than a page a node is left.
        prop_assert!(total - movable + 4 >= pages.min(total), "{} of {}, movable {}", pages, total, movable);
        prop_assert!(pages != 0 && pages < total || movable == 0);
    }
}
