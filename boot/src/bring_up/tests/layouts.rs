//! Machines that must come up, each odd in its own way.

use mm::gfp::GfpFlags;
use mm::order::Order;

use super::{MIB, PAGE, boot, boot_tree, boots, end, range};
use crate::testing::Board;
use crate::testing::tree::{Bank, Pair, Reserved, Tree};

const BASE: u64 = 0x8000_0000;

fn no_map(name: &str, reg: Pair) -> Reserved {
    Reserved { name: name.into(), reg: vec![reg], no_map: true, ..Reserved::default() }
}

/// A board of 256 MiB with these regions.
fn with_reserved(reserved: &[Reserved]) -> Tree {
    Tree { reserved: reserved.to_vec(), ..Tree::of(&[(BASE, 256 * MIB)]) }
}

#[test]
fn ram_may_begin_at_0_and_at_1_gib_and_end_at_4_gib() {
    for bank in [(0, 512 * MIB), (0x4000_0000, 512 * MIB), (0xc000_0000, 1024 * MIB), (0xf000_0000, 256 * MIB)] {
        let booted = boots(&Tree::of(&[bank]));
        assert_eq!(u64::from(booted.pages.present) * PAGE, bank.1, "{bank:x?}");
        assert_eq!(booted.pages.ram, booted.pages.present);
    }
}

#[test]
fn several_banks_with_and_without_holes_lose_no_page() {
    let layouts: [&[Pair]; 6] = [
        &[(BASE, 64 * MIB), (BASE + 64 * MIB, 64 * MIB)],
        &[(BASE, 64 * MIB), (BASE + 128 * MIB, 64 * MIB)],
        // In descending order, as some loaders write them.
        &[(BASE + 512 * MIB, 128 * MIB), (BASE, 128 * MIB)],
        &[(0, 128 * MIB), (0xc000_0000, 512 * MIB), (0xf000_0000, 256 * MIB)],
        // Edges on no border but a page's.
        &[(BASE, 64 * MIB + 5 * PAGE), (BASE + 100 * MIB + 3 * PAGE, 64 * MIB + 9 * PAGE)],
        &[(BASE + PAGE, 64 * MIB + 5 * PAGE), (BASE + 64 * MIB + 7 * PAGE, 3 * PAGE)],
    ];
    for banks in layouts {
        let booted = boots(&Tree::of(banks));
        assert_eq!(booted.pages.ram, booted.pages.present, "{banks:x?}");
    }
}

#[test]
fn a_no_map_region_at_the_very_start_of_ram_boots() {
    for size in [PAGE, 2 * PAGE, 0x3000, 0x4000] {
        let booted = boots(&with_reserved(&[no_map("first@80000000", (BASE, size))]));
        assert_eq!(booted.pages.present, 65536, "{size:#x}");
    }
}

#[test]
fn a_no_map_region_over_the_first_mib_is_refused_for_the_table_that_lies_there() {
    let booted = boots(&with_reserved(&[no_map("first@80000000", (BASE, MIB))]));
    let line = "OF: fdt: Reserved memory: failed to reserve memory for node 'first@80000000': base 0x80000000, size 1 MiB: \
                no-map reg overlaps the first-level table";
    assert!(booted.has(line), "{}", booted.log.join("\n"));
}

#[test]
fn mem_trims_the_end_or_replaces_ram() {
    for (arg, pages) in [
        ("mem=128M", 128 << 8),
        ("mem=100M", 100 << 8),
        ("mem=65540K", 65540 / 4),
        ("mem=64M@0x80000000 mem=32M@0x88000000", 96 << 8),
        ("mem=1G", 256 << 8),
        ("mem=banana", 256 << 8),
        ("mem=0", 256 << 8),
    ] {
        let booted = boots(&Tree::of(&[(BASE, 256 * MIB)]).with_bootargs(arg));
        assert_eq!((booted.pages.ram, booted.pages.present), (65536, pages), "{arg}");
    }
}

#[test]
fn cma_may_be_moved_resized_and_switched_off() {
    for (arg, line) in [
        ("cma=64M", Some("cma: Reserved 64 MiB at 0x8c000000")),
        ("cma=0", None),
        ("cma=1", Some("cma: Reserved 4 MiB at 0x8fc00000")),
        ("cma=16M@0x84000000", Some("cma: Reserved 16 MiB at 0x84000000")),
        ("cma=16M@0x82000000-0x88000000", Some("cma: Reserved 16 MiB at 0x87000000")),
        ("cma=1G", None),
        ("cma=16M@0x84001000", None),
        ("cma=16M@0x80000000", None),
    ] {
        let booted = boots(&Tree::of(&[(BASE, 256 * MIB)]).with_bootargs(arg));
        let found = booted.log.iter().find(|line| line.starts_with("cma: Reserved"));
        assert_eq!(found.map(String::as_str), line, "{arg}");
    }
}

