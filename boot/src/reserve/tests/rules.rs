//! The rules of reserved-memory, CMA and initrd, one tree each.

use super::*;

/// The machine without a default CMA area: what the nodes alone come to.
fn nodes_only(nodes: Vec<ReservedNode<'static>>) -> Outcome {
    Machine { default_cma_bytes: 0, ..Machine::new(nodes) }.run()
}

const RAM: [(u64, u64, bool); 1] = [(0x8000_0000, 0xa000_0000, false)];

#[test]
fn a_static_no_map_region_is_marked_and_not_reserved_and_a_dynamic_one_is_both() {
    let dynamic = ReservedNode { no_map: true, reusable: false, compatible: "", ..dynamic_node("dsp", MIB, MIB) };
    let out = nodes_only(vec![nomap_node("fw", 0x9000_0000, MIB), dynamic]);
    assert!(out.log.is_empty(), "{:?}", out.log);
    assert_eq!(out.reserved_above(0x8900_0000), [(0x9ff0_0000, 0xa000_0000)]);
    let nomap: Vec<_> = out.memory().into_iter().filter(|bank| bank.2).collect();
    assert_eq!(nomap, [(0x9000_0000, 0x9010_0000, true), (0x9ff0_0000, 0xa000_0000, true)]);
    let kinds: Vec<_> = out.pools().into_iter().map(|pool| (pool.0, pool.3)).collect();
    assert_eq!(kinds, [("dsp", RegionKind::NoMap), ("fw", RegionKind::NoMap)]);
}

#[test]
fn regions_stay_byte_exact() {
    let out = nodes_only(vec![fixed_node("log", 0x9000_0123, 0x100), nomap_node("fw", 0x9100_0080, 0x1001)]);
    assert_eq!(out.reserved_above(0x8900_0000), [(0x9000_0123, 0x9000_0223)]);
    assert_eq!(out.memory()[1], (0x9100_0080, 0x9100_1081, true));
}

#[test]
fn no_map_over_what_is_reserved_is_refused_with_one_line() {
    let cases = [
        (nomap_node("a", 0x8040_0000, MIB), "base 0x80400000, size 1 MiB: no-map reg overlaps the kernel image"),
        (nomap_node("b", 0x8000_0000, MIB), "base 0x80000000, size 1 MiB: no-map reg overlaps the first-level table"),
        (nomap_node("c", 0x8800_0000, 0x1000), "base 0x88000000, size 0 MiB: no-map reg overlaps the initrd"),
        (nomap_node("d", 0x9400_0000, MIB), "base 0x94000000, size 1 MiB: no-map reg overlaps memory reserved before"),
        (nomap_node("e", 0x9500_0000, MIB), "base 0x95000000, size 1 MiB: no-map reg overlaps memory reserved before"),
    ];
    for (node, text) in cases {
        let mut machine = Machine::new(vec![fixed_node("first", 0x9500_0000, MIB), node]);
        machine.reserve_map = vec![range(0x9400_0000, 0x9400_1000)];
        machine.default_cma_bytes = 0;
        let out = machine.run();
        let line = format!("OF: fdt: Reserved memory: failed to reserve memory for node '{}': {text}", node.name);
        assert_eq!(out.log, [line]);
        assert_eq!(out.memory(), RAM);
        assert_eq!(out.regions.len(), 1, "only `first` is in the table");
    }
}

#[test]
fn a_reservation_over_no_map_is_in_both_lists_and_the_overlap_is_told() {
    let out = nodes_only(vec![nomap_node("fw", 0x9000_0000, 2 * MIB), fixed_node("log", 0x9010_0000, 2 * MIB)]);
    let line =
        "OF: reserved mem: OVERLAP DETECTED! fw (0x90000000--0x90200000) overlaps with log (0x90100000--0x90300000)";
    assert_eq!(out.log, [line]);
    assert_eq!(out.memory()[1], (0x9000_0000, 0x9020_0000, true));
    assert_eq!(out.reserved_above(0x8900_0000), [(0x9010_0000, 0x9030_0000)]);
}

#[test]
fn a_region_outside_ram_is_told_and_listed_only_when_reserved() {
    let out = nodes_only(vec![fixed_node("a", 0x2000_0000, MIB), nomap_node("b", 0xc000_0000, MIB)]);
    assert_eq!(
        out.log,
        [
            "OF: reserved mem: node a: reg [mem 0x20000000-0x200fffff] lies outside RAM",
            "OF: reserved mem: node b: reg [mem 0xc0000000-0xc00fffff] lies outside RAM",
        ]
    );
    assert_eq!(out.memory(), RAM);
    assert_eq!(out.memblock.reserved()[0].range(), range(0x2000_0000, 0x2010_0000));
    // Larger than RAM: nothing is left, which is an error and no panic.
    let out = nodes_only(vec![fixed_node("all", 0x4000_0000, 0x1_0000_0000)]);
    assert_eq!(out.result.unwrap_err(), ReserveError::TooLittleRam { free: 0, needed: 4 * MIB });
    assert_eq!(out.log.len(), 2);
    assert!(out.log[0].ends_with("reaches out of RAM") && out.log[1].ends_with("overlaps the kernel image"));
}

