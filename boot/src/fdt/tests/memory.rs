//! Nodes of RAM and of what is reserved in it.

use super::range;
use crate::fdt::builder::Builder;
use crate::fdt::validate;

#[test]
fn memory_is_what_its_device_type_says_and_not_its_name() {
    let mut tree = Builder::with_root(2, 1);
    tree.begin("memory-controller@0").cells("reg", &[0, 0, 0x1000]).end();
    tree.begin("ram@1").text("device_type", "memory").cells("reg", &[1, 0, 0x1000, 0, 0, 0, 0, 0x8000, 0x2000]).end();
    tree.begin("memory@2").text("device_type", "memory").text("status", "disabled").cells("reg", &[0, 2, 2]).end();
    tree.begin("memory@3").text("device_type", "memory").text("status", "ok");
    tree.cells("numa-node-id", &[3]).prop("hotpluggable", &[]);
    tree.cells("reg", &[9, 9, 9]).cells("linux,usable-memory", &[0, 0x10_0000, 0x1000, 7]).end();
    tree.begin("memory@4").text("device_type", "memory").end();
    tree.begin("soc").begin("memory@5").text("device_type", "memory").cells("reg", &[0, 5, 5]).end().end();
    let blob = tree.finish();
    let fdt = validate(&blob).unwrap();
    fdt.report();
    let banks: Vec<_> = fdt.memory_banks().map(|bank| (bank.range, bank.node.raw(), bank.hotplug)).collect();
    assert_eq!(
        banks,
        [
            (range(1 << 32, (1 << 32) + 0x1000), 0, false),
            (range(0x8000, 0xa000), 0, false),
            (range(0x10_0000, 0x10_1000), 3, true),
        ]
    );
}

#[test]
fn a_tree_without_a_page_of_ram_is_refused_in_one_line() {
    let line = |tree: &mut Builder| validate(&tree.finish()).unwrap().require_memory().unwrap_err().to_string();
    let told = |node: &str, property: &str| {
        let what = "no enabled node of RAM has a page below 4 GiB (offset 0x0)";
        format!("device tree: node {node}: property {property}: {what}")
    };
    assert_eq!(line(&mut Builder::with_root(1, 1)), told("/memory", "device_type = \"memory\""));
    let mut above = Builder::with_root(2, 2);
    above.begin("memory@100000000").text("device_type", "memory").cells("reg", &[1, 0, 0, 0x1000_0000]).end();
    assert_eq!(line(&mut above), told("/memory@100000000", "reg"));
    let mut empty = Builder::with_root(1, 1);
    empty.begin("memory").text("device_type", "memory").cells("reg", &[0, 0]).end();
    assert_eq!(line(&mut empty), told("/memory", "reg"));
}

#[test]
fn reserved_nodes_are_static_or_dynamic() {
    let mut tree = Builder::with_root(1, 1);
    tree.begin("reserved-memory").cells("#address-cells", &[1]).cells("#size-cells", &[1]).prop("ranges", &[]);
    tree.begin("vga@9f000000").cells("reg", &[0x9f00_0000, 0x100_0000]).prop("no-map", &[]).end();
    tree.begin("two").cells("reg", &[1, 2, 3, 4]).cells("size", &[9]).end();
    tree.begin("off@1").text("status", "disabled").cells("reg", &[1, 2]).end();
    tree.begin("framebuffer").cells("size", &[0x100_0000]).cells("alignment", &[0x10_0000]).prop("reusable", &[]);
    tree.text("compatible", "vendor,x\0shared-dma-pool").prop("linux,cma-default", &[]);
    tree.cells("alloc-ranges", &[0x9000_0000, 0x1000_0000]).end();
    tree.begin("odd-reg").cells("reg", &[1, 2, 3]).end();
    tree.begin("odd-size").cells("size", &[0, 1]).end();
    tree.begin("odd-alignment").cells("size", &[1]).prop("alignment", &[1]).end();
    tree.begin("alignment-of-3").cells("size", &[1]).cells("alignment", &[3]).end();
    tree.begin("size-of-0").cells("size", &[0]).end();
    tree.begin("odd-ranges").cells("size", &[1]).cells("alloc-ranges", &[1]).end();
    tree.begin("nothing").end();
    let blob = tree.end().finish();
    let fdt = validate(&blob).unwrap();
    fdt.report();
    let nodes: Vec<_> = fdt.reserved_memory().collect();
    assert_eq!(nodes.iter().map(|node| node.name).collect::<Vec<_>>(), ["vga@9f000000", "two", "framebuffer"]);
    assert_eq!(nodes[0].reg.collect::<Vec<_>>(), [range(0x9f00_0000, 0xa000_0000)]);
    assert!(nodes[0].no_map && !nodes[0].reusable && nodes[0].size.is_none());
    assert_eq!(nodes[1].reg.collect::<Vec<_>>(), [range(1, 3), range(3, 7)]);
    assert_eq!((nodes[2].size, nodes[2].alignment), (Some(0x100_0000), 0x10_0000));
    assert_eq!(nodes[2].alloc_ranges.collect::<Vec<_>>(), [range(0x9000_0000, 0xa000_0000)]);
    assert!(nodes[2].reusable && nodes[2].cma_default);
    assert_eq!(nodes[2].compatible, "shared-dma-pool");
}

#[test]
fn reserved_memory_with_other_cells_than_the_root_is_dropped_whole() {
    let count = |address: u32, size: u32, ranges: bool| {
        let mut tree = Builder::with_root(1, 1);
        tree.begin("reserved-memory").cells("#address-cells", &[address]).cells("#size-cells", &[size]);
        if ranges {
            tree.prop("ranges", &[]);
        }
        tree.begin("a@1").cells("reg", &[1, 2]).end().end();
        let blob = tree.finish();
        let fdt = validate(&blob).unwrap();
        fdt.report();
        fdt.reserved_memory().count()
    };
    assert_eq!([count(1, 1, true), count(2, 1, true), count(1, 2, true), count(1, 1, false)], [1, 0, 0, 0]);
}