#[test]
fn vmalloc_moves_the_end_of_lowmem() {
    for (arg, line) in [
        ("vmalloc=512M", "  HighMem  [mem 0x00000000df000000-0x00000000ffffffff]"),
        ("vmalloc=16", "  HighMem  [mem 0x00000000fe000000-0x00000000ffffffff]"),
        ("vmalloc=2000M", "  HighMem  [mem 0x0000000082000000-0x00000000ffffffff]"),
        ("vmalloc=4294967295", "  HighMem  [mem 0x0000000082000000-0x00000000ffffffff]"),
    ] {
        let booted = boots(&Tree::of(&[(BASE, 2048 * MIB)]).with_bootargs(&format!("{arg} cma=4M")));
        assert!(booted.has(line), "{arg}: {}", booted.log.join("\n"));
        assert_eq!(booted.pages.present, 524_288, "{arg}");
    }
}

#[test]
fn kernelcore_and_movablecore_make_a_movable_zone() {
    for arg in [
        "kernelcore=128M",
        "movablecore=100M",
        "kernelcore=50%",
        "movablecore=30%",
        "kernelcore=mirror",
        "movablecore=10G",
    ] {
        for size in [256 * MIB, 2048 * MIB] {
            let booted = boots(&Tree::of(&[(BASE, size)]).with_bootargs(arg));
            assert_eq!(u64::from(booted.pages.present) * PAGE, size, "{arg}");
        }
    }
}

#[test]
fn a_crash_kernel_keeps_to_its_usable_ranges() {
    let usable = vec![(BASE + 64 * MIB, 64 * MIB), (BASE + 192 * MIB, MIB)];
    let booted = boots(&Tree { usable, ..Tree::of(&[(BASE, 256 * MIB)]) });
    assert_eq!(booted.pages.present, 65 << 8);
}

#[test]
fn a_dma_limit_makes_a_dma_zone() {
    let booted = boots(&Tree { dma: Some((BASE, 128 * MIB)), ..Tree::of(&[(BASE, 512 * MIB)]) });
    assert!(booted.has("  DMA      [mem 0x0000000080000000-0x0000000087ffffff]"), "{}", booted.log.join("\n"));
    assert!(booted.has("cma: Reserved 16 MiB at 0x87000000"));
}

#[test]
fn the_initrd_is_kept_or_named_and_left() {
    let with = |start: u64, end: u64| Tree { initrd: Some((start, end)), ..Tree::of(&[(BASE, 256 * MIB)]) };
    boots(&with(BASE + 0x800_0000, BASE + 0x80d_7ffc));
    boots(&with(BASE + 200 * MIB + 1, BASE + 201 * MIB + 3));
    for (start, end) in [(0x1000, 0x2000), (BASE + 255 * MIB, BASE + 257 * MIB), (0xffff_f000, 0xffff_ffff)] {
        let booted = boots(&with(start, end));
        assert!(
            booted.log.iter().any(|line| line.starts_with("INITRD:") && line.ends_with("disabling initrd")),
            "{start:#x}"
        );
    }
    // The table's and the image's neighbours.
    boots(&with(BASE, BASE + 0x4000));
    boots(&with(BASE + 0x8000, BASE + MIB));
}

/// Boots `tree` from each of the places where a loader may have put it.
fn boots_from(tree: &Tree, places: &[u32]) {
    let (blob, ram) = (tree.blob(), [range(tree.banks[0].reg)]);
    for &at in places {
        let board = Board { tree_at: Some(at), ..Board::new(&ram, &blob) };
        boot(&board).unwrap_or_else(|error| panic!("tree at {at:#x}: {error}"));
    }
}