#[test]
fn static_regions_are_taken_before_dynamic_ones_whatever_their_order() {
    let plain = |name, size, align| ReservedNode { reusable: false, compatible: "", ..dynamic_node(name, size, align) };
    let out = nodes_only(vec![plain("late", MIB, 0), fixed_node("top", 0x9ff0_0000, MIB), plain("later", MIB, 0)]);
    let places: Vec<_> = out.pools().into_iter().map(|pool| (pool.0, pool.1)).collect();
    assert_eq!(places, [("late", 0x9fe0_0000), ("later", 0x9fd0_0000), ("top", 0x9ff0_0000)]);
}

#[test]
fn a_full_alloc_range_falls_through_to_the_next_and_none_is_told() {
    let ranged = |name, size, ranges: &[(u64, u64)]| ReservedNode {
        reusable: false,
        compatible: "",
        alloc_ranges: reg(ranges),
        ..dynamic_node(name, size, 0)
    };
    let out = nodes_only(vec![
        ranged("a", 2 * MIB, &[(0x9000_0000, MIB), (0x9100_0000, 0x100_0000)]),
        ranged("b", 32 * MIB, &[(0x9000_0000, MIB), (0x9100_0000, 0x100_0000)]),
    ]);
    assert_eq!(out.log, ["OF: reserved mem: failed to allocate memory for node 'b': size 32 MiB"]);
    assert_eq!(out.pools(), [("a", 0x91e0_0000, 2 * MIB, RegionKind::Reserved)]);
}

#[test]
fn a_dynamic_region_without_a_range_may_lie_in_highmem() {
    let mut machine = Machine::new(vec![dynamic_node("fb", 16 * MIB, 0)]);
    machine.ram = vec![(0x8000_0000, 0x1_0000_0000)];
    assert_eq!(machine.run().pools()[0], ("fb", 0xff00_0000, 16 * MIB, RegionKind::Cma));
}

#[test]
fn bad_numbers_of_dynamic_regions_are_told() {
    let out =
        nodes_only(vec![dynamic_node("a", 0, 0), dynamic_node("b", MIB, 0xc00_0000), dynamic_node("c", u64::MAX, 0)]);
    assert_eq!(
        out.log,
        [
            "OF: reserved mem: invalid size property in 'a' node: 0",
            "OF: reserved mem: invalid alignment property in 'b' node: 0xc000000",
            "OF: reserved mem: failed to allocate memory for node 'c': size 17592186044415 MiB",
        ]
    );
    assert!(out.regions.is_empty());
    assert!(out.reserved_above(0x8900_0000).is_empty());
}

#[test]
fn a_region_without_size_is_told() {
    let out = nodes_only(vec![fixed_node("a", 0x9000_0000, 0)]);
    let line =
        "OF: fdt: Reserved memory: failed to reserve memory for node 'a': base 0x90000000, size 0 MiB: reg has no size";
    assert_eq!(out.log, [line]);
}

#[test]
fn what_cannot_be_a_pool_goes_back_to_free_ram() {
    let neither = ReservedNode { reusable: false, ..pool_node("neither", 0x9000_0000, 4 * MIB) };
    let both = ReservedNode { no_map: true, ..pool_node("both", 0x9100_0000, 4 * MIB) };
    let both_dynamic = ReservedNode { no_map: true, ..dynamic_node("both-dynamic", 4 * MIB, 0) };
    let out = nodes_only(vec![pool_node("odd", 0x9210_0000, 4 * MIB), both, neither, both_dynamic]);
    assert!(out.regions.is_empty());
    assert_eq!(out.memory(), RAM);
    assert!(out.reserved_above(0x8900_0000).is_empty());
    assert_eq!(
        out.log,
        [
            "Reserved memory: both-dynamic at [mem 0x9fc00000-0x9fffffff] is both no-map and reusable",
            "OF: reserved mem: node both-dynamic compatible matching fail",
            "Reserved memory: regions without no-map are not yet supported: neither at [mem 0x90000000-0x903fffff]",
            "OF: reserved mem: node neither compatible matching fail",
            "Reserved memory: both at [mem 0x91000000-0x913fffff] is both no-map and reusable",
            "OF: reserved mem: node both compatible matching fail",
            "Reserved memory: incorrect alignment of CMA region odd: reg [mem 0x92100000-0x924fffff], not 0x400000",
            "OF: reserved mem: node odd compatible matching fail",
        ]
    );
}