#[test]
fn the_tree_may_lie_anywhere_in_ram() {
    // 0x8000_4000 and 0x8010_0000: where table and image will be, so the head moves it.
    let places =
        [0x8000_0000, 0x8000_4000, 0x8010_0000, 0x8017_5ff0, 0x8200_0008, 0x87ff_fff8, 0x9bff_f000, 0x9c80_0000];
    boots_from(&Tree::ast2500(), &places);
    let plain = Tree::of(&[(BASE, 512 * MIB)]);
    let top = (0xa000_0000 - u32::try_from(plain.blob().len()).unwrap()) & !15;
    boots_from(&plain, &[top, 0x9fff_0000, 0x9ff0_0000]);
    // In highmem, and at the very end of the address space.
    boots_from(&Tree::of(&[(BASE, 2048 * MIB)]), &[0xf800_0000, 0xffff_0000]);
}

#[test]
fn two_nodes_with_memory_have_zones_of_their_own() {
    let bank = |reg, node| Bank { reg, node: Some(node), hotplug: false };
    let banks = vec![bank((BASE, 256 * MIB), 0), bank((BASE + 256 * MIB, 256 * MIB), 1)];
    for (distance, args) in [(None, ""), (Some(20), ""), (Some(40), "numa_zonelist_order=zone movablecore=64M")] {
        let tree = Tree { banks: banks.clone(), distance, ..Tree::default() }.with_bootargs(args);
        let booted = boots(&tree);
        assert!(booted.has("Initmem setup node 0 [mem 0x0000000080000000-0x000000008fffffff]"));
        assert!(booted.has("Initmem setup node 1 [mem 0x0000000090000000-0x000000009fffffff]"));
        assert!(booted.log.iter().any(|line| line.starts_with("Built 2 zonelists in ")), "{:#?}", booted.log);
    }
}

/// A machine of 192 MiB whose processor 1 of two boots, with the node of its allocator.
fn boots_on_cpu_1(tree: &Tree) -> (Vec<String>, u32, Vec<u32>) {
    let ram: Vec<_> = tree.banks.iter().map(|bank| range(bank.reg)).collect();
    let blob = tree.blob();
    let run = Board { boot_cpu: 1, ..Board::new(&ram, &blob) }.boot().unwrap();
    end(run, |run| {
        let allocator = run.outcome.as_ref().unwrap().mm.allocator();
        let nodes = allocator.nodes().iter().map(|node| node.raw()).collect();
        let (log, local) = (run.log.clone(), allocator.local_node().raw());
        // One page tells whose memory is nearest.
        let page = allocator.alloc_page(GfpFlags::GFP_KERNEL).unwrap();
        let nearest = allocator.map().page(page).unwrap().zone().node().raw();
        allocator.free_pages(page, Order::ZERO).unwrap();
        run.check().unwrap();
        (log, local << 4 | nearest, nodes)
    })
}

#[test]
fn the_node_of_the_cpu_that_boots_is_local_and_others_follow_by_distance() {
    let bank = |at, node| Bank { reg: (BASE + at * MIB, 64 * MIB), node: Some(node), hotplug: false };
    let banks = vec![bank(0, 0), bank(64, 1), bank(128, 3)];
    let tree = Tree { banks, cpus: 2, cpu_nodes: vec![0, 3], ..Tree::default() };
    let (log, nodes, online) = boots_on_cpu_1(&tree);
    assert_eq!((nodes, online), (0x33, vec![0, 1, 3]));
    let states =
        "NUMA: nodes: online 0-1,3, has_cpu 0,3, has_memory 0-1,3, has_normal_memory 0-1,3, has_high_memory 0-1,3";
    assert!(log.iter().any(|line| line == states), "{log:#?}");
    assert!(log.iter().any(|line| line == "NUMA: Adding memblock [0x88000000 - 0x8bffffff] on node 3"));
    // A processor's node without memory: the nearest helps, and the tree says which that is.
    for (distances, nearest) in [(vec![[2, 0, 40], [2, 1, 15]], 1), (vec![[2, 0, 12], [2, 1, 15]], 0)] {
        let tree = Tree { cpu_nodes: vec![0, 2], distances, ..tree.clone() };
        let (log, nodes, online) = boots_on_cpu_1(&tree);
        assert_eq!((nodes, online), (0x20 | nearest, vec![0, 1, 2, 3]));
        assert!(log.iter().any(|line| line == "Initmem setup node 2 as memoryless"));
        // 192 MiB less what two nodes' memory pays for the map of it, and for the image, table and areas.
        let total = log.iter().find(|line| line.starts_with("Memory: ")).unwrap();
        assert!(total.contains("/196608K available"), "{total}");
        let available: u32 = total["Memory: ".len()..].split('K').next().unwrap().parse().unwrap();
        assert!(available > 196_608 - 16_384 - 4096, "the memory map covers more than memory: {total}");
    }
    // A node that cannot be is told of, and the first one stands in.
    let (log, nodes, _) = boots_on_cpu_1(&Tree { cpu_nodes: vec![0, 4], ..tree });
    assert_eq!(nodes, 0x00);
    let line = "NUMA: Node id 4 exceeds maximum value (/cpus/cpu@1 numa-node-id): the first node instead";
    assert!(log.iter().any(|had| had == line), "{log:#?}");
}

#[test]
fn nodes_may_alternate_and_be_without_lowmem() {
    let bank = |reg, node| Bank { reg, node: Some(node), hotplug: false };
    let banks = vec![
        bank((BASE, 512 * MIB), 1),
        bank((BASE + 512 * MIB, 512 * MIB), 0),
        bank((BASE + 1024 * MIB, 768 * MIB), 1),
        bank((BASE + 1792 * MIB, 256 * MIB), 3),
    ];
    for args in ["", "movable_node", "kernelcore=512M", "kernelcore=10%"] {
        let booted = boots(&Tree { banks: banks.clone(), ..Tree::default() }.with_bootargs(args));
        assert_eq!(booted.pages.present, 524_288, "{args}");
    }
}

#[test]
fn hotpluggable_nodes_hold_movable_pages_only_if_asked() {
    let bank = |reg, hotplug| Bank { reg, node: None, hotplug };
    let banks = vec![bank((BASE, 256 * MIB), false), bank((BASE + 256 * MIB, 256 * MIB), true)];
    let tree = Tree { banks, ..Tree::default() };
    boots(&tree);
    let booted = boots(&tree.with_bootargs("movable_node"));
    assert!(booted.has("  Node 0: 0x0000000090000000"), "{}", booted.log.join("\n"));
}

#[test]
fn many_small_holes_and_regions_lose_no_page() {
    // 200 banks of 1 MiB with a hole of one page between them, and as many regions in the reserve map.
    let banks: Vec<Pair> = (0..200).map(|i| (BASE + 64 * MIB + i * (MIB + PAGE), MIB)).collect();
    let mut tree = Tree::of(&[&[(BASE, 64 * MIB)][..], &banks].concat());
    boots(&tree);
    tree.reserve_map = (0..300).map(|i| (BASE + 8 * MIB + i * 5 * PAGE + 7, 2 * PAGE)).collect();
    boots(&tree);
}

#[test]
fn memblocks_grown_arrays_stay_out_of_what_is_reserved_later() {
    // The first 200 entries fill memblock's first array; the last ones are at the top of RAM, where the grown one
    // would like to be.
    let mut reserve_map: Vec<Pair> = (0..200).map(|i| (BASE + 8 * MIB + i * 3 * PAGE, PAGE)).collect();
    reserve_map.push((BASE + 192 * MIB, 64 * MIB));
    let tree = Tree { reserve_map, ..with_reserved(&[no_map("secret@8b000000", (BASE + 176 * MIB, 16 * MIB))]) };
    boots(&tree);
}

#[test]
fn a_small_first_bank_does_not_keep_a_large_machine_from_booting() {
    let booted = boots(&Tree::of(&[(BASE, 4 * MIB), (BASE + 16 * MIB, 512 * MIB)]));
    assert_eq!(booted.pages.present, 516 << 8);
}

#[test]
fn nothing_uses_ram_that_shares_a_mib_with_no_map_memory_before_the_final_tables() {
    // Close above the image, where memblock's arrays would like to grow, and at the end of RAM, where tables would.
    let mut tree = with_reserved(&[
        no_map("near", (BASE + 2 * MIB + 3 * PAGE, PAGE)),
        no_map("far", (BASE + 256 * MIB - 2 * PAGE, PAGE)),
    ]);
    tree.reserve_map = (0..300).map(|i| (BASE + 8 * MIB + i * 3 * PAGE, PAGE)).collect();
    boots(&tree);
    boots(&tree.with_bootargs("mem=256M@0x80000000"));
    // The edge bounds Linux's limit to 0x80400000, below which everything is taken; RAM's end is in an unmapped MiB.
    let low = Reserved { name: "low".into(), reg: vec![(BASE, 4 * MIB)], ..Reserved::default() };
    let far = no_map("far", (BASE + 256 * MIB - 2 * PAGE, PAGE));
    boots(&with_reserved(&[low, no_map("edge", (BASE + 4 * MIB + PAGE, PAGE)), far]).with_bootargs("cma=0"));
}