#[test]
fn a_refused_pool_gives_back_nothing_that_someone_else_has() {
    // Over the image, and misaligned: the image must stay reserved.
    let out = nodes_only(vec![pool_node("odd", 0x8140_0000, 3 * MIB), fixed_node("next", 0x8160_8000, MIB)]);
    assert!(out.memblock.is_reserved(addr(0x8140_0000)) && out.memblock.is_reserved(addr(0x8160_8000)));
    // Misaligned, and a later node has some of it.
    let out = nodes_only(vec![pool_node("odd", 0x9010_0000, 4 * MIB), fixed_node("log", 0x9020_0000, MIB)]);
    assert!(out.memblock.is_reserved(addr(0x9020_0000)));
}

#[test]
fn a_pool_of_bytes_that_are_not_its_own_is_no_pool_and_stays_reserved() {
    let out = nodes_only(vec![
        pool_node("image", 0x8000_0000, 4 * MIB),
        pool_node("shared", 0x9000_0000, 4 * MIB),
        fixed_node("log", 0x9010_0000, MIB),
        pool_node("outside", 0x2000_0000, 4 * MIB),
    ]);
    assert_eq!(out.regions.cma_areas().count(), 0);
    assert_eq!(out.reserved_above(0x8900_0000), [(0x9000_0000, 0x9040_0000)]);
    let told = |text: &str| out.log.iter().filter(|line| line.contains(text)).count();
    assert_eq!((told("image: reg"), told("shared: reg"), told("outside: reg")), (2, 1, 2), "{:#?}", out.log);
    assert_eq!(told("created CMA"), 0);
}

#[test]
fn a_pool_across_the_end_of_lowmem_is_no_pool() {
    let mut machine = Machine::new(vec![pool_node("fb", 0xefc0_0000, 8 * MIB)]);
    machine.ram = vec![(0x8000_0000, 0x1_0000_0000)];
    let out = machine.run();
    let line = "Reserved memory: fb: reg [mem 0xefc00000-0xf03fffff] crosses the end of lowmem at 0xf0000000, no pool";
    assert_eq!(out.log[0], line);
    assert_eq!(out.pools()[0].3, RegionKind::Reserved);
}

#[test]
fn the_default_area_of_the_tree_serves_and_the_command_line_beats_it() {
    let node = ReservedNode { cma_default: true, ..dynamic_node("linux,cma", 16 * MIB, 0) };
    let out = Machine::new(vec![node]).run();
    assert_eq!(out.pools(), [("linux,cma", 0x9f00_0000, 16 * MIB, RegionKind::DefaultCma)]);
    assert_eq!(out.log.len(), 2, "no area beside it: {:?}", out.log);

    let mut machine = Machine::new(vec![node]);
    machine.cma = Some(CmaOption { size: 8 * MIB, ..CmaOption::default() });
    let out = machine.run();
    assert_eq!(
        out.log,
        [
            "Reserved memory: bypass linux,cma node, using cmdline CMA params instead",
            "OF: reserved mem: node linux,cma compatible matching fail",
            "cma: Reserved 8 MiB at 0x9f800000",
        ]
    );
    assert_eq!(out.reserved_above(0x8900_0000), [(0x9f80_0000, 0xa000_0000)]);
}

#[test]
fn the_table_takes_64_regions_and_tells_of_more() {
    let nodes = (0..66).map(|index| fixed_node("r", 0x9000_0000 + index * 0x2000, 0x1000)).collect();
    let out = nodes_only(nodes);
    assert_eq!(out.regions.len(), MAX_REGIONS);
    assert_eq!(out.log, ["OF: reserved mem: not enough space for all defined regions."; 2]);
    // All 66 are reserved all the same.
    assert_eq!(out.reserved_above(0x8900_0000).len(), 66);
}

/// The lines and the area of `cma=`.
fn with_cma(size: u64, base: Option<u64>, limit: Option<u64>) -> (Vec<String>, Option<u64>) {
    let mut machine = Machine::new(Vec::new());
    machine.ram = vec![(0x8000_0000, 0x1_0000_0000)];
    machine.cma = Some(CmaOption { size, base: base.map(addr), limit: limit.map(addr) });
    let out = machine.run();
    (out.log, out.regions.default_cma().map(|area| area.range.start.raw()))
}

#[test]
fn cma_takes_a_size_a_place_and_a_window() {
    assert_eq!(with_cma(0, None, None), (vec![], None));
    assert_eq!(with_cma(5 * MIB, None, None), (vec!["cma: Reserved 8 MiB at 0xff800000".into()], Some(0xff80_0000)));
    assert_eq!(with_cma(8 * MIB, Some(0x9000_0000), None).1, Some(0x9000_0000));
    assert_eq!(with_cma(8 * MIB, Some(0x9000_0000), Some(0xa000_0000)).1, Some(0x9f80_0000));
    // A window that crosses the end of lowmem: highmem first, then lowmem.
    assert_eq!(with_cma(8 * MIB, Some(0xe000_0000), Some(0xf100_0000)).1, Some(0xf080_0000));
    assert_eq!(with_cma(32 * MIB, Some(0xe000_0000), Some(0xf100_0000)).1, Some(0xee00_0000));
}

#[test]
fn a_cma_area_that_cannot_be_is_told() {
    let fails = |size, base, limit, text: &str| {
        let (log, area) = with_cma(size, base, limit);
        assert_eq!(area, None);
        assert_eq!(
            log,
            [text.to_string(), format!("cma: Failed to reserve {} MiB", size.next_multiple_of(CMA_ALIGN) / MIB)]
        );
    };
    fails(8 * MIB, Some(0x9010_0000), None, "cma: Region at 0x90100000 must be aligned to 0x00400000 bytes");
    let boundary = "cma: Region at 0xefc00000 defined on low/high memory boundary (0xf0000000)";
    fails(8 * MIB, Some(0xefc0_0000), None, boundary);
    let exceeds = "cma: Size (0x02000000) of region at 0x90000000 exceeds limit (0x91000000)";
    fails(32 * MIB, Some(0x9000_0000), Some(0x9100_0000), exceeds);
    fails(4 * MIB, Some(0x8000_0000), None, "cma: Region at 0x80000000 overlaps in-use memory region");
    fails(4 * MIB, Some(0x4000_0000), None, "cma: Region at 0x40000000 is not a memory region");
    let (log, _) = with_cma(u64::MAX, None, None);
    assert!(log.last().unwrap().starts_with("cma: Failed to reserve"));
    let (log, _) = with_cma(8 << 30, None, None);
    assert_eq!(log.len(), 2, "larger than RAM: {log:?}");
}

/// The lines and the fate of an initrd.
fn with_initrd(start: u64, end: u64) -> (Vec<String>, Option<PhysRange>) {
    let mut machine = Machine::new(Vec::new());
    machine.default_cma_bytes = 0;
    machine.fixed.initrd = Some(range(start, end));
    let out = machine.run();
    (out.log, out.result.unwrap().initrd)
}

#[test]
fn an_initrd_is_kept_in_whole_pages_or_disabled_with_a_line() {
    let mut machine = Machine::new(Vec::new());
    machine.default_cma_bytes = 0;
    machine.fixed.initrd = Some(range(0x9000_0123, 0x9000_2001));
    let out = machine.run();
    assert_eq!(out.result.unwrap().initrd, Some(range(0x9000_0123, 0x9000_2001)));
    assert_eq!(out.reserved_above(0x8900_0000), [(0x9000_0000, 0x9000_3000)]);

    let line = |text: &str| (vec![text.to_string()], None);
    let outside = "INITRD: 0x9ffff000+0x00002000 is not a memory region - disabling initrd";
    assert_eq!(with_initrd(0x9fff_f000, 0xa000_0001), line(outside));
    let image = "INITRD: 0x81607000+0x00001000 overlaps in-use memory region - disabling initrd";
    assert_eq!(with_initrd(0x8160_7800, 0x8160_8000), line(image));
    let dtb = "INITRD: 0x880d0000+0x00009000 overlaps in-use memory region - disabling initrd";
    assert_eq!(with_initrd(0x880d_0000, 0x880d_8001), line(dtb));
    assert_eq!(with_initrd(u64::MAX - 1, u64::MAX).1, None);
    // The DTB may begin in the initrd's last page.
    let close = range(0x8800_0000, 0x880d_7f00);
    let mut machine = Machine::new(Vec::new());
    machine.fixed.initrd = Some(close);
    machine.fixed.dtb = range(0x880d_7f10, 0x880e_0000);
    assert_eq!(machine.run().result.unwrap().initrd, Some(close));
}

#[test]
fn an_image_outside_ram_and_too_little_ram_are_errors() {
    let mut machine = Machine::new(Vec::new());
    machine.ram = vec![(0x8000_0000, 0x8100_0000)];
    let image = range(0x8030_0000, 0x8160_7588);
    assert_eq!(machine.run().result.unwrap_err(), ReserveError::ImageOutsideRam(image));

    machine.ram = vec![(0x8000_0000, 0x8180_0000)];
    machine.default_cma_bytes = 0;
    machine.needed_bytes = 32 * MIB;
    let error = machine.run().result.unwrap_err();
    // 24 MiB less table and image: 0x1800000 - 0x4000 - 0x1307588 bytes; initrd and DTB lie outside.
    assert_eq!(error, ReserveError::TooLittleRam { free: 0x1800000 - 0x4000 - 0x1307588, needed: 32 * MIB });
    assert_eq!(error.to_string(), "too little RAM: 5074K free, 32768K needed");
}