#[test]
fn the_linear_map_is_as_shareable_as_ttbr0_says() {
    let (blob, ram) = (Tree::ast2500().blob(), [range((BASE, 512 * MIB))]);
    for multiprocessing in [true, false] {
        boot(&Board { multiprocessing, ..Board::new(&ram, &blob) }).unwrap();
    }
}

#[test]
fn tables_are_found_above_a_low_no_map_edge() {
    // The edge bounds Linux's limit to 0x80400000, below which everything is taken.
    let low = Reserved { name: "low".into(), reg: vec![(BASE, 4 * MIB)], ..Reserved::default() };
    boots(&with_reserved(&[low, no_map("edge", (BASE + 4 * MIB + PAGE, PAGE))]));
}

#[test]
fn a_machine_of_64_mib_boots_with_cma_and_initrd() {
    let tree = Tree { initrd: Some((BASE + 32 * MIB, BASE + 33 * MIB)), ..Tree::of(&[(BASE, 64 * MIB)]) };
    let booted = boots(&tree);
    assert!(booted.has("cma: Reserved 16 MiB at 0x83000000"));
}

#[test]
fn debug_guardpage_minorder_leaves_guards_beside_what_is_allocated() {
    let guards = |args: &str| {
        let tree = Tree::of(&[(BASE, 64 * MIB)]).with_bootargs(args);
        let run = Board::new(&[range((BASE, 64 * MIB))], &tree.blob()).boot().unwrap();
        end(run, |run| {
            let booted = run.outcome.as_ref().unwrap();
            let taken: Vec<_> = (0..100)
                .map(|_| booted.mm.allocator().alloc_pages(GfpFlags::GFP_KERNEL, Order::new(2).unwrap()).unwrap())
                .collect();
            let guard = booted.mm.validate().unwrap().guard;
            taken.into_iter().for_each(|block| {
                booted.mm.allocator().free_pages(block, Order::new(2).unwrap()).unwrap();
            });
            booted.mm.validate().unwrap();
            let told = run.log.iter().any(|line| line == "Setting debug_guardpage_minorder to 3");
            (guard > 0, told)
        })
    };
    assert_eq!(guards(""), (false, false));
    assert_eq!(guards("debug_guardpage_minorder=3"), (true, true));
}

#[test]
fn fail_page_alloc_makes_allocations_fail_that_can_neither_wait_nor_are_single_pages() {
    let failures = |args: &str| {
        let tree = Tree::of(&[(BASE, 64 * MIB)]).with_bootargs(args);
        let run = Board::new(&[range((BASE, 64 * MIB))], &tree.blob()).boot().unwrap();
        end(run, |run| {
            let zones = run.outcome.as_ref().unwrap().mm.allocator();
            let fails = |gfp, order| match zones.alloc_pages(gfp, order) {
                Ok(block) => {
                    zones.free_pages(block, order).unwrap();
                    false
                }
                Err(_) => true,
            };
            let [single, pair] = [0, 1].map(|order| Order::new(order).unwrap());
            let atomic = GfpFlags::GFP_ATOMIC;
            [fails(GfpFlags::GFP_KERNEL, pair), fails(atomic, single), fails(atomic, pair), fails(atomic, pair)]
        })
    };
    assert_eq!(failures(""), [false; 4]);
    assert_eq!(failures("fail_page_alloc=1,100,0,1"), [false, false, true, false]);
    assert_eq!(failures("fail_page_alloc=1,100,0,-1"), [false, false, true, true]);
}

/// The least RAM that boots, in KiB, and what the machine says with a page less.
fn smallest(args: &str) -> (u64, String) {
    let with = |pages: u64| boot_tree(&Tree::of(&[(BASE, pages * PAGE)]).with_bootargs(args)).map(|_| ());
    let (mut no, mut yes) = (1, 64 * MIB / PAGE);
    while yes - no > 1 {
        let middle = (yes + no) / 2;
        if with(middle).is_ok() { yes = middle } else { no = middle }
    }
    let said = with(no).unwrap_err();
    (yes * PAGE / 1024, said.lines().next().unwrap().to_owned())
}

#[test]
fn the_least_ram_that_boots_is_1548_kib() {
    let said = "too little RAM: 1055K free, 1056K needed";
    assert_eq!(smallest(""), (1548, said.to_owned()));
    assert_eq!(smallest("cma=0"), (1548, said.to_owned()));
}
